//! What is too much, too long or no message at all; and history that goes a step at a time.

use proptest::prelude::*;
use prost::Message;
use roost_raft::kv::Space;

use super::support::*;
use crate::pb::etcd::api;
use crate::state::keyspace::*;
use crate::state::limits::{
    MAX_CHANGED_KEYS, MAX_COPIED_BYTES, MAX_EVENT_BYTES, MAX_KEPT_REPLY_BYTES, MAX_KEYSPACE_REPLY_BYTES, MAX_TXN_DEPTH,
    MAX_TXN_OPS, RECLAIM_ROWS,
};
use crate::state::tests::support::*;
use crate::state::*;

fn large_put(key: &str, bytes: usize) -> api::PutRequest {
    api::PutRequest { key: key.into(), value: vec![7; bytes], prev_kv: true, ..Default::default() }
}

#[test]
fn a_long_answer_is_given_once() {
    let mut world = World::default();
    world.put_request(large_put("k", MAX_KEPT_REPLY_BYTES + 1)).unwrap();
    let put = entry(START_MS, Some(request(0)), Command::Keyspace(put_command(&large_put("k", 1))));
    let (first, _) = world.apply(&put);
    assert!(matches!(Reply::decode(&first).unwrap(), Reply::Keyspace(KeyspaceReply::Done(_))));
    let rows = world.every_row();
    let (copy, events) = world.apply(&put);
    assert_eq!((Reply::decode(&copy).unwrap(), events), (Reply::Keyspace(KeyspaceReply::DoneBefore), vec![]));
    assert_eq!(world.every_row(), rows);
}

#[test]
fn large_changes_leave_their_events_empty() {
    let mut world = World::default();
    let events = |world: &mut World, command| match world.keyspace(command).1.as_slice() {
        [Event::KeysChanged(changed)] => changed.events.as_ref().map(Vec::len),
        events => panic!("{events:?}"),
    };
    let fits = MAX_EVENT_BYTES - 1;
    assert_eq!(events(&mut world, put_command(&large_put("k", fits))), Some(1));
    // Old and new value together.
    assert_eq!(events(&mut world, put_command(&large_put("k", 1))), None);
    assert_eq!(events(&mut world, put_command(&large_put("l", fits + 1))), None);
    let delete = delete_command(&api::DeleteRangeRequest { key: b"a".to_vec(), range_end: vec![0], prev_kv: false });
    assert_eq!(events(&mut world, delete), None);
    let mut seen = Vec::new();
    let next = changes(&world.tables, b"a", b"\0", 5, true, 1 << 20, &mut |at, events| seen.push((at, events)));
    assert_eq!(next.unwrap(), 6);
    let [(5, events)] = seen.as_slice() else { panic!("{seen:?}") };
    let previous: Vec<_> = events.iter().map(|event| event.prev_kv.as_ref().unwrap().value.len()).collect();
    assert_eq!(previous, [1, fits + 1]);
}

#[test]
fn an_answer_that_no_entry_could_hold_is_refused_and_nothing_happens() {
    let mut world = World::default();
    for key in ["a", "b", "c", "d", "e", "f"] {
        world.put_request(large_put(key, 3 << 19)).unwrap();
    }
    let facts = world.every_row();
    let everything = api::DeleteRangeRequest { key: vec![0], range_end: vec![0], prev_kv: true };
    assert_eq!(world.keyspace(delete_command(&everything)), (Err(KeyspaceError::TooManyKeys), vec![]));
    let success = vec![put_op("x", "y"), range_op(all())];
    assert_eq!(world.txn(&api::TxnRequest { success, ..Default::default() }), Err(KeyspaceError::TooManyKeys));
    assert_eq!(world.every_row(), facts);
    const { assert!(6 * (3 << 19) > MAX_KEYSPACE_REPLY_BYTES) };
    assert_eq!(world.range(&all()).unwrap().kvs.len(), 6);
    let count_only = range_op(api::RangeRequest { count_only: true, ..all() });
    let success = vec![put_op("x", "y"), count_only];
    world.txn(&api::TxnRequest { success, ..Default::default() }).unwrap();
    let keys_only = api::DeleteRangeRequest { prev_kv: false, ..everything };
    world.keyspace(delete_command(&keys_only)).0.unwrap();
}

#[test]
fn a_short_request_cannot_write_large_values_over_and_over() {
    let mut world = World::default();
    let each = 1 << 20;
    let copies = MAX_COPIED_BYTES / each;
    for key in 0..=copies {
        world.put_request(large_put(&format!("k{key}"), each)).unwrap();
    }
    let touch = |key: usize| api::RequestOp {
        request: Some(api::request_op::Request::RequestPut(api::PutRequest {
            key: format!("k{key}").into(),
            ignore_value: true,
            ..Default::default()
        })),
    };
    let mut touch_all =
        |keys: usize| world.txn(&api::TxnRequest { success: (0..keys).map(touch).collect(), ..Default::default() });
    assert_eq!(touch_all(copies + 1), Err(KeyspaceError::TooManyKeys));
    touch_all(copies).unwrap();
}

