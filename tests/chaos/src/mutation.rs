//! Deliberate errors that a build with the feature `mutations` makes when it is told to, each with the faults that
//! bring it to light and the checkers that must see it.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;

use crate::fault::{Fault, Toll, Trouble, Who};
use crate::history::Checker;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mutation {
    /// The write-ahead log is not synced before an acknowledgement.
    SkipWalSync,
    /// Reads show what the asked node has applied, without asking the leader.
    ReadWithoutBarrier,
    /// Timestamps are answered without proof that the node still leads.
    TsoWithoutLeaseCheck,
    /// A new leader begins where its clock stands, not at the stored bound.
    ReuseTsoWindow,
    /// A repeated request is executed again.
    DropDeduplication,
    /// A snapshot's position is read after its rows.
    SnapshotLateMetadata,
    /// Each watch event is delivered twice.
    WatchTwice,
    /// Leases live half as long as they should.
    LeaseEarly,
    /// Ids that were given are given again.
    ReuseIds,
    /// A stream to the leader that broke is not made again while the leader stays.
    KeepBrokenLink,
    /// The simulated logs accept appends under terms that are over. Not an error of Roost: it shows the checker.
    AppendWithoutFence,
    /// Nodes hear of assignments before these are committed.
    AssignBeforeCommit,
    /// A broadcast is acknowledged though one of its vchannels has not got it.
    AcknowledgeUnreached,
    /// A new leader gives leases no more time.
    LeaseNotExtended,
}

impl Mutation {
    pub const ALL: [Mutation; 14] = [
        Mutation::SkipWalSync,
        Mutation::ReadWithoutBarrier,
        Mutation::TsoWithoutLeaseCheck,
        Mutation::ReuseTsoWindow,
        Mutation::DropDeduplication,
        Mutation::SnapshotLateMetadata,
        Mutation::WatchTwice,
        Mutation::LeaseEarly,
        Mutation::ReuseIds,
        Mutation::KeepBrokenLink,
        Mutation::AppendWithoutFence,
        Mutation::AssignBeforeCommit,
        Mutation::AcknowledgeUnreached,
        Mutation::LeaseNotExtended,
    ];

    /// The value of ROOST_MUTATION.
    pub fn name(self) -> &'static str {
        match self {
            Mutation::SkipWalSync => "skip-wal-sync",
            Mutation::ReadWithoutBarrier => "read-without-barrier",
            Mutation::TsoWithoutLeaseCheck => "tso-without-lease-check",
            Mutation::ReuseTsoWindow => "reuse-tso-window",
            Mutation::DropDeduplication => "drop-deduplication",
            Mutation::SnapshotLateMetadata => "snapshot-late-metadata",
            Mutation::WatchTwice => "watch-twice",
            Mutation::LeaseEarly => "lease-early",
            Mutation::ReuseIds => "reuse-ids",
            Mutation::KeepBrokenLink => "keep-broken-link",
            Mutation::AppendWithoutFence => "append-without-fence",
            Mutation::AssignBeforeCommit => "assign-before-commit",
            Mutation::AcknowledgeUnreached => "acknowledge-unreached",
            Mutation::LeaseNotExtended => "lease-not-extended",
        }
    }

    /// Repeated until it is seen.
    pub fn faults(self) -> Vec<Fault> {
        let second = Duration::from_secs(1);
        match self {
            Mutation::SkipWalSync => vec![Fault::PowerLoss { who: Who::All, torn: false }],
            Mutation::ReadWithoutBarrier => {
                vec![Fault::Delay(second / 5), Fault::Partition { who: Who::Follower, refused: false }]
            }
            Mutation::TsoWithoutLeaseCheck => {
                vec![Fault::Pause(Who::Leader, second * 2), Fault::Partition { who: Who::Leader, refused: false }]
            }
            Mutation::ReuseTsoWindow => vec![Fault::Clock(Who::Leader, 25_000), Fault::Kill(Who::Leader)],
            Mutation::DropDeduplication => vec![Fault::Resets, Fault::OneWay { who: Who::Leader, mute: true }],
            Mutation::SnapshotLateMetadata => vec![Fault::SnapshotMidway],
            Mutation::WatchTwice | Mutation::LeaseEarly | Mutation::ReuseIds => vec![Fault::Kill(Who::Follower)],
            Mutation::KeepBrokenLink => vec![Fault::Resets],
            Mutation::AppendWithoutFence => vec![Fault::Worker(Trouble::Pause)],
            Mutation::AssignBeforeCommit => vec![Fault::Meanwhile(Trouble::Crash, Toll::Leader)],
            Mutation::AcknowledgeUnreached => vec![Fault::Worker(Trouble::Crash)],
            Mutation::LeaseNotExtended => vec![Fault::Kill(Who::Leader)],
        }
    }

    /// The checkers that are made for this.
    pub fn seen_by(self) -> &'static [Checker] {
        match self {
            Mutation::SkipWalSync => {
                &[Checker::Keys, Checker::Revisions, Checker::Ddl, Checker::Watch, Checker::Ids, Checker::Collections]
            }
            Mutation::ReadWithoutBarrier => &[Checker::Keys, Checker::Revisions, Checker::Collections],
            Mutation::TsoWithoutLeaseCheck | Mutation::ReuseTsoWindow => &[Checker::Timestamps],
            Mutation::DropDeduplication => &[Checker::Once, Checker::Keys],
            Mutation::SnapshotLateMetadata => &[Checker::Hash],
            Mutation::WatchTwice => &[Checker::Watch],
            Mutation::LeaseEarly => &[Checker::Lease],
            Mutation::ReuseIds => &[Checker::Ids],
            Mutation::KeepBrokenLink => &[Checker::Liveness],
            Mutation::AppendWithoutFence => &[Checker::Channels],
            Mutation::AssignBeforeCommit => &[Checker::Committed, Checker::Channels],
            Mutation::AcknowledgeUnreached => &[Checker::Broadcasts],
            Mutation::LeaseNotExtended => &[Checker::Sessions, Checker::Lease],
        }
    }
}

impl fmt::Display for Mutation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
