//! Cluster-wide counts, kept beside every change so that limits are checked without a scan.

use std::io;

use roost_raft::kv::Txn;

use super::limits::Limits;
use super::step::Refusal;
use super::tables::TOTALS;
use crate::error::Rejection;
use crate::pb::store;

pub(super) fn add_database(txn: &mut Txn<'_>, limits: &Limits) -> Result<(), Refusal> {
    let mut totals = TOTALS.get_or_default(txn, &())?;
    if totals.databases >= limits.max_databases {
        return Err(Rejection::DatabaseLimit { limit: limits.max_databases }.into());
    }
    totals.databases += 1;
    TOTALS.put(txn, &(), &totals);
    Ok(())
}

pub(super) fn remove_database(txn: &mut Txn<'_>) -> io::Result<()> {
    change(txn, |totals| {
        totals.databases = totals.databases.checked_sub(1)?;
        Some(())
    })
}

pub(super) fn add_collection(txn: &mut Txn<'_>, database: &str, limits: &Limits) -> Result<(), Refusal> {
    let mut totals = TOTALS.get_or_default(txn, &())?;
    if totals.collections >= limits.max_collections {
        let (database, limit) = (database.to_owned(), limits.max_collections);
        return Err(Rejection::CollectionLimit { database, limit }.into());
    }
    totals.collections += 1;
    TOTALS.put(txn, &(), &totals);
    Ok(())
}

pub(super) fn remove_collection(txn: &mut Txn<'_>) -> io::Result<()> {
    change(txn, |totals| {
        totals.collections = totals.collections.checked_sub(1)?;
        Some(())
    })
}

/// Takes `partitions` x `shards` of the general capacity.
pub(super) fn add_capacity(txn: &mut Txn<'_>, partitions: u64, shards: u32, limits: &Limits) -> Result<(), Refusal> {
    let mut totals = TOTALS.get_or_default(txn, &())?;
    let wanted = partitions.saturating_mul(shards.into()).saturating_add(totals.general_capacity);
    if wanted > limits.max_general_capacity {
        return Err(Rejection::CapacityExceeded { limit: limits.max_general_capacity }.into());
    }
    totals.general_capacity = wanted;
    TOTALS.put(txn, &(), &totals);
    Ok(())
}

/// Gives `partitions` x `shards` back.
pub(super) fn remove_capacity(txn: &mut Txn<'_>, partitions: u64, shards: u32) -> io::Result<()> {
    change(txn, |totals| {
        let freed = partitions.checked_mul(shards.into())?;
        totals.general_capacity = totals.general_capacity.checked_sub(freed)?;
        Some(())
    })
}

fn change(txn: &mut Txn<'_>, with: impl FnOnce(&mut store::Totals) -> Option<()>) -> io::Result<()> {
    let mut totals = TOTALS.get_or_default(txn, &())?;
    with(&mut totals).ok_or_else(|| TOTALS.corrupt(&TOTALS.key(&()), "a count would fall below zero"))?;
    TOTALS.put(txn, &(), &totals);
    Ok(())
}