#[test]
fn more_keys_than_one_command_may_delete_stay() {
    let mut world = World::default();
    let put = |number: usize| {
        let key = number.to_be_bytes().to_vec();
        entry(START_MS, None, Command::Keyspace(put_command(&api::PutRequest { key, ..Default::default() })))
    };
    let entries: Vec<_> = (0..=MAX_CHANGED_KEYS).map(put).collect();
    world.apply_batch(&entries);
    let everything =
        |key: &[u8]| delete_command(&api::DeleteRangeRequest { key: key.to_vec(), range_end: vec![0], prev_kv: false });
    assert_eq!(world.keyspace(everything(b"\0")).0, Err(KeyspaceError::TooManyKeys));
    world.keyspace(everything(&1_usize.to_be_bytes())).0.unwrap();
    assert_eq!(world.range(&all()).unwrap().count, 1);
}

#[test]
fn what_is_no_request_is_refused() {
    let mut world = World::default();
    let mut refused = |command: KeyspaceCommand| {
        assert_eq!(world.keyspace(command.clone()), (Err(KeyspaceError::Malformed), vec![]), "{command:?}");
    };
    refused(put_command(&api::PutRequest::default()));
    refused(delete_command(&api::DeleteRangeRequest { range_end: vec![0], ..Default::default() }));
    for command in [KeyspaceCommand::Put, KeyspaceCommand::DeleteRange, KeyspaceCommand::Txn] {
        refused(command(vec![0xff]));
    }
    let txn = |op| txn_command(&api::TxnRequest { success: vec![op], ..Default::default() });
    refused(txn(api::RequestOp::default()));
    refused(txn(put_op("", "x")));
    refused(txn(range_op(api::RangeRequest::default())));
    refused(txn(range_op(api::RangeRequest { sort_order: 9, ..all() })));
    refused(txn(range_op(api::RangeRequest { sort_target: -1, ..all() })));
    let compare = vec![api::Compare::default()];
    refused(txn_command(&api::TxnRequest { compare, ..Default::default() }));
    let failure = vec![delete_op("a", ""); MAX_TXN_OPS + 1];
    refused(txn_command(&api::TxnRequest { failure, ..Default::default() }));
    let nested = |depth| {
        (0..depth).fold(api::TxnRequest { success: vec![put_op("a", "b")], ..Default::default() }, |inner, _| {
            api::TxnRequest { success: vec![txn_op(inner)], ..Default::default() }
        })
    };
    refused(txn_command(&nested(MAX_TXN_DEPTH)));
    assert!(world.txn(&nested(MAX_TXN_DEPTH - 1)).is_ok());
    assert_eq!(revisions(&world.tables).unwrap().current, 2);
}

proptest! {
    #[test]
    fn no_bytes_stop_a_node(
        bytes in proptest::collection::vec(any::<u8>(), 0..60),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut world = World::default();
        let nested = api::TxnRequest { success: vec![put_op("a", "b"), range_op(all())], ..Default::default() };
        let whole = api::TxnRequest { success: vec![txn_op(nested), delete_op("a", "b")], ..Default::default() };
        let mut flipped = whole.encode_to_vec();
        let at = cut.index(flipped.len());
        flipped[at] ^= bytes.first().copied().unwrap_or(1);
        for bytes in [bytes, flipped] {
            for command in [KeyspaceCommand::Put, KeyspaceCommand::DeleteRange, KeyspaceCommand::Txn] {
                let _ = world.keyspace(command(bytes.clone()));
            }
        }
    }
}

#[test]
fn history_goes_in_steps_of_one_size() {
    let mut world = World::default();
    let rows = 2 * RECLAIM_ROWS + 2;
    let puts: Vec<_> = (0..rows)
        .map(|number| {
            let value = number.to_string().into_bytes();
            let put = api::PutRequest { key: b"hot".to_vec(), value, ..Default::default() };
            entry(START_MS, None, Command::Keyspace(put_command(&put)))
        })
        .collect();
    world.apply_batch(&puts);
    let current = revisions(&world.tables).unwrap().current;
    // Many versions of one key, read at one of them.
    let at = |world: &World, revision| {
        let kvs = world.range(&api::RangeRequest { revision, ..all() }).unwrap().kvs;
        String::from_utf8(kvs[0].value.clone()).unwrap()
    };
    assert_eq!(
        (at(&world, 2), at(&world, 100), at(&world, current)),
        ("0".into(), "98".into(), (rows - 1).to_string())
    );
    world.keyspace(KeyspaceCommand::Compact { revision: current }).0.unwrap();
    let mut left = Vec::new();
    loop {
        let reply = world.keyspace(KeyspaceCommand::ReclaimHistory).0.unwrap();
        left.push(world.tables.len(Space::REVISIONS));
        assert_eq!(world.tables.len(Space::VERSIONS), world.tables.len(Space::REVISIONS));
        assert_eq!(at(&world, current), (rows - 1).to_string());
        if reply == (KeyspaceReply::HistoryReclaimed { more: false }) {
            break;
        }
    }
    assert_eq!(left, [RECLAIM_ROWS + 3, 3, 1]);
}
