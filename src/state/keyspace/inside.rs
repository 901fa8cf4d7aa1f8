//! What other parts of apply do with the key space. Watchers, leases and workers see it as a client's change.

use std::io;

use roost_raft::kv::{Read, Txn};

use super::budget::Budget;
use super::error::KeyspaceError;
use super::lease;
use super::query::QueryError;
use super::rows::{self, key_space};
use super::write::Writer;
use crate::pb::etcd::api::PutRequest;
use crate::pb::store;
use crate::state::Event;
use crate::state::tables::LEASES;

/// Ids of leases that apply chooses: clients draw theirs from all 63 bits.
const FIRST_LEASE: i64 = 0x5e55 << 48;
/// How many ids of clients' leases in a row are passed over.
const LEASE_ATTEMPTS: i64 = 64;

/// The row of a key that is there.
pub fn current(read: &dyn Read, key: &[u8]) -> io::Result<Option<store::KeyRow>> {
    rows::current(read, key)
}

/// Grants a lease under an id that is free, which it returns.
pub fn grant_new(txn: &mut Txn<'_>, events: &mut Vec<Event>, ttl_s: i64) -> Result<i64, QueryError> {
    // Leases are counted, so the next id was never given before but by a client.
    let counted = i64::try_from(key_space(txn)?.lease_generation).unwrap_or(i64::MAX);
    for attempt in 1..=LEASE_ATTEMPTS {
        let id = FIRST_LEASE.saturating_add(counted).saturating_add(attempt);
        if LEASES.get(txn, &id)?.is_none() {
            lease::grant(txn, events, id, ttl_s)?;
            return Ok(id);
        }
    }
    Err(KeyspaceError::LeaseExists.into())
}

/// Puts keys, in one revision.
pub fn put_all(
    txn: &mut Txn<'_>,
    events: &mut Vec<Event>,
    now_ms: u64,
    puts: Vec<PutRequest>,
) -> Result<(), QueryError> {
    let mut writer = Writer::new(txn)?;
    let mut budget = Budget::of_command();
    for put in puts {
        writer.put(put, &mut budget)?;
    }
    writer.finish(events, now_ms)?;
    Ok(())
}

/// Ends a lease, and with it its keys.
pub fn revoke(txn: &mut Txn<'_>, events: &mut Vec<Event>, now_ms: u64, id: i64) -> Result<(), QueryError> {
    lease::revoke(txn, events, now_ms, id)?;
    Ok(())
}
