//! Random logs: after each command the rows are exactly what the keys say, the book counts them, a follower that takes
//! changes from its last revision has the same workers, and no server id came twice.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use roost_raft::kv::{Read, Space};

use super::*;
use crate::state::tests::keyspace::support::*;

#[derive(Clone, Debug)]
enum Op {
    Register { request: u8, role: i32 },
    Put { role: &'static str, id: i64, stopping: bool, lease: i64, sound: bool },
    Delete { role: &'static str, from: i64, to: i64 },
    Txn { role: &'static str, id: i64 },
    Expire(i64),
    Drain(i64, bool),
    Freeze(i64, bool),
    Leave(i64),
    Found(&'static str),
}

fn role() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec!["streamingnode", "querynode", "proxy", "rootcoord"])
}

fn op() -> impl Strategy<Value = Op> {
    let id = || 1_i64..6;
    let lease = proptest::sample::select(vec![0_i64, 7, 8]);
    prop_oneof![
        3 => (0..6_u8, 1..5_i32).prop_map(|(request, role)| Op::Register { request, role }),
        4 => (role(), id(), any::<bool>(), lease, proptest::bool::weighted(0.8))
            .prop_map(|(role, id, stopping, lease, sound)| Op::Put { role, id, stopping, lease, sound }),
        2 => (role(), id(), id()).prop_map(|(role, from, to)| Op::Delete { role, from, to }),
        1 => (role(), id()).prop_map(|(role, id)| Op::Txn { role, id }),
        2 => id().prop_map(Op::Expire),
        1 => (id(), any::<bool>()).prop_map(|(id, on)| Op::Drain(id, on)),
        1 => (id(), any::<bool>()).prop_map(|(id, on)| Op::Freeze(id, on)),
        1 => id().prop_map(Op::Leave),
        1 => proptest::sample::select(vec!["by-dev", "other"]).prop_map(Op::Found),
    ]
}

fn session(role: &str, id: i64, stopping: bool, sound: bool) -> String {
    let id = if sound { id } else { id + 1 };
    milvus_session(id, role, "h:1", if stopping { ",\"Stopping\":true" } else { "" })
}

/// Every lease that there is, with its generation; 7 and 8 are granted anew when they are gone.
fn leases(world: &mut World) -> Vec<(i64, u64)> {
    for id in [7, 8] {
        let _ = world.keyspace(KeyspaceCommand::GrantLease { id, ttl_s: 10 });
    }
    let leases = crate::state::keyspace::leases(&world.tables, None, 99).unwrap();
    leases.into_iter().map(|lease| (lease.id, lease.generation)).collect()
}

fn run(world: &mut World, op: &Op) -> Option<Reply> {
    let leases = leases(world);
    let command = match op {
        Op::Register { request, role } => {
            let role = WorkerRole::try_from(*role).unwrap();
            WorkerCommand::Register(registration(&request.to_string(), role))
        }
        Op::Put { role, id, stopping, lease, sound } => {
            world.put_with_lease(&session_key(role, *id), &session(role, *id, *stopping, *sound), *lease);
            return None;
        }
        Op::Delete { role, from, to } => {
            world.delete(&session_key(role, *from), &session_key(role, *to));
            return None;
        }
        Op::Txn { role, id } => {
            let put = api::PutRequest {
                key: session_key(role, *id).into(),
                value: session(role, *id, false, true).into(),
                lease: 7,
                ..Default::default()
            };
            let ops = vec![delete_op(&session_key(role, *id), ""), put_of(put)];
            // Twice the same key in one transaction is refused or not: the rows follow either way.
            let _ = world.txn(&api::TxnRequest { success: ops, ..Default::default() });
            return None;
        }
        Op::Expire(which) => {
            let lease = leases[usize::try_from(*which).unwrap() % leases.len()];
            world.keyspace(KeyspaceCommand::ExpireLeases { leases: vec![lease] }).0.unwrap();
            return None;
        }
        Op::Drain(id, draining) => WorkerCommand::Drain { id: *id, draining: *draining },
        Op::Freeze(id, frozen) => WorkerCommand::Freeze { ids: vec![*id], frozen: *frozen },
        Op::Leave(id) => WorkerCommand::Leave { id: *id },
        Op::Found(root) => WorkerCommand::Found { root: (*root).to_owned() },
    };
    Some(world.run(Command::Worker(command)))
}

/// Server id, role and lease of every session that the keys hold.
fn said_by_keys(world: &World, folder: &str) -> BTreeSet<(i64, String, i64)> {
    let mut said = BTreeSet::new();
    let visit = &mut |key: &[u8], row: &[u8]| {
        let row = store::KeyRow::decode(row).unwrap();
        let name = String::from_utf8(key.to_vec()).unwrap();
        let value: Option<serde_json::Value> = serde_json::from_slice(&row.value).ok();
        if let (Some((role, id)), Some(value)) =
            (name.strip_prefix(folder).and_then(|name| name.split_once('-')), value)
        {
            let id: i64 = id.parse().unwrap();
            if ["streamingnode", "querynode", "datanode", "proxy"].contains(&role)
                && value["ServerID"] == id
                && row.lease != 0
            {
                said.insert((id, role.to_owned(), row.lease));
            }
        }
        Ok(ControlFlow::Continue(()))
    };
    world.tables.scan_prefix(Space::KEYS, folder.as_bytes(), visit).unwrap();
    said
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn rows_are_what_keys_say(ops in vec(op(), 1..40)) {
        let mut world = World::with_workers();
        let (mut followed, mut revision) = (BTreeMap::new(), 0);
        let mut given = BTreeMap::new();
        for (turn, op) in ops.iter().enumerate() {
            let reply = run(&mut world, op);
            if let Some(Reply::Worker(WorkerReply::Registered { server_id, lease, existed, .. })) = reply {
                // Each root has a counter of its own.
                let folder = world.view().worker_book().unwrap().session_prefix;
                let before = given.insert((folder, server_id), lease);
                prop_assert!(before.is_none_or(|before| existed && before == lease), "{server_id} came twice");
            }
            let book = world.view().worker_book().unwrap();
            let workers = world.view().workers().unwrap();
            let rows: BTreeSet<_> = workers
                .iter()
                .map(|worker| (worker.id, worker::role_name(worker.role()).to_owned(), worker.lease))
                .collect();
            prop_assert_eq!(&rows, &said_by_keys(&world, &book.session_prefix), "after {:?}", op);
            prop_assert_eq!(book.workers, workers.len() as u64);
            // Now and then, so that several changes lie between.
            if turn % 3 == 0 {
                let told = world.view().worker_changes(revision).unwrap();
                if told.reset {
                    followed.clear();
                }
                for worker in told.changed {
                    followed.insert((worker.id, worker.role), worker);
                }
                for (id, role) in told.gone {
                    followed.remove(&(id, i32::from(role)));
                }
                revision = told.revision;
                prop_assert_eq!(followed.values().cloned().collect::<Vec<_>>(), workers);
            }
        }
    }
}
