//! What CreateCollection may ask for, and what it then means: pure rules from a request to a `NewCollection`; and what
//! may be changed afterwards (alterations.rs).
//! Rules, texts and their order are those of Milvus 2.6 (its proxy first, then its RootCoord), so that a client is
//! refused in the same words. Nothing here knows what exists already: that is for `state` to judge.

mod alterations;
mod analyzers;
mod database;
mod defaults;
mod fields;
mod functions;
mod geometry;
mod keys;
mod names;
mod normal;
mod params;
mod properties;
mod structs;
#[cfg(test)]
mod tests;
mod times;
mod types;

use prost::Message;

use crate::error::Rejection;
use crate::limits::{Limits, MAX_SCHEMA_BYTES};
use crate::pb::common::ConsistencyLevel;
use crate::pb::milvus::{CreateCollectionRequest, RenameCollectionRequest};
use crate::pb::schema::{CollectionSchema, DataType, FieldSchema};
use crate::state::TIME_ZONE;

pub use alterations::{Alteration, added_field, alteration, altered_field, asks_for_schema, changed_functions};
pub use database::{altered_database_properties, new_database_properties};
pub use fields::skips_loading;
pub use names::{alias_name, collection_name, database_name, function_name, index_name, not_too_many, partition_name};
pub use normal::{client_schema, is_users_own};
pub use params::switch;
pub use properties::check_warmup;
pub use types::is_vector;

/// The partition of a collection without a partition key; numbered ones begin with it.
pub const DEFAULT_PARTITION: &str = "_default";

/// A declaration that may be created, complete: what a request left open is decided.
#[derive(Debug, Clone, PartialEq)]
pub struct NewCollection {
    /// Valid, and equal to `schema.name`.
    pub name: String,
    /// With ids, system fields (RowID 0, Timestamp 1, after the user's own) and `$meta`; see `client_schema`.
    pub schema: CollectionSchema,
    /// 1..=limits.max_shards.
    pub shards: u32,
    /// A `ConsistencyLevel`.
    pub consistency: i32,
    /// As the client gave them, in its order, without duplicates.
    pub properties: Vec<(String, String)>,
    /// `_default`, or `_default_0`... with a partition key.
    pub partition_names: Vec<String>,
}

/// Whether a declaration means a time by the clock of a zone that it does not name: then the database's counts.
pub fn asks_for_time_zone(req: &CreateCollectionRequest, schema: &CollectionSchema) -> bool {
    let time = i32::from(DataType::Timestamptz);
    let by_the_clock = |field: &FieldSchema| field.data_type == time && field.default_value.is_some();
    params::get(&req.properties, TIME_ZONE).is_none() && schema.fields.iter().any(by_the_clock)
}

/// Judges a request and completes it. The answer depends on the arguments alone. `schema`: as it was [`decoded`];
/// `zone`: the database's time zone, if [`asks_for_time_zone`].
pub fn create_collection(
    req: &CreateCollectionRequest,
    mut schema: CollectionSchema,
    zone: Option<&str>,
    limits: &Limits,
) -> Result<NewCollection, Rejection> {
    functions::check(&mut schema)?;
    let shards = shards(req.shards_num, limits)?;
    fields::check_counts(&schema, limits)?;
    names::collection_name(&schema.name)?;
    if req.collection_name != schema.name {
        return Err(Rejection::ParameterUnexpected {
            expected: "collection name matches schema name".to_owned(),
            actual: "don't match".to_owned(),
            detail: format!("collection name = {}, schema.Name={}", req.collection_name, schema.name),
        });
    }
    names::description(&schema.description, limits)?;
    names::no_duplicate_fields(&schema)?;
    keys::primary(&schema)?;
    fields::no_explicit_dynamic(&schema)?;
    keys::auto_id(&schema)?;
    types::check_declared(&schema)?;
    let partitions = keys::partition(&schema, req.num_partitions, limits)?;
    let properties = properties::check(&req.properties, &schema.name, partitions.is_some())?;
    keys::clustering(&schema)?;
    for field in &schema.fields {
        fields::check(field, &schema, limits)?;
    }
    structs::check(&schema, limits)?;
    fields::check_loaded(&schema)?;
    fields::no_system_names(&schema)?;
    defaults::settle(&mut schema, properties::time_zone(&properties).or(zone))?;
    normal::complete(&mut schema);
    Ok(NewCollection {
        name: schema.name.clone(),
        schema,
        shards,
        consistency: consistency(req.consistency_level)?,
        properties,
        partition_names: partition_names(partitions),
    })
}

/// The names of a renaming, as far as they can be judged by themselves.
pub fn renaming(req: &RenameCollectionRequest) -> Result<(), Rejection> {
    names::collection_name(&req.new_name)?;
    if req.old_name.is_empty() {
        return Err(Rejection::invalid("old collection name should not be empty"));
    }
    Ok(())
}

/// The declaration that a request carries.
pub fn decoded(bytes: &[u8]) -> Result<CollectionSchema, Rejection> {
    if bytes.len() > MAX_SCHEMA_BYTES {
        let detail = format!("the schema has {} bytes, at most {MAX_SCHEMA_BYTES} are accepted", bytes.len());
        return Err(Rejection::ParameterTooLarge { detail });
    }
    CollectionSchema::decode(bytes)
        .map_err(|error| Rejection::invalid(format!("the schema is not a CollectionSchema: {error}")))
}

/// None or a negative number means one shard, as in Milvus.
fn shards(asked: i32, limits: &Limits) -> Result<u32, Rejection> {
    let shards = u32::try_from(asked).unwrap_or(0).max(1);
    if shards > limits.max_shards {
        let most = limits.max_shards;
        return Err(Rejection::invalid(format!("maximum shards's number should be limited to {most}")));
    }
    Ok(shards)
}

fn consistency(level: i32) -> Result<i32, Rejection> {
    ConsistencyLevel::try_from(level)
        .map(i32::from)
        .map_err(|_| Rejection::invalid(format!("unknown consistency level: {level}")))
}

fn partition_names(numbered: Option<u64>) -> Vec<String> {
    match numbered {
        None => vec![DEFAULT_PARTITION.to_owned()],
        Some(count) => (0..count).map(|index| format!("{DEFAULT_PARTITION}_{index}")).collect(),
    }
}
