//! What the child does until it dies. It says every attempt before and every acknowledgement after.

use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use openraft::storage::{IOFlushed, RaftLogStorage, RaftSnapshotBuilder, RaftStateMachine};
use openraft::type_config::TypeConfigExt;
use roost_raft::kv::{Batch, KeyRange, Read, Space, Visit};
use roost_raft::snapshot::{SnapshotData, SnapshotFile};
use roost_raft::storage::engine::Engine;
use roost_raft::storage::marker::Marker;
use roost_raft::storage::rocks::RocksBudget;
use roost_raft::types::{Entry, TypeConfig, Vote};

use crate::support::{Op, Stores, block_on, entry, log_id, rocks, rocks_within, small_budget};

/// The snapshot that the `install` scenario receives: this index, of this term.
pub const SNAPSHOT: (u64, u64) = (2, 100);
/// What that scenario's state holds before.
pub const BEFORE: u64 = 30;

/// The entry that belongs at `index` in `term`, everywhere and always.
pub fn scripted(term: u64, index: u64) -> Entry {
    let key = format!("key{}", index % 17);
    let op = match index % 9 {
        4 => Op::Delete(key.into_bytes()),
        7 => Op::Reject(key.into_bytes()),
        _ => Op::put(key, vec![(index * 31 + term) as u8; 50 + (index as usize * 97) % 2000]),
    };
    entry(term, index, &op)
}

/// The entries that the installed snapshot was made of: large rows, so that it has several chunks.
pub fn snapshot_entries() -> Vec<Entry> {
    let row = |index: u64| entry(SNAPSHOT.0, index, &Op::put(format!("row{index}"), vec![index as u8; 12_000]));
    (1..=SNAPSHOT.1).map(row).collect()
}

/// The hidden half of every crash test; does nothing when run by itself.
#[test]
fn scenario() {
    let Ok(scenario) = std::env::var("ROOST_CRASH_SCENARIO") else { return };
    let data = PathBuf::from(std::env::var("ROOST_CRASH_DATA").unwrap());
    // Tiny tables in the `flush` scenario, so that RocksDB flushes, compacts and drops log files all the time.
    let budget = RocksBudget { write_buffer_bytes: 256 << 10, ..small_budget() };
    let mut engine = if scenario == "flush" { rocks_within(&data, budget) } else { rocks(&data) }.unwrap();
    if std::env::var("ROOST_CRASH_LIE").is_ok() {
        engine = Arc::new(Liar(engine));
    }
    Marker::open(engine.as_ref(), 1).unwrap();
    let stores = Stores::on(engine, &data).unwrap();
    match scenario.as_str() {
        "log" => block_on(log(stores, &data, 16)),
        "flush" => block_on(log(stores, &data, 240)),
        "install" => block_on(install(stores, &data)),
        "reopen" => {}
        other => panic!("no scenario {other}"),
    }
    say("done");
    // Without closing anything; an orderly exit would run RocksDB's destructors under its own living threads.
    std::process::abort();
}

fn say(what: impl std::fmt::Display) {
    // The first line follows what the test runner printed.
    let mut out = io::stdout().lock();
    write!(out, "\n@{what}\n").unwrap();
    out.flush().unwrap();
}

async fn vote(stores: &mut Stores, term: u64) {
    stores.log.save_vote(&Vote::new(term, 1)).await.unwrap();
    say(format!("vote {term}"));
}

/// Appends two batches back to back, as openraft does, and waits for both.
async fn append(stores: &mut Stores, term: u64, indexes: RangeInclusive<u64>) {
    let (first, last) = (*indexes.start(), *indexes.end());
    say(format!("append {term} {first} {last}"));
    let entries: Vec<Entry> = indexes.map(|index| scripted(term, index)).collect();
    let mut waiting = Vec::new();
    for half in entries.chunks(entries.len().div_ceil(2)) {
        let (done, wait) = TypeConfig::oneshot();
        stores.log.append(half.to_vec(), IOFlushed::signal(done)).await.unwrap();
        waiting.push((half.last().unwrap().log_id.index, wait));
    }
    for (index, wait) in waiting {
        wait.await.unwrap().unwrap();
        say(format!("ack {term} {index}"));
    }
}

