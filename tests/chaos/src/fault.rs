//! The faults: what can happen, and how one is drawn from the run's random numbers.

use std::fmt;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

/// Whom a fault hits. Who leads is found out when it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Leader,
    Follower,
    /// The leader and a follower: no majority is left.
    Two,
    All,
}

impl Who {
    fn any(random: &mut StdRng) -> Self {
        [Who::Leader, Who::Follower, Who::Two, Who::All][random.random_range(0..4)]
    }

    fn one(random: &mut StdRng) -> Self {
        [Who::Leader, Who::Follower][random.random_range(0..2)]
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// kill -9.
    Kill(Who),
    /// kill -9, and files end where they were last synced. `torn`: or somewhere behind that.
    PowerLoss {
        who: Who,
        torn: bool,
    },
    /// The leader is cut off; a voter is killed and restarted within the lease that it granted.
    RestartWithinLease,
    /// SIGSTOP and SIGCONT.
    Pause(Who, Duration),
    /// One node and the others do not hear each other. `refused`: connections fail at once, not by timeout.
    Partition {
        who: Who,
        refused: bool,
    },
    /// What the one sends does not arrive (`mute`), or what is sent to it (`deaf`).
    OneWay {
        who: Who,
        mute: bool,
    },
    /// Two nodes do not hear each other; the third hears both.
    Bridge,
    /// Every message takes longer.
    Delay(Duration),
    /// Some chunks out of 1,000 are sent again late.
    Loss(u32),
    /// Bytes a second on every link.
    SlowLinks(u32),
    /// Connections between the nodes break, again and again.
    Resets,
    /// The small disk is filled below the watermark, or entirely.
    FullDisk {
        entirely: bool,
    },
    /// Each sync takes longer.
    SlowSync(Who, Duration),
    /// The wall clock is wrong by so many milliseconds, and right again after.
    Clock(Who, i64),
    /// The wall clock runs faster or slower by so many microseconds a second, and is right again after.
    Drift(Who, i64),
    Transfer,
    /// A new node in the place of one that may be dead.
    Replace {
        who: Who,
        killed: bool,
    },
    /// All nodes one after the other, in good order.
    RollingRestart,
    /// A node that was away gets a snapshot, and is killed in the middle.
    SnapshotMidway,
    /// Something happens to simulated nodes.
    Worker(Trouble),
    /// The same, and before it is dealt with something happens to the coordinator.
    Meanwhile(Trouble, Toll),
}

/// What happens to the coordinator while something happens to nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toll {
    /// The leader is killed.
    Leader,
    /// All of it is killed.
    All,
}

/// What happens to a simulated node. Only streaming nodes can refuse anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    Crash,
    /// For longer than its session lives.
    Pause,
    /// The coordinator and it do not hear each other; producers reach it.
    Isolate,
    /// Each assignment and each append takes so many milliseconds longer.
    Slow(u32),
    /// It takes nothing.
    Reject,
    /// An operator orders that everything be taken from it.
    Drain,
    /// It leaves in good order.
    Leave,
}

/// What can be arranged here.
#[derive(Clone, Copy, Debug)]
pub struct Means {
    /// A disk that can be filled.
    pub small_disk: bool,
    /// Simulated nodes.
    pub workers: bool,
}

impl Means {
    pub fn allow(self, fault: &Fault) -> bool {
        match fault {
            Fault::FullDisk { .. } => self.small_disk,
            Fault::Worker(_) | Fault::Meanwhile(..) => self.workers,
            _ => true,
        }
    }
}

impl Trouble {
    fn any(random: &mut StdRng) -> Self {
        match random.random_range(0..8) {
            0 | 1 => Trouble::Crash,
            2 => Trouble::Pause,
            3 => Trouble::Isolate,
            4 => Trouble::Slow(random.random_range(10..400)),
            5 => Trouble::Drain,
            6 => Trouble::Leave,
            _ => Trouble::Reject,
        }
    }
}

