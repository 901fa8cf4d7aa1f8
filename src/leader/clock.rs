//! Wall time that one wrong clock cannot run away with.
//! The oracle follows the wall clock only as far as `max_ahead` past what is trusted: the replicated bound plus elapsed
//! monotonic time, or, once the wall clock claims more, the median of the voters' clocks. A new leader's clock is
//! settled before anything is stamped by it: the replicated time never goes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

/// Where time comes from; tests turn the hands.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch.
    fn wall_ms(&self) -> u64;
    /// Milliseconds since some fixed moment, never going back.
    fn monotonic_ms(&self) -> u64;
}

/// The operating system's clocks.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock { started: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn wall_ms(&self) -> u64 {
        // A clock before 1970 reads as 0: the oracle then runs on its stored bound alone.
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| millis(since.as_millis()))
    }

    fn monotonic_ms(&self) -> u64 {
        millis(self.started.elapsed().as_millis())
    }
}

fn millis(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// The wall clock, held to what is trusted.
pub struct GuardedClock {
    clock: Arc<dyn Clock>,
    /// Trusted wall time minus monotonic time, in milliseconds.
    trusted_offset: AtomicI64,
    max_ahead_ms: u64,
    /// The last term whose leader, this node, may stamp by this clock; 0 for none. Terms do not come again, so the end
    /// of a reign need not take it back.
    settled: watch::Sender<u64>,
}

impl GuardedClock {
    pub fn new(clock: Arc<dyn Clock>, max_ahead_ms: u64) -> Self {
        let settled = watch::Sender::new(0);
        let guarded = GuardedClock { clock, trusted_offset: AtomicI64::new(0), max_ahead_ms, settled };
        guarded.trust(guarded.wall_ms());
        guarded
    }

    pub fn wall_ms(&self) -> u64 {
        self.clock.wall_ms()
    }

    /// Declares that it is now `wall_ms`.
    pub fn trust(&self, wall_ms: u64) {
        let offset = signed(wall_ms).saturating_sub(signed(self.clock.monotonic_ms()));
        self.trusted_offset.store(offset, Ordering::Release);
    }

    /// What trusted time has become by now.
    pub fn trusted_ms(&self) -> u64 {
        let now = signed(self.clock.monotonic_ms()).saturating_add(self.trusted_offset.load(Ordering::Acquire));
        u64::try_from(now).unwrap_or(0)
    }

    /// The wall clock claims more than is trusted: ask the others before believing it.
    pub fn suspect(&self) -> bool {
        self.wall_ms() > self.trusted_ms().saturating_add(self.max_ahead_ms)
    }

    /// Wall time, or trusted time while the wall clock is suspect.
    pub fn now_ms(&self) -> u64 {
        let (wall, trusted) = (self.wall_ms(), self.trusted_ms());
        if wall > trusted.saturating_add(self.max_ahead_ms) { trusted } else { wall }
    }

    /// Declares that what was replicated before `term` is trusted, and that a suspicion that arose was settled.
    pub fn settled_for(&self, term: u64) {
        self.settled.send_replace(term);
    }

    /// The term whose leader may stamp by this clock.
    pub fn settled_term(&self) -> u64 {
        *self.settled.borrow()
    }

    /// Waits until this clock is settled for `term`.
    pub async fn settling(&self, term: u64) {
        // It fails only without a sender, which this method borrows.
        let _ = self.settled.subscribe().wait_for(|settled| *settled == term).await;
    }

    /// Settles a suspicion with the clocks of the other voters: the lower median, this node's own clock included, plus
    /// `max_ahead` is as far as this clock is believed. Returns whether it was believed.
    pub fn settle(&self, others_ms: &[u64]) -> bool {
        let own = self.wall_ms();
        let mut all: Vec<u64> = others_ms.iter().copied().chain([own]).collect();
        all.sort_unstable();
        let median = all.get((all.len() - 1) / 2).copied().unwrap_or(own);
        let believed = own <= median.saturating_add(self.max_ahead_ms);
        self.trust(if believed { own } else { median.max(self.trusted_ms()) });
        believed
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
pub mod fake {
    use std::sync::atomic::AtomicU64;

    use super::*;

    /// A clock whose hands are turned by the test.
    #[derive(Debug, Default)]
    pub struct FakeClock {
        pub wall: AtomicU64,
        pub monotonic: AtomicU64,
    }

    impl FakeClock {
        pub fn at(wall_ms: u64) -> Arc<Self> {
            Arc::new(FakeClock { wall: AtomicU64::new(wall_ms), monotonic: AtomicU64::new(1) })
        }

        /// Time passes.
        pub fn pass(&self, ms: u64) {
            self.wall.fetch_add(ms, Ordering::Relaxed);
            self.monotonic.fetch_add(ms, Ordering::Relaxed);
        }

        /// Somebody sets the wall clock.
        pub fn set(&self, wall_ms: u64) {
            self.wall.store(wall_ms, Ordering::Relaxed);
        }
    }

    impl Clock for FakeClock {
        fn wall_ms(&self) -> u64 {
            self.wall.load(Ordering::Relaxed)
        }

        fn monotonic_ms(&self) -> u64 {
            self.monotonic.load(Ordering::Relaxed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fake::FakeClock;
    use super::*;

    #[test]
    fn a_leap_beyond_what_is_trusted_is_not_followed_until_the_others_agree() {
        let clock = FakeClock::at(1_000_000);
        let guarded = GuardedClock::new(clock.clone(), 60_000);
        clock.pass(500);
        assert_eq!((guarded.now_ms(), guarded.suspect()), (1_000_500, false));
        clock.set(1_030_000);
        assert_eq!(guarded.now_ms(), 1_030_000, "within the allowance");
        clock.set(9_000_000);
        assert!(guarded.suspect());
        assert_eq!(guarded.now_ms(), 1_000_500, "trusted time goes on");
        assert!(!guarded.settle(&[1_000_400, 1_000_600]));
        clock.pass(100);
        assert_eq!(guarded.now_ms(), 1_000_700);
        assert!(guarded.settle(&[9_000_050, 1_000_600]), "two of three agree");
        assert_eq!(guarded.now_ms(), 9_000_100);
    }

    #[test]
    fn a_clock_that_is_behind_or_alone_is_believed() {
        let clock = FakeClock::at(5_000);
        let guarded = GuardedClock::new(clock.clone(), 1_000);
        assert!(guarded.settle(&[900_000, 900_001]));
        assert_eq!(guarded.now_ms(), 5_000);
        clock.set(800_000);
        assert!(guarded.settle(&[]));
        assert_eq!(guarded.now_ms(), 800_000);
        clock.set(10);
        assert_eq!(guarded.now_ms(), 10, "going back is the window's business");
    }
}
