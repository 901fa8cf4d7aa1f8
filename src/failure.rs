//! Why a service has no good answer: either one that is final and goes to the caller, or one that sends the call on.
//! Every handler ends in [`answer`] or [`grpc`], so the two never get mixed up.

use tonic::{Response, Status};

use crate::error::Rejection;
use crate::forward::retry;
use crate::leader::tso;
use crate::pb::common;
use crate::replica;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A business error, found before the log: a reply.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// A business error that the log decided, once for all copies of the request: a reply.
    #[error(transparent)]
    Decided(Rejection),
    /// The ingress may send the call again, here or to another node.
    #[error(transparent)]
    Again(replica::Error),
}

impl From<replica::Error> for Failure {
    fn from(error: replica::Error) -> Self {
        use replica::Error as Cause;
        match error {
            Cause::Busy => Failure::Rejected(Rejection::RateLimited { detail: error.to_string() }),
            Cause::TooLarge(detail) => Failure::Rejected(Rejection::ParameterTooLarge { detail }),
            Cause::DiskFull(detail) => Failure::Rejected(Rejection::DiskFull { detail }),
            Cause::Refused(detail) => Failure::Rejected(Rejection::NotSupported { detail }),
            Cause::NotLeader | Cause::Unknown(_) | Cause::NoQuorum(_) | Cause::Stopped(_) => Failure::Again(error),
        }
    }
}

impl From<tso::Error> for Failure {
    fn from(error: tso::Error) -> Self {
        match error {
            tso::Error::ZeroCount | tso::Error::CountTooLarge(_) => Rejection::invalid(error.to_string()).into(),
            tso::Error::NotLeader => Failure::Again(replica::Error::NotLeader),
            tso::Error::Stalled => Rejection::TimestampRefused { detail: error.to_string() }.into(),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        // The host watches its storage and stops the node; this call only must not pretend to know anything.
        tracing::error!(%error, "cannot read the tables");
        Rejection::Internal { detail: format!("cannot read the tables: {error}") }.into()
    }
}

/// The reply of a handler: `refuse` puts a refusal's status where this reply keeps it.
pub fn answer<T>(result: Result<T, Failure>, refuse: impl FnOnce(common::Status) -> T) -> Result<Response<T>, Status> {
    match result {
        Ok(reply) => Ok(Response::new(reply)),
        Err(Failure::Rejected(rejection)) => Ok(retry::refused_before_log(refuse(rejection.to_status()))),
        Err(Failure::Decided(rejection)) => Ok(Response::new(refuse(rejection.to_status()))),
        Err(Failure::Again(error)) => Err(retry::status(&error)),
    }
}

/// The reply of a handler of Roost's own services: their replies have no status of Milvus', so a refusal is gRPC's.
pub fn grpc<T>(result: Result<T, Failure>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(|failure| match failure {
        Failure::Rejected(rejection) | Failure::Decided(rejection) => rejection.to_tonic(),
        Failure::Again(error) => retry::status(&error),
    })
}