impl Fault {
    /// Draws one that can be arranged.
    pub fn draw(random: &mut StdRng, means: Means) -> Self {
        loop {
            let fault = match random.random_range(0..36) {
                0..3 => Fault::Kill(Who::any(random)),
                3..6 => Fault::PowerLoss { who: Who::any(random), torn: random.random() },
                6 => Fault::RestartWithinLease,
                7..9 => Fault::Pause(Who::one(random), Duration::from_millis(random.random_range(700..2500))),
                9..11 => Fault::Partition { who: Who::one(random), refused: random.random() },
                11..13 => Fault::OneWay { who: Who::one(random), mute: random.random() },
                13 => Fault::Bridge,
                14 => Fault::Delay(Duration::from_millis(random.random_range(20..300))),
                15 => Fault::Loss(random.random_range(5..80)),
                16 => Fault::SlowLinks(random.random_range(20_000..400_000)),
                17 => Fault::Resets,
                18 => Fault::FullDisk { entirely: random.random() },
                19 => Fault::SlowSync(Who::any(random), Duration::from_millis(random.random_range(5..150))),
                20..22 => Fault::Clock(Who::any(random), clock_step(random)),
                22 => Fault::Transfer,
                23 => Fault::Replace { who: Who::one(random), killed: random.random() },
                24 => Fault::RollingRestart,
                25 => Fault::Drift(Who::any(random), random.random_range(-500_000..500_000)),
                26 => Fault::SnapshotMidway,
                27..33 => Fault::Worker(Trouble::any(random)),
                33 => Fault::Meanwhile(Trouble::any(random), Toll::All),
                _ => Fault::Meanwhile(Trouble::any(random), Toll::Leader),
            };
            if means.allow(&fault) {
                return fault;
            }
        }
    }

    /// Sometimes another one that goes on meanwhile, mild enough for leaders to be elected.
    pub fn backdrop(random: &mut StdRng, means: Means) -> Option<Self> {
        match random.random_range(0..18) {
            0 => Some(Fault::Delay(Duration::from_millis(random.random_range(5..40)))),
            1 => Some(Fault::Loss(random.random_range(1..20))),
            2 => Some(Fault::SlowSync(Who::All, Duration::from_millis(random.random_range(2..25)))),
            3 | 4 => Some(Fault::Clock(Who::any(random), clock_step(random))),
            5 | 6 if means.workers => Some(Fault::Worker(Trouble::any(random))),
            _ => None,
        }
    }

    /// How long it lasts before it is healed, for those that last.
    pub fn lasts(random: &mut StdRng) -> Duration {
        Duration::from_millis(random.random_range(400..2800))
    }

    /// One of each kind, in an order in which rare things come first.
    pub fn tour(means: Means) -> Vec<Self> {
        let second = Duration::from_secs(1);
        let mut tour = vec![
            Fault::Kill(Who::Leader),
            Fault::PowerLoss { who: Who::All, torn: false },
            Fault::Pause(Who::Leader, second * 3 / 2),
            Fault::Partition { who: Who::Leader, refused: false },
            Fault::RestartWithinLease,
            Fault::SnapshotMidway,
            Fault::OneWay { who: Who::Leader, mute: false },
            Fault::PowerLoss { who: Who::Two, torn: true },
            Fault::OneWay { who: Who::Leader, mute: true },
            Fault::Bridge,
            Fault::Clock(Who::Leader, 20_000),
            Fault::Drift(Who::Leader, 200_000),
            Fault::Kill(Who::All),
            Fault::Resets,
            Fault::Replace { who: Who::Follower, killed: true },
            Fault::Transfer,
            Fault::Delay(second / 10),
            Fault::Loss(50),
            Fault::SlowSync(Who::All, second / 20),
            Fault::SlowLinks(100_000),
            Fault::RollingRestart,
            Fault::FullDisk { entirely: true },
            Fault::FullDisk { entirely: false },
            Fault::Worker(Trouble::Crash),
            Fault::Worker(Trouble::Pause),
            Fault::Worker(Trouble::Isolate),
            Fault::Worker(Trouble::Slow(200)),
            Fault::Worker(Trouble::Reject),
            Fault::Worker(Trouble::Drain),
            Fault::Worker(Trouble::Leave),
            Fault::Meanwhile(Trouble::Crash, Toll::Leader),
            Fault::Meanwhile(Trouble::Pause, Toll::Leader),
            Fault::Meanwhile(Trouble::Drain, Toll::Leader),
            Fault::Meanwhile(Trouble::Isolate, Toll::All),
        ];
        tour.retain(|fault| means.allow(fault));
        tour
    }
}

