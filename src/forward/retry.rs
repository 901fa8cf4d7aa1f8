//! How a service tells the ingress what its answer is worth: a mark, which never leaves the cluster.
//! A gRPC error with a mark asks for the call to be sent again; only one whose call is safe to repeat under its request
//! id may bear it. A marked reply is a refusal that was given before the log: final, unless an earlier attempt of the
//! same call may have reached the log.

use http::HeaderMap;
use tonic::metadata::MetadataValue;

use crate::replica;

/// What the answer is worth.
pub const MARK: &str = "roost-retry";
const NOT_DONE: &str = "not-done";
const UNKNOWN: &str = "unknown";
const REFUSED: &str = "refused";

/// What the last attempt left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Certainly not executed.
    NotDone,
    /// Perhaps executed.
    Unknown,
}

/// The marked form of an error of the replicated state.
pub fn status(error: &replica::Error) -> tonic::Status {
    let mut status = tonic::Status::unavailable(error.to_string());
    let value = match error {
        replica::Error::Unknown(_) => UNKNOWN,
        _ => NOT_DONE,
    };
    status.metadata_mut().insert(MARK, MetadataValue::from_static(value));
    status
}

/// Marks a refusal of which the log knows nothing.
pub fn refused_before_log<T>(reply: T) -> tonic::Response<T> {
    let mut response = tonic::Response::new(reply);
    response.metadata_mut().insert(MARK, MetadataValue::from_static(REFUSED));
    response
}

/// Whether the call is to be sent again, by the mark in the reply's headers.
pub fn asked(headers: &HeaderMap) -> Option<Attempt> {
    match headers.get(MARK)?.as_bytes() {
        value if value == NOT_DONE.as_bytes() => Some(Attempt::NotDone),
        value if value == REFUSED.as_bytes() => None,
        _ => Some(Attempt::Unknown),
    }
}

/// Whether the reply says nothing about earlier attempts: marked so, or a gRPC error, which no log entry answers with.
pub fn before_log(headers: &HeaderMap) -> bool {
    let failed = headers.get("grpc-status").is_some_and(|code| code.as_bytes() != b"0");
    failed || headers.get(MARK).is_some_and(|mark| mark.as_bytes() == REFUSED.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_read_back() {
        let headers = |error| status(&error).into_http::<tonic::body::Body>().headers().clone();
        assert_eq!(asked(&headers(replica::Error::NotLeader)), Some(Attempt::NotDone));
        assert_eq!(asked(&headers(replica::Error::Unknown("x".into()))), Some(Attempt::Unknown));
        assert_eq!(asked(&HeaderMap::new()), None);
        assert!(!before_log(&HeaderMap::new()));
        let refused = refused_before_log(()).into_parts().0.into_headers();
        assert!(before_log(&refused) && asked(&refused).is_none());
        let failed = tonic::Status::unauthenticated("").into_http::<tonic::body::Body>().headers().clone();
        assert!(before_log(&failed) && asked(&failed).is_none());
    }
}
