//! Random logs against the model: every answer, event, old revision and row; and the same log twice gives the same
//! rows.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use proptest::collection::vec;
use proptest::prelude::*;
use roost_raft::kv::{KeyRange, Read, Space};

use super::model::{Model, within};
use super::support::*;
use crate::pb::etcd::api::compare::TargetUnion;
use crate::pb::etcd::api::*;
use crate::pb::etcd::kv::Event as KeyEvent;
use crate::state::Event;
use crate::state::keyspace::*;
use crate::state::tests::support::*;

#[derive(Clone, Debug)]
enum Op {
    Put(PutRequest),
    Delete(DeleteRangeRequest),
    Txn(TxnRequest),
    Compact(i64),
    Grant(i64),
    Revoke(i64),
    Checkpoint(i64, i64),
    Expire(i64),
    Reclaim,
}

/// Keys that are near each other in every way: prefixes, zeros, the last byte.
fn key() -> impl Strategy<Value = Vec<u8>> {
    let keys: &[&[u8]] = &[b"a", b"a\0", b"a\0\xff", b"a\0\x01", b"aa", b"ab", b"b", b"\0", b"\xff", b"\xff\xff"];
    proptest::sample::select(keys).prop_map(<[u8]>::to_vec)
}

fn range_end() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![3 => Just(Vec::new()), 1 => Just(vec![0]), 3 => key()]
}

/// Around the first few revisions.
fn revision() -> impl Strategy<Value = i64> {
    prop_oneof![4 => Just(0), 4 => 1_i64..16, 1 => Just(-1)]
}

fn lease() -> impl Strategy<Value = i64> {
    prop_oneof![3 => Just(0), 2 => Just(7), 1 => Just(-8)]
}

fn put() -> impl Strategy<Value = PutRequest> {
    let rare = || proptest::bool::weighted(0.15);
    (key(), vec(b'x'..b'z', 0..2), lease(), any::<bool>(), rare(), rare()).prop_map(
        |(key, value, lease, prev_kv, ignore_value, ignore_lease)| PutRequest {
            key,
            value,
            lease,
            prev_kv,
            ignore_value,
            ignore_lease,
        },
    )
}

fn delete() -> impl Strategy<Value = DeleteRangeRequest> {
    (key(), range_end(), any::<bool>()).prop_map(|(key, range_end, prev_kv)| DeleteRangeRequest {
        key,
        range_end,
        prev_kv,
    })
}

fn filter() -> impl Strategy<Value = i64> {
    prop_oneof![6 => Just(0), 1 => 1_i64..12]
}

fn range_request() -> impl Strategy<Value = RangeRequest> {
    let filters = (filter(), filter(), filter(), filter());
    (key(), range_end(), -1_i64..6, revision(), (0..3, 0..5), any::<bool>(), proptest::bool::weighted(0.1), filters)
        .prop_map(|(key, range_end, limit, revision, (order, target), keys_only, count_only, filters)| RangeRequest {
            key,
            range_end,
            limit,
            revision,
            sort_order: order,
            sort_target: target,
            serializable: false,
            keys_only,
            count_only,
            min_mod_revision: filters.0,
            max_mod_revision: filters.1,
            min_create_revision: filters.2,
            max_create_revision: filters.3,
        })
}

fn compare() -> impl Strategy<Value = Compare> {
    let union = prop_oneof![
        (0_i64..4).prop_map(TargetUnion::Version),
        (0_i64..9).prop_map(TargetUnion::CreateRevision),
        (0_i64..9).prop_map(TargetUnion::ModRevision),
        vec(b'x'..b'z', 0..2).prop_map(TargetUnion::Value),
        lease().prop_map(TargetUnion::Lease),
    ];
    (0..4, key(), range_end(), union).prop_map(|(result, key, range_end, union)| {
        let target = match union {
            TargetUnion::Version(_) => 0,
            TargetUnion::CreateRevision(_) => 1,
            TargetUnion::ModRevision(_) => 2,
            TargetUnion::Value(_) => 3,
            TargetUnion::Lease(_) => 4,
        };
        Compare { result, target, key, range_end, target_union: Some(union) }
    })
}

