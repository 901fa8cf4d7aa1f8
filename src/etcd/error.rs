//! etcd's errors: gRPC codes and texts, both of which its clients compare. Where etcd 3.4 and 3.5 differ, 3.5's.

use tonic::{Code, Status};

use crate::error::Rejection;
use crate::failure::Failure;
use crate::replica;
use crate::state::keyspace::{KeyspaceError, QueryError};

/// A refusal in etcd's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    pub code: Code,
    pub text: &'static str,
}

const fn refusal(code: Code, text: &'static str) -> Refusal {
    Refusal { code, text }
}

impl Refusal {
    pub fn status(self) -> Status {
        Status::new(self.code, self.text)
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Status {
        refusal.status()
    }
}

pub const EMPTY_KEY: Refusal = refusal(Code::InvalidArgument, "etcdserver: key is not provided");
/// Also etcd's answer to an operation of a transaction that is none.
pub const KEY_NOT_FOUND: Refusal = refusal(Code::InvalidArgument, "etcdserver: key not found");
pub const VALUE_PROVIDED: Refusal = refusal(Code::InvalidArgument, "etcdserver: value is provided");
pub const LEASE_PROVIDED: Refusal = refusal(Code::InvalidArgument, "etcdserver: lease is provided");
pub const TOO_MANY_OPERATIONS: Refusal =
    refusal(Code::InvalidArgument, "etcdserver: too many operations in txn request");
pub const DUPLICATE_KEY: Refusal = refusal(Code::InvalidArgument, "etcdserver: duplicate key given in txn request");
pub const INVALID_SORT: Refusal = refusal(Code::InvalidArgument, "etcdserver: invalid sort option");
pub const COMPACTED: Refusal = refusal(Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted");
pub const FUTURE_REVISION: Refusal =
    refusal(Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision");
pub const NO_SPACE: Refusal = refusal(Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded");

pub const LEASE_NOT_FOUND: Refusal = refusal(Code::NotFound, "etcdserver: requested lease not found");
pub const LEASE_EXISTS: Refusal = refusal(Code::FailedPrecondition, "etcdserver: lease already exists");
pub const LEASE_TTL_TOO_LARGE: Refusal = refusal(Code::OutOfRange, "etcdserver: too large lease TTL");

pub const MEMBER_NOT_FOUND: Refusal = refusal(Code::NotFound, "etcdserver: member not found");
pub const MEMBER_EXISTS: Refusal = refusal(Code::FailedPrecondition, "etcdserver: member ID already exist");
pub const PEER_URL_EXISTS: Refusal = refusal(Code::FailedPrecondition, "etcdserver: Peer URLs already exists");
pub const MEMBER_BAD_URLS: Refusal = refusal(Code::InvalidArgument, "etcdserver: given member URLs are invalid");
pub const MEMBER_NOT_LEARNER: Refusal =
    refusal(Code::FailedPrecondition, "etcdserver: can only promote a learner member");
pub const LEARNER_NOT_READY: Refusal =
    refusal(Code::FailedPrecondition, "etcdserver: can only promote a learner member which is in sync with leader");
pub const UNHEALTHY_CLUSTER: Refusal = refusal(Code::Unavailable, "etcdserver: unhealthy cluster");

pub const REQUEST_TOO_LARGE: Refusal = refusal(Code::InvalidArgument, "etcdserver: request is too large");
pub const TOO_MANY_REQUESTS: Refusal = refusal(Code::ResourceExhausted, "etcdserver: too many requests");

pub const NO_LEADER: Refusal = refusal(Code::Unavailable, "etcdserver: no leader");
pub const NOT_LEADER: Refusal = refusal(Code::FailedPrecondition, "etcdserver: not leader");
pub const LEADER_CHANGED: Refusal = refusal(Code::Unavailable, "etcdserver: leader changed");
pub const BAD_TRANSFEREE: Refusal = refusal(Code::FailedPrecondition, "etcdserver: bad leader transferee");
pub const STOPPED: Refusal = refusal(Code::Unavailable, "etcdserver: server stopped");
pub const TIMEOUT: Refusal = refusal(Code::Unavailable, "etcdserver: request timed out");

pub const USER_EMPTY: Refusal = refusal(Code::InvalidArgument, "etcdserver: user name is empty");
pub const USER_NOT_FOUND: Refusal = refusal(Code::FailedPrecondition, "etcdserver: user name not found");
pub const ROLE_NOT_FOUND: Refusal = refusal(Code::FailedPrecondition, "etcdserver: role name not found");
pub const AUTH_FAILED: Refusal =
    refusal(Code::InvalidArgument, "etcdserver: authentication failed, invalid user ID or password");
pub const AUTH_NOT_ENABLED: Refusal = refusal(Code::FailedPrecondition, "etcdserver: authentication is not enabled");
pub const INVALID_AUTH_TOKEN: Refusal = refusal(Code::Unauthenticated, "etcdserver: invalid auth token");

/// A refusal of the key space.
pub fn refused(error: KeyspaceError) -> Status {
    match error {
        KeyspaceError::Compacted => COMPACTED.status(),
        KeyspaceError::FutureRevision => FUTURE_REVISION.status(),
        KeyspaceError::KeyNotFound => KEY_NOT_FOUND.status(),
        KeyspaceError::LeaseNotFound => LEASE_NOT_FOUND.status(),
        KeyspaceError::LeaseExists => LEASE_EXISTS.status(),
        // Not etcd's: it has no such limit. The request is as large as its effect.
        KeyspaceError::TooManyKeys => REQUEST_TOO_LARGE.status(),
        KeyspaceError::Malformed => Status::invalid_argument(format!("etcdserver: {error}")),
    }
}

/// A read of the key space that gives nothing.
pub fn unread(error: QueryError) -> Status {
    match error {
        QueryError::Refused(error) => refused(error),
        QueryError::Storage(error) => status(error.into()),
    }
}

/// Whatever else goes wrong on the way to the log or to a read.
pub fn status(failure: Failure) -> Status {
    match failure {
        Failure::Rejected(rejection) | Failure::Decided(rejection) => rejected(&rejection),
        Failure::Again(error) => again(&error).status(),
    }
}

fn rejected(rejection: &Rejection) -> Status {
    match rejection {
        Rejection::DiskFull { .. } => NO_SPACE.status(),
        Rejection::RateLimited { .. } | Rejection::TooManyRequests { .. } => TOO_MANY_REQUESTS.status(),
        Rejection::ParameterTooLarge { .. } => REQUEST_TOO_LARGE.status(),
        Rejection::OutcomeUnknown { .. } => TIMEOUT.status(),
        Rejection::Unavailable { .. } | Rejection::NotReady { .. } => NO_LEADER.status(),
        other => other.to_tonic(),
    }
}

/// Clients repeat reads on Unavailable by themselves, and never repeat writes: right for an unknown outcome.
fn again(error: &replica::Error) -> Refusal {
    match error {
        replica::Error::NotLeader => NO_LEADER,
        replica::Error::Unknown(_) | replica::Error::NoQuorum(_) => TIMEOUT,
        replica::Error::Busy => TOO_MANY_REQUESTS,
        replica::Error::TooLarge(_) => REQUEST_TOO_LARGE,
        replica::Error::DiskFull(_) => NO_SPACE,
        replica::Error::Refused(_) => UNHEALTHY_CLUSTER,
        replica::Error::Stopped(_) => STOPPED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_in_etcds_words() {
        let told = |failure: Failure| {
            let status = status(failure);
            (status.code(), status.message().to_owned())
        };
        let again = |error: replica::Error| told(Failure::Again(error));
        assert_eq!(again(replica::Error::NotLeader), (Code::Unavailable, "etcdserver: no leader".into()));
        let timed_out = (Code::Unavailable, "etcdserver: request timed out".to_owned());
        assert_eq!(again(replica::Error::Unknown("x".into())), timed_out);
        assert_eq!(again(replica::Error::NoQuorum("x".into())), timed_out);
        assert_eq!(told(Failure::Decided(Rejection::OutcomeUnknown { detail: "x".into() })), timed_out);
        let busy = (Code::ResourceExhausted, "etcdserver: too many requests".to_owned());
        assert_eq!(told(replica::Error::Busy.into()), busy);
        let full = (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded".to_owned());
        assert_eq!(told(replica::Error::DiskFull("x".into()).into()), full);
        let large = (Code::InvalidArgument, "etcdserver: request is too large".to_owned());
        assert_eq!(told(replica::Error::TooLarge("x".into()).into()), large);
        assert_eq!(refused(KeyspaceError::Compacted).code(), Code::OutOfRange);
    }
}
