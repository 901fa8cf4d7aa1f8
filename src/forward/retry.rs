//! How a service tells the ingress that the call should be sent again: a gRPC error that carries a mark.
//! The mark never leaves the cluster. Only an error whose call is safe to repeat under its request id may bear it.

use http::HeaderMap;
use tonic::metadata::MetadataValue;

use crate::replica;

/// Its presence asks for a retry; its value says whether the call may have been executed.
pub const MARK: &str = "roost-retry";
const NOT_DONE: &str = "not-done";
const UNKNOWN: &str = "unknown";

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

/// Reads the mark off a reply's headers or trailers.
pub fn asked(headers: &HeaderMap) -> Option<Attempt> {
    let value = headers.get(MARK)?;
    Some(if value.as_bytes() == NOT_DONE.as_bytes() { Attempt::NotDone } else { Attempt::Unknown })
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
    }
}
