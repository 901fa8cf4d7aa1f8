//! Many proposals, few entries. While [`FLIGHTS_MAX`] entries are on their way, further proposals wait and leave
//! together in the next one: a lone proposal is not delayed, and a crowd shares an entry, its replication and its
//! bookkeeping.
//!
//! Callers who were answered together come back one by one. Were the first of them to leave at once, a small entry
//! would follow each large one; so the next entry of a crowd waits until nearly all are back, and not for long. Callers
//! who propose at a pace of their own, whatever is answered, only lose by that: entries that waited show who they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use super::propose::{Applied, Written};
use super::start::HostCore;
use crate::codec;
use crate::error::ProposeError;
use crate::machine::Machine;
use crate::types::{CommandKind, Outcome};

/// Entries of proposals on their way at once. With two, each carries half as much, and what an entry costs on its way
/// is what a busy node spends most on: 64 clients got 9 % less.
const FLIGHTS_MAX: usize = 1;
/// Bytes after which an entry is closed: replication and apply take it as a whole.
const BATCH_BYTES_MAX: usize = 256 << 10;

/// The share of a crowd that its next entry waits for: some do not come back.
const EXPECTED_PERCENT: usize = 90;
/// How long it waits, in the time that the last entry took.
const PATIENCE_FLIGHTS: u32 = 2;

/// The share of an entry that may have come during its flight. Those who come back on an answer come after it; where
/// more come, waiting for them is of no use.
const PACED_PERCENT: usize = 25;
/// The most entries that leave at once after waits of no use, each of which doubles their number.
const UNWAITED_MAX: u32 = 64;

/// What an operator sets of it.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// Commands of one entry.
    pub commands_max: usize,
    /// The longest that a crowd's entry waits for those who are coming back. Zero: it leaves at once.
    pub wait_max: Duration,
}

impl Default for BatchLimits {
    fn default() -> Self {
        BatchLimits { commands_max: 256, wait_max: Duration::from_millis(10) }
    }
}

/// A proposal that waits for the next entry.
struct Waiting {
    command: Bytes,
    term: Option<u64>,
    _room: OwnedSemaphorePermit,
    answer: oneshot::Sender<Result<Applied, ProposeError>>,
}

/// Where proposals wait. The room that each holds bounds how many there are.
pub struct Batches {
    limits: BatchLimits,
    flights: Arc<Semaphore>,
    crowd: Arc<Crowd>,
    queue: mpsc::UnboundedSender<Waiting>,
    waiting: Mutex<Option<mpsc::UnboundedReceiver<Waiting>>>,
}

/// Who proposes at the same time, as seen when the last entry was answered.
#[derive(Default)]
struct Crowd {
    /// Commands that wait for an entry.
    queued: AtomicUsize,
    /// Those of the last entry, and those that waited meanwhile.
    callers: AtomicUsize,
    /// How long the last entry was on its way.
    flight_us: AtomicU64,
    /// Entries that leave without a wait after the next wait of no use.
    unwaited: AtomicU32,
    /// Those of them that are still to leave.
    unwaited_left: AtomicU32,
    measured: Measured,
}

/// How the commands of an entry came together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gathered {
    AtOnce,
    /// It waited, and nearly all came.
    Awaited,
    /// It waited as long as it may.
    InVain,
}

/// What Prometheus is told of entries.
struct Measured {
    commands: Histogram,
    seconds: Histogram,
    failed: Counter,
}

impl Default for Measured {
    fn default() -> Self {
        Measured {
            commands: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            seconds: Histogram::new(exponential_buckets(0.000_25, 2.0, 16)),
            failed: Counter::default(),
        }
    }
}

