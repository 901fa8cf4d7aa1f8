//! `RaftLogStorage`: append writes unsynced and completes through the WAL's group commit; everything else rides on the
//! order of that one log. Only the vote waits for its sync, because it must be durable before it is sent.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, ControlFlow, RangeBounds};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use openraft::OptionalSend;
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use parking_lot::Mutex;

use super::cache::LogCache;
use super::growth::LogGrowth;
use crate::codec::{self, corrupt, log_key};
use crate::failpoint;
use crate::kv::{Batch, KeyRange, Read, Space};
use crate::storage::engine::Engine;
use crate::storage::wal::{Synced, Wal};
use crate::types::{Entry, LogId, TypeConfig, Vote};

const VOTE: &[u8] = b"vote";
const LEASE: &[u8] = b"lease-ms";
const PURGED: &[u8] = b"purged";
/// Encoded bytes that one read for replication or apply returns. Far below the peers' message limit.
const READ_BYTES_MAX: usize = 2 << 20;
/// Up to this many entries are truncated one by one; a range tombstone would slow every later scan of the tail.
const POINT_DELETES_MAX: u64 = 4096;

/// Why a log cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "this disk has lost acknowledged data: its log ends at index {found_index} (vote of term {found_term}), but \
         index {} (vote of term {}) was durable before. Keep the directory for diagnosis; start this node on an empty \
         directory under a new node id and run `roostctl member replace`", synced.index, synced.vote_term
    )]
    Lost { found_index: u64, found_term: u64, synced: Synced },
    #[error(
        "synced.mark is missing or damaged, so it cannot be told whether this disk still holds all that it \
         acknowledged. Put the file back, or start this node on an empty directory under a new node id and \
         run `roostctl member replace`"
    )]
    NoMark,
    #[error("the Raft log cannot be read: {0}")]
    Io(#[from] io::Error),
}

struct State {
    vote: Option<Vote>,
    last: Option<LogId>,
    purged: Option<LogId>,
    cache: LogCache,
    growth: LogGrowth,
}

/// The log. Cloning shares it.
#[derive(Clone)]
pub struct LogStore {
    engine: Arc<dyn Engine>,
    wal: Wal,
    state: Arc<Mutex<State>>,
}

/// A reader of the log for apply and replication tasks.
pub type LogReader = LogStore;

fn read_fact<T: serde::de::DeserializeOwned>(engine: &dyn Read, key: &[u8]) -> io::Result<Option<T>> {
    engine.get(Space::META, key)?.map(|bytes| codec::decode(&bytes)).transpose()
}

/// Adds to `batch` that the log begins after `log_id`.
pub(crate) fn mark_purged(batch: &mut Batch, log_id: LogId) -> io::Result<()> {
    batch.put(Space::META, PURGED, codec::encode(&log_id)?);
    Ok(())
}

impl LogStore {
    /// Opens the log and refuses one that is shorter than what was once durable.
    pub fn open(engine: Arc<dyn Engine>, wal: Wal) -> Result<Self, OpenError> {
        let vote: Option<Vote> = read_fact(engine.as_ref(), VOTE)?;
        let purged: Option<LogId> = read_fact(engine.as_ref(), PURGED)?;
        let mut newest = None;
        engine.scan(Space::LOG, KeyRange::ALL, true, &mut |_, value| {
            newest = Some(codec::decode_entry(Bytes::copy_from_slice(value))?.log_id);
            Ok(ControlFlow::Break(()))
        })?;
        let last = newest.max(purged);
        let found_index = last.map_or(0, |id| id.index());
        let found_term = vote.map_or(0, |vote| vote.leader_id().term);
        let synced = wal.synced();
        if wal.mark_was_missing() && (vote.is_some() || last.is_some()) {
            return Err(OpenError::NoMark);
        }
        if found_index < synced.index || found_term < synced.vote_term {
            return Err(OpenError::Lost { found_index, found_term, synced });
        }
        let growth = LogGrowth::opened(found_index, engine.size(Space::LOG));
        let state = State { vote, last, purged, cache: LogCache::default(), growth };
        Ok(LogStore { engine, wal, state: Arc::new(Mutex::new(state)) })
    }

    /// Whether this disk ever voted or stored an entry.
    pub fn is_pristine(&self) -> bool {
        let state = self.state.lock();
        state.vote.is_none() && state.last.is_none()
    }

    /// Notes the lease that this run grants, and returns the one of the run before: it may still be relied upon.
    pub fn exchange_lease(&self, lease: Duration) -> io::Result<Duration> {
        let before: Option<u64> = read_fact(self.engine.as_ref(), LEASE)?;
        let lease_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
        if before != Some(lease_ms) {
            let mut batch = Batch::default();
            batch.put(Space::META, LEASE, codec::encode(&lease_ms)?);
            self.engine.write(batch)?;
            self.engine.sync()?;
        }
        Ok(Duration::from_millis(before.unwrap_or(0)))
    }

    /// Bytes of log after `index`.
    pub fn bytes_after(&self, index: u64) -> u64 {
        self.state.lock().growth.bytes_after(index)
    }

    /// How far the log may be purged while `keep_bytes` bytes and `keep_entries` entries stay.
    pub fn purge_point(&self, keep_bytes: u64, keep_entries: u64) -> Option<u64> {
        let state = self.state.lock();
        let by_bytes = state.growth.purge_point(keep_bytes);
        let by_count = state.last.and_then(|last| last.index().checked_sub(keep_entries));
        by_bytes.max(by_count)
    }

