//! The multi-version key space behind the etcd v3 API: current rows, their history, compaction, leases.

mod budget;
mod command;
mod error;
mod hash;
mod history;
mod inside;
mod lease;
mod query;
mod range;
mod rows;
mod txn;
mod write;

pub use command::{KeysChanged, KeyspaceCommand, KeyspaceReply};
pub use error::KeyspaceError;
pub use history::skip_revisions;
pub(in crate::state) use inside::{current, grant_new, put_all, revoke};
pub use query::{
    HashedKeys, Lease, QueryError, Revisions, changes, get, hash, lease, lease_keys, leases, range, read_txn,
    reads_only, revisions,
};
