//! Rows of workers that are not what was written: an error or another reading, never a panic.

use proptest::prelude::*;
use roost_raft::kv::{Read, Space, Txn};
use roost_raft::machine::{ApplyContext, Machine};

use super::*;
use crate::state::tests::keyspace::support::*;

fn world() -> World {
    let mut world = World::with_workers();
    for request in ["a", "b"] {
        world.register(registration(request, WorkerRole::StreamingNode));
    }
    world.alter_worker(WorkerCommand::Freeze { ids: vec![1], frozen: true });
    world
}

fn commands() -> Vec<Command> {
    let key = session_key("streamingnode", 2);
    let put = api::PutRequest { key: key.clone().into(), ..Default::default() };
    vec![
        Command::Worker(WorkerCommand::Register(registration("a", WorkerRole::StreamingNode))),
        Command::Worker(WorkerCommand::Register(registration("c", WorkerRole::QueryNode))),
        Command::Worker(WorkerCommand::Drain { id: 1, draining: true }),
        Command::Worker(WorkerCommand::Freeze { ids: vec![1, 2], frozen: false }),
        Command::Worker(WorkerCommand::Leave { id: 1 }),
        Command::Worker(WorkerCommand::Found { root: "other".into() }),
        Command::Keyspace(put_command(&put)),
        Command::Keyspace(delete_command(&api::DeleteRangeRequest { key: key.into(), ..Default::default() })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn damaged_rows_of_workers_are_no_panics(
        place in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        with in 1..=255_u8,
        extreme in proptest::option::of((1..5_u8, proptest::sample::select(vec![u64::MAX, 1 << 63, 0]))),
    ) {
        let mut world = world();
        let rows: Vec<_> = world.rows().into_keys().filter(|key| matches!(key[0], 0xa0..=0xa3)).collect();
        let key = rows[place.index(rows.len())].clone();
        let mut row = world.tables.get(Space::STATE, &key).unwrap().unwrap();
        match extreme {
            // A field that comes again replaces the one before.
            Some((field, value)) => {
                row.push(field << 3);
                prost::encoding::encode_varint(value, &mut row);
            }
            None => {
                let at = at.index(row.len());
                row[at] ^= with;
            }
        }
        let mut txn = Txn::new(&world.tables);
        txn.put(Space::STATE, key, row);
        let changed = txn.into_rows();
        world.tables.commit(changed);
        let view = world.view();
        let _ = (view.worker(1), view.workers(), view.worker_changes(0), view.worker_changes(3));
        for command in commands() {
            let mut txn = Txn::new(&world.tables);
            let context = ApplyContext { index: 1000, term: 1, leader: 1, apply_version: Roost::APPLY_VERSION };
            let entry = entry(START_MS, None, command).encode().unwrap();
            let _ = Roost.apply(&context, &entry, &mut txn, &mut Vec::new());
        }
    }
}
