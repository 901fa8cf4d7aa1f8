//! The deliberate errors that the simulation can see, and the checkers that are made for them.

use roost_chaos::history::Checker;

/// A deliberate error: see `roost_raft::mutation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mutation {
    SkipWalSync,
    ReadWithoutBarrier,
    DropDeduplication,
    SnapshotLateMetadata,
    TsoWithoutLeaseCheck,
    ReuseTsoWindow,
}

impl Mutation {
    pub const ALL: [Mutation; 6] = [
        Mutation::SkipWalSync,
        Mutation::ReadWithoutBarrier,
        Mutation::DropDeduplication,
        Mutation::SnapshotLateMetadata,
        Mutation::TsoWithoutLeaseCheck,
        Mutation::ReuseTsoWindow,
    ];

    /// As `ROOST_MUTATION` has it.
    pub fn name(self) -> &'static str {
        match self {
            Mutation::SkipWalSync => "skip-wal-sync",
            Mutation::ReadWithoutBarrier => "read-without-barrier",
            Mutation::DropDeduplication => "drop-deduplication",
            Mutation::SnapshotLateMetadata => "snapshot-late-metadata",
            Mutation::TsoWithoutLeaseCheck => "tso-without-lease-check",
            Mutation::ReuseTsoWindow => "reuse-tso-window",
        }
    }

    /// Any of these counts as seen.
    pub fn seen_by(self) -> Vec<String> {
        let checkers: &[Checker] = match self {
            // What is lost is a key, a name, an id; or a leader finds that a follower's log went back, and ends.
            Mutation::SkipWalSync => &[Checker::Keys, Checker::Collections, Checker::Ids, Checker::Liveness],
            Mutation::ReadWithoutBarrier => &[Checker::Keys, Checker::Collections],
            Mutation::DropDeduplication => &[Checker::Keys, Checker::Collections],
            Mutation::SnapshotLateMetadata => &[Checker::Hash],
            Mutation::TsoWithoutLeaseCheck | Mutation::ReuseTsoWindow => &[Checker::Timestamps],
        };
        checkers.iter().map(ToString::to_string).collect()
    }
}
