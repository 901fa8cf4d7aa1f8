//! Which collections and partitions shall be loaded, with which fields, and as how many replicas. A collection has one
//! row of it, and none when nothing of it is loaded.

use std::collections::BTreeSet;
use std::fmt;
use std::io;

use roost_raft::kv::Txn;
use serde::{Deserialize, Serialize};

use super::event::Event;
use super::index;
use super::limits::{MAX_LOADED_PARTITIONS, MAX_REPLICAS};
use super::reply::Reply;
use super::step::{Outcome, Refusal, Step};
use super::tables::{LOADS, PARTITIONS};
use super::{collection, id, schema};
use crate::error::Rejection;
use crate::pb::store::{self, LoadType};

/// Stored in the log by the variant's place: append variants, never reorder, change or remove one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LoadCommand {
    Collection(LoadCollection),
    Partitions(LoadPartitions),
    ReleaseCollection(ReleaseCollection),
    ReleasePartitions(ReleasePartitions),
}

/// Stored by the variant's place: append variants, never reorder, change or remove one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LoadReply {
    Loaded {
        /// False when all of it was loaded in the same way already.
        changed: bool,
    },
    Released {
        /// False when none of it was loaded.
        changed: bool,
    },
}

/// Loads every partition, also those that are created later. What is loaded already takes on the new way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadCollection {
    pub collection_id: i64,
    /// The resource group of each replica.
    pub replicas: Vec<String>,
    /// Ids of the fields to load; every vector field among them needs an index.
    pub fields: Vec<i64>,
    /// Hybrid timestamp of the change.
    pub ts: u64,
}

/// Loads some partitions beside those that are loaded, which must have as many replicas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadPartitions {
    pub collection_id: i64,
    pub partitions: Vec<i64>,
    /// As in [`LoadCollection`], as the next two.
    pub replicas: Vec<String>,
    pub fields: Vec<i64>,
    pub ts: u64,
}

/// Idempotent: what is not loaded is released.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseCollection {
    pub collection_id: i64,
}

/// Idempotent. With the last partition the collection is released.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleasePartitions {
    pub collection_id: i64,
    pub partitions: Vec<i64>,
    /// Hybrid timestamp of the change.
    pub ts: u64,
}

impl LoadCommand {
    /// For metrics and traces.
    pub fn name(&self) -> &'static str {
        match self {
            LoadCommand::Collection(_) => "load_collection",
            LoadCommand::Partitions(_) => "load_partitions",
            LoadCommand::ReleaseCollection(_) => "release_collection",
            LoadCommand::ReleasePartitions(_) => "release_partitions",
        }
    }

    pub(super) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        match self {
            LoadCommand::Collection(command) => command.apply(step),
            LoadCommand::Partitions(command) => command.apply(step),
            LoadCommand::ReleaseCollection(command) => command.apply(step),
            LoadCommand::ReleasePartitions(command) => command.apply(step),
        }
        .map(Reply::Load)
    }
}

impl LoadCollection {
    fn apply(&self, step: &mut Step<'_, '_>) -> Result<LoadReply, Refusal> {
        let collection = collection::find_by_id(step.txn, self.collection_id)?;
        let old = LOADS.get(step.txn, &collection.id)?;
        let base = store::Load {
            r#type: LoadType::Collection.into(),
            partitions: Vec::new(),
            ..old.clone().unwrap_or_default()
        };
        load(
            step,
            &collection,
            old.as_ref(),
            base,
            &Way { replicas: &self.replicas, fields: &self.fields, ts: self.ts },
        )
    }
}

