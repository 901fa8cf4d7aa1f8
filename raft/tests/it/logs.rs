//! The log store against a model: appends, truncations, purges and restarts, from memory and from disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use openraft::storage::{RaftLogReader, RaftLogStorage, RaftLogStorageExt};
use proptest::prelude::*;
use roost_raft::codec;
use roost_raft::kv::{Batch, Space};
use roost_raft::log::LogStore;
use roost_raft::storage::engine::Engine;
use roost_raft::storage::mem::MemEngine;
use roost_raft::storage::wal::{Wal, create_mark};
use roost_raft::types::{Entry, LogId};

use crate::support::{Op, Stores, block_on, entry, log_id};

#[derive(Clone, Debug)]
enum Step {
    Append(u8),
    /// Keeps this share (of 255) of what is held.
    Truncate(u8),
    Purge(u8),
    Reopen,
    /// Loses what was not synced: nothing that was acknowledged.
    PowerLoss,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1u8..9).prop_map(Step::Append),
        1 => any::<u8>().prop_map(Step::Truncate),
        1 => any::<u8>().prop_map(Step::Purge),
        1 => Just(Step::Reopen),
        1 => Just(Step::PowerLoss),
    ]
}

fn scripted(id: LogId) -> Entry {
    entry(*id.leader_id, id.index, &Op::put(format!("{}", id.index), vec![*id.leader_id as u8; 40]))
}

#[derive(Default)]
struct Model {
    entries: BTreeMap<u64, LogId>,
    purged: Option<LogId>,
}

impl Model {
    fn last(&self) -> Option<LogId> {
        self.entries.values().next_back().copied().max(self.purged)
    }

    fn pick(&self, share: u8) -> Option<LogId> {
        let at = self.entries.len() * usize::from(share) / 256;
        self.entries.values().nth(at).copied()
    }
}

fn compare(log: &mut LogStore, model: &Model) -> Result<(), TestCaseError> {
    let state = block_on(log.get_log_state()).unwrap();
    prop_assert_eq!(state.last_log_id, model.last());
    prop_assert_eq!(state.last_purged_log_id, model.purged);
    let expected: Vec<Entry> = model.entries.values().map(|id| scripted(*id)).collect();
    prop_assert_eq!(block_on(log.try_get_log_entries(..)).unwrap(), expected.clone());
    let Some(first) = model.entries.keys().next() else { return Ok(()) };
    for skip in [0, expected.len() / 2] {
        let limited =
            block_on(log.limited_get_log_entries(first + skip as u64, first + expected.len() as u64)).unwrap();
        prop_assert_eq!(&limited, &expected[skip..]);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_log_is_what_the_model_says(steps in proptest::collection::vec(step(), 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        let engine = MemEngine::default();
        let open = || {
            let wal = Wal::start(Arc::new(engine.clone()), &dir.path().join("synced.mark")).unwrap();
            LogStore::open(Arc::new(engine.clone()), wal).unwrap()
        };
        let mut log = open();
        let mut model = Model::default();
        let mut term = 1;
        for step in steps {
            match step {
                Step::Append(count) => {
                    let next = model.last().map_or(0, |id| id.index + 1);
                    let ids: Vec<LogId> = (next..next + u64::from(count)).map(|index| log_id(term, index)).collect();
                    model.entries.extend(ids.iter().map(|id| (id.index, *id)));
                    block_on(log.blocking_append(ids.into_iter().map(scripted))).unwrap();
                }
                Step::Truncate(share) => {
                    let Some(keep) = model.pick(share) else { continue };
                    block_on(log.truncate_after(Some(keep))).unwrap();
                    model.entries.split_off(&(keep.index + 1));
                    term += 1;
                }
                Step::Purge(share) => {
                    let Some(upto) = model.pick(share) else { continue };
                    block_on(log.purge(upto)).unwrap();
                    model.entries = model.entries.split_off(&(upto.index + 1));
                    model.purged = Some(upto);
                }
                Step::Reopen => log = open(),
                Step::PowerLoss => {
                    // What is not synced may go; the next acknowledgement makes everything before it durable.
                    let id = log_id(term, model.last().map_or(0, |id| id.index + 1));
                    model.entries.insert(id.index, id);
                    block_on(log.blocking_append([scripted(id)])).unwrap();
                    engine.lose_unsynced();
                    log = open();
                }
            }
            compare(&mut log, &model)?;
        }
    }
}

#[test]
fn one_read_is_bounded_in_bytes_and_never_empty() {
    let dir = tempfile::tempdir().unwrap();
    let mut stores = Stores::rocks(dir.path()).unwrap();
    let large = |index| entry(1, index, &Op::put("k", vec![b'x'; 700 << 10]));
    block_on(stores.log.blocking_append((0..20).map(large))).unwrap();
    let count = |log: &mut LogStore| block_on(log.limited_get_log_entries(3, 20)).unwrap().len();
    assert_eq!(count(&mut stores.log), 2, "from memory");
    drop(stores);
    let mut stores = Stores::rocks(dir.path()).unwrap();
    assert_eq!(count(&mut stores.log), 2, "from disk");
    block_on(stores.log.blocking_append([entry(1, 20, &Op::put("k", vec![b'x'; 5 << 20]))])).unwrap();
    assert_eq!(block_on(stores.log.limited_get_log_entries(20, 21)).unwrap().len(), 1, "one that is too large alone");
    assert_eq!(block_on(stores.log.try_get_log_entries(0..21)).unwrap().len(), 21, "memory and disk together");
}

#[test]
fn a_hole_in_the_log_is_corruption() {
    let dir = tempfile::tempdir().unwrap();
    let engine = MemEngine::default();
    let mut batch = Batch::default();
    for index in [1u64, 2, 4] {
        batch.put(Space::LOG, codec::log_key(index), codec::encode_entry(&scripted(log_id(1, index))).unwrap());
    }
    engine.write(batch).unwrap();
    create_mark(&dir.path().join("synced.mark")).unwrap();
    let mut stores = Stores::on(Arc::new(engine), dir.path()).unwrap();
    let error = block_on(stores.log.try_get_log_entries(1..5)).unwrap_err();
    assert!(error.to_string().contains("hole"), "{error}");
}
