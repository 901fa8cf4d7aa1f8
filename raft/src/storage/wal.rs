//! Group commit: one long-lived thread syncs the write-ahead log and completes everybody who waited for it.
//!
//! Writers put their rows into the engine first and queue a [`Job`] then. The thread takes all queued jobs, syncs once
//! and completes them in order, so N concurrent writers cost one fsync. A failed sync aborts the process: the kernel
//! may have dropped the dirty pages, so a second attempt would report success for data that is gone.
//!
//! After each sync the thread notes in `synced.mark` how far the log is durable. Point-in-time recovery silently cuts a
//! damaged log; the mark turns that into a refusal to start.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use openraft::storage::IOFlushed;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::engine::Engine;
use crate::failpoint;
use crate::mutation;
use crate::types::TypeConfig;

/// Jobs that may wait for one sync. More makes the writer wait, which is the back-pressure wanted.
const QUEUE_MAX: usize = 65_536;
/// Syncs over which the reported p99 is taken.
const LATENCY_WINDOW: usize = 1024;

enum Job {
    /// Entries up to this index were written.
    Append { last_index: u64, done: IOFlushed<TypeConfig> },
    /// A vote of this term was written.
    Vote { term: u64, done: oneshot::Sender<()> },
    /// Whatever was written before is to be durable.
    Barrier { done: oneshot::Sender<()> },
}

/// How far the log is known to be durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Synced {
    /// Highest durable log index.
    pub index: u64,
    /// Term of the newest durable vote.
    pub vote_term: u64,
}

/// Who syncs.
#[derive(Clone)]
pub enum Syncing {
    /// A thread of its own.
    Thread,
    /// A task of the current runtime, each sync after so long: a simulated disk. It has no power when a sync fails:
    /// nothing is completed any more.
    Task(Arc<dyn Fn() -> Duration + Send + Sync>),
}

/// Handle to the sync thread. The thread ends when the last handle is dropped.
#[derive(Clone)]
pub struct Wal {
    thread: Arc<SyncThread>,
    mark: Arc<Mutex<MarkFile>>,
    latency: Arc<Mutex<VecDeque<Duration>>>,
    mark_was_missing: bool,
}

/// The queue and the thread behind it. The last owner waits for the thread, so that nothing touches the engine while
/// the process ends.
struct SyncThread {
    jobs: Option<Queue>,
    /// A task has none: it ends with its queue.
    handle: Option<JoinHandle<()>>,
}

enum Queue {
    Thread(SyncSender<Job>),
    Task(mpsc::Sender<Job>),
}

impl Drop for SyncThread {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(handle) = self.handle.take() {
            // It only ends early by aborting the process.
            let _ = handle.join();
        }
    }
}

/// Makes the mark of a disk on which nothing was ever acknowledged, durably.
pub fn create_mark(path: &Path) -> io::Result<()> {
    let mut mark = MarkFile::open(path)?;
    if mark.sequence == 0 {
        mark.store(Synced::default())?;
        mark.file.sync_all()?;
    }
    Ok(())
}

impl Wal {
    /// Starts the sync thread for `engine`; `mark_path` is where the durable position is noted.
    pub fn start(engine: Arc<dyn Engine>, mark_path: &Path) -> io::Result<Self> {
        Self::start_as(&Syncing::Thread, engine, mark_path)
    }

    /// As [`Wal::start`], by whoever is chosen.
    pub fn start_as(syncing: &Syncing, engine: Arc<dyn Engine>, mark_path: &Path) -> io::Result<Self> {
        let mark_was_missing = MarkFile::open(mark_path)?.sequence == 0;
        create_mark(mark_path)?;
        let mark = Arc::new(Mutex::new(MarkFile::open(mark_path)?));
        let latency = Arc::new(Mutex::new(VecDeque::with_capacity(LATENCY_WINDOW)));
        let syncer = Syncer { engine, mark: mark.clone(), latency: latency.clone() };
        let thread = match syncing {
            Syncing::Thread => {
                let (jobs, queue) = sync_channel(QUEUE_MAX);
                let thread = std::thread::Builder::new().name("wal-sync".into());
                let handle = thread.spawn(move || run(&syncer, &queue))?;
                SyncThread { jobs: Some(Queue::Thread(jobs)), handle: Some(handle) }
            }
            Syncing::Task(delay) => {
                let (jobs, queue) = mpsc::channel(QUEUE_MAX);
                tokio::spawn(run_delayed(syncer, queue, delay.clone()));
                SyncThread { jobs: Some(Queue::Task(jobs)), handle: None }
            }
        };
        Ok(Wal { thread: Arc::new(thread), mark, latency, mark_was_missing })
    }

