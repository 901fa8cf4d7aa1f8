//! Broadcasts by example.

use super::*;
use crate::pb::messages::{BroadcastHeader, ResourceDomain};
use crate::pb::store::BroadcastState;
use crate::state::broadcast::message;
use crate::state::limits::{MAX_BROADCAST_BYTES, MAX_PENDING_BROADCASTS, MAX_TOMBSTONES};
use crate::state::tables::BROADCAST_TOTALS;

#[test]
fn a_task_lives_from_its_submission_to_its_sweep() {
    let mut world = World::default();
    let id = world.submitted(submit(&["a", "b"], &collection("c")));
    let row = world.view().broadcasts().task(id).unwrap().unwrap();
    assert_eq!((row.state(), row.begun, row.left(), row.created_ms), (BroadcastState::Pending, false, 2, START_MS));
    // The cluster is shared by whatever does not need it for itself.
    assert_eq!(world.count(0xC1), 3);
    assert_eq!(world.begun(&[id]), [id]);
    assert_eq!(world.broadcast(acked(id, &["b"], true)), BroadcastReply::Acked { left: Some(1) });
    assert_eq!(world.broadcast(BroadcastCommand::Finish { id }), BroadcastReply::Finished { changed: false });
    assert_eq!(world.broadcast(BroadcastCommand::Sweep { ids: vec![id] }), BroadcastReply::Swept { count: 0 });
    assert_eq!(world.broadcast(acked(id, &["a", "b"], false)), BroadcastReply::Acked { left: Some(0) });
    assert!(world.view().broadcasts().task(id).unwrap().unwrap().is_pending());
    assert_eq!(world.broadcast(BroadcastCommand::Finish { id }), BroadcastReply::Finished { changed: true });
    let row = world.view().broadcasts().task(id).unwrap().unwrap();
    assert_eq!((row.state(), row.tombstone_ms), (BroadcastState::Tombstone, START_MS));
    assert_eq!((world.count(0xC1), world.count(0xC3)), (0, 0), "a tombstone carries and holds nothing");
    assert_eq!(world.broadcast(acked(id, &["a"], true)), BroadcastReply::Acked { left: Some(0) });
    assert_eq!(world.broadcast(BroadcastCommand::Sweep { ids: vec![id] }), BroadcastReply::Swept { count: 1 });
    assert_eq!(world.broadcast(acked(id, &["a"], true)), BroadcastReply::Acked { left: None });
    assert_eq!([0xC0, 0xC1, 0xC2, 0xC3, 0xC4].map(|tag| world.count(tag)), [0; 5]);
    assert_eq!(world.view().broadcasts().totals().unwrap(), Default::default());
}

#[test]
fn the_last_acknowledgement_may_end_the_task() {
    let mut world = World::default();
    let id = world.submitted(submit(&["a"], &[]));
    world.begun(&[id]);
    world.broadcast(acked(id, &["a"], true));
    assert_eq!(world.view().broadcasts().ids(BroadcastState::Tombstone, None, 9).unwrap(), [id]);
    assert!(world.view().broadcasts().ids(BroadcastState::Pending, None, 9).unwrap().is_empty());
}

#[test]
fn turns_go_by_the_log() {
    let mut world = World::default();
    let first = world.submitted(submit(&["a"], &collection("c")));
    let second = world.submitted(submit(&["a"], &collection("c")));
    let elsewhere = world.submitted(submit(&["a"], &collection("d")));
    let database = world.submitted(submit(&["a"], &[ResourceKey::database("default", false)]));
    let cluster = world.submitted(submit(&["a"], &[ResourceKey::cluster(false)]));
    let late = world.submitted(submit(&["a"], &[]));
    let all = [first, second, elsewhere, database, cluster, late];
    assert_eq!(world.begun(&all), [first, elsewhere]);
    let waits = |world: &World, id| {
        let view = world.view().broadcasts();
        view.waits_for(&view.task(id).unwrap().unwrap()).unwrap()
    };
    assert_eq!(waits(&world, second), Some(first));
    assert_eq!(waits(&world, late), Some(cluster));
    let rejection = world.rejected(command(acked(second, &["a"], true)));
    assert_eq!(rejection.reason(), format!("broadcast {second} has not begun: invalid parameter"));
    world.broadcast(acked(first, &["a"], true));
    assert_eq!(world.begun(&all), [second, elsewhere]);
    world.broadcast(acked(elsewhere, &["a"], true));
    assert_eq!(waits(&world, database), Some(second));
    world.broadcast(acked(second, &["a"], true));
    assert_eq!(world.begun(&all), [database]);
    world.broadcast(acked(database, &["a"], true));
    assert_eq!(world.begun(&all), [cluster]);
    world.broadcast(acked(cluster, &["a"], true));
    assert_eq!(world.begun(&all), [late]);
}

