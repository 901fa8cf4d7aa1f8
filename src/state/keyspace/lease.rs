//! Leases as facts: which were granted and which keys are theirs. When one runs out is the leader's business.

use std::io;

use roost_raft::kv::{Read, Txn};

use super::command::KeyspaceReply;
use super::error::KeyspaceError;
use super::query::{Lease, QueryError};
use super::rows::key_space;
use super::write::Writer;
use crate::pb::store;
use crate::state::Event;
use crate::state::limits::{EXPIRE_KEYS, MAX_CHANGED_KEYS, MAX_DELETED_KEY_BYTES, MAX_LEASE_TTL_S, MAX_NAMED_LEASES};
use crate::state::tables::{KEY_SPACE, LEASE_KEYS, LEASES};

/// Keys of a lease that are read at once: of the longest ones, 96 MiB.
const KEYS_PAGE: usize = 64;

pub(super) fn grant(
    txn: &mut Txn<'_>,
    events: &mut Vec<Event>,
    id: i64,
    ttl_s: i64,
) -> Result<KeyspaceReply, QueryError> {
    if id == 0 || !(1..=MAX_LEASE_TTL_S).contains(&ttl_s) {
        return Err(KeyspaceError::Malformed.into());
    }
    if LEASES.get(txn, &id)?.is_some() {
        return Err(KeyspaceError::LeaseExists.into());
    }
    let mut space = key_space(txn)?;
    space.lease_generation += 1;
    let generation = space.lease_generation;
    KEY_SPACE.put(txn, &(), &space);
    let lease = store::Lease { generation, granted_ttl_s: ttl_s, remaining_ttl_s: 0, ending: false };
    LEASES.put(txn, &id, &lease);
    events.push(Event::LeaseGranted { id, generation, ttl_s });
    Ok(KeyspaceReply::LeaseGranted { revision: space.revision })
}

pub(super) fn revoke(
    txn: &mut Txn<'_>,
    events: &mut Vec<Event>,
    now_ms: u64,
    id: i64,
) -> Result<KeyspaceReply, QueryError> {
    LEASES.get(txn, &id)?.ok_or(KeyspaceError::LeaseNotFound)?;
    let doomed = doomed(txn, id, MAX_CHANGED_KEYS)?;
    if !doomed.all {
        return Err(KeyspaceError::TooManyKeys.into());
    }
    let revision = delete_keys(txn, events, now_ms, doomed.keys)?;
    end(txn, events, id);
    Ok(KeyspaceReply::LeaseRevoked { revision })
}

/// Ends the named leases that are still of the named generation. One with too many keys loses some of them, and
/// nothing may join it any more.
pub(super) fn expire(
    txn: &mut Txn<'_>,
    events: &mut Vec<Event>,
    now_ms: u64,
    leases: &[(i64, u64)],
) -> Result<KeyspaceReply, QueryError> {
    bounded(leases)?;
    let mut left = EXPIRE_KEYS;
    let mut remaining = 0;
    for &(id, generation) in leases {
        let Some(lease) = LEASES.get(txn, &id)?.filter(|lease| lease.generation == generation) else { continue };
        let doomed = doomed(txn, id, left)?;
        left -= doomed.keys.len();
        delete_keys(txn, events, now_ms, doomed.keys)?;
        if doomed.all {
            end(txn, events, id);
        } else {
            remaining += 1;
            LEASES.put(txn, &id, &store::Lease { ending: true, ..lease });
        }
    }
    Ok(KeyspaceReply::LeasesExpired { remaining })
}