    /// The durable position that the last run of this disk noted, or this run since.
    pub fn synced(&self) -> Synced {
        self.mark.lock().value
    }

    /// Whether the disk had no usable mark. Only an empty disk may.
    pub fn mark_was_missing(&self) -> bool {
        self.mark_was_missing
    }

    /// Completes `done` once every entry up to `last_index` is durable.
    pub fn append(&self, last_index: u64, done: IOFlushed<TypeConfig>) -> io::Result<()> {
        self.queue(Job::Append { last_index, done })
    }

    /// Waits until the vote that was just written is durable.
    pub async fn vote(&self, term: u64) -> io::Result<()> {
        let (done, wait) = oneshot::channel();
        self.queue(Job::Vote { term, done })?;
        wait.await.map_err(|_| stopped())
    }

    /// Waits until everything written so far is durable.
    pub async fn barrier(&self) -> io::Result<()> {
        let (done, wait) = oneshot::channel();
        self.queue(Job::Barrier { done })?;
        wait.await.map_err(|_| stopped())
    }

    /// Notes, durably, that the log is about to be cut back to `index`. Call after [`Wal::barrier`], with no append
    /// queued, or a queued one would raise the mark again.
    pub fn lower_mark(&self, index: u64) -> io::Result<()> {
        let mut mark = self.mark.lock();
        if mark.value.index > index {
            let value = Synced { index, ..mark.value };
            mark.store(value)?;
            mark.file.sync_data()?;
        }
        Ok(())
    }

    /// The 99th percentile of the latest syncs' durations.
    pub fn sync_p99(&self) -> Duration {
        let mut recent: Vec<Duration> = self.latency.lock().iter().copied().collect();
        recent.sort_unstable();
        recent.get(recent.len().saturating_mul(99) / 100).or(recent.last()).copied().unwrap_or_default()
    }

    fn queue(&self, job: Job) -> io::Result<()> {
        match self.thread.jobs.as_ref().ok_or_else(stopped)? {
            Queue::Thread(jobs) => match jobs.try_send(job) {
                Ok(()) => Ok(()),
                Err(TrySendError::Full(job)) => jobs.send(job).map_err(|_| stopped()),
                Err(TrySendError::Disconnected(_)) => Err(stopped()),
            },
            Queue::Task(jobs) => jobs.try_send(job).map_err(|_| stopped()),
        }
    }
}

fn stopped() -> io::Error {
    io::Error::other("the WAL sync thread has stopped")
}

/// What a sync needs.
struct Syncer {
    engine: Arc<dyn Engine>,
    mark: Arc<Mutex<MarkFile>>,
    latency: Arc<Mutex<VecDeque<Duration>>>,
}

fn run(syncer: &Syncer, queue: &Receiver<Job>) {
    let mut jobs = Vec::new();
    while let Ok(first) = queue.recv() {
        jobs.push(first);
        jobs.extend(queue.try_iter().take(QUEUE_MAX));
        if let Err(error) = syncer.sync(&mut jobs) {
            die(&error);
        }
    }
}

async fn run_delayed(syncer: Syncer, mut queue: mpsc::Receiver<Job>, delay: Arc<dyn Fn() -> Duration + Send + Sync>) {
    let mut jobs = Vec::new();
    while queue.recv_many(&mut jobs, QUEUE_MAX).await > 0 {
        tokio::time::sleep(delay()).await;
        if let Err(error) = syncer.sync(&mut jobs) {
            return tracing::info!(%error, "the simulated disk is without power");
        }
    }
}

impl Syncer {
    /// Syncs once for all jobs and completes them.
    fn sync(&self, jobs: &mut Vec<Job>) -> io::Result<()> {
        failpoint::point("wal.before_sync");
        let began = Instant::now();
        if !mutation::active("skip-wal-sync") {
            self.engine.sync().and_then(|()| note(&self.mark, jobs))?;
        }
        failpoint::point("wal.after_sync");
        let mut recent = self.latency.lock();
        if recent.len() == LATENCY_WINDOW {
            recent.pop_front();
        }
        recent.push_back(began.elapsed());
        drop(recent);
        for job in jobs.drain(..) {
            match job {
                Job::Append { done, .. } => done.io_completed(Ok(())),
                // A waiter that went away does not need the answer.
                Job::Vote { done, .. } | Job::Barrier { done } => drop(done.send(())),
            }
        }
        Ok(())
    }
}