#[test]
fn only_what_nobody_has_begun_can_be_taken_back() {
    let mut world = World::default();
    let first = world.submitted(submit(&["a"], &collection("c")));
    let second = world.submitted(submit(&["a"], &collection("c")));
    world.begun(&[first]);
    assert_eq!(world.broadcast(BroadcastCommand::Abandon { id: first }), BroadcastReply::Abandoned { changed: false });
    let before = world.count(0xC1);
    assert_eq!(world.broadcast(BroadcastCommand::Abandon { id: second }), BroadcastReply::Abandoned { changed: true });
    assert_eq!(world.count(0xC1), before - 3);
    assert!(world.view().broadcasts().task(second).unwrap().is_none());
    assert_eq!(world.view().broadcasts().totals().unwrap().pending, 1);
}

#[test]
fn bad_submissions_leave_nothing() {
    let mut world = World::default();
    let before = world.facts();
    let long = "x".repeat(2000);
    let mut many = submit(&["a"], &[]);
    many.keys = (0..65).map(|n| ResourceKey::new(ResourceDomain::Privilege, n.to_string(), true)).collect();
    let big = Submit { payload: vec![0; MAX_BROADCAST_BYTES], ..submit(&["a"], &[]) };
    let some: Vec<String> = (0..1025).map(|n| format!("by-dev-rootcoord-dml_0_7v{n}")).collect();
    let consumed = Submit { vchannels: some, ack_sync_up: true, ..submit(&[], &[]) };
    let bad = [
        consumed,
        submit(&["by-dev-rootcoord-dml_16_7v0"], &[]),
        submit(&["a", "elsewhere_7v0"], &[]),
        submit(&[], &[]),
        submit(&["a", "a"], &[]),
        submit(&[""], &[]),
        submit(&[&long], &[]),
        submit(&["a"], &collection(&long)),
        many,
        big,
    ];
    for submit in bad {
        world.rejected(command(BroadcastCommand::Submit(submit)));
    }
    assert_eq!(world.facts().len(), before.len().max(2), "only the default database is there");
    let id = world.submitted(submit(&["a"], &[]));
    world.begun(&[id]);
    world.rejected(command(acked(id, &["b"], true)));
    world.rejected(command(BroadcastCommand::Begin { ids: vec![1; 257] }));
    assert!(!world.view().broadcasts().task(id).unwrap().unwrap().channels[0].acked);
}

/// Counts as after so many tasks, which would take long to make.
fn set_totals(world: &mut World, totals: crate::pb::store::BroadcastTotals) {
    let mut txn = roost_raft::kv::Txn::new(&world.tables);
    BROADCAST_TOTALS.put(&mut txn, &(), &totals);
    let rows = txn.into_rows();
    world.tables.commit(rows);
}

#[test]
fn the_tables_do_not_grow_without_bound() {
    let mut world = World::default();
    let ids: Vec<i64> = ["a", "b", "c"].map(|name| world.submitted(submit(&[name], &[]))).to_vec();
    let mut totals = world.view().broadcasts().totals().unwrap();
    world.begun(&ids);
    world.broadcast(acked(ids[1], &["b"], true));
    totals.pending = MAX_PENDING_BROADCASTS;
    totals.tombstones = MAX_TOMBSTONES;
    set_totals(&mut world, totals);
    let rejection = world.rejected(command(BroadcastCommand::Submit(submit(&["a"], &[]))));
    assert!(rejection.reason().contains("wait for streaming nodes"), "{}", rejection.reason());
    world.broadcast(acked(ids[0], &["a"], true));
    let remembered = |world: &World| world.view().broadcasts().ids(BroadcastState::Tombstone, None, 9).unwrap();
    assert_eq!(remembered(&world), [ids[0]], "what has just ended stays, though it is the oldest");
    world.broadcast(acked(ids[2], &["c"], true));
    assert_eq!(remembered(&world), [ids[2]]);
    assert_eq!(world.view().broadcasts().totals().unwrap().tombstones, MAX_TOMBSTONES);
}

#[test]
fn every_copy_says_which_broadcast_it_is_and_for_whom() {
    let mut world = World::default();
    let id = world.submitted(submit(&["a", "b"], &collection("c")));
    let view = world.view().broadcasts();
    let (task, carried) = (view.task(id).unwrap().unwrap(), view.message(id).unwrap().unwrap());
    let original = message::Original::new(&task, &carried);
    let copy = original.copy_for(&vchannel("b"));
    assert_eq!(copy, message::Original::new(&task, &carried).copy_for(&vchannel("b")));
    assert_eq!((copy.payload.as_slice(), copy.properties["_t"].as_str()), ([1, 2, 3].as_slice(), "5"));
    assert_eq!(copy.properties[message::VCHANNEL], vchannel("b"));
    let added = message::BROADCAST_HEADER.len() + message::VCHANNEL.len() + vchannel("b").len();
    let bytes: usize = copy.properties.iter().map(|(key, value)| key.len() + value.len()).sum();
    assert_eq!(original.copy_bytes(), copy.payload.len() + bytes - added);
    let header: BroadcastHeader = message::decoded(&copy.properties[message::BROADCAST_HEADER]).unwrap();
    assert_eq!((header.broadcast_id, header.vchannels.len()), (id.unsigned_abs(), 2));
    assert_eq!(header.resource_keys.len(), 3);
}
