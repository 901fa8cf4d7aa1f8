//! The range that one reign may serve from, and the one place that hands out timestamps.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{compose, physical_ms};

/// Serves [first, bound), ascending, each timestamp once.
#[derive(Debug)]
pub struct Window {
    term: u64,
    /// The smallest timestamp not yet given out.
    next: AtomicU64,
    /// One past the largest that may be given out. Only grows.
    bound: AtomicU64,
}

/// The committed bound is used up, or the clock has passed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted;

impl Window {
    /// The window of `term`, from the bound that it found to the one that it committed, both in milliseconds.
    pub fn new(term: u64, found_ms: u64, committed_ms: u64) -> Self {
        let (next, bound) = (AtomicU64::new(compose(found_ms)), AtomicU64::new(compose(committed_ms)));
        Window { term, next, bound }
    }

    pub fn term(&self) -> u64 {
        self.term
    }

    pub fn bound_ms(&self) -> u64 {
        physical_ms(self.bound.load(Ordering::Acquire))
    }

    /// The smallest timestamp that [`Window::take`] could give at `now_ms`.
    pub fn upcoming(&self, now_ms: u64) -> u64 {
        self.next.load(Ordering::Acquire).max(compose(now_ms))
    }

    /// Takes `count` consecutive timestamps and returns the first. Follows the clock, never backwards; while the clock
    /// stands or goes back, the logical part carries into the milliseconds.
    pub fn take(&self, now_ms: u64, count: u32) -> Result<u64, Exhausted> {
        let mut next = self.next.load(Ordering::Acquire);
        loop {
            let first = next.max(compose(now_ms));
            let after = first.checked_add(u64::from(count)).ok_or(Exhausted)?;
            if after > self.bound.load(Ordering::Acquire) {
                return Err(Exhausted);
            }
            match self.next.compare_exchange_weak(next, after, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(first),
                Err(current) => next = current,
            }
        }
    }

    /// Moves the bound, after the commit of exactly this bound in this window's term.
    pub fn raise(&self, committed_ms: u64) {
        self.bound.fetch_max(compose(committed_ms), Ordering::AcqRel);
    }

    /// Less than half of `window_ms` is left: time to extend.
    pub fn half_used(&self, now_ms: u64, window_ms: u64) -> bool {
        let used = physical_ms(self.upcoming(now_ms));
        self.bound_ms().saturating_sub(used) < window_ms.div_ceil(2)
    }
}