/// Raises the mark over what was just synced. No fsync: an older mark is merely a weaker check.
fn note(mark: &Mutex<MarkFile>, jobs: &[Job]) -> io::Result<()> {
    let mut mark = mark.lock();
    let mut value = mark.value;
    for job in jobs {
        match job {
            Job::Append { last_index, .. } => value.index = value.index.max(*last_index),
            Job::Vote { term, .. } => value.vote_term = value.vote_term.max(*term),
            Job::Barrier { .. } => {}
        }
    }
    if value == mark.value { Ok(()) } else { mark.store(value) }
}

fn die(error: &io::Error) -> ! {
    tracing::error!(%error, "the write-ahead log could not be synced; what it holds is unknown: this node stops now");
    eprintln!("roost: fsync failed: {error}. Check the disk, then restart; the node catches up from its peers.");
    std::process::abort();
}

const SLOT: usize = 28;

/// Two alternating slots of {sequence, index, vote term, crc}: a torn write of one leaves the other.
struct MarkFile {
    file: File,
    sequence: u64,
    value: Synced,
}

impl MarkFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut found = MarkFile { file, sequence: 0, value: Synced::default() };
        for slot in 0..2 {
            let mut bytes = [0; SLOT];
            if found.file.read_exact_at(&mut bytes, slot * SLOT as u64).is_err() {
                continue;
            }
            if let Some((sequence, value)) = parse(&bytes)
                && sequence > found.sequence
            {
                (found.sequence, found.value) = (sequence, value);
            }
        }
        Ok(found)
    }

    fn store(&mut self, value: Synced) -> io::Result<()> {
        self.sequence += 1;
        let mut bytes = Vec::with_capacity(SLOT);
        for field in [self.sequence, value.index, value.vote_term] {
            bytes.extend_from_slice(&field.to_be_bytes());
        }
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        self.file.write_all_at(&bytes, (self.sequence % 2) * SLOT as u64)?;
        self.value = value;
        Ok(())
    }
}

fn parse(bytes: &[u8; SLOT]) -> Option<(u64, Synced)> {
    let (body, crc) = bytes.split_at_checked(SLOT - 4)?;
    if crc32fast::hash(body).to_be_bytes() != *crc {
        return None;
    }
    let field = |at: usize| body.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes);
    Some((field(0)?, Synced { index: field(8)?, vote_term: field(16)? }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::mem::MemEngine;

    fn block_on<T>(task: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(task)
    }

    #[test]
    fn the_mark_survives_reopening_and_a_torn_slot() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("synced.mark");
        let mut mark = MarkFile::open(&path).unwrap();
        mark.store(Synced { index: 5, vote_term: 2 }).unwrap();
        mark.store(Synced { index: 9, vote_term: 2 }).unwrap();
        assert_eq!(MarkFile::open(&path).unwrap().value.index, 9);
        // Sequence 2 stands in slot 0; damage it.
        mark.file.write_all_at(&[0xff; 4], 10).unwrap();
        assert_eq!(MarkFile::open(&path).unwrap().value.index, 5);
    }

    #[test]
    fn a_barrier_makes_earlier_writes_durable() {
        let dir = tempfile::tempdir().unwrap();
        let engine = MemEngine::default();
        let wal = Wal::start(Arc::new(engine.clone()), &dir.path().join("synced.mark")).unwrap();
        let mut batch = crate::kv::Batch::default();
        batch.put(crate::kv::Space::META, *b"k", *b"v");
        engine.write(batch).unwrap();
        block_on(wal.barrier()).unwrap();
        engine.lose_unsynced();
        let kept = crate::kv::Read::get(&engine, crate::kv::Space::META, b"k").unwrap();
        assert_eq!(kept.as_deref(), Some(&b"v"[..]));
    }

    #[test]
    fn lowering_the_mark_allows_a_shorter_log_and_keeps_the_vote() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("synced.mark");
        let wal = Wal::start(Arc::new(MemEngine::default()), &path).unwrap();
        block_on(async {
            wal.vote(7).await.unwrap();
            wal.append(100, IOFlushed::noop()).unwrap();
            wal.barrier().await.unwrap();
        });
        assert_eq!(wal.synced(), Synced { index: 100, vote_term: 7 });
        wal.lower_mark(90).unwrap();
        assert_eq!(MarkFile::open(&path).unwrap().value, Synced { index: 90, vote_term: 7 });
    }
}