/// Small and large steps, back and forth; beyond a minute the oracle must not follow.
fn clock_step(random: &mut StdRng) -> i64 {
    let size = match random.random_range(0..3) {
        0 => random.random_range(100..3_000),
        1 => random.random_range(3_000..50_000),
        _ => random.random_range(50_000..7_200_000),
    };
    if random.random() { size } else { -size }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Who::Leader => "the leader",
            Who::Follower => "a follower",
            Who::Two => "the leader and a follower",
            Who::All => "all nodes",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Kill(who) => write!(f, "kill -9 of {who}"),
            Fault::PowerLoss { who, torn: false } => write!(f, "power loss of {who}"),
            Fault::PowerLoss { who, torn: true } => write!(f, "power loss of {who}, files torn"),
            Fault::RestartWithinLease => write!(f, "a voter restarted within the lease of a leader that is cut off"),
            Fault::Pause(who, lasting) => write!(f, "{who} paused for {lasting:?}"),
            Fault::Partition { who, refused } => {
                write!(f, "{who} cut off{}", if *refused { ", connections refused" } else { "" })
            }
            Fault::OneWay { who, mute: true } => write!(f, "{who} hears and is not heard"),
            Fault::OneWay { who, mute: false } => write!(f, "{who} is heard and does not hear"),
            Fault::Bridge => write!(f, "two nodes see each other only through the third"),
            Fault::Delay(by) => write!(f, "every link delayed by up to {by:?}"),
            Fault::Loss(rate) => write!(f, "{rate} of 1,000 chunks lost and sent again"),
            Fault::SlowLinks(rate) => write!(f, "{rate} bytes/s on every link"),
            Fault::Resets => write!(f, "connections between nodes reset again and again"),
            Fault::FullDisk { entirely: true } => {
                write!(f, "a disk is full to the last byte, and its node starts on it")
            }
            Fault::FullDisk { entirely: false } => write!(f, "a disk is full to the watermark"),
            Fault::SlowSync(who, by) => write!(f, "each sync of {who} takes {by:?} longer"),
            Fault::Clock(who, ms) => write!(f, "the clock of {who} steps by {ms} ms and back"),
            Fault::Drift(who, ppm) => write!(f, "the clock of {who} drifts by {ppm} us a second"),
            Fault::Transfer => write!(f, "leadership transferred, thrice"),
            Fault::Replace { who, killed: true } => write!(f, "{who} killed and replaced by a new node"),
            Fault::Replace { who, killed: false } => write!(f, "{who} replaced by a new node"),
            Fault::RollingRestart => write!(f, "rolling restart"),
            Fault::SnapshotMidway => write!(f, "a node killed while it installs a snapshot"),
            Fault::Worker(trouble) => write!(f, "{trouble}"),
            Fault::Meanwhile(trouble, Toll::Leader) => write!(f, "{trouble}, and the leader is killed"),
            Fault::Meanwhile(trouble, Toll::All) => write!(f, "{trouble}, and all nodes are killed"),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Crash => write!(f, "workers crash"),
            Trouble::Pause => write!(f, "workers hang, longer than their sessions live"),
            Trouble::Isolate => write!(f, "workers cut off from the coordinator, not from producers"),
            Trouble::Slow(ms) => write!(f, "workers take {ms} ms longer"),
            Trouble::Reject => write!(f, "workers refuse every channel"),
            Trouble::Drain => write!(f, "workers are to give everything away"),
            Trouble::Leave => write!(f, "workers leave"),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_seed_draws_the_same_faults_again_and_a_disk_that_is_not_there_is_not_filled() {
        let draw = |seed, small_disk| {
            let (mut random, means) = (StdRng::seed_from_u64(seed), Means { small_disk, workers: small_disk });
            (0..200).map(|_| Fault::draw(&mut random, means)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1, true), draw(1, true));
        assert_ne!(draw(1, true), draw(2, true));
        let full = |fault: &Fault| matches!(fault, Fault::FullDisk { .. } | Fault::Worker(_) | Fault::Meanwhile(..));
        assert!(draw(1, true).iter().any(full) && !draw(1, false).iter().any(full));
    }
}
