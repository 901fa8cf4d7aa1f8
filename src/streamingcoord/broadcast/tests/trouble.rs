//! Nodes that die, hang or deny, and leaders that change: all vchannels or no answer, and one order.

use std::sync::atomic::Ordering;

use super::*;
use crate::pb::store::PChannelState;
use crate::pb::streaming::StreamingCode;
use crate::streamingcoord::status::streaming_code;

/// Broadcasts in the order of a vchannel's log, each once.
fn in_effect(world: &World, number: u16) -> Vec<u64> {
    let mut ids = Vec::new();
    for id in world.logs.of(&vchannel(number)) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_begins_until_every_vchannel_can_be_reached() {
    let world = World::new(config::Broadcast::default()).await;
    let node = world.node().await;
    world.assign(&node, &[0]).await;
    let asked = world.asked(message(&[0, 1], "c"));
    soon("it is tried", || world.tasks().first().is_some_and(|row| world.service.board.trouble(row.id).0 > 1)).await;
    assert!(world.logs.of(&vchannel(0)).is_empty() && !world.tasks()[0].begun);
    world.assign(&node, &[1]).await;
    asked.await.unwrap().unwrap();
    assert_eq!((world.logs.of(&vchannel(0)).len(), world.logs.of(&vchannel(1)).len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_order_for_each_resource_and_no_waiting_for_others() {
    let world = World::new(config::Broadcast::default()).await;
    let (one, two) = (world.node().await, world.node().await);
    world.assign(&one, &[0]).await;
    let first = world.asked(message(&[0, 1], "c"));
    soon("it waits for a node", || world.tasks().len() == 1).await;
    let second = world.asked(message(&[0], "c"));
    soon("both are there", || world.tasks().len() == 2).await;
    world.broadcast(message(&[0], "d")).await.unwrap();
    let ids: Vec<i64> = world.tasks().iter().map(|row| row.id).collect();
    assert_eq!(world.logs.of(&vchannel(0)), [ids[2] as u64], "another resource, another turn");
    world.assign(&two, &[1]).await;
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    assert_eq!(in_effect(&world, 0), [ids[2] as u64, ids[0] as u64, ids[1] as u64]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_leader_ends_what_the_last_one_began() {
    let mut world = World::new(config::Broadcast::default()).await;
    let (one, two) = (world.node().await, world.node().await);
    world.assign(&one, &[0]).await;
    world.assign(&two, &[1]).await;
    two.switches.hangs.store(true, Ordering::Relaxed);
    let call = world.call();
    let (service, kept) = (world.service.clone(), call.clone());
    let asked = tokio::spawn(async move {
        let mut request = tonic::Request::new(BroadcastRequest { message: Some(message(&[0, 1], "c")) });
        request.extensions_mut().insert(kept);
        service.broadcast(request).await
    });
    soon("both have it, one did not say so", || world.logs.records().len() == 2).await;
    let id = world.tasks()[0].id as u64;
    let second = world.asked(message(&[0], "c"));
    soon("another one waits", || world.tasks().len() == 2).await;
    world.replica.follow(1, None);
    // The caller's ingress is told to send the call again.
    assert!(asked.await.unwrap().is_err());
    assert!(second.await.unwrap().is_err());
    two.switches.hangs.store(false, Ordering::Relaxed);
    world.lead(2);
    let again = world.broadcast_as(call, message(&[0, 1], "c")).await.unwrap();
    assert_eq!(again.broadcast_id, id);
    soon("both are over", || world.totals().tombstones == 2).await;
    let copies: Vec<_> = world.logs.records().into_iter().filter(|record| record.broadcast_id == id).collect();
    assert!(copies.len() >= 3, "appended again, and recognisable");
    for vchannel in [vchannel(0), vchannel(1)] {
        let own: Vec<_> = copies.iter().filter(|record| record.vchannel == vchannel).collect();
        assert!(own.iter().all(|record| record.message == own[0].message));
    }
    let order = in_effect(&world, 0);
    assert_eq!((order.len(), order[0]), (2, id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_dies_in_the_middle_is_gone_round() {
    let world = World::new(config::Broadcast::default()).await;
    let (one, two, three) = (world.node().await, world.node().await, world.node().await);
    world.assign(&one, &[0]).await;
    world.assign(&two, &[1]).await;
    world.broadcast(message(&[0, 1], "c")).await.unwrap();
    two.switches.deaf.store(true, Ordering::Relaxed);
    let asked = world.asked(message(&[0, 1], "c"));
    soon("one of them has it", || world.logs.of(&vchannel(0)).len() == 2).await;
    assert!(!asked.is_finished());
    two.die();
    world.assign(&three, &[1]).await;
    let answer = asked.await.unwrap().unwrap();
    assert_eq!(answer.results.len(), 2);
    assert_eq!(in_effect(&world, 0), in_effect(&world, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_denies_is_reported_once_for_its_term() {
    let world = World::new(config::Broadcast::default()).await;
    let node = world.node().await;
    node.switches.denies.store(true, Ordering::Relaxed);
    world.assign(&node, &[0]).await;
    let asked = world.asked(message(&[0], "c"));
    let state = || {
        let view = world.replica.view().unwrap();
        View::new(view.as_ref()).pchannel(&pchannel(0)).unwrap().unwrap().state()
    };
    soon("it is not available", || state() == PChannelState::Unavailable).await;
    node.switches.denies.store(false, Ordering::Relaxed);
    world.assign(&node, &[0]).await;
    asked.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_gives_up_what_has_not_begun() {
    let settings = config::Broadcast { max_retries: 2, ..Default::default() };
    let world = World::new(settings).await;
    let node = world.node().await;
    world.assign(&node, &[0]).await;
    let refused = world.broadcast(message(&[0, 1], "c")).await.unwrap_err();
    assert_eq!(streaming_code(&refused), Some(StreamingCode::Inner));
    assert!(refused.message().contains("was given up: no node owns by-dev-rootcoord-dml_1"), "{}", refused.message());
    assert!(world.tasks().is_empty() && world.logs.records().is_empty());
    // What has begun is not.
    node.switches.deaf.store(true, Ordering::Relaxed);
    let asked = world.asked(message(&[0], "c"));
    soon("it has begun", || world.tasks().first().is_some_and(|row| row.begun)).await;
    world.assign(&world.node().await, &[0]).await;
    asked.await.unwrap().unwrap();
}
