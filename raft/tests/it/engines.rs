//! RocksDB and the engine in memory give the same answers to the same batches, also through pinned views.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use roost_raft::kv::{Batch, KeyRange, Read, Space};
use roost_raft::storage::engine::Engine;
use roost_raft::storage::mem::MemEngine;

use crate::support::{rocks, rocks_within, rows, scanned, small_budget};
use crate::txn::{bound, key, range, space};

#[derive(Clone, Debug)]
struct Change {
    cleared: Vec<(Space, Vec<u8>, Option<Vec<u8>>)>,
    ops: Vec<(Space, Vec<u8>, Option<Vec<u8>>)>,
}

impl From<Change> for Batch {
    fn from(change: Change) -> Self {
        Batch { ops: change.ops, cleared: change.cleared }
    }
}

fn change() -> impl Strategy<Value = Change> {
    let value = proptest::option::weighted(0.7, proptest::collection::vec(any::<u8>(), 0..3));
    let cleared = proptest::collection::vec((space(), key(), proptest::option::weighted(0.8, key())), 0..2);
    let ops = proptest::collection::vec((space(), key(), value), 0..6);
    (cleared, ops).prop_map(|(cleared, ops)| {
        // An inverted range is no range.
        let cleared = cleared.into_iter().filter(|(_, from, to)| to.as_ref().is_none_or(|to| from <= to)).collect();
        Change { cleared, ops }
    })
}

fn everything(view: &dyn Read) -> Vec<Vec<(Vec<u8>, Vec<u8>)>> {
    Space::ALL.iter().map(|space| rows(view, *space)).collect()
}

#[test]
fn both_engines_answer_alike() {
    let dir = tempfile::tempdir().unwrap();
    let real = rocks(dir.path()).unwrap();
    let config = ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() };
    let looks = proptest::collection::vec((space(), key(), bound(), bound(), any::<bool>(), 0usize..6), 1..6);
    proptest!(config, |(changes in proptest::collection::vec(change(), 1..8), looks in looks)| {
        for space in Space::ALL {
            let mut wipe = Batch::default();
            rows(real.as_ref(), space).into_iter().for_each(|(key, _)| wipe.delete(space, key));
            real.write(wipe).unwrap();
        }
        let model = MemEngine::default();
        let mut pinned: Vec<(Arc<dyn Read>, Arc<dyn Read>)> = Vec::new();
        for change in changes {
            real.write(change.clone().into()).unwrap();
            model.write(change.into()).unwrap();
            pinned.push((real.pin(), model.pin()));
        }
        for (real, model) in &pinned {
            prop_assert_eq!(everything(real.as_ref()), everything(model.as_ref()));
        }
        for (space, key, from, to, reverse, limit) in looks {
            prop_assert_eq!(real.get(space, &key).unwrap(), model.get(space, &key).unwrap());
            let range = range(&from, &to);
            let found = scanned(real.as_ref(), space, range, reverse, limit);
            prop_assert_eq!(found, scanned(&model, space, range, reverse, limit));
        }
    });
}

#[test]
fn no_key_is_beyond_the_end_of_a_space() {
    let dir = tempfile::tempdir().unwrap();
    let engine = rocks(dir.path()).unwrap();
    let far = vec![0xff; 1 << 20];
    let mut batch = Batch::default();
    batch.put(Space::KEYS, far.clone(), *b"v");
    batch.put(Space::KEYS, Vec::new(), *b"v");
    engine.write(batch).unwrap();
    assert!(engine.size(Space::KEYS) >= 1 << 20);
    let mut batch = Batch::default();
    batch.clear_all(Space::KEYS);
    batch.clear_all(Space::STATE);
    batch.put(Space::KEYS, *b"k", *b"new");
    engine.write(batch).unwrap();
    assert_eq!(rows(engine.as_ref(), Space::KEYS), [(b"k".to_vec(), b"new".to_vec())]);
    assert_eq!(engine.get(Space::KEYS, &far).unwrap(), None);
}

#[test]
fn a_pinned_view_outlives_its_engine_handle_and_later_writes() {
    let dir = tempfile::tempdir().unwrap();
    let engine = rocks(dir.path()).unwrap();
    let mut batch = Batch::default();
    batch.put(Space::STATE, *b"k", *b"old");
    engine.write(batch).unwrap();
    let view = engine.pin();
    let mut batch = Batch::default();
    batch.put(Space::STATE, *b"k", *b"new");
    engine.write(batch).unwrap();
    drop(engine);
    assert_eq!(view.get(Space::STATE, b"k").unwrap().as_deref(), Some(&b"old"[..]));
    assert_eq!(scanned(view.as_ref(), Space::STATE, KeyRange::ALL, true, 9), [(b"k".to_vec(), b"old".to_vec())]);
}

#[test]
fn a_space_that_is_rarely_full_does_not_keep_the_write_ahead_log() {
    let dir = tempfile::tempdir().unwrap();
    let budget = small_budget();
    let engine = rocks_within(dir.path(), budget).unwrap();
    // As apply does: much to one space, and the position, a few bytes, to another.
    let rounds = 8 * budget.write_buffer_bytes / (16 << 10);
    for round in 0..rounds {
        let mut batch = Batch::default();
        batch.put(Space::STATE, round.to_be_bytes().to_vec(), vec![7; 16 << 10]);
        batch.put(Space::META, b"position".to_vec(), round.to_be_bytes().to_vec());
        engine.write(batch).unwrap();
    }
    let logs = || -> u64 {
        let files = std::fs::read_dir(dir.path().join("db")).unwrap().map(Result::unwrap);
        // A log that has just been given up may be gone before it is asked for its length.
        let logs = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "log"));
        logs.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum()
    };
    // The bound, and the log that was being written when it was reached. Flushes are in the background.
    let most = 3 * budget.write_buffer_bytes as u64;
    let give_up = Instant::now() + Duration::from_secs(60);
    while logs() > most {
        assert!(Instant::now() < give_up, "{} bytes of write-ahead log, {most} are enough", logs());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(engine.get(Space::META, b"position").unwrap(), Some((rounds - 1).to_be_bytes().to_vec()));
}