impl LoadPartitions {
    fn apply(&self, step: &mut Step<'_, '_>) -> Result<LoadReply, Refusal> {
        let collection = collection::find_by_id(step.txn, self.collection_id)?;
        let wanted = existing(step.txn, collection.id, &self.partitions)?;
        let old = LOADS.get(step.txn, &collection.id)?;
        if let Some(old) = &old
            && old.replicas.len() != self.replicas.len()
        {
            return Err(Rejection::ParameterUnexpected {
                expected: old.replicas.len().to_string(),
                actual: self.replicas.len().to_string(),
                detail: "can't change the replica number for loaded partitions".to_owned(),
            }
            .into());
        }
        let mut base = old.clone().unwrap_or(store::Load { r#type: LoadType::Partitions.into(), ..Default::default() });
        let listed = base.partitions.iter().copied().collect::<BTreeSet<i64>>();
        base.partitions = match base.r#type() {
            LoadType::Collection => listed.difference(&wanted).copied().collect(),
            _ => listed.union(&wanted).copied().collect(),
        };
        load(
            step,
            &collection,
            old.as_ref(),
            base,
            &Way { replicas: &self.replicas, fields: &self.fields, ts: self.ts },
        )
    }
}

impl ReleaseCollection {
    fn apply(&self, step: &mut Step<'_, '_>) -> Result<LoadReply, Refusal> {
        let collection = collection::find_by_id(step.txn, self.collection_id)?;
        let changed = LOADS.get(step.txn, &collection.id)?.is_some();
        if changed {
            LOADS.delete(step.txn, &collection.id);
            step.events.push(Event::LoadEnded { collection_id: collection.id });
        }
        Ok(LoadReply::Released { changed })
    }
}

impl ReleasePartitions {
    fn apply(&self, step: &mut Step<'_, '_>) -> Result<LoadReply, Refusal> {
        let collection = collection::find_by_id(step.txn, self.collection_id)?;
        let released = existing(step.txn, collection.id, &self.partitions)?;
        let Some(mut row) = LOADS.get(step.txn, &collection.id)? else {
            return Ok(LoadReply::Released { changed: false });
        };
        let listed = row.partitions.iter().copied().collect::<BTreeSet<i64>>();
        let left: Vec<i64> = match row.r#type() {
            LoadType::Collection => listed.union(&released).copied().collect(),
            _ => listed.difference(&released).copied().collect(),
        };
        let changed = left != row.partitions;
        if changed {
            row.partitions = left;
            row.updated_ts = row.updated_ts.max(self.ts);
            settle(step, &row, collection.partitions);
        }
        Ok(LoadReply::Released { changed })
    }
}

/// How a collection is loaded.
struct Way<'a> {
    replicas: &'a [String],
    fields: &'a [i64],
    ts: u64,
}

/// Writes `row` in the given way, if that changes anything.
fn load(
    step: &mut Step<'_, '_>,
    collection: &store::Collection,
    old: Option<&store::Load>,
    mut row: store::Load,
    way: &Way<'_>,
) -> Result<LoadReply, Refusal> {
    if way.replicas.is_empty() || way.replicas.len() > MAX_REPLICAS {
        let detail = format!("the number of replicas must be in 1..={MAX_REPLICAS}, got {}", way.replicas.len());
        return Err(Rejection::invalid(detail).into());
    }
    if row.partitions.len() > MAX_LOADED_PARTITIONS {
        let detail = format!("at most {MAX_LOADED_PARTITIONS} partitions of a collection may be loaded one by one");
        return Err(Rejection::invalid(detail).into());
    }
    row.collection_id = collection.id;
    row.fields = checked_fields(step, collection, way.fields)?;
    row.replicas = replicas(step.txn, std::mem::take(&mut row.replicas), way.replicas)?;
    if old == Some(&row) {
        return Ok(LoadReply::Loaded { changed: false });
    }
    if old.is_none() {
        row.created_ts = way.ts;
    }
    row.updated_ts = row.updated_ts.max(way.ts);
    LOADS.put(step.txn, &collection.id, &row);
    step.events.push(Event::LoadChanged { collection_id: collection.id });
    Ok(LoadReply::Loaded { changed: true })
}

/// Every field exists, and every vector field among them has an index.
fn checked_fields(
    step: &mut Step<'_, '_>,
    collection: &store::Collection,
    fields: &[i64],
) -> Result<Vec<i64>, Refusal> {
    let declared = collection.decoded_schema()?;
    let indexes = index::of_collection(step.txn, collection.id)?;
    if indexes.is_empty() {
        return Err(Rejection::CollectionWithoutIndex { collection: collection.name.clone() }.into());
    }
    let fields = fields.iter().copied().collect::<BTreeSet<i64>>();
    let mut bare = Vec::new();
    for &id in &fields {
        let Some(field) = schema::field(&declared, id) else {
            return Err(Rejection::FieldNotFound { field: id.to_string() }.into());
        };
        if schema::is_vector_field(field) && !indexes.iter().any(|index| index.field_id == id) {
            bare.push(field.name.as_str());
        }
    }
    if !bare.is_empty() {
        let detail = format!("there is no vector index on field: [{}], please create index firstly", bare.join(" "));
        return Err(Rejection::invalid(detail).into());
    }
    Ok(fields.into_iter().collect())
}