pub(super) fn checkpoint(txn: &mut Txn<'_>, leases: &[(i64, u64, i64)]) -> Result<KeyspaceReply, QueryError> {
    bounded(leases)?;
    for &(id, generation, remaining_ttl_s) in leases {
        let Some(lease) = LEASES.get(txn, &id)?.filter(|lease| lease.generation == generation) else { continue };
        let remaining_ttl_s = remaining_ttl_s.clamp(0, lease.granted_ttl_s);
        if remaining_ttl_s != lease.remaining_ttl_s {
            LEASES.put(txn, &id, &store::Lease { remaining_ttl_s, ..lease });
        }
    }
    Ok(KeyspaceReply::LeasesCheckpointed)
}

fn bounded<T>(named: &[T]) -> Result<(), QueryError> {
    if named.len() > MAX_NAMED_LEASES { Err(KeyspaceError::Malformed.into()) } else { Ok(()) }
}

/// Keys of a lease that go at once.
struct Doomed {
    keys: Vec<Vec<u8>>,
    /// Whether these are all.
    all: bool,
}

/// Up to `limit` keys, and not so long ones that they would fill the memory.
fn doomed(read: &dyn Read, id: i64, limit: usize) -> io::Result<Doomed> {
    let mut doomed = Doomed { keys: Vec::new(), all: false };
    let mut bytes = 0;
    loop {
        let page = keys(read, id, doomed.keys.last().map(Vec::as_slice), KEYS_PAGE)?;
        let last = page.len() < KEYS_PAGE;
        for key in page {
            bytes += key.len();
            if doomed.keys.len() == limit || bytes > MAX_DELETED_KEY_BYTES {
                return Ok(doomed);
            }
            doomed.keys.push(key);
        }
        if last {
            return Ok(Doomed { all: true, ..doomed });
        }
    }
}

/// In one revision, in the order of the keys. Returns the current revision.
fn delete_keys(txn: &mut Txn<'_>, events: &mut Vec<Event>, now_ms: u64, keys: Vec<Vec<u8>>) -> Result<i64, QueryError> {
    let mut writer = Writer::new(txn)?;
    for key in keys {
        writer.delete_key(key)?;
    }
    Ok(writer.finish(events, now_ms)?)
}

fn end(txn: &mut Txn<'_>, events: &mut Vec<Event>, id: i64) {
    LEASES.delete(txn, &id);
    events.push(Event::LeaseEnded { id });
}

/// Whether a key may be given to the lease: it is there, and not coming to its end.
pub(super) fn may_be_joined(read: &dyn Read, id: i64) -> io::Result<bool> {
    Ok(LEASES.get(read, &id)?.is_some_and(|lease| !lease.ending))
}

/// Moves a key from one lease to another; 0 is none.
pub(super) fn attach(txn: &mut Txn<'_>, key: &[u8], from: i64, to: i64) {
    if from == to {
        return;
    }
    if from != 0 {
        LEASE_KEYS.delete(txn, &(from, key.to_vec()));
    }
    if to != 0 {
        LEASE_KEYS.put(txn, &(to, key.to_vec()), &store::Present {});
    }
}

pub(super) fn find(read: &dyn Read, id: i64) -> io::Result<Option<Lease>> {
    Ok(LEASES.get(read, &id)?.map(|row| lease(id, row)))
}

pub(super) fn list(read: &dyn Read, after: Option<i64>, limit: usize) -> io::Result<Vec<Lease>> {
    let page = LEASES.page(read, &(), after.as_ref(), limit)?;
    Ok(page.into_iter().map(|(id, row)| lease(id, row)).collect())
}

pub(super) fn keys(read: &dyn Read, id: i64, after: Option<&[u8]>, limit: usize) -> io::Result<Vec<Vec<u8>>> {
    let after = after.map(|after| (id, after.to_vec()));
    let page = LEASE_KEYS.page(read, &id, after.as_ref(), limit)?;
    Ok(page.into_iter().map(|((_, key), _)| key).collect())
}

fn lease(id: i64, row: store::Lease) -> Lease {
    let store::Lease { generation, granted_ttl_s, remaining_ttl_s, ending } = row;
    Lease { id, generation, granted_ttl_s, remaining_ttl_s, ending }
}
