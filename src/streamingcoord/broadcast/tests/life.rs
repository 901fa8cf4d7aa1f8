//! What callers and nodes see of broadcasts that nothing stands in the way of.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::error::Rejection;
use crate::pb::common::ImmutableMessage;
use crate::pb::store::BroadcastState;
use crate::pb::streaming::StreamingCode;
use crate::streamingcoord::status::streaming_code;

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_reaches_all_its_vchannels_over_streams_that_are_used_again() {
    let world = World::new(config::Broadcast::default(), Callbacks::default()).await;
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
    let world = World::new(config::Broadcast::default(), Callbacks::default()).await;
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
    let world = World::new(config::Broadcast::default(), Callbacks::default()).await;
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

#[derive(Default)]
struct Counting {
    once: AtomicU64,
    all: AtomicU64,
}

#[tonic::async_trait]
impl Callback for Counting {
    async fn check(&self, message: &Message) -> Result<(), Rejection> {
        match message.payload.as_slice() {
            [] => Err(Rejection::invalid("empty")),
            _ => Ok(()),
        }
    }

    async fn acked_once(&self, _: &store::BroadcastTask, _: &store::BroadcastChannel) -> Result<(), NotYet> {
        self.once.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn acked(&self, task: &store::BroadcastTask) -> Result<(), NotYet> {
        assert_eq!((task.left(), task.state()), (0, BroadcastState::Pending));
        match self.all.fetch_add(1, Ordering::Relaxed) {
            0 => Err(NotYet("once more".into())),
            _ => Ok(()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks_check_before_and_are_repeated_until_they_succeed() {
    let counting = Arc::new(Counting::default());
    let mut callbacks = Callbacks::default();
    callbacks.register(MessageType::CreateCollection, counting.clone());
    let world = World::new(config::Broadcast::default(), callbacks).await;
    world.assign(&world.node().await, &[0, 1]).await;
    let empty = Message { payload: Vec::new(), ..message(&[0, 1], "c") };
    let refused = world.broadcast(empty).await.unwrap_err();
    assert_eq!(streaming_code(&refused), Some(StreamingCode::InvaildArgument));
    assert!(world.tasks().is_empty());
    world.broadcast(message(&[0, 1], "c")).await.unwrap();
    soon("it is over", || world.totals().tombstones == 1).await;
    assert_eq!((counting.all.load(Ordering::Relaxed), counting.once.load(Ordering::Relaxed)), (2, 4));
    assert_eq!(world.logs.of(&vchannel(0)).len(), 1, "a callback that fails appends nothing again");
}
