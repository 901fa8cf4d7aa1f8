//! What callers and nodes see of broadcasts that nothing stands in the way of.

use std::sync::atomic::Ordering;

use super::*;
use crate::pb::common::ImmutableMessage;
use crate::pb::store::BroadcastState;
use crate::pb::streaming::StreamingCode;
use crate::streamingcoord::status::streaming_code;

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_reaches_all_its_vchannels_over_streams_that_are_used_again() {
    let world = World::new(config::Broadcast::default()).await;
    let (one, two) = (world.node().await, world.node().await);
    world.assign(&one, &[0, 1]).await;
    world.assign(&two, &[2]).await;
    for n in 1..=3 {
        let answer = world.broadcast(message(&[0, 1, 2], "c")).await.unwrap();
        assert_eq!(answer.results.len(), 3);
        assert_eq!(answer.results[&vchannel(2)].timetick, n);
        let left = || world.task(answer.broadcast_id as i64).unwrap().left();
        soon("it is acknowledged", || left() == 0).await;
    }
    let ids = world.logs.of(&vchannel(0));
    assert!(ids.len() == 3 && ids.is_sorted());
    assert_eq!((world.logs.of(&vchannel(1)), world.logs.of(&vchannel(2))), (ids.clone(), ids));
    let streams = |node: &StreamingNode| node.switches.streams.load(Ordering::Relaxed);
    assert_eq!((streams(&one), streams(&two)), (2, 1), "one stream for each pchannel");
    soon("all are over", || world.totals().tombstones == 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_call_is_answered_with_the_same_broadcast() {
    let world = World::new(config::Broadcast::default()).await;
    world.assign(&world.node().await, &[0]).await;
    let call = world.call();
    let first = world.broadcast_as(call.clone(), message(&[0], "c")).await.unwrap();
    soon("it is over", || world.totals().tombstones == 1).await;
    world.service.board.clear();
    let again = world.broadcast_as(call, message(&[0], "c")).await.unwrap();
    assert_eq!(again, first);
    assert_eq!(world.logs.of(&vchannel(0)).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_to_be_consumed_waits_for_the_nodes_word() {
    let world = World::new(config::Broadcast::default()).await;
    world.assign(&world.node().await, &[0, 1]).await;
    let header =
        BroadcastHeader { vchannels: vec![vchannel(0), vchannel(1)], ack_sync_up: true, ..BroadcastHeader::default() };
    let answer = world.broadcast(carrying(header)).await.unwrap();
    let id = answer.broadcast_id as i64;
    assert_eq!(answer.results.len(), 2, "the caller is answered when it is appended");
    assert_eq!(world.task(id).unwrap().left(), 2);
    for (n, record) in world.logs.records().into_iter().enumerate() {
        assert_eq!(world.task(id).unwrap().state(), BroadcastState::Pending);
        let Message { payload, properties } = record.message;
        let copy = ImmutableMessage { id: None, payload, properties };
        for _ in 0..2 {
            world.acknowledge(BroadcastAckRequest { message: Some(copy.clone()), ..Default::default() }).await.unwrap();
        }
        assert_eq!(world.task(id).unwrap().left(), 1 - n);
    }
    soon("it is over", || world.task(id).unwrap().state() == BroadcastState::Tombstone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_cluster_broadcast_acknowledges_nothing_of_ours() {
    let world = World::new(config::Broadcast::default()).await;
    world.assign(&world.node().await, &[0]).await;
    let header = BroadcastHeader { vchannels: vec![vchannel(0)], ack_sync_up: true, ..BroadcastHeader::default() };
    let id = world.broadcast(carrying(header)).await.unwrap().broadcast_id as i64;
    let Message { payload, mut properties } = world.logs.records().remove(0).message;
    properties.insert(message::REPLICATE_HEADER.into(), String::new());
    let copy = ImmutableMessage { id: None, payload, properties };
    let refused =
        world.acknowledge(BroadcastAckRequest { message: Some(copy), ..Default::default() }).await.unwrap_err();
    assert_eq!(streaming_code(&refused), Some(StreamingCode::Unrecoverable), "{refused:?}");
    assert_eq!(world.task(id).unwrap().left(), 1, "its number is another cluster's");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_remembered_is_not_said_to_be_given_up() {
    let world = World::new(config::Broadcast::default()).await;
    world.assign(&world.node().await, &[0]).await;
    let call = world.call();
    let id = world.broadcast_as(call.clone(), message(&[0], "c")).await.unwrap().broadcast_id as i64;
    soon("it is over", || world.totals().tombstones == 1).await;
    world.propose(Command::Broadcast(BroadcastCommand::Sweep { ids: vec![id] })).await;
    world.service.board.clear();
    let unknown = world.broadcast_as(call, message(&[0], "c")).await.unwrap_err();
    assert!(unknown.message().contains("not remembered any more"), "{unknown:?}");
    assert_eq!(world.logs.of(&vchannel(0)).len(), 1);
}

/// More bytes than may be on their way at once, to more vchannels than may be appended to at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_message_reaches_many_vchannels_with_few_copies_at_a_time() {
    let world = World::new(config::Broadcast::default()).await;
    world.assign(&world.node().await, &[0, 1, 2]).await;
    let vchannels: Vec<String> = (0..300).map(|n| format!("{}_9v{n}", pchannel(n % 3))).collect();
    let header = BroadcastHeader { vchannels, ..BroadcastHeader::default() };
    let large = Message { payload: vec![7; 1 << 20], ..carrying(header) };
    let answer = world.broadcast(large).await.unwrap();
    assert_eq!(answer.results.len(), 300);
    soon("it is over", || world.totals().tombstones == 1).await;
    assert_eq!(world.logs.records().len(), 300);
}
