//! The leader's knowledge of when leases end. That leases exist is a fact of the log; their deadlines are not: a
//! keep-alive costs no entry, and a new leader gives every lease its whole time again, or what was noted of it.
//!
//! A lease is renewed only if the tables hold it, and the answer is given only after this node was seen to lead after
//! the renewal. Time that this process did not see pass, because it was suspended, is not taken from any lease.

mod book;
mod steps;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use roost_raft::kv::Read;
use roost_raft::mutation;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, watch};

use crate::failure::Failure;
use crate::leader::clock::Clock;
use crate::leader::{LeaderTask, Reign};
use crate::limits;
use crate::proposer::Proposer;
use crate::replica::{self, Events, Replica};
use crate::state::keyspace::{self, KeyspaceCommand, KeyspaceReply, Lease};
use crate::state::limits::{EXPIRE_KEYS, MAX_DELETED_KEY_BYTES};
use crate::state::{Command, Event, Reply};
use book::{Book, Renewed};

/// The longest that nobody looks at the clock.
const TICK: Duration = Duration::from_millis(250);
/// More than that between two looks is time that was not seen: several ticks were missed.
const GAP_MS: u64 = 1000;
/// Pause after a failed attempt to load, to expire or to note.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// What a keep-alive is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    Renewed { ttl_s: i64 },
    NotFound,
}

/// What is left of a lease, and what it was granted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTime {
    pub remaining_s: i64,
    pub granted_s: i64,
}

/// See the module.
pub struct Lessor {
    replica: Arc<dyn Replica>,
    proposer: Arc<Proposer>,
    clock: Arc<dyn Clock>,
    reigning: Mutex<Option<Reigning>>,
    /// There are notes to be taken back.
    outdated: Notify,
    /// Notes were taken back, or the reign is over.
    settled: watch::Sender<()>,
}

/// The book of one reign.
struct Reigning {
    term: u64,
    book: Book,
    seen_ms: u64,
    skipped_ms: u64,
}

impl Reigning {
    /// Milliseconds by which leases end: monotonic time without the gaps.
    fn now_ms(&mut self, clock: &dyn Clock) -> u64 {
        let monotonic = clock.monotonic_ms();
        let passed = monotonic.saturating_sub(self.seen_ms);
        if passed > GAP_MS {
            tracing::warn!(passed_ms = passed, "time passed unseen; all leases are extended by it");
            self.skipped_ms += passed;
        }
        self.seen_ms = monotonic.max(self.seen_ms);
        monotonic.saturating_sub(self.skipped_ms)
    }
}

/// Closes the book when the reign ends, however it ends.
struct Closing<'a>(&'a Lessor);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        *self.0.reigning.lock() = None;
        self.0.settled.send_replace(());
    }
}

#[tonic::async_trait]
impl LeaderTask for Lessor {
    fn name(&self) -> &'static str {
        "lessor"
    }

    async fn run(&self, reign: Reign) {
        let _closing = Closing(self);
        self.proposer.clock_settled(reign.term).await;
        let events = self.load_until_done(reign).await;
        tokio::select! {
            () = self.follow(reign, events) => {}
            () = self.work(reign) => {}
            () = self.watch_clock(reign) => {}
        }
    }
}

