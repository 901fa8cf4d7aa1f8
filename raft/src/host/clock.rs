//! Noticing that time passed without us: a suspended machine stops CLOCK_MONOTONIC, and with it every lease.

use std::time::Duration;

use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// The largest difference between two clocks' progress that passes for scheduling noise.
const TOLERANCE_MAX: Duration = Duration::from_millis(50);

/// How far the clocks that go on during a suspension are ahead of the monotonic one, in nanoseconds: CLOCK_BOOTTIME for
/// a suspended machine, CLOCK_REALTIME for a paused one (a step of the wall clock counts too; that costs a quorum
/// round).
pub type Gaps = [i128; 2];

fn read(clock: ClockId) -> i128 {
    let time = clock_gettime(clock);
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

/// The gaps of this machine's clocks.
pub fn gaps() -> Gaps {
    let monotonic = read(ClockId::Monotonic);
    [read(ClockId::Boottime) - monotonic, read(ClockId::Realtime) - monotonic]
}

struct State {
    /// As of the last jump, not of the last look: many small jumps add up.
    gaps: Gaps,
    distrust_until: Option<Instant>,
}

/// Compares the monotonic clock with those that go on during a suspension.
pub struct SuspendDetector {
    lease: Duration,
    tolerance_ns: u128,
    gaps: fn() -> Gaps,
    state: Mutex<State>,
}

impl SuspendDetector {
    /// After a jump, acknowledgements from before it look fresh for one `lease` of monotonic time. A leader trusts its
    /// lease for 3/4 of it, so what passes unnoticed must be less than the rest.
    pub fn new(lease: Duration, gaps: fn() -> Gaps) -> Self {
        let tolerance_ns = TOLERANCE_MAX.min(lease / 5).as_nanos();
        SuspendDetector { lease, tolerance_ns, gaps, state: Mutex::new(State { gaps: gaps(), distrust_until: None }) }
    }

    /// Whether a lease may rest on acknowledgements from before a suspension: only a quorum round is good then.
    pub fn distrusts(&self) -> bool {
        self.jumped_to((self.gaps)());
        self.state.lock().distrust_until.is_some_and(|until| Instant::now() < until)
    }

    /// Whether the machine was suspended since the last jump that was seen.
    fn jumped_to(&self, gaps: Gaps) -> bool {
        let mut state = self.state.lock();
        let jumped = gaps.iter().zip(state.gaps).any(|(now, then)| now.abs_diff(then) > self.tolerance_ns);
        if jumped {
            state.gaps = gaps;
            state.distrust_until = Some(Instant::now() + self.lease);
        }
        jumped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i128 = 1_000_000;

    #[test]
    fn a_jump_is_distrusted_for_a_whole_lease_however_often_one_looks() {
        let detector = SuspendDetector::new(Duration::from_secs(3600), gaps);
        assert!(!detector.distrusts());
        let [boot, real] = gaps();
        assert!(detector.jumped_to([boot + 3000 * MS, real]));
        assert!(!detector.jumped_to([boot + 3000 * MS, real]));
        assert!(detector.distrusts());
        assert!(detector.distrusts());
    }

    #[test]
    fn small_jumps_add_up_and_the_wall_clock_counts() {
        let detector = SuspendDetector::new(Duration::from_millis(500), || [0, 0]);
        assert!(!detector.jumped_to([30 * MS, 0]));
        assert!(detector.jumped_to([60 * MS, 0]));
        assert!(detector.jumped_to([60 * MS, -100 * MS]));
    }

    #[test]
    fn what_passes_unnoticed_is_less_than_what_a_lease_leaves() {
        let detector = SuspendDetector::new(Duration::from_millis(100), || [0, 0]);
        assert!(!detector.jumped_to([19 * MS, 0]));
        assert!(detector.jumped_to([24 * MS, 0]), "a lease of 100 ms is trusted for 75");
    }
}
