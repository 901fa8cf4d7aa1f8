//! Collections: created with all their partitions and channels in one step, dropped in one step.

use std::collections::BTreeSet;
use std::fmt;
use std::io;

use roost_raft::kv::Read;
use serde::{Deserialize, Serialize};

use super::channel::{self, PCHANNELS};
use super::event::Event;
use super::limits::Limits;
use super::property::{self, Properties};
use super::reply::Reply;
use super::step::{Outcome, Refusal, Step};
use super::tables::{COLLECTION_NAMES, COLLECTIONS, DATABASE_COLLECTIONS};
use super::{database, id, name, partition, schema, totals};
use crate::error::Rejection;
use crate::pb::common::ConsistencyLevel;
use crate::pb::schema::CollectionSchema;
use crate::pb::store;

/// Idempotent: an identical collection of that name is a success, another one is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateCollection {
    /// Empty: the default database.
    pub database: String,
    pub name: String,
    /// An encoded `CollectionSchema`, normalised by the proposer: system fields and ids included.
    pub schema: Vec<u8>,
    pub shards: u32,
    /// A `common.ConsistencyLevel`.
    pub consistency: i32,
    pub properties: Properties,
    /// The names of the partitions to start with.
    pub partitions: Vec<String>,
    /// Hybrid timestamp of the creation.
    pub ts: u64,
    pub limits: Limits,
}

/// Idempotent: dropping what is not there is a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropCollection {
    /// Empty: the default database.
    pub database: String,
    pub name: String,
}

impl CreateCollection {
    pub(super) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        let (declared, properties) = self.check()?;
        let database = database::find(step.txn, &self.database)?;
        if let Some(row) = lookup(step.txn, database.id, &self.name)? {
            return self.compare(&row, &declared, &properties);
        }
        let partitions = self.partitions.len() as u64;
        totals::add_collection(step.txn, &database.name, &self.limits)?;
        database::add_collection(step.txn, &database, &self.limits)?;
        totals::add_capacity(step.txn, partitions, self.shards, &self.limits)?;

        let id = id::take(step.txn, 1)?;
        let placed = channel::place(step.txn, id, self.shards)?;
        for partition in &self.partitions {
            partition::insert(step, id, partition, self.ts)?;
        }
        let row = store::Collection {
            id,
            database_id: database.id,
            name: self.name.clone(),
            schema: self.schema.clone(),
            shards: self.shards,
            consistency: self.consistency,
            properties,
            partitions: u32::try_from(partitions).unwrap_or(u32::MAX),
            vchannels: placed.vchannels,
            pchannels: placed.pchannels,
            created_ts: self.ts,
            updated_ts: self.ts,
            schema_version: declared.version,
            state: store::CollectionState::Created.into(),
        };
        COLLECTIONS.put(step.txn, &id, &row);
        COLLECTION_NAMES.put(step.txn, &(database.id, row.name.clone()), &store::Reference { id });
        DATABASE_COLLECTIONS.put(step.txn, &(database.id, id), &store::Present {});
        step.events.push(Event::CollectionCreated { database_id: database.id, collection_id: id, name: row.name });
        Ok(Reply::CollectionCreated { collection_id: id, existed: false })
    }

    /// Everything that does not depend on other rows.
    fn check(&self) -> Result<(CollectionSchema, Vec<store::Property>), Rejection> {
        name::collection_name(&self.name)?;
        let (shards, max_shards) = (u64::from(self.shards), self.limits.max_shards);
        if shards == 0 {
            return Err(Rejection::invalid("shard num must be greater than 0"));
        }
        if shards > max_shards {
            return Err(Rejection::invalid(format!("shard num ({shards}) exceeds max configuration ({max_shards})")));
        }
        if shards > u64::from(PCHANNELS) {
            return Err(Rejection::invalid(format!("shard num ({shards}) exceeds system limit ({PCHANNELS})")));
        }
        if ConsistencyLevel::try_from(self.consistency).is_err() {
            return Err(Rejection::invalid(format!("invalid consistency level: {}", self.consistency)));
        }
        self.check_partitions()?;
        let declared = schema::check(&self.schema, &self.name)?;
        Ok((declared, property::stored(&self.properties)?))
    }

    fn check_partitions(&self) -> Result<(), Rejection> {
        if self.partitions.is_empty() {
            return Err(Rejection::invalid("a collection needs at least one partition"));
        }
        partition::check_count(self.partitions.len() as u64, &self.name, &self.limits)?;
        let mut seen = BTreeSet::new();
        for partition in &self.partitions {
            name::partition_name(partition)?;
            if !seen.insert(partition) {
                return Err(Rejection::invalid(format!("duplicated partition name {partition} found")));
            }
        }
        Ok(())
    }

    /// The answer when the name exists.
    fn compare(&self, row: &store::Collection, declared: &CollectionSchema, properties: &[store::Property]) -> Outcome {
        let same = row.shards == self.shards
            && row.consistency == self.consistency
            && row.partitions as usize == self.partitions.len()
            && row.properties == properties
            && schema::same(&row.decoded_schema()?, declared);
        if !same {
            return Err(Rejection::CollectionDiffers { collection: self.name.clone() }.into());
        }
        Ok(Reply::CollectionCreated { collection_id: row.id, existed: true })
    }
}

