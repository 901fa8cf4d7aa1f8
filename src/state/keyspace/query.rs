//! Reads of the key space on one consistent view.

use std::io;

use roost_raft::kv::Read;

use super::budget::Budget;
use super::error::KeyspaceError;
use super::rows::{self, Span, key_space};
use super::{history, txn};
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
    /// It ran out, and some of its keys are gone already: nothing can save it.
    pub ending: bool,
}

/// See [`hash`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashedKeys {
    pub hash: u32,
    pub current_revision: i64,
    /// -1 before the first compaction, as in etcd.
    pub compact_revision: i64,
}

pub fn revisions(read: &dyn Read) -> io::Result<Revisions> {
    Ok(Revisions::of(&key_space(read)?))
}

/// One key as it is now.
pub fn get(read: &dyn Read, key: &[u8]) -> io::Result<Option<kv::KeyValue>> {
    Ok(rows::current(read, key)?.map(|row| rows::key_value(key.to_vec(), row)))
}

/// The response's header holds the revision only.
pub fn range(read: &dyn Read, request: &api::RangeRequest) -> Result<api::RangeResponse, QueryError> {
    super::range::answer(read, revisions(read)?, request, &mut Budget::of_read())
}

/// Whether no branch of the transaction can change anything, so that it needs no log entry.
pub fn reads_only(request: &api::TxnRequest) -> bool {
    txn::reads_only(request)
}

/// Evaluates a transaction for which [`reads_only`] holds.
pub fn read_txn(read: &dyn Read, request: &api::TxnRequest) -> Result<api::TxnResponse, QueryError> {
    txn::read(read, revisions(read)?, request, &mut Budget::of_read())
}

/// Changes from revision `from` on, in order, to keys in `key..range_end` (etcd's forms: an empty `range_end` is the
/// one key, `\0` means no end). Whole revisions only; ends after the revision with which `max_bytes` of history are
/// read. Returns the revision to go on from, which is beyond the current one at the end. With `prev_kv` if `with_prev`,
/// but not at the compaction's revision, whose past is gone.
pub fn changes(
    read: &dyn Read,
    key: &[u8],
    range_end: &[u8],
    from: i64,
    with_prev: bool,
    max_bytes: usize,
    visit: &mut dyn FnMut(i64, Vec<kv::Event>),
) -> Result<i64, QueryError> {
    let wanted = history::Wanted { span: Span::new(key, range_end), from, with_prev, max_bytes };
    history::changes(read, &wanted, visit)
}

pub fn lease(read: &dyn Read, id: i64) -> io::Result<Option<Lease>> {
    super::lease::find(read, id)
}

/// Up to `limit` leases in the order of their ids, after the id `after`.
pub fn leases(read: &dyn Read, after: Option<i64>, limit: usize) -> io::Result<Vec<Lease>> {
    super::lease::list(read, after, limit)
}

/// Up to `limit` keys that are attached to a lease, in order, after the key `after`.
pub fn lease_keys(read: &dyn Read, id: i64, after: Option<&[u8]>, limit: usize) -> io::Result<Vec<Vec<u8>>> {
    super::lease::keys(read, id, after, limit)
}

/// etcd's HashKV at `revision` (0: the current one): CRC-32C over the history's rows in etcd's own layout.
pub fn hash(read: &dyn Read, revision: i64) -> Result<HashedKeys, QueryError> {
    super::hash::history(read, revision)
}
