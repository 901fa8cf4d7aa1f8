//! What the tests share: a small key-value machine, commands for it, and stores in temporary directories.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream;
use openraft::storage::{EntryResponder, RaftStateMachine};
use roost_raft::apply::{Position, StateHash, StateStore};
use roost_raft::kv::{KeyRange, Read, Space, Txn};
use roost_raft::log::LogStore;
use roost_raft::machine::{ApplyContext, Machine};
use roost_raft::storage::engine::Engine;
use roost_raft::storage::rocks::{RocksBudget, RocksEngine};
use roost_raft::storage::wal::Wal;
use roost_raft::types::{Command, CommandKind, CommittedLeaderId, Entry, LogId, Payload, TypeConfig};

/// Keys to values. A rejected command writes first and is rolled back, as real ones are.
#[derive(Clone, Copy, Debug, Default)]
pub struct TestMachine;

/// What the machine is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    /// Writes the key, then takes it back.
    Reject(Vec<u8>),
    /// Gives the second key the value of the first: a short command that may write a lot.
    Copy(Vec<u8>, Vec<u8>),
}

impl Op {
    pub fn put(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        Op::Put(key.as_ref().to_vec(), value.as_ref().to_vec())
    }

    pub fn encode(&self) -> Bytes {
        let (tag, key, value): (u8, &[u8], &[u8]) = match self {
            Op::Put(key, value) => (b'p', key, value),
            Op::Delete(key) => (b'd', key, &[]),
            Op::Reject(key) => (b'r', key, &[]),
            Op::Copy(from, to) => (b'c', from, to),
        };
        [&[tag, u8::try_from(key.len()).unwrap()], key, value].concat().into()
    }

    fn decode(command: &[u8]) -> Option<Self> {
        let (tag, rest) = command.split_first()?;
        let (len, rest) = rest.split_first()?;
        let (key, value) = rest.split_at_checked(usize::from(*len))?;
        match tag {
            b'p' => Some(Op::put(key, value)),
            b'd' => Some(Op::Delete(key.to_vec())),
            b'r' => Some(Op::Reject(key.to_vec())),
            b'c' => Some(Op::Copy(key.to_vec(), value.to_vec())),
            _ => None,
        }
    }
}

impl Machine for TestMachine {
    type Event = ();

    const APPLY_VERSION: u32 = 1;

    fn apply(
        &self,
        _context: &ApplyContext,
        command: &[u8],
        txn: &mut Txn<'_>,
        events: &mut Vec<()>,
    ) -> io::Result<Vec<u8>> {
        let op = Op::decode(command).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        let key = match &op {
            Op::Put(key, _) | Op::Delete(key) | Op::Reject(key) | Op::Copy(_, key) => key.clone(),
        };
        let old = txn.get(Space::STATE, &key)?.unwrap_or_default();
        match op {
            Op::Put(key, value) => txn.put(Space::STATE, key, value),
            Op::Delete(key) => txn.delete(Space::STATE, key),
            Op::Copy(from, to) => {
                let value = txn.get(Space::STATE, &from)?.unwrap_or_default();
                txn.put(Space::STATE, to, value);
            }
            Op::Reject(key) => {
                let mark = txn.mark();
                txn.put(Space::STATE, key, *b"never seen");
                txn.rollback(mark);
                return Ok(old);
            }
        }
        events.push(());
        Ok(old)
    }

    fn describe(&self, command: &[u8]) -> String {
        format!("{:?}", Op::decode(command))
    }

    fn restored(&self, _view: &dyn Read) -> io::Result<()> {
        Ok(())
    }
}

/// A log entry of `term` that holds `op`.
pub fn entry(term: u64, index: u64, op: &Op) -> Entry {
    let command = Command { kind: CommandKind::App, term, proposer: 1, data: op.encode() };
    Entry { log_id: log_id(term, index), payload: Payload::Normal(command) }
}

pub fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term), index)
}

/// One opened node's storage, without Raft.
pub struct Stores {
    pub engine: Arc<dyn Engine>,
    pub log: LogStore,
    pub state: StateStore<TestMachine>,
}

impl Stores {
    /// Opens log and state on `engine`, with the side files in `dir`.
    pub fn on(engine: Arc<dyn Engine>, dir: &Path) -> Result<Self, String> {
        let wal = Wal::start(engine.clone(), &dir.join("synced.mark")).map_err(|e| e.to_string())?;
        let log = LogStore::open(engine.clone(), wal.clone()).map_err(|e| e.to_string())?;
        let state = StateStore::open(engine.clone(), wal.clone(), dir.join("snapshots"), TestMachine);
        Ok(Stores { engine, log, state: state.map_err(|e| e.to_string())? })
    }

    /// Opens real RocksDB in `dir`.
    pub fn rocks(dir: &Path) -> Result<Self, String> {
        Self::on(rocks(dir)?, dir)
    }

    pub async fn apply(&mut self, entries: Vec<Entry>) -> io::Result<()> {
        apply(&mut self.state, entries).await
    }
}

/// Opens RocksDB in `dir`. An earlier owner in this process may still be letting go of it.
pub fn rocks(dir: &Path) -> Result<Arc<dyn Engine>, String> {
    rocks_within(dir, small_budget())
}

pub fn rocks_within(dir: &Path, budget: RocksBudget) -> Result<Arc<dyn Engine>, String> {
    std::fs::create_dir_all(dir).unwrap();
    let give_up = Instant::now() + Duration::from_secs(20);
    loop {
        match RocksEngine::open(&dir.join("db"), budget) {
            Ok(engine) => return Ok(Arc::new(engine)),
            Err(error) if error.to_string().contains("/LOCK") && Instant::now() < give_up => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

pub fn small_budget() -> RocksBudget {
    RocksBudget { block_cache_bytes: 8 << 20, write_buffer_bytes: 16 << 20 }
}

/// Applies `entries` as one call of openraft would.
pub async fn apply(state: &mut StateStore<TestMachine>, entries: Vec<Entry>) -> io::Result<()> {
    let items = entries.into_iter().map(|entry| -> io::Result<EntryResponder<TypeConfig>> { Ok((entry, None)) });
    RaftStateMachine::apply(state, stream::iter(items)).await
}

/// Every row of `space`.
pub fn rows(view: &dyn Read, space: Space) -> Vec<Pair> {
    scanned(view, space, KeyRange::ALL, false, usize::MAX)
}

/// A row: key and value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Collects at most `limit` rows of a scan.
pub fn scanned(read: &dyn Read, space: Space, range: KeyRange<'_>, reverse: bool, limit: usize) -> Vec<Pair> {
    let mut found = Vec::new();
    if limit == 0 {
        return found;
    }
    read.scan(space, range, reverse, &mut |key, value| {
        found.push((key.to_vec(), value.to_vec()));
        Ok(if found.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })
    .unwrap();
    found
}

/// The state hash, recomputed from all rows.
pub fn full_hash(view: &dyn Read) -> StateHash {
    let mut hash = StateHash::default();
    for space in Space::REPLICATED {
        rows(view, space).iter().for_each(|(key, value)| hash.add(space, key, value));
    }
    hash
}

/// Where the state on `view` stands.
pub fn position(view: &dyn Read) -> Position {
    Position::read(view).unwrap()
}

pub fn block_on<T>(task: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(task)
}

pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