impl DropCollection {
    /// The name is free at once, and so are the counts. (Data to be collected first does not exist yet: then the row
    /// will stay, in state Dropping.)
    pub(super) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        let database = database::lookup(step.txn, &self.database)?;
        let row = match &database {
            Some(database) => lookup(step.txn, database.id, &self.name)?,
            None => None,
        };
        let Some(row) = row else { return Ok(Reply::CollectionDropped { collection_id: None }) };
        let store::Collection { id, database_id, name, .. } = row;
        partition::remove_all(step.txn, id, row.partitions)?;
        channel::release(step.txn, &row.pchannels)?;
        totals::remove_capacity(step.txn, row.partitions.into(), row.shards)?;
        totals::remove_collection(step.txn)?;
        database::remove_collection(step.txn, database_id)?;
        COLLECTIONS.delete(step.txn, &id);
        COLLECTION_NAMES.delete(step.txn, &(database_id, name.clone()));
        DATABASE_COLLECTIONS.delete(step.txn, &(database_id, id));
        step.events.push(Event::CollectionDropped { database_id, collection_id: id, name });
        Ok(Reply::CollectionDropped { collection_id: Some(id) })
    }
}

impl fmt::Display for CreateCollection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (database, name) = (name::database_or_default(&self.database).escape_debug(), self.name.escape_debug());
        let (shards, partitions) = (self.shards, self.partitions.len());
        write!(f, "create collection {database}.{name} shards={shards} partitions={partitions}")
    }
}

impl fmt::Display for DropCollection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (database, name) = (name::database_or_default(&self.database).escape_debug(), self.name.escape_debug());
        write!(f, "drop collection {database}.{name}")
    }
}

/// The collection of this name, if any.
pub(super) fn lookup(read: &dyn Read, database_id: i64, name: &str) -> io::Result<Option<store::Collection>> {
    let Some(reference) = COLLECTION_NAMES.get(read, &(database_id, name.to_owned()))? else { return Ok(None) };
    match COLLECTIONS.get(read, &reference.id)? {
        Some(row) => Ok(Some(row)),
        None => Err(COLLECTIONS.missing(&reference.id)),
    }
}

/// As [`lookup`] by the database's name, refusing when either is missing.
pub(super) fn find(read: &dyn Read, database: &str, name: &str) -> Result<store::Collection, Refusal> {
    let database = database::find(read, database)?;
    lookup(read, database.id, name)?.ok_or_else(|| {
        let collection = name::shown(name).to_owned();
        Refusal::from(Rejection::CollectionNotFound { database: database.name, collection })
    })
}
