//! Allocation: take a range from the window of the current reign, then prove that the reign lasts, then answer.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::RwLock;
use roost_raft::mutation;
use tokio::sync::{Notify, watch};

use super::physical_ms;
use super::window::{Exhausted, Window};
use crate::leader::clock::GuardedClock;
use crate::limits;
use crate::replica::Replica;

/// Why no timestamp was given. Nothing is lost: a range that was taken and not answered is never given again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("cannot allocate 0 timestamps")]
    ZeroCount,
    #[error("cannot allocate {0} timestamps at once, the maximum is {max}", max = limits::TIMESTAMPS_PER_REQUEST_MAX)]
    CountTooLarge(u32),
    /// Ask the node that leads.
    #[error("this node does not hold the timestamp oracle")]
    NotLeader,
    /// The bound could not be moved in time.
    #[error("the timestamp window was not extended in time")]
    Stalled,
}

/// The oracle of this node: open while it leads, closed otherwise.
pub struct Oracle {
    window: RwLock<Option<Arc<Window>>>,
    /// Bumped whenever a window opens, grows or closes.
    changed: watch::Sender<u64>,
    /// Rung when a window is running out.
    pub(super) low: Notify,
    pub(super) clock: Arc<GuardedClock>,
    replica: Arc<dyn Replica>,
    pub(super) window_ms: u64,
}

impl Oracle {
    pub fn new(replica: Arc<dyn Replica>, clock: Arc<GuardedClock>, window_ms: u64) -> Arc<Self> {
        let (window, changed) = (RwLock::new(None), watch::Sender::new(0));
        Arc::new(Oracle { window, changed, low: Notify::new(), clock, replica, window_ms })
    }

    /// Allocates `count` consecutive timestamps and returns the first.
    pub async fn allocate(&self, count: u32, deadline: Instant) -> Result<u64, Error> {
        let (first, term) = self.take(count, deadline).await?;
        self.confirm(term).await?;
        Ok(first)
    }

    /// Takes a range without the proof that must come before it is answered: [`Oracle::confirm`] with the same term.
    pub(super) async fn take(&self, count: u32, deadline: Instant) -> Result<(u64, u64), Error> {
        match count {
            0 => return Err(Error::ZeroCount),
            count if count > limits::TIMESTAMPS_PER_REQUEST_MAX => return Err(Error::CountTooLarge(count)),
            _ => {}
        }
        let mut changed = None;
        loop {
            let Some(window) = self.window() else {
                self.wait_for_reign(&mut changed, deadline).await?;
                continue;
            };
            let now_ms = self.clock.now_ms();
            let taken = window.take(now_ms, count);
            if taken.is_err() || window.half_used(now_ms, self.window_ms) {
                self.low.notify_one();
            }
            match taken {
                Ok(first) => return Ok((first, window.term())),
                Err(Exhausted) => self.wait_for_change(&mut changed, deadline).await?,
            }
        }
    }

    /// Subscribes on its first call and waits on later ones, so that no change between two looks is missed.
    async fn wait_for_change(&self, seen: &mut Option<watch::Receiver<u64>>, deadline: Instant) -> Result<(), Error> {
        let Some(changes) = seen else {
            *seen = Some(self.changed.subscribe());
            return Ok(());
        };
        match tokio::time::timeout_at(deadline.into(), changes.changed()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Error::Stalled),
        }
    }

    /// A node that has just become leader is about to open its window; any other node is the wrong one.
    async fn wait_for_reign(&self, seen: &mut Option<watch::Receiver<u64>>, deadline: Instant) -> Result<(), Error> {
        let mut leadership = self.replica.leadership();
        if !leadership.borrow_and_update().is_self {
            return Err(Error::NotLeader);
        }
        tokio::select! {
            opened = self.wait_for_change(seen, deadline) => opened,
            _ = leadership.changed() => Ok(()),
        }
    }

    /// Proves that this node still leads `term`, which makes ranges taken before this call fit to be answered. The
    /// replica answers all who ask at the same time by one check.
    pub(super) async fn confirm(&self, term: u64) -> Result<(), Error> {
        if mutation::active("tso-without-lease-check") {
            return Ok(());
        }
        self.replica.confirm_leader(term).await.map_err(|_| Error::NotLeader)
    }

    /// Waits until timestamps given from now on are above `timestamp`.
    pub async fn pass(&self, timestamp: u64, deadline: Instant) -> Result<(), Error> {
        loop {
            let upcoming = self.upcoming().ok_or(Error::NotLeader)?;
            if upcoming > timestamp {
                return Ok(());
            }
            let behind_ms = physical_ms(timestamp).saturating_sub(physical_ms(upcoming)) + 1;
            let wake =
                tokio::time::Instant::now() + std::time::Duration::from_millis(behind_ms.min(limits::MAX_SLEEP_MS));
            if wake > deadline.into() {
                return Err(Error::Stalled);
            }
            tokio::time::sleep_until(wake).await;
        }
    }

    fn upcoming(&self) -> Option<u64> {
        Some(self.window()?.upcoming(self.clock.now_ms()))
    }

    /// The bound in memory, in milliseconds; `None` while this node does not serve.
    pub fn bound_ms(&self) -> Option<u64> {
        Some(self.window()?.bound_ms())
    }

    pub(super) fn window(&self) -> Option<Arc<Window>> {
        self.window.read().clone()
    }

    pub(super) fn open(&self, window: Arc<Window>) {
        *self.window.write() = Some(window);
        self.announce();
    }

    /// Closes the window of `term`, unless a later one is open already.
    pub(super) fn close(&self, term: u64) {
        let mut window = self.window.write();
        if window.as_ref().is_some_and(|open| open.term() == term) {
            *window = None;
        }
        drop(window);
        self.announce();
    }

    pub(super) fn announce(&self) {
        self.changed.send_modify(|version| *version += 1);
    }
}