impl Crowd {
    /// How many commands the next entry waits for, and how long: a crowd's calls take at most twice as long.
    fn expected(&self) -> (usize, Duration) {
        let left = self.unwaited_left.load(Ordering::Relaxed);
        if left > 0 {
            self.unwaited_left.store(left - 1, Ordering::Relaxed);
            return (0, Duration::ZERO);
        }
        let callers = self.callers.load(Ordering::Relaxed);
        let flight = Duration::from_micros(self.flight_us.load(Ordering::Relaxed));
        (callers * EXPECTED_PERCENT / 100, flight * PATIENCE_FLIGHTS)
    }

    /// Learns from an entry that waited, and during whose flight so many commands came.
    fn learn(&self, gathered: Gathered, commands: usize, came: usize) {
        let unwaited = match gathered {
            Gathered::AtOnce => return,
            Gathered::Awaited if came * 100 <= commands * PACED_PERCENT => 0,
            Gathered::Awaited | Gathered::InVain => (self.unwaited.load(Ordering::Relaxed) * 2).clamp(1, UNWAITED_MAX),
        };
        self.unwaited.store(unwaited, Ordering::Relaxed);
        self.unwaited_left.store(unwaited, Ordering::Relaxed);
    }
}

/// Leave for one entry to be on its way; when it is dropped, the entry was answered.
pub(super) struct Flight {
    crowd: Arc<Crowd>,
    since: Instant,
    commands: usize,
    gathered: Gathered,
    // Last: the next entry finds the crowd as this one leaves it.
    _permit: OwnedSemaphorePermit,
}

impl Drop for Flight {
    fn drop(&mut self) {
        let (crowd, took) = (&self.crowd, self.since.elapsed());
        crowd.measured.commands.observe(self.commands as f64);
        crowd.measured.seconds.observe(took.as_secs_f64());
        crowd.flight_us.store(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        let came = crowd.queued.load(Ordering::Relaxed);
        crowd.callers.store(self.commands + came, Ordering::Relaxed);
        crowd.learn(self.gathered, self.commands, came);
    }
}

impl Batches {
    pub(super) fn new(limits: BatchLimits) -> Self {
        let (queue, waiting) = mpsc::unbounded_channel();
        let (flights, crowd) = (Arc::new(Semaphore::new(FLIGHTS_MAX)), Arc::default());
        Batches { limits, flights, crowd, queue, waiting: Mutex::new(Some(waiting)) }
    }

    pub(super) fn register_metrics(&self, registry: &mut Registry) {
        let Measured { commands, seconds, failed } = &self.crowd.measured;
        registry.register("raft_entry_commands", "Commands that shared an entry", commands.clone());
        let help = "Time from an entry's departure to its execution on this node";
        registry.register_with_unit("raft_entry", help, Unit::Seconds, seconds.clone());
        registry.register("raft_entries_failed", "Entries that were refused or whose fate is unknown", failed.clone());
    }

    /// Leave to write an entry of one command now. None while others wait or are about to come back.
    pub(super) fn flight(&self) -> Option<Flight> {
        // The semaphore gives what is returned to the assembly first, if it waits.
        let alone = self.crowd.callers.load(Ordering::Relaxed) <= 1;
        alone
            .then(|| self.flights.clone().try_acquire_owned().ok())
            .flatten()
            .map(|permit| self.leave(permit, 1, Gathered::AtOnce))
    }

    fn leave(&self, permit: OwnedSemaphorePermit, commands: usize, gathered: Gathered) -> Flight {
        Flight { crowd: self.crowd.clone(), since: Instant::now(), commands, gathered, _permit: permit }
    }

    /// Puts the command into the next entry and waits for its reply.
    pub(super) async fn join(
        &self,
        command: Bytes,
        term: Option<u64>,
        room: OwnedSemaphorePermit,
    ) -> Result<Applied, ProposeError> {
        let (answer, answered) = oneshot::channel();
        self.put(Waiting { command, term, _room: room, answer });
        // The assembly ended with the command perhaps on its way.
        answered.await.unwrap_or(Err(ProposeError::Unknown))
    }