    /// Gives back the disk space of purged entries. Slow.
    pub fn reclaim(&self) -> io::Result<()> {
        let purged = self.state.lock().purged;
        match purged {
            // The end is inclusive: a file whose last key is the end goes as a whole.
            Some(purged) => self.engine.reclaim(Space::LOG, &log_key(0), &log_key(purged.index())),
            None => Ok(()),
        }
    }

    /// Entries of `start..end` that are still held, fewer when they are large.
    pub fn entries(&self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        let first = self.state.lock().purged.map_or(0, |id| id.index() + 1);
        self.read(start.max(first), end, READ_BYTES_MAX)
    }

    /// Entries of `start..end` in order, up to `bytes_max` bytes but at least one if there is one.
    fn read(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        if start >= end {
            return Ok(Vec::new());
        }
        if let Some(entries) = self.state.lock().cache.range(start, end, bytes_max) {
            return Ok(entries);
        }
        let mut entries: Vec<Entry> = Vec::new();
        let mut bytes = 0;
        self.engine.scan(Space::LOG, KeyRange::new(&log_key(start), &log_key(end)), false, &mut |_, value| {
            if bytes > 0 && bytes + value.len() > bytes_max {
                return Ok(ControlFlow::Break(()));
            }
            bytes += value.len();
            let entry = codec::decode_entry(Bytes::copy_from_slice(value))?;
            if let Some(last) = entries.last()
                && last.index() + 1 != entry.index()
            {
                return Err(corrupt(format!("the log has a hole between {} and {}", last.index(), entry.index())));
            }
            entries.push(entry);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(entries)
    }
}

fn half_open(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(at) => *at,
        Bound::Excluded(at) => at.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(at) => at.saturating_add(1),
        Bound::Excluded(at) => *at,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = half_open(&range);
        let log = self.clone();
        // A restart may have a million entries to apply: they are read as they are applied.
        let chunks = stream::unfold(Some(start), move |next| {
            let log = log.clone();
            async move {
                let start = next?;
                match log.read(start, end, READ_BYTES_MAX) {
                    Err(error) => Some((vec![Err(error)], None)),
                    Ok(entries) => {
                        let last = entries.last()?.index();
                        Some((entries.into_iter().map(Ok).collect(), Some(last + 1)))
                    }
                }
            }
        });
        chunks.flat_map(stream::iter).boxed()
    }

    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        let (start, end) = half_open(&range);
        self.read(start, end, usize::MAX)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.state.lock().vote)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        let entries = self.read(start, end, READ_BYTES_MAX)?;
        match entries.first() {
            Some(first) if first.index() != start => Err(corrupt(format!("the log lacks entry {start}"))),
            _ => Ok(entries),
        }
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let state = self.state.lock();
        Ok(LogState { last_purged_log_id: state.purged, last_log_id: state.last })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let mut batch = Batch::default();
        batch.put(Space::META, VOTE, codec::encode(vote)?);
        self.engine.write(batch)?;
        failpoint::point("log.vote_written");
        self.wal.vote(vote.leader_id().term).await?;
        self.state.lock().vote = Some(*vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut batch = Batch::default();
        let mut kept = Vec::new();
        for entry in entries {
            let bytes = codec::encode_entry(&entry)?;
            kept.push((entry, bytes.len()));
            batch.ops.push((Space::LOG, log_key(kept.last().map_or(0, |(e, _)| e.index())).to_vec(), Some(bytes)));
        }
        let Some(last) = kept.last().map(|(entry, _)| entry.log_id) else {
            callback.io_completed(Ok(()));
            return Ok(());
        };
        failpoint::point("log.before_append");
        self.engine.write(batch)?;
        failpoint::point("log.after_append");
        {
            let mut state = self.state.lock();
            state.last = Some(last);
            for (entry, size) in kept {
                state.growth.appended(entry.index(), size as u64);
                state.cache.push(entry, size);
            }
        }
        self.wal.append(last.index(), callback)
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        let keep = last_log_id.map(|id| id.index());
        let first = keep.map_or(0, |index| index + 1);
        // With no append in flight, the mark can be lowered before the entries go: never the other way round.
        self.wal.barrier().await?;
        self.wal.lower_mark(keep.unwrap_or(0))?;
        failpoint::point("log.mark_lowered");
        let last = self.state.lock().last.map_or(0, |id| id.index());
        let mut batch = Batch::default();
        if last.saturating_sub(first) < POINT_DELETES_MAX {
            (first..=last).for_each(|index| batch.delete(Space::LOG, log_key(index)));
        } else {
            batch.clear(Space::LOG, log_key(first), log_key(u64::MAX));
        }
        self.engine.write(batch)?;
        failpoint::point("log.truncated");
        let mut state = self.state.lock();
        match keep {
            Some(index) => state.cache.truncate_after(index),
            None => state.cache.clear(),
        }
        // Truncating after the end, or below the purge point, moves nothing.
        state.last = last_log_id.min(state.last).max(state.purged);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        let mut batch = Batch::default();
        batch.clear(Space::LOG, log_key(0), log_key(log_id.index() + 1));
        mark_purged(&mut batch, log_id)?;
        self.engine.write(batch)?;
        failpoint::point("log.purged");
        let mut state = self.state.lock();
        state.cache.purge(log_id.index());
        state.growth.purged(log_id.index());
        state.purged = Some(log_id);
        state.last = state.last.max(Some(log_id));
        Ok(())
    }
}
