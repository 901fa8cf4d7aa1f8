//! Creation: a collection with all its partitions and channels in one step.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{lookup, revision};
use crate::error::Rejection;
use crate::pb::common::ConsistencyLevel;
use crate::pb::schema::CollectionSchema;
use crate::pb::store;
use crate::state::channel::{self, PCHANNELS};
use crate::state::event::Event;
use crate::state::limits::Limits;
use crate::state::property::{self, Properties};
use crate::state::reply::Reply;
use crate::state::step::{Outcome, Refusal, Step};
use crate::state::tables::{COLLECTION_NAMES, DATABASE_COLLECTIONS};
use crate::state::{TIME_ZONE, alias, database, id, name, partition, schema, totals};

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

/// From this apply version on a collection has a time zone: its own, else its database's, else the usual one.
const INHERITED_SINCE: u32 = 4;
const USUAL_TIME_ZONE: &str = "UTC";
/// From this apply version on two declarations may differ in the order of parameters.
const ANY_ORDER_SINCE: u32 = 4;
/// From this apply version on partitions that were created since do not make it another declaration.
const MORE_PARTITIONS_SINCE: u32 = 5;

impl CreateCollection {
    pub(in crate::state) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        let (declared, mut properties) = self.check()?;
        let database = database::find(step.txn, &self.database)?;
        if alias::target(step.txn, database.id, &self.name)?.is_some() {
            return Err(Rejection::CollectionNameIsAlias { collection: self.name.clone() }.into());
        }
        if step.apply_version >= INHERITED_SINCE {
            inherit(&mut properties, &database.properties);
        }
        if let Some(row) = lookup(step.txn, database.id, &self.name)? {
            return self.compare(step, &row, &declared, &properties);
        }
        let partitions = self.partitions.len() as u64;
        totals::add_collection(step.txn, &database.name, &self.limits)?;
        database::add_collection(step.txn, &database, &self.limits)?;
        totals::add_capacity(step.txn, partitions, self.shards, &self.limits)?;

        let id = id::take(step.txn, 1)?;
        let placed = channel::place(step, id, self.shards)?;
        for partition in &self.partitions {
            partition::insert(step, id, partition, self.ts)?;
        }
        let mut row = store::Collection {
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
            aliases: 0,
            truncated_ts: 0,
            revision: 0,
        };
        revision::save(step, &mut row);
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
    fn compare(
        &self,
        step: &Step<'_, '_>,
        row: &store::Collection,
        declared: &CollectionSchema,
        properties: &[store::Property],
    ) -> Outcome {
        let version = step.apply_version;
        let same_schema = if version < ANY_ORDER_SINCE { schema::same } else { schema::same_in_any_order };
        let same = row.shards == self.shards
            && row.consistency == self.consistency
            && same_properties(&row.properties, properties)
            && same_schema(&row.decoded_schema()?, declared)
            && self.same_partitions(step, row, declared)?;
        if !same {
            return Err(Rejection::CollectionDiffers { collection: self.name.clone() }.into());
        }
        Ok(Reply::CollectionCreated { collection_id: row.id, existed: true })
    }

    /// Those of a partition key stay as declared. Of the others clients create more, and drop them, but for those that
    /// the declaration names.
    fn same_partitions(
        &self,
        step: &Step<'_, '_>,
        row: &store::Collection,
        declared: &CollectionSchema,
    ) -> Result<bool, Refusal> {
        if step.apply_version < MORE_PARTITIONS_SINCE || schema::has_partition_key(declared) {
            return Ok(row.partitions as usize == self.partitions.len());
        }
        for name in &self.partitions {
            if partition::lookup(step.txn, row.id, name)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Properties that come from the database when a collection does not have them, sorted as they are.
fn inherit(properties: &mut Vec<store::Property>, database: &[store::Property]) {
    let Err(place) = properties.binary_search_by(|property| property.key.as_str().cmp(TIME_ZONE)) else { return };
    let own = database.iter().find(|property| property.key == TIME_ZONE);
    let value = own.map_or(USUAL_TIME_ZONE, |property| &property.value).to_owned();
    properties.insert(place, store::Property { key: TIME_ZONE.to_owned(), value });
}

/// Collections of before [`INHERITED_SINCE`] may lack what is inherited now.
fn same_properties(stored: &[store::Property], declared: &[store::Property]) -> bool {
    let own = |property: &&store::Property| property.key != TIME_ZONE;
    stored == declared
        || (!stored.iter().any(|property| property.key == TIME_ZONE) && stored.iter().eq(declared.iter().filter(own)))
}

impl fmt::Display for CreateCollection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (database, name) = (name::database_or_default(&self.database).escape_debug(), self.name.escape_debug());
        let (shards, partitions) = (self.shards, self.partitions.len());
        write!(f, "create collection {database}.{name} shards={shards} partitions={partitions}")
    }
}