fn txn() -> impl Strategy<Value = TxnRequest> {
    let leaf = prop_oneof![put().prop_map(put_of), delete().prop_map(delete_of), range_request().prop_map(range_op),];
    let txn = |op: BoxedStrategy<RequestOp>| {
        (vec(compare(), 0..2), vec(op.clone(), 0..4), vec(op, 0..4))
            .prop_map(|(compare, success, failure)| TxnRequest { compare, success, failure })
    };
    let nested = txn(leaf.clone().boxed()).prop_map(txn_op);
    txn(prop_oneof![4 => leaf, 1 => nested].boxed())
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => put().prop_map(Op::Put),
        4 => delete().prop_map(Op::Delete),
        6 => txn().prop_map(Op::Txn),
        1 => (0_i64..20).prop_map(Op::Compact),
        3 => lease().prop_filter("an id", |id| *id != 0).prop_map(Op::Grant),
        1 => lease().prop_map(Op::Revoke),
        1 => (lease(), 0_i64..9).prop_map(|(id, left)| Op::Checkpoint(id, left)),
        1 => lease().prop_map(Op::Expire),
        1 => Just(Op::Reclaim),
    ]
}

fn command(op: &Op, model: &Model) -> KeyspaceCommand {
    let generation = |id: &i64| model.leases.get(id).map_or(1, |(generation, ..)| *generation);
    match op {
        Op::Put(request) => put_command(request),
        Op::Delete(request) => delete_command(request),
        Op::Txn(request) => txn_command(request),
        Op::Compact(revision) => KeyspaceCommand::Compact { revision: *revision },
        Op::Grant(id) => KeyspaceCommand::GrantLease { id: *id, ttl_s: 5 },
        Op::Revoke(id) => KeyspaceCommand::RevokeLease { id: *id },
        Op::Checkpoint(id, left) => KeyspaceCommand::CheckpointLeases { leases: vec![(*id, generation(id), *left)] },
        Op::Expire(id) => KeyspaceCommand::ExpireLeases { leases: vec![(*id, generation(id))] },
        Op::Reclaim => KeyspaceCommand::ReclaimHistory,
    }
}

fn reply_of<T: prost::Message>(answer: Result<T, KeyspaceError>) -> Result<KeyspaceReply, KeyspaceError> {
    answer.map(|response| KeyspaceReply::Done(response.encode_to_vec()))
}

fn expected(op: &Op, model: &mut Model) -> Result<KeyspaceReply, KeyspaceError> {
    match op {
        Op::Put(request) => reply_of(model.put(request)),
        Op::Delete(request) => reply_of(Ok(model.delete(request))),
        Op::Txn(request) => reply_of(model.txn(request)),
        Op::Compact(revision) => model.compact(*revision).map(|revision| KeyspaceReply::Compacted { revision }),
        Op::Grant(id) => model.grant(*id, 5).map(|revision| KeyspaceReply::LeaseGranted { revision }),
        Op::Revoke(id) => model.revoke(*id).map(|revision| KeyspaceReply::LeaseRevoked { revision }),
        Op::Checkpoint(id, left) => {
            if let Some((_, ttl, remaining)) = model.leases.get_mut(id) {
                *remaining = (*left).min(*ttl);
            }
            Ok(KeyspaceReply::LeasesCheckpointed)
        }
        Op::Expire(id) => {
            let _ = model.revoke(*id);
            Ok(KeyspaceReply::LeasesExpired { remaining: 0 })
        }
        Op::Reclaim => Ok(KeyspaceReply::HistoryReclaimed { more: false }),
    }
}

fn changed(events: &[Event]) -> Vec<(i64, Vec<KeyEvent>)> {
    let changed = events.iter().filter_map(|event| match event {
        Event::KeysChanged(changed) => Some((changed.revision, changed.events.clone().unwrap())),
        _ => None,
    });
    changed.collect()
}

fn history(world: &World) -> Vec<(i64, Vec<u8>)> {
    let (mut by_revision, mut by_key) = (Vec::new(), BTreeSet::new());
    let number = |bytes: &[u8]| i64::from_be_bytes(bytes.try_into().unwrap());
    let row = &mut |key: &[u8], row: &[u8]| {
        let kv = <crate::pb::etcd::kv::KeyValue as prost::Message>::decode(row).unwrap();
        by_revision.push((number(&key[..8]), number(&key[8..]), kv.key, kv.version == 0));
        Ok(ControlFlow::Continue(()))
    };
    world.tables.scan(Space::REVISIONS, KeyRange::ALL, false, row).unwrap();
    let row = &mut |key: &[u8], row: &[u8]| {
        let (escaped, at) = key.split_at(key.len() - 16);
        by_key.insert((number(&at[..8]), number(&at[8..]), escaped.to_vec(), row == [1]));
        Ok(ControlFlow::Continue(()))
    };
    world.tables.scan(Space::VERSIONS, KeyRange::ALL, false, row).unwrap();
    // Both spaces say the same.
    let escaped = |key: &[u8]| {
        let bytes = key.iter().flat_map(|byte| if *byte == 0 { vec![0, 0xff] } else { vec![*byte] });
        bytes.chain([0, 1]).collect::<Vec<u8>>()
    };
    let same: BTreeSet<_> =
        by_revision.iter().map(|(main, sub, key, deleted)| (*main, *sub, escaped(key), *deleted)).collect();
    assert_eq!(same, by_key);
    by_revision.into_iter().map(|(main, _, key, _)| (main, key)).collect()
}