impl Lessor {
    pub fn new(replica: Arc<dyn Replica>, proposer: Arc<Proposer>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Lessor {
            replica,
            proposer,
            clock,
            reigning: Mutex::default(),
            outdated: Notify::new(),
            settled: watch::Sender::new(()),
        })
    }

    /// How many leases this node watches the ends of; none unless it leads.
    pub fn leases(&self) -> usize {
        self.reigning.lock().as_ref().map_or(0, |reigning| reigning.book.len())
    }

    /// Renews a lease to its whole time. `None`: there is none, or it ran out.
    pub async fn renew(&self, id: i64) -> Result<Option<LeaseTime>, Failure> {
        let mut settled = self.settled.subscribe();
        let (term, lease) = self.find(id)?;
        let renewed = match &lease {
            Some(lease) => self.in_reign(term, |book, now_ms| book.renew(now_ms, lease))?,
            None => Renewed::TooLate,
        };
        let lease = lease.filter(|_| renewed != Renewed::TooLate);
        if let Some(lease) = lease.as_ref().filter(|_| renewed == Renewed::AfterNote) {
            self.outdated.notify_one();
            while self.in_reign(term, |book, _| book.noted(id, lease.generation))? {
                settled.changed().await.map_err(|_| replica::Error::NotLeader)?;
            }
        }
        self.replica.confirm_leader(term).await?;
        Ok(lease.map(|lease| LeaseTime { remaining_s: lease.granted_ttl_s, granted_s: lease.granted_ttl_s }))
    }

    /// What is left of a lease; `None` if there is none.
    pub async fn time_to_live(&self, id: i64) -> Result<Option<LeaseTime>, Failure> {
        let (term, lease) = self.find(id)?;
        let time = match lease {
            None => None,
            Some(lease) => self.in_reign(term, |book, now_ms| {
                book.learn(now_ms, &lease);
                Some(LeaseTime { remaining_s: book.left_s(now_ms, id), granted_s: lease.granted_ttl_s })
            })?,
        };
        self.replica.confirm_leader(term).await?;
        Ok(time)
    }

    /// The lease as the tables of the leader hold it, which show everything that was ever acknowledged once the book
    /// of the term is open.
    fn find(&self, id: i64) -> Result<(u64, Option<Lease>), Failure> {
        let term = self.reigning.lock().as_ref().ok_or(replica::Error::NotLeader)?.term;
        let view = self.replica.view()?;
        Ok((term, keyspace::lease(view.as_ref(), id)?))
    }

    /// Does something with the book of `term` and the time.
    fn in_reign<T>(&self, term: u64, with: impl FnOnce(&mut Book, u64) -> T) -> Result<T, replica::Error> {
        let mut reigning = self.reigning.lock();
        let reigning = reigning.as_mut().filter(|reigning| reigning.term == term).ok_or(replica::Error::NotLeader)?;
        let now_ms = reigning.now_ms(self.clock.as_ref());
        Ok(with(&mut reigning.book, now_ms))
    }

    /// Opens the book, or brings it up to date, with the leases of the tables. The events begin before what was read.
    async fn load(&self, reign: Reign) -> Result<Events, Failure> {
        let events = self.replica.events();
        self.replica.read_barrier(Instant::now() + limits::CALL_TIME_DEFAULT).await?;
        let replica = self.replica.clone();
        let leases = tokio::task::spawn_blocking(move || all_leases(replica.view()?.as_ref())).await;
        let leases = leases.map_err(|error| replica::Error::Stopped(error.to_string()))??;
        let mut reigning = self.reigning.lock();
        let opened = reigning.get_or_insert_with(|| {
            let seen_ms = self.clock.monotonic_ms();
            Reigning { term: reign.term, book: Book::default(), seen_ms, skipped_ms: 0 }
        });
        let now_ms = opened.now_ms(self.clock.as_ref());
        opened.book.retain(&leases.iter().map(|lease| lease.id).collect::<HashSet<i64>>());
        for lease in leases {
            let ending = lease.ending || mutation::active("lease-not-extended");
            opened.book.learn(now_ms, &Lease { ending, ..lease });
        }
        tracing::info!(term = reign.term, leases = opened.book.len(), "the leases are known");
        Ok(events)
    }

    async fn load_until_done(&self, reign: Reign) -> Events {
        loop {
            match self.load(reign).await {
                Ok(events) => return events,
                Err(error) => tracing::warn!(term = reign.term, %error, "the leases are not known yet; trying again"),
            }
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }

    /// Takes up leases as they are granted, and forgets those that are gone.
    async fn follow(&self, reign: Reign, mut events: Events) {
        loop {
            let batch = match events.recv().await {
                Ok(batch) => batch,
                Err(RecvError::Closed) => return std::future::pending().await,
                Err(RecvError::Lagged(_)) => {
                    // Once for a whole burst.
                    tokio::time::sleep(RETRY_DELAY).await;
                    events = self.load_until_done(reign).await;
                    continue;
                }
            };
            for event in &batch.events {
                // Outside of the reign this task is about to be cut off.
                let _ = match event {
                    Event::LeaseGranted { id, generation, ttl_s } => {
                        let lease = Lease {
                            id: *id,
                            generation: *generation,
                            granted_ttl_s: *ttl_s,
                            remaining_ttl_s: 0,
                            ending: false,
                        };
                        self.in_reign(reign.term, |book, now_ms| book.learn(now_ms, &lease))
                    }
                    Event::LeaseEnded { id } => self.in_reign(reign.term, |book, _| book.forget(*id)),
                    _ => Ok(()),
                };
            }
        }
    }

    /// Looks at the clock also while proposals take long, so that only a stop of the process is a gap.
    async fn watch_clock(&self, reign: Reign) {
        while self.in_reign(reign.term, |_, _| ()).is_ok() {
            tokio::time::sleep(TICK).await;
        }
    }

    /// Proposes what is due.
    async fn work(&self, reign: Reign) {
        loop {
            let looked = self.in_reign(reign.term, |book, now_ms| {
                let (due, outdated) = (book.due(now_ms), book.outdated());
                (due, outdated, book.next_ms().map(|next| next.saturating_sub(now_ms)))
            });
            let Ok((due, outdated, next_ms)) = looked else { return };
            if due.expired.is_empty() && due.notes.is_empty() && outdated.is_empty() {
                let pause = next_ms.map_or(TICK, |next| Duration::from_millis(next.max(1)).min(TICK));
                let _ = tokio::time::timeout(pause, self.outdated.notified()).await;
                continue;
            }
            if !due.notes.is_empty() {
                self.note(reign, &due.notes).await;
            }
            if !outdated.is_empty() && self.note(reign, &outdated).await {
                let _ = self.in_reign(reign.term, |book, _| book.taken_back(&outdated));
                self.settled.send_replace(());
            }
            if !due.expired.is_empty() {
                self.expire(reign, &due.expired).await;
            }
        }
    }

    /// Whether the log has taken the notes. One that was lost is made up for by the next, or repeated.
    async fn note(&self, reign: Reign, notes: &[(i64, u64, i64)]) -> bool {
        let command = KeyspaceCommand::CheckpointLeases { leases: notes.to_vec() };
        match self.proposer.propose_internal(reign.term, Command::Keyspace(command)).await {
            Ok(Reply::Keyspace(KeyspaceReply::LeasesCheckpointed)) => true,
            other => {
                tracing::warn!(term = reign.term, ?other, "notes on leases were not taken");
                tokio::time::sleep(RETRY_DELAY).await;
                false
            }
        }
    }

    /// Ends leases, in as many steps as their keys take. Repeating it is harmless: it names generations.
    async fn expire(&self, reign: Reign, leases: &[(i64, u64)]) {
        let mut rest = leases;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(self.fitting(rest).await);
            self.expire_at_once(reign, now).await;
            rest = later;
        }
        tracing::debug!(count = leases.len(), "leases expired");
        let _ = self.in_reign(reign.term, |book, _| {
            leases.iter().for_each(|(id, generation)| book.forget_generation(*id, *generation));
        });
    }

    /// How many of these leases, from the first on, one command may name. One at least.
    async fn fitting(&self, leases: &[(i64, u64)]) -> usize {
        let ids: Vec<i64> = leases.iter().map(|(id, _)| *id).collect();
        let replica = self.replica.clone();
        let looked = move || steps::fitting(replica.view()?.as_ref(), &ids, EXPIRE_KEYS, MAX_DELETED_KEY_BYTES);
        match tokio::task::spawn_blocking(looked).await {
            Ok(Ok(fitting)) => fitting.clamp(1, leases.len()),
            Ok(Err(_)) | Err(_) => 1,
        }
    }

    async fn expire_at_once(&self, reign: Reign, leases: &[(i64, u64)]) {
        loop {
            let command = KeyspaceCommand::ExpireLeases { leases: leases.to_vec() };
            match self.proposer.propose_internal(reign.term, Command::Keyspace(command)).await {
                Ok(Reply::Keyspace(KeyspaceReply::LeasesExpired { remaining: 0 })) => break,
                Ok(Reply::Keyspace(KeyspaceReply::LeasesExpired { .. })) => {}
                other => {
                    tracing::warn!(term = reign.term, ?other, "leases were not expired; trying again");
                    tokio::time::sleep(RETRY_DELAY).await;
                }
            }
        }
    }
}

/// Every lease that the tables hold.
pub(super) fn all_leases(read: &dyn Read) -> io::Result<Vec<Lease>> {
    let mut all: Vec<Lease> = Vec::new();
    loop {
        let page = keyspace::leases(read, all.last().map(|lease| lease.id), limits::LEASE_PAGE)?;
        let last = page.len() < limits::LEASE_PAGE;
        all.extend(page);
        if last {
            return Ok(all);
        }
    }
}
