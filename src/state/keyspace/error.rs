//! Why the key space refuses a request. The texts and gRPC codes of etcd are `etcd/error.rs`' business.

use serde::{Deserialize, Serialize};

/// Stored by the variant's place: append variants, never reorder, change or remove one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum KeyspaceError {
    #[error("the revision has been compacted")]
    Compacted,
    #[error("the revision is in the future")]
    FutureRevision,
    /// `ignore_value` or `ignore_lease` of a key that is not there.
    #[error("there is no such key")]
    KeyNotFound,
    #[error("there is no such lease")]
    LeaseNotFound,
    #[error("there is a lease of that id")]
    LeaseExists,
    /// The request would change or touch more keys than one command may.
    #[error("too many keys in one request")]
    TooManyKeys,
    /// The message does not decode or breaks a rule that the proposer should have enforced.
    #[error("malformed request")]
    Malformed,
}
