//! What can happen to the cluster, drawn from the seed.

use std::fmt;

use rand::Rng;
use rand::rngs::SmallRng;

/// A place in the cluster, from 0; the leader where it is meant is looked up when the fault begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Leader,
    Place(usize),
}

/// How a node ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The process dies; the machine goes on, writes what it holds, and closes the connections.
    Kill,
    /// The machine dies: what was not synced is gone from some point on, and nobody is told.
    PowerLoss,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    One(End, Target),
    Two(End, Target),
    All(End),
    /// The power fails at the n-th write or sync from now on, in the middle of whatever is being done.
    PowerFailsAt(u64, Target),
    /// Cut off from everybody.
    Isolated(Target),
    /// Cut off from the other nodes, not from clients.
    CutFromNodes(Target),
    /// Its messages to the other nodes are lost, theirs arrive.
    Mute(Target),
    Deaf(Target),
    /// The other two cannot reach each other.
    Bridge(Target),
    /// Messages between it and the others are kept, and delivered late.
    Held(Target),
    SlowLinks,
    SlowDisk(Target),
    ClockStep(Target, i64),
    Transfer,
    /// The leader is cut off, and a voter restarted within the lease that it has granted.
    VoterRestarted,
    /// Cut off while the log grows and is purged: it is sent a snapshot, perhaps while other things happen.
    Lagging(Target),
}

impl Fault {
    pub fn draw(rng: &mut SmallRng, places: usize) -> Self {
        let target = |rng: &mut SmallRng| match rng.random_bool(0.4) {
            true => Target::Leader,
            false => Target::Place(rng.random_range(0..places)),
        };
        let end = |rng: &mut SmallRng| if rng.random_bool(0.7) { End::PowerLoss } else { End::Kill };
        match rng.random_range(0..22) {
            0..3 => Fault::One(end(rng), target(rng)),
            3 => Fault::Two(end(rng), target(rng)),
            4 => Fault::All(end(rng)),
            5..8 => Fault::PowerFailsAt(rng.random_range(0..60), target(rng)),
            8 => Fault::Isolated(target(rng)),
            9 => Fault::CutFromNodes(target(rng)),
            10 => Fault::Mute(target(rng)),
            11 => Fault::Deaf(target(rng)),
            12 => Fault::Bridge(target(rng)),
            13 => Fault::Held(target(rng)),
            14 => Fault::SlowLinks,
            15 => Fault::SlowDisk(target(rng)),
            16 => Fault::ClockStep(target(rng), rng.random_range(-7_200_000..7_200_000)),
            17 => Fault::Transfer,
            18 => Fault::VoterRestarted,
            _ => Fault::Lagging(target(rng)),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
