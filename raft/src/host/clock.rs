//! Noticing that time passed without us: a suspended machine stops CLOCK_MONOTONIC, and with it every lease.

use std::time::Duration;

use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};

/// A difference between two clocks' progress that is not scheduling noise.
const TOLERANCE: Duration = Duration::from_millis(50);

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Compares the monotonic clock with those that go on during a suspension.
pub struct SuspendDetector(Mutex<Duration>);

impl SuspendDetector {
    pub fn new() -> Self {
        SuspendDetector(Mutex::new(Self::gap()))
    }

    /// How far CLOCK_BOOTTIME is ahead of CLOCK_MONOTONIC: the time spent suspended since boot.
    fn gap() -> Duration {
        read(ClockId::Boottime).saturating_sub(read(ClockId::Monotonic))
    }

    /// Whether the machine was suspended since the last call; leases computed before are worth nothing then.
    pub fn suspended(&self) -> bool {
        self.jumped_to(Self::gap())
    }

    fn jumped_to(&self, gap: Duration) -> bool {
        let mut last = self.0.lock();
        let jumped = gap.abs_diff(*last) > TOLERANCE;
        *last = gap;
        jumped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_jump_between_the_clocks_counts() {
        let detector = SuspendDetector::new();
        assert!(!detector.suspended());
        let now = SuspendDetector::gap();
        assert!(detector.jumped_to(now + Duration::from_secs(3)));
        assert!(!detector.jumped_to(now + Duration::from_secs(3)));
    }
}
