//! Reads of the key space on one consistent view.

use std::io;

use roost_raft::kv::Read;

use super::error::KeyspaceError;
use crate::pb::etcd::{api, kv};

/// Why a read gives nothing.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error(transparent)]
    Refused(#[from] KeyspaceError),
    #[error(transparent)]
    Storage(#[from] io::Error),
}

/// Where the key space stands. An empty one is at revision 1, compacted at 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revisions {
    pub current: i64,
    /// Reads below it are refused.
    pub compacted: i64,
}

/// A lease as the log knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub id: i64,
    /// Distinguishes leases that had the same id one after the other.
    pub generation: u64,
    pub granted_ttl_s: i64,
    /// What was left when it was last noted; 0 for the whole TTL.
    pub remaining_ttl_s: i64,
}

/// See [`hash`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashedKeys {
    pub hash: u32,
    pub current_revision: i64,
    pub compact_revision: i64,
}

fn unwritten<T>() -> Result<T, QueryError> {
    Err(QueryError::Storage(io::Error::other("not written yet")))
}

pub fn revisions(_read: &dyn Read) -> io::Result<Revisions> {
    Ok(Revisions { current: 1, compacted: 0 })
}

/// The response's header holds the revision only.
pub fn range(_read: &dyn Read, _request: &api::RangeRequest) -> Result<api::RangeResponse, QueryError> {
    unwritten()
}

/// Whether no branch of the transaction can change anything, so that it needs no log entry.
pub fn reads_only(_request: &api::TxnRequest) -> bool {
    false
}

/// Evaluates a transaction for which [`reads_only`] holds.
pub fn read_txn(_read: &dyn Read, _request: &api::TxnRequest) -> Result<api::TxnResponse, QueryError> {
    unwritten()
}

/// Changes from revision `from` on, in order, to keys in `key..range_end` (etcd's forms: an empty `range_end` is the one
/// key, `\0` means no end). Whole revisions only; ends after the revision with which `max_bytes` is reached. Returns the
/// revision to go on from. With `prev_kv` if `with_prev`.
pub fn changes(
    _read: &dyn Read,
    _key: &[u8],
    _range_end: &[u8],
    _from: i64,
    _with_prev: bool,
    _max_bytes: usize,
    _visit: &mut dyn FnMut(i64, Vec<kv::Event>),
) -> Result<i64, QueryError> {
    unwritten()
}

pub fn lease(_read: &dyn Read, _id: i64) -> io::Result<Option<Lease>> {
    Ok(None)
}

/// Up to `limit` leases in the order of their ids, after the id `after`.
pub fn leases(_read: &dyn Read, _after: Option<i64>, _limit: usize) -> io::Result<Vec<Lease>> {
    Ok(Vec::new())
}

/// Up to `limit` keys that are attached to a lease, in order, after the key `after`.
pub fn lease_keys(_read: &dyn Read, _id: i64, _after: Option<&[u8]>, _limit: usize) -> io::Result<Vec<Vec<u8>>> {
    Ok(Vec::new())
}

/// etcd's HashKV at `revision` (0: the current one): CRC-32C over the history's rows in etcd's own layout.
pub fn hash(_read: &dyn Read, _revision: i64) -> Result<HashedKeys, QueryError> {
    unwritten()
}