    /// The commands of the next entry, how they came together, and the one that was too much for it. Waits while a
    /// crowd is coming back.
    async fn gather(
        &self,
        first: Waiting,
        waiting: &mut mpsc::UnboundedReceiver<Waiting>,
    ) -> (Vec<Waiting>, Gathered, Option<Waiting>) {
        let BatchLimits { commands_max, wait_max } = self.limits;
        let (expected, patience) = self.crowd.expected();
        let until = Instant::now() + patience.min(wait_max);
        let mut bytes = first.command.len();
        let (mut batch, mut gathered, mut left) = (vec![first], Gathered::AtOnce, None);
        while batch.len() < commands_max {
            let next = match waiting.try_recv() {
                Ok(next) => next,
                Err(_) if batch.len() < expected => match tokio::time::timeout_at(until, waiting.recv()).await {
                    Ok(Some(next)) => {
                        gathered = Gathered::Awaited;
                        next
                    }
                    Ok(None) | Err(_) => {
                        gathered = Gathered::InVain;
                        break;
                    }
                },
                Err(_) => break,
            };
            bytes += next.command.len();
            if bytes > BATCH_BYTES_MAX {
                left = Some(next);
                break;
            }
            batch.push(next);
        }
        self.crowd.queued.fetch_sub(batch.len(), Ordering::Relaxed);
        (batch, gathered, left)
    }