/// Checks every row and every old revision against the model.
fn compare_all(world: &World, model: &Model, asked: &RangeRequest) {
    let read = &world.tables;
    assert_eq!(revisions(read).unwrap(), Revisions { current: model.current(), compacted: model.compacted });
    assert_eq!(world.range(asked), model.range(asked));
    for revision in 0..=model.current() + 1 {
        let request = RangeRequest { revision, ..all() };
        assert_eq!(world.range(&request), model.range(&request), "revision {revision}");
        let one = RangeRequest { revision, key: asked.key.clone(), ..Default::default() };
        assert_eq!(world.range(&one), model.range(&one), "revision {revision}, one key");
    }
    let found: BTreeMap<_, _> = leases(read, None, 9)
        .unwrap()
        .into_iter()
        .map(|lease| (lease.id, (lease.generation, lease.granted_ttl_s, lease.remaining_ttl_s)))
        .collect();
    assert_eq!(found, model.leases);
    for id in [7, -8] {
        let keys: BTreeSet<_> = lease_keys(read, id, None, 99).unwrap().into_iter().collect();
        assert_eq!(keys, model.keys_of(id));
    }
    compare_changes(world, model, asked);
}

fn compare_changes(world: &World, model: &Model, asked: &RangeRequest) {
    // At the compaction's own revision the past and what was overtaken there may be gone.
    let first = model.compacted + 1;
    for from in [model.compacted - 1, first, first.max(model.current() - 1)] {
        for max_bytes in [1, 20, 1 << 20] {
            let mut seen = Vec::new();
            let visit = &mut |at, events| seen.push((at, events));
            let next = changes(&world.tables, &asked.key, &asked.range_end, from, true, max_bytes, visit);
            if from < model.compacted {
                assert_eq!(next.map_err(refusal), Err(KeyspaceError::Compacted));
                continue;
            }
            let next = next.unwrap();
            assert!((next > from || from > model.current()) && next <= (model.current() + 1).max(from));
            assert!(next > model.current() || max_bytes < 1 << 20);
            let of = |revision: i64| {
                let mut events = model.changes.get(revision as usize).cloned().unwrap_or_default();
                events.retain(|event| within(&event.kv.as_ref().unwrap().key, &asked.key, &asked.range_end));
                events
            };
            let wanted: Vec<_> =
                (from.max(1)..next).map(|at| (at, of(at))).filter(|(_, events)| !events.is_empty()).collect();
            assert_eq!(seen, wanted, "from {from}, {max_bytes} bytes");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn answers_and_rows_follow_the_model(log in vec((op(), range_request()), 1..30)) {
        let (mut world, mut model) = (World::default(), Model::default());
        world.put("first", "apply");
        model.put(&PutRequest { key: b"first".to_vec(), value: b"apply".to_vec(), ..Default::default() }).unwrap();
        for (op, asked) in &log {
            let (facts, before) = (world.facts(), model.current());
            let command = command(op, &model);
            let wanted = expected(op, &mut model);
            let (answer, events) = world.keyspace(command);
            prop_assert_eq!(&answer, &wanted, "{:?}", op);
            let new = (before + 1..=model.current()).map(|at| (at, model.changes[at as usize].clone()));
            prop_assert_eq!(changed(&events), new.collect::<Vec<_>>());
            if answer.is_err() {
                prop_assert!(events.is_empty());
                prop_assert_eq!(world.facts(), facts);
            }
            compare_all(&world, &model, asked);
            if matches!(op, Op::Reclaim) {
                prop_assert_eq!(history(&world), model.history());
            }
        }
        world.keyspace(KeyspaceCommand::ReclaimHistory).0.unwrap();
        prop_assert_eq!(history(&world), model.history());
        compare_all(&world, &model, &all());
    }

    #[test]
    fn the_same_log_gives_the_same_rows_however_it_is_cut(log in vec(op(), 1..30), cut in 1_usize..9) {
        let log: Vec<_> = log
            .iter()
            .map(|op| entry(START_MS, None, crate::state::Command::Keyspace(command(op, &Model::default()))))
            .collect();
        let (mut one, mut many) = (World::default(), World::default());
        let replies: Vec<_> = log.iter().map(|entry| one.apply(entry)).collect();
        let again: Vec<_> = log.chunks(cut).flat_map(|batch| many.apply_batch(batch)).collect();
        prop_assert_eq!(replies, again);
        prop_assert_eq!(one.every_row(), many.every_row());
    }
}
