//! Partitions of a collection. The collection's row counts them.

use std::fmt;
use std::io;

use roost_raft::kv::{Read, Txn};
use serde::{Deserialize, Serialize};

use super::event::Event;
use super::limits::Limits;
use super::reply::Reply;
use super::step::{Outcome, Refusal, Step};
use super::tables::{COLLECTIONS, LOADS, PARTITION_NAMES, PARTITIONS};
use super::{DEFAULT_PARTITION, collection, id, load, name, schema, totals};
use crate::error::Rejection;
use crate::pb::store;

/// From this apply version on a refusal counts the partitions that are there, as Milvus does, not the one too many too.
const AS_THERE_ARE_SINCE: u32 = 8;

/// Idempotent: an existing name is a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatePartition {
    pub database: String,
    pub collection: String,
    pub name: String,
    /// Hybrid timestamp of the creation.
    pub ts: u64,
    pub limits: Limits,
}

/// Idempotent: dropping what is not there is a success. The collection must be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropPartition {
    pub database: String,
    pub collection: String,
    pub name: String,
}

impl CreatePartition {
    pub(super) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        name::partition_name(&self.name)?;
        let mut row = collection::find(step.txn, &self.database, &self.collection)?;
        if schema::has_partition_key(&row.decoded_schema()?) {
            return Err(Rejection::invalid("disable create partition if partition key mode is used").into());
        }
        if let Some(partition) = lookup(step.txn, row.id, &self.name)? {
            return Ok(Reply::PartitionCreated { partition_id: partition.id, existed: true });
        }
        let present = u64::from(row.partitions);
        row.partitions = row.partitions.saturating_add(1);
        if u64::from(row.partitions) > self.limits.max_partitions {
            let counted = if step.apply_version < AS_THERE_ARE_SINCE { row.partitions.into() } else { present };
            return Err(too_many(counted, &row.name, &self.limits).into());
        }
        totals::add_capacity(step.txn, 1, row.shards, &self.limits)?;
        let partition_id = insert(step, row.id, &self.name, self.ts)?;
        collection::revision::save(step, &mut row);
        step.events.push(Event::PartitionCreated { collection_id: row.id, partition_id, name: self.name.clone() });
        Ok(Reply::PartitionCreated { partition_id, existed: false })
    }
}

impl DropPartition {
    pub(super) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        let mut row = collection::find(step.txn, &self.database, &self.collection)?;
        if self.name == DEFAULT_PARTITION {
            return Err(Rejection::invalid("default partition cannot be deleted").into());
        }
        if schema::has_partition_key(&row.decoded_schema()?) {
            return Err(Rejection::invalid("disable drop partition if partition key mode is used").into());
        }
        let Some(partition) = lookup(step.txn, row.id, &self.name)? else {
            return Ok(Reply::PartitionDropped { partition_id: None });
        };
        if LOADS.get(step.txn, &row.id)?.is_some_and(|load| load.holds(partition.id)) {
            let detail = "partition cannot be dropped, partition is loaded, please release it first";
            return Err(Rejection::invalid(detail).into());
        }
        row.partitions = row.partitions.checked_sub(1).ok_or_else(|| COLLECTIONS.missing(&row.id))?;
        totals::remove_capacity(step.txn, 1, row.shards)?;
        remove(step.txn, &partition);
        collection::revision::save(step, &mut row);
        load::forget_partition(step, &row, partition.id)?;
        step.events.push(Event::PartitionDropped {
            collection_id: row.id,
            partition_id: partition.id,
            name: partition.name,
        });
        Ok(Reply::PartitionDropped { partition_id: Some(partition.id) })
    }
}

impl fmt::Display for CreatePartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "create partition {}", path(&self.database, &self.collection, &self.name))
    }
}

impl fmt::Display for DropPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "drop partition {}", path(&self.database, &self.collection, &self.name))
    }
}

fn path(database: &str, collection: &str, partition: &str) -> String {
    let database = name::database_or_default(database).escape_debug();
    format!("{database}.{}.{}", collection.escape_debug(), partition.escape_debug())
}

/// Refuses more partitions than one collection may have.
pub(super) fn check_count(partitions: u64, collection: &str, limits: &Limits) -> Result<(), Rejection> {
    if partitions <= limits.max_partitions {
        return Ok(());
    }
    Err(too_many(partitions, collection, limits))
}

fn too_many(partitions: u64, collection: &str, limits: &Limits) -> Rejection {
    let limit = limits.max_partitions;
    let detail =
        format!("partition number ({partitions}) exceeds max configuration ({limit}), collection: {collection}");
    Rejection::invalid(detail)
}

/// Writes a new partition's rows; the caller counts it.
pub(super) fn insert(step: &mut Step<'_, '_>, collection_id: i64, name: &str, ts: u64) -> Result<i64, Refusal> {
    let id = id::take(step.txn, 1)?;
    let row = store::Partition {
        id,
        collection_id,
        name: name.to_owned(),
        created_ts: ts,
        state: store::PartitionState::Created.into(),
    };
    PARTITIONS.put(step.txn, &(collection_id, id), &row);
    PARTITION_NAMES.put(step.txn, &(collection_id, row.name), &store::Reference { id });
    Ok(id)
}

/// Deletes up to `most` partitions of a collection that is being dropped, and counts them off its row.
pub(super) fn remove_some(txn: &mut Txn<'_>, row: &mut store::Collection, most: usize) -> io::Result<()> {
    let expected = (row.partitions as usize).min(most);
    let page = PARTITIONS.page(txn, &row.id, None, (row.partitions as usize).saturating_add(1).min(most))?;
    if page.len() != expected {
        return Err(COLLECTIONS.corrupt(&COLLECTIONS.key(&row.id), "it does not count its partitions"));
    }
    for (_, partition) in &page {
        remove(txn, partition);
    }
    row.partitions = row.partitions.saturating_sub(u32::try_from(page.len()).unwrap_or(u32::MAX));
    Ok(())
}

fn remove(txn: &mut Txn<'_>, partition: &store::Partition) {
    PARTITIONS.delete(txn, &(partition.collection_id, partition.id));
    PARTITION_NAMES.delete(txn, &(partition.collection_id, partition.name.clone()));
}

/// The partition of this name, if any.
pub(super) fn lookup(read: &dyn Read, collection_id: i64, name: &str) -> io::Result<Option<store::Partition>> {
    let Some(reference) = PARTITION_NAMES.get(read, &(collection_id, name.to_owned()))? else { return Ok(None) };
    let key = (collection_id, reference.id);
    match PARTITIONS.get(read, &key)? {
        Some(row) => Ok(Some(row)),
        None => Err(PARTITIONS.missing(&key)),
    }
}
