//! The etcd key space by example, each answer as a real etcd 3.4 gave it.

use std::ops::ControlFlow;

use roost_raft::kv::{KeyRange, Read, Space};

use super::support::*;
use crate::pb::etcd::api;
use crate::state::keyspace::*;
use crate::state::tests::support::*;

#[test]
fn revisions_and_versions_count_as_in_etcd() {
    let mut world = World::default();
    assert_eq!(revisions(&world.tables).unwrap(), Revisions { current: 1, compacted: 0 });
    assert_eq!((world.put("a", "1"), world.put("b", "1"), world.put("a", "2")), (2, 3, 4));
    assert_eq!(show(&world.range(&all()).unwrap().kvs), "a=2@2-4v2 b=1@3-3v1");
    let deleted = world.delete("a", "");
    assert_eq!((deleted.deleted, deleted.header.unwrap().revision), (1, 5));
    assert_eq!(show(&deleted.prev_kvs), "a=2@2-4v2");
    // Nothing to delete: nothing moves.
    let deleted = world.delete("a", "");
    assert_eq!((deleted.deleted, deleted.header.unwrap().revision), (0, 5));
    assert_eq!(world.put("a", "3"), 6);
    assert_eq!(show(&world.range(&all()).unwrap().kvs), "a=3@6-6v1 b=1@3-3v1");
    let at = |revision| show(&world.range(&api::RangeRequest { revision, ..all() }).unwrap().kvs);
    assert_eq!(at(1), "");
    assert_eq!(at(2), "a=1@2-2v1");
    assert_eq!(at(4), "a=2@2-4v2 b=1@3-3v1");
    assert_eq!(at(5), "b=1@3-3v1");
}

#[test]
fn a_transaction_has_one_revision_and_reads_its_own_writes() {
    let mut world = World::default();
    world.put("a", "1");
    let txn = api::TxnRequest {
        compare: vec![],
        success: vec![range_op(all()), put_op("b", "2"), range_op(all()), delete_op("a", ""), range_op(all())],
        failure: vec![],
    };
    assert!(!reads_only(&txn));
    let response = world.txn(&txn).unwrap();
    assert_eq!(response.header.unwrap().revision, 3);
    let ranges: Vec<_> = response
        .responses
        .into_iter()
        .filter_map(|op| match op.response.unwrap() {
            api::response_op::Response::ResponseRange(range) => {
                Some((range.header.unwrap().revision, show(&range.kvs)))
            }
            _ => None,
        })
        .collect();
    let expected = [(2, "a=1@2-2v1"), (3, "a=1@2-2v1 b=2@3-3v1"), (3, "b=2@3-3v1")];
    assert_eq!(ranges, expected.map(|(revision, rows)| (revision, rows.to_owned())));
    // Nested, without a change: nothing moves.
    let nested = api::TxnRequest { success: vec![txn_op(api::TxnRequest::default())], ..Default::default() };
    assert!(reads_only(&nested));
    let empty = api::TxnRequest { success: vec![delete_op("x", ""), txn_op(nested)], ..Default::default() };
    let response = world.txn(&empty).unwrap();
    assert_eq!(response.header.unwrap().revision, 3);
}

#[test]
fn leases_take_their_keys_with_them() {
    let mut world = World::default();
    let grant = |id| KeyspaceCommand::GrantLease { id, ttl_s: 10 };
    assert_eq!(world.keyspace(grant(7)).0, Ok(KeyspaceReply::LeaseGranted { revision: 1 }));
    assert_eq!(world.keyspace(grant(7)).0, Err(KeyspaceError::LeaseExists));
    let put = |key: &str, lease| api::PutRequest { key: key.into(), lease, ..Default::default() };
    assert_eq!(world.put_request(put("a", 8)), Err(KeyspaceError::LeaseNotFound));
    world.keyspace(grant(8)).0.unwrap();
    for (key, lease) in [("a", 7), ("b", 7), ("c", 7), ("a", 8), ("d", 8), ("c", 0)] {
        world.put_request(put(key, lease)).unwrap();
    }
    assert_eq!(lease_keys(&world.tables, 7, None, 9).unwrap(), [b"b"]);
    assert_eq!(lease_keys(&world.tables, 8, None, 9).unwrap(), [b"a", b"d"]);
    let (reply, events) = world.keyspace(KeyspaceCommand::RevokeLease { id: 8 });
    assert_eq!(reply, Ok(KeyspaceReply::LeaseRevoked { revision: 8 }));
    assert_eq!(events.len(), 2);
    assert_eq!(world.keyspace(KeyspaceCommand::RevokeLease { id: 8 }).0, Err(KeyspaceError::LeaseNotFound));
    // A stale generation ends nothing.
    let expire = |generation| KeyspaceCommand::ExpireLeases { leases: vec![(7, generation), (9, 1)] };
    assert_eq!(world.keyspace(expire(9)).0, Ok(KeyspaceReply::LeasesExpired { remaining: 0 }));
    assert_eq!(leases(&world.tables, None, 9).unwrap().len(), 1);
    assert_eq!(world.keyspace(expire(1)).0, Ok(KeyspaceReply::LeasesExpired { remaining: 0 }));
    assert_eq!(show(&world.range(&all()).unwrap().kvs), "c=@4-7v2");
    assert_eq!(leases(&world.tables, None, 9).unwrap(), []);
    assert_eq!(revisions(&world.tables).unwrap().current, 9);
}

#[test]
fn compaction_leaves_the_newest_version_of_each_key() {
    let mut world = World::default();
    for (key, value) in [("a", "1"), ("b", "1"), ("a", "2"), ("c", "1")] {
        world.put(key, value);
    }
    world.delete("c", "");
    world.delete("b", "");
    world.put("a", "3");
    let compact = |revision| KeyspaceCommand::Compact { revision };
    assert_eq!(world.keyspace(compact(9)).0, Err(KeyspaceError::FutureRevision));
    assert_eq!(world.keyspace(compact(7)).0, Ok(KeyspaceReply::Compacted { revision: 8 }));
    assert_eq!(world.keyspace(compact(7)).0, Err(KeyspaceError::Compacted));
    let reclaim = KeyspaceCommand::ReclaimHistory;
    assert_eq!(world.keyspace(reclaim.clone()).0, Ok(KeyspaceReply::HistoryReclaimed { more: false }));
    let history = |world: &World| {
        let mut revisions = Vec::new();
        world
            .tables
            .scan(Space::REVISIONS, KeyRange::ALL, false, &mut |key, _| {
                revisions.push(key[7]);
                Ok(ControlFlow::Continue(()))
            })
            .unwrap();
        revisions
    };
    // The deletion at the compaction itself may still be asked for.
    assert_eq!(history(&world), [4, 7, 8]);
    assert_eq!(world.tables.len(Space::VERSIONS), 3);
    assert_eq!(world.range(&api::RangeRequest { revision: 6, ..all() }), Err(KeyspaceError::Compacted));
    let then = world.range(&api::RangeRequest { revision: 7, ..all() }).unwrap();
    assert_eq!(show(&then.kvs), "a=2@2-4v2");
    world.keyspace(compact(8)).0.unwrap();
    world.keyspace(reclaim).0.unwrap();
    assert_eq!(history(&world), [8]);
}