    /// Without an assembly, the caller learns it by its dropped sender.
    fn put(&self, waiting: Waiting) {
        self.crowd.queued.fetch_add(1, Ordering::Relaxed);
        let _ = self.queue.send(waiting);
    }
}

/// Assembles entries for as long as the node runs.
pub(super) async fn run<M: Machine>(core: Arc<HostCore<M>>) {
    let Some(mut waiting) = core.batches.waiting.lock().take() else { return };
    let mut left = None;
    loop {
        let first = match left.take() {
            Some(first) => first,
            None => match waiting.recv().await {
                Some(first) => first,
                None => return,
            },
        };
        // The semaphore is never closed.
        let Ok(permit) = core.batches.flights.clone().acquire_owned().await else { return };
        let batches = &core.batches;
        let (batch, gathered, rest) = batches.gather(first, &mut waiting).await;
        left = rest;
        let flight = batches.leave(permit, batch.len(), gathered);
        send(&core, batch, flight).await;
    }
}

async fn send<M: Machine>(core: &Arc<HostCore<M>>, mut batch: Vec<Waiting>, flight: Flight) {
    // Whoever gave up before their command left is spared its execution.
    batch.retain(|waiting| !waiting.answer.is_closed());
    let leadership = *core.leadership.borrow();
    // A fence that another reign has passed.
    for fenced in batch.extract_if(.., |waiting| waiting.term.is_some_and(|term| term != leadership.term)) {
        let _ = fenced.answer.send(Err(ProposeError::NotLeader { leader: leadership.leader }));
    }
    let (kind, data) = match batch.as_slice() {
        [] => return,
        [alone] => (CommandKind::App, Ok(alone.command.clone())),
        several => (CommandKind::AppBatch, codec::encode_batch(several.iter().map(|waiting| &waiting.command))),
    };
    let writing = match data {
        Ok(data) => core.start_write(kind, data, Some(leadership.term)).await,
        Err(_) => Err(ProposeError::TooLarge { bytes: usize::MAX, limit: BATCH_BYTES_MAX }),
    };
    match writing {
        Ok(writing) => {
            let core = core.clone();
            tokio::spawn(async move {
                let written = writing.outcome().await;
                if written.is_err() {
                    core.batches.crowd.measured.failed.inc();
                }
                drop(flight);
                answer(&core, batch, written);
            });
        }
        Err(error) => refuse(batch, &error),
    }
}

fn answer<M: Machine>(core: &HostCore<M>, batch: Vec<Waiting>, written: Result<Written, ProposeError>) {
    let (index, term, replies) = match written {
        Ok(Written { index, term, outcome: Outcome::Reply(reply) }) => (index, term, vec![reply]),
        Ok(Written { index, term, outcome: Outcome::Replies(replies) }) => (index, term, replies),
        Ok(Written { outcome: Outcome::Fenced | Outcome::Empty, .. }) => {
            return refuse(batch, &ProposeError::NotLeader { leader: None });
        }
        Err(error) => return refuse(batch, &error),
    };
    let mut replies = replies.into_iter();
    for waiting in batch {
        match replies.next() {
            // A caller that no longer waits needs no answer.
            Some(reply) => drop(waiting.answer.send(Ok(Applied { index, term, reply }))),
            // Those before it wrote as much as one entry may.
            None => core.batches.put(waiting),
        }
    }
}

fn refuse(batch: Vec<Waiting>, error: &ProposeError) {
    for waiting in batch {
        let _ = waiting.answer.send(Err(error.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Queue = mpsc::UnboundedReceiver<Waiting>;
    const FLIGHT: Duration = Duration::from_millis(4);

    fn batches(limits: BatchLimits) -> (Arc<Batches>, Queue) {
        let batches = Batches::new(limits);
        let waiting = batches.waiting.lock().take().unwrap();
        (Arc::new(batches), waiting)
    }

    fn put(batches: &Batches, bytes: usize) {
        let room = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let (answer, _) = oneshot::channel();
        batches.put(Waiting { command: vec![0; bytes].into(), term: None, _room: room, answer });
    }

    /// An entry of so many commands that took [`FLIGHT`], while nobody else waited.
    async fn fly(batches: &Batches, commands: usize) {
        let permit = batches.flights.clone().acquire_owned().await.unwrap();
        let flight = batches.leave(permit, commands, Gathered::AtOnce);
        tokio::time::advance(FLIGHT).await;
        drop(flight);
    }

    /// How many left together, and after what time.
    async fn gathered(batches: &Batches, waiting: &mut Queue) -> (usize, Duration) {
        let first = waiting.recv().await.unwrap();
        let since = Instant::now();
        let (batch, _, left) = batches.gather(first, waiting).await;
        assert!(left.is_none());
        (batch.len(), since.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_lone_command_leaves_at_once_and_with_others_it_joins() {
        let (batches, mut waiting) = batches(BatchLimits::default());
        fly(&batches, 1).await;
        let flight = batches.flight().expect("nobody else is there");
        assert!(batches.flight().is_none(), "an entry is on its way");
        put(&batches, 1);
        drop(flight);
        assert!(batches.flight().is_none(), "somebody waits");
        assert_eq!(gathered(&batches, &mut waiting).await, (1, Duration::ZERO));
        fly(&batches, 1).await;
        assert!(batches.flight().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_leaves_as_soon_as_nearly_all_are_back() {
        let (batches, mut waiting) = batches(BatchLimits::default());
        fly(&batches, 20).await;
        assert!(batches.flight().is_none(), "the first that comes back does not leave alone");
        let coming = batches.clone();
        tokio::spawn(async move {
            for _ in 0..4 {
                (0..5).for_each(|_| put(&coming, 1));
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        let (left, after) = gathered(&batches, &mut waiting).await;
        assert_eq!(left, 20, "18 are enough to leave, and who is there comes along");
        assert!(after < FLIGHT, "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_come_back_is_not_waited_for_twice() {
        let (batches, mut waiting) = batches(BatchLimits::default());
        fly(&batches, 20).await;
        put(&batches, 1);
        let (left, after) = gathered(&batches, &mut waiting).await;
        assert_eq!(left, 1);
        assert!(after >= FLIGHT && after <= FLIGHT * (PATIENCE_FLIGHTS + 1), "{after:?}");
        fly(&batches, left).await;
        assert!(batches.flight().is_some(), "a crowd that is gone holds up nobody");
    }

    /// Proposals of `per_flight` commands in each [`FLIGHT`], evenly, for so many entries. Returns how many entries
    /// waited, and how long they did on average.
    async fn paced(entries: usize, per_flight: u32) -> (usize, Duration) {
        let (batches, mut waiting) = batches(BatchLimits::default());
        let (pace, proposing) = (FLIGHT / per_flight, batches.clone());
        let proposing = tokio::spawn(async move {
            loop {
                put(&proposing, 1);
                tokio::time::sleep(pace).await;
            }
        });
        let (mut waits, mut waited) = (0, Duration::ZERO);
        for _ in 0..entries {
            let first = waiting.recv().await.unwrap();
            let permit = batches.flights.clone().acquire_owned().await.unwrap();
            let since = Instant::now();
            let (batch, gathered, _) = batches.gather(first, &mut waiting).await;
            waits += usize::from(gathered != Gathered::AtOnce);
            waited += since.elapsed();
            let flight = batches.leave(permit, batch.len(), gathered);
            tokio::time::sleep(FLIGHT).await;
            drop(flight);
        }
        proposing.abort();
        (waits, waited / u32::try_from(entries).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn callers_with_a_pace_of_their_own_are_soon_not_waited_for() {
        let (waits, waited) = paced(500, 4).await;
        assert!(waits <= 500 / 32, "{waits}");
        assert!(waited <= FLIGHT / 8, "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_that_comes_back_after_others_did_not_is_waited_for_again() {
        let (batches, mut waiting) = batches(BatchLimits::default());
        // Nobody comes back, until the wait is given up for as long as can be.
        for _ in 0..500 {
            fly(&batches, 20).await;
            put(&batches, 1);
            let first = waiting.recv().await.unwrap();
            let (batch, gathered, _) = batches.gather(first, &mut waiting).await;
            let permit = batches.flights.clone().acquire_owned().await.unwrap();
            drop(batches.leave(permit, batch.len(), gathered));
        }
        assert_eq!(batches.crowd.unwaited.load(Ordering::Relaxed), UNWAITED_MAX);
        // From now on all twenty do, a while after their answer.
        let mut sizes = Vec::new();
        for _ in 0..2 * UNWAITED_MAX {
            fly(&batches, 20).await;
            put(&batches, 1);
            let coming = batches.clone();
            let rest = tokio::spawn(async move {
                tokio::time::sleep(FLIGHT / 4).await;
                (0..19).for_each(|_| put(&coming, 1));
            });
            let first = waiting.recv().await.unwrap();
            let (batch, gathered, _) = batches.gather(first, &mut waiting).await;
            sizes.push(batch.len());
            let permit = batches.flights.clone().acquire_owned().await.unwrap();
            drop(batches.leave(permit, batch.len(), gathered));
            rest.await.unwrap();
            while waiting.try_recv().is_ok() {
                batches.crowd.queued.fetch_sub(1, Ordering::Relaxed);
            }
        }
        assert!(sizes.iter().rev().take(8).all(|size| *size == 20), "{sizes:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_operator_bounds_the_wait_and_the_size() {
        let limits = BatchLimits { commands_max: 5, wait_max: Duration::ZERO };
        let (batches, mut waiting) = batches(limits);
        fly(&batches, 20).await;
        (0..7).for_each(|_| put(&batches, 1));
        assert_eq!(gathered(&batches, &mut waiting).await.0, 5);
        let (left, after) = gathered(&batches, &mut waiting).await;
        assert_eq!(left, 2);
        // The timer's own granularity.
        assert!(after <= Duration::from_millis(1), "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_much_for_an_entry_begins_the_next() {
        let (batches, mut waiting) = batches(BatchLimits::default());
        (0..3).for_each(|_| put(&batches, BATCH_BYTES_MAX / 2));
        let first = waiting.recv().await.unwrap();
        let (batch, _, left) = batches.gather(first, &mut waiting).await;
        assert_eq!((batch.len(), left.is_some()), (2, true));
        assert_eq!(batches.crowd.queued.load(Ordering::Relaxed), 1);
    }
}
