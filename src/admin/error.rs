//! Why an administrative call was not done, and how that is told on the wire: a gRPC code, and the metadata key
//! `roost-reason` where a program may want to act on the difference.

use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

/// Metadata key of the reason.
pub const REASON_KEY: &str = "roost-reason";

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not done: another node leads, or is about to.
    #[error("{0}")]
    NotLeader(String),
    /// Not done: nobody leads.
    #[error("the cluster has no leader at the moment")]
    NoLeader,
    #[error("this node belongs to no cluster yet; initialize it or add it to one")]
    Uninitialized,
    #[error("this node belongs to cluster {0} already")]
    Initialized(String),
    /// Not done: the member has not caught up.
    #[error("{0}")]
    Lagging(String),
    /// Not done: something else of the kind is going on.
    #[error("{0}")]
    Busy(String),
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    NotFound(String),
    /// Perhaps done, perhaps later.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    #[error("{0}")]
    Failed(String),
}

impl Error {
    fn code(&self) -> Code {
        match self {
            Error::NotLeader(_) | Error::NoLeader | Error::Unknown(_) => Code::Unavailable,
            Error::Uninitialized | Error::Initialized(_) | Error::Lagging(_) => Code::FailedPrecondition,
            Error::Busy(_) => Code::ResourceExhausted,
            Error::Invalid(_) => Code::InvalidArgument,
            Error::NotFound(_) => Code::NotFound,
            Error::Failed(_) => Code::Internal,
        }
    }

    fn reason(&self) -> Option<&'static str> {
        match self {
            Error::NotLeader(_) => Some("not-leader"),
            Error::NoLeader => Some("no-leader"),
            Error::Uninitialized => Some("uninitialized"),
            Error::Initialized(_) => Some("initialized"),
            Error::Lagging(_) => Some("lagging"),
            Error::Busy(_) => Some("busy"),
            Error::Invalid(_) | Error::NotFound(_) | Error::Unknown(_) | Error::Failed(_) => None,
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let mut status = Status::new(error.code(), error.to_string());
        if let Some(reason) = error.reason() {
            status.metadata_mut().insert(REASON_KEY, MetadataValue::from_static(reason));
        }
        status
    }
}
