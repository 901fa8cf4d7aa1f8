//! Why the host has no answer. What cannot be survived is not here: it stops the node (`Host::failure`).

use crate::types::NodeId;

/// Why a proposal was not executed, or may not have been.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    #[error("this node does not lead")]
    NotLeader { leader: Option<NodeId> },
    /// The entry may or may not be, or become, committed. Only the same request may be sent again.
    #[error("leadership changed while the entry was on its way; it may or may not be executed")]
    Unknown,
    #[error("too many proposals are in flight")]
    Busy,
    #[error("a proposal of {bytes} bytes is over the limit of {limit}")]
    TooLarge { bytes: usize, limit: usize },
    #[error("the NOSPACE alarm is raised: a member's disk is nearly full")]
    NoSpace,
    #[error("the command needs apply version {needed}; the cluster runs {current} until every member is upgraded")]
    Unsupported { needed: u32, current: u32 },
    #[error("this node has stopped")]
    Stopped,
}

/// Why a linearizable read cannot be answered here now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("this node does not lead (the term asked for)")]
    NotLeader,
    #[error("no leader is known")]
    NoLeader,
    #[error("no quorum confirmed the leader in time")]
    NoQuorum,
    #[error("this node has not applied up to the read's index in time")]
    Behind,
    #[error("this node has stopped")]
    Stopped,
}

/// Why a membership change or transfer was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    #[error("this node does not lead")]
    NotLeader { leader: Option<NodeId> },
    #[error("{0}")]
    Invalid(String),
    #[error("another membership change is in progress")]
    InProgress,
    /// The member has not caught up (yet).
    #[error("{0}")]
    Lagging(String),
    #[error("not finished in time: {0}")]
    TimedOut(String),
    #[error("this node has stopped")]
    Stopped,
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Refused(#[from] crate::storage::marker::Refused),
    #[error(transparent)]
    Log(#[from] crate::log::OpenError),
    #[error("{0}")]
    Config(String),
    #[error("storage: {0}")]
    Io(#[from] std::io::Error),
    #[error("consensus: {0}")]
    Raft(String),
}