/// A replica in each of `groups`: present ones stay where their group is asked for, the others get new ids.
fn replicas(
    txn: &mut Txn<'_>,
    mut present: Vec<store::Replica>,
    groups: &[String],
) -> Result<Vec<store::Replica>, Refusal> {
    let mut chosen = Vec::with_capacity(groups.len());
    for group in groups {
        match present.iter().position(|replica| replica.resource_group == *group) {
            Some(at) => chosen.push(present.remove(at)),
            None => chosen.push(store::Replica { id: id::take(txn, 1)?, resource_group: group.clone() }),
        }
    }
    Ok(chosen)
}

/// The partitions, each of which must be there.
fn existing(txn: &Txn<'_>, collection_id: i64, partitions: &[i64]) -> Result<BTreeSet<i64>, Refusal> {
    if partitions.is_empty() {
        return Err(Rejection::ParameterUnexpected {
            expected: "any partition".to_owned(),
            actual: "empty partition list".to_owned(),
            detail: String::new(),
        }
        .into());
    }
    let partitions = partitions.iter().copied().collect::<BTreeSet<i64>>();
    for &id in &partitions {
        if PARTITIONS.get(txn, &(collection_id, id))?.is_none() {
            return Err(Rejection::PartitionNotFound { partition: id.to_string() }.into());
        }
    }
    Ok(partitions)
}

/// Writes a row that lost partitions; `count`: how many the collection has.
fn settle(step: &mut Step<'_, '_>, row: &store::Load, count: u32) {
    let collection_id = row.collection_id;
    let nothing = match row.r#type() {
        LoadType::Collection => row.partitions.len() >= count as usize,
        _ => row.partitions.is_empty(),
    };
    if nothing {
        LOADS.delete(step.txn, &collection_id);
        step.events.push(Event::LoadEnded { collection_id });
    } else {
        LOADS.put(step.txn, &collection_id, row);
        step.events.push(Event::LoadChanged { collection_id });
    }
}

/// A partition that is not loaded is dropped, and the collection's row counts it no more.
pub(super) fn forget_partition(
    step: &mut Step<'_, '_>,
    collection: &store::Collection,
    partition_id: i64,
) -> io::Result<()> {
    let Some(mut row) = LOADS.get(step.txn, &collection.id)? else { return Ok(()) };
    if let Ok(at) = row.partitions.binary_search(&partition_id) {
        row.partitions.remove(at);
        settle(step, &row, collection.partitions);
    }
    Ok(())
}

/// A collection is dropped.
pub(super) fn remove(txn: &mut Txn<'_>, collection_id: i64) {
    LOADS.delete(txn, &collection_id);
}

impl store::Load {
    /// Whether this partition of the collection is loaded.
    pub fn holds(&self, partition_id: i64) -> bool {
        let listed = self.partitions.binary_search(&partition_id).is_ok();
        match self.r#type() {
            LoadType::Collection => !listed,
            _ => listed,
        }
    }
}

impl fmt::Display for LoadCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadCommand::Collection(LoadCollection { collection_id, replicas, .. }) => {
                write!(f, "load collection={collection_id} replicas={}", replicas.len())
            }
            LoadCommand::Partitions(LoadPartitions { collection_id, partitions, replicas, .. }) => {
                write!(f, "load collection={collection_id} partitions={partitions:?} replicas={}", replicas.len())
            }
            LoadCommand::ReleaseCollection(ReleaseCollection { collection_id }) => {
                write!(f, "release collection={collection_id}")
            }
            LoadCommand::ReleasePartitions(ReleasePartitions { collection_id, partitions, .. }) => {
                write!(f, "release collection={collection_id} partitions={partitions:?}")
            }
        }
    }
}