async fn apply(stores: &mut Stores, term: u64, indexes: RangeInclusive<u64>) {
    say(format!("apply {term} {} {}", indexes.start(), indexes.end()));
    stores.apply(indexes.map(|index| scripted(term, index)).collect()).await.unwrap();
}

async fn log(mut stores: Stores, data: &Path, rounds: u64) {
    let mut term = 1;
    let mut last = 0;
    vote(&mut stores, term).await;
    for round in 0..rounds {
        let next = last + 1 + round % 4;
        append(&mut stores, term, last + 1..=next).await;
        apply(&mut stores, term, last + 1..=next).await;
        last = next;
        if round % 4 == 3 {
            let built = stores.state.get_snapshot_builder().await.build_snapshot().await.unwrap();
            let mut file = std::fs::File::create(data.join("built.snapshot")).unwrap();
            built.snapshot.write_to(&mut file).unwrap();
            let upto = last - 2;
            say(format!("purge {upto}"));
            let purged = stores.log.entries(upto, upto + 1).unwrap()[0].log_id;
            stores.log.purge(purged).await.unwrap();
        }
        if round % 8 == 7 {
            stores.log.reclaim().unwrap();
        }
        if round % 6 == 5 {
            // A deposed leader's entries give way to its successor's.
            append(&mut stores, term, last + 1..=last + 3).await;
            say(format!("truncate {last}"));
            let last_term = stores.log.entries(last, last + 1).unwrap()[0].log_id;
            stores.log.truncate_after(Some(last_term)).await.unwrap();
            say(format!("truncated {last}"));
            term += 1;
            vote(&mut stores, term).await;
        }
    }
}

async fn install(mut stores: Stores, data: &Path) {
    vote(&mut stores, 1).await;
    append(&mut stores, 1, 1..=BEFORE).await;
    apply(&mut stores, 1, 1..=BEFORE).await;
    let dir = data.join("snapshots");
    let received = dir.join("receiving-0.snapshot");
    std::fs::create_dir_all(&dir).unwrap();
    // As it arrives from a peer: complete, and not yet synced.
    std::fs::write(&received, incoming()).unwrap();
    let file = SnapshotFile::verify(&received).unwrap();
    say("install");
    stores.state.install_snapshot(&file.header.meta(), SnapshotData::File(file.clone())).await.unwrap();
    say("installed");
    let (term, index) = SNAPSHOT;
    say(format!("purge {index}"));
    stores.log.purge(log_id(term, index)).await.unwrap();
    vote(&mut stores, term).await;
    append(&mut stores, term, index + 1..=index + 4).await;
    apply(&mut stores, term, index + 1..=index + 4).await;
}

/// The bytes of the snapshot, from a machine in memory.
fn incoming() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let mut source = Stores::on(Arc::new(roost_raft::storage::mem::MemEngine::default()), dir.path()).unwrap();
    std::thread::scope(|scope| scope.spawn(|| block_on(source.apply(snapshot_entries()))).join().unwrap().unwrap());
    let view = source.engine.pin();
    let position = crate::support::position(view.as_ref());
    let header = roost_raft::snapshot::SnapshotHeader {
        cluster_id: None,
        node_id: 2,
        last_log_id: position.applied,
        membership: position.membership,
        hash: position.hash,
    };
    let mut bytes = Vec::new();
    roost_raft::snapshot::write_snapshot(view.as_ref(), &header, &mut bytes).unwrap();
    bytes
}

/// An engine whose sync does nothing.
struct Liar(Arc<dyn Engine>);

impl Read for Liar {
    fn get(&self, space: Space, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.0.get(space, key)
    }

    fn scan(&self, space: Space, range: KeyRange<'_>, reverse: bool, visit: &mut Visit<'_>) -> io::Result<()> {
        self.0.scan(space, range, reverse, visit)
    }
}

impl Engine for Liar {
    fn write(&self, batch: Batch) -> io::Result<()> {
        self.0.write(batch)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn pin(&self) -> Arc<dyn Read> {
        self.0.pin()
    }

    fn reclaim(&self, space: Space, from: &[u8], to: &[u8]) -> io::Result<()> {
        self.0.reclaim(space, from, to)
    }

    fn size(&self, space: Space) -> u64 {
        self.0.size(space)
    }

    fn stalled(&self) -> bool {
        self.0.stalled()
    }
}
