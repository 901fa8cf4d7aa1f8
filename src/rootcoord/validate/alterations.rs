//! Changes of a collection that exists, judged by its schema as it is: properties and settings, fields, functions.
//! Which kind of collection it is never changes, so what is judged here still holds when the log executes the change.

use prost::Message;

use crate::error::Rejection;
use crate::limits::{Limits, MAX_NAME_BYTES, MAX_PROPERTIES, MAX_SCHEMA_BYTES};
use crate::pb::common::{ConsistencyLevel, KeyValuePair};
use crate::pb::milvus::{AlterCollectionFieldRequest, AlterCollectionRequest};
use crate::pb::schema::{CollectionSchema, FieldSchema, FieldState, FunctionSchema, FunctionType};
use crate::pb::store;
use crate::state::{FieldLimits, check_added_field};

use super::{defaults, fields, functions, names, params, properties};

/// Named like a property, kept in the schema.
const DESCRIPTION: &str = "collection.description";
/// Named like a property, kept beside them.
const CONSISTENCY: &str = "consistency_level";
/// A change of the schema in the shape of a property.
const DYNAMIC_FIELD: &str = "dynamicfield.enabled";
/// Only where the server makes the primary keys.
const INSERT_AUTO_ID: &str = "allow_insert_auto_id";
/// Set by the replication of whole clusters alone.
const REPLICATE_ID: &str = "replicate.id";
const CIPHER: [&str; 3] = ["cipher.enabled", "cipher.ezID", "cipher.key"];

/// What AlterCollection asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alteration {
    /// Properties are set, and what clients name like them.
    Set {
        properties: Vec<(String, String)>,
        description: Option<String>,
        /// A `ConsistencyLevel`.
        consistency: Option<i32>,
    },
    /// Properties are deleted.
    Delete(Vec<String>),
    /// The dynamic field is added.
    DynamicField { enable: bool },
}

/// Whether the properties can only be judged by the collection's schema.
pub fn asks_for_schema(req: &AlterCollectionRequest) -> bool {
    req.properties.iter().any(|pair| pair.key == properties::ISOLATION || pair.key == INSERT_AUTO_ID)
}

/// `schema`: the collection's, if [`asks_for_schema`].
pub fn alteration(
    req: &AlterCollectionRequest,
    schema: &CollectionSchema,
    limits: &Limits,
) -> Result<Alteration, Rejection> {
    let AlterCollectionRequest { collection_name, properties: pairs, delete_keys, .. } = req;
    match (pairs.is_empty(), delete_keys.is_empty()) {
        (true, true) => return Err(Rejection::invalid("no properties or delete keys provided")),
        (false, false) => return Err(Rejection::invalid("cannot provide both DeleteKeys and ExtraParams")),
        _ => {}
    }
    let touches = |key: &str| pairs.iter().any(|pair| pair.key == key) || delete_keys.iter().any(|own| own == key);
    if CIPHER.into_iter().any(touches) {
        return Err(Rejection::invalid("can not alter cipher related properties"));
    }
    if delete_keys.len() > MAX_PROPERTIES || delete_keys.iter().any(|key| key.len() > MAX_SCHEMA_BYTES) {
        let detail = format!("{} keys to delete, at most {MAX_PROPERTIES}", delete_keys.len());
        return Err(Rejection::ParameterTooLarge { detail });
    }
    if delete_keys.iter().any(|key| key == DYNAMIC_FIELD) {
        return Err(Rejection::invalid(format!(
            "cannot delete key {DYNAMIC_FIELD}, dynamic field schema could support set to true/false"
        )));
    }
    if pairs.is_empty() {
        return Ok(Alteration::Delete(delete_keys.clone()));
    }
    if pairs.iter().any(|pair| pair.key == REPLICATE_ID) {
        return Err(Rejection::invalid(format!("can't set the {REPLICATE_ID} property")));
    }
    if let Some(value) = params::get(pairs, DYNAMIC_FIELD) {
        let invalid = || Rejection::invalid(format!("invalid dynamic schema property value: {value}"));
        let enable = params::switch(value).ok_or_else(invalid)?;
        if pairs.len() != 1 {
            return Err(Rejection::invalid("cannot alter dynamic schema with other properties at the same time"));
        }
        return Ok(Alteration::DynamicField { enable });
    }
    let has_key = |is: fn(&FieldSchema) -> bool| schema.fields.iter().any(is);
    let own_ids = params::get(pairs, INSERT_AUTO_ID).and_then(params::switch).unwrap_or(false);
    if own_ids && !has_key(|field| field.is_primary_key && field.auto_id) {
        return Err(Rejection::invalid(format!("the value for {INSERT_AUTO_ID} must be false when autoID is false")));
    }
    let mut set = properties::check(pairs, collection_name, has_key(|field| field.is_partition_key))?;
    let mut take = |key: &str| set.iter().position(|(own, _)| own == key).map(|place| set.remove(place).1);
    let description = take(DESCRIPTION);
    // A level that is none is passed over, as in Milvus.
    let consistency = take(CONSISTENCY).and_then(|level| consistency(&level));
    if let Some(description) = &description {
        names::description(description, limits)?;
    }
    Ok(Alteration::Set { properties: set, description, consistency })
}

/// A level by its number or its name.
fn consistency(level: &str) -> Option<i32> {
    let known = match level.parse::<i32>() {
        Ok(number) => ConsistencyLevel::try_from(number).ok(),
        Err(_) => ConsistencyLevel::from_str_name(level),
    };
    known.map(i32::from)
}

/// The bounds of a change of a field; what it may change is judged where it is applied.
pub fn altered_field(req: &AlterCollectionFieldRequest) -> Result<(), Rejection> {
    names::collection_name(&req.collection_name)?;
    if req.field_name.len() > MAX_NAME_BYTES {
        return Err(Rejection::invalid("field does not exist in collection: its name is too long"));
    }
    let pairs = req.properties.iter().map(|KeyValuePair { key, value }| key.len().saturating_add(value.len()));
    let bytes = pairs.chain(req.delete_keys.iter().map(String::len)).fold(0, usize::saturating_add);
    let count = req.properties.len().saturating_add(req.delete_keys.len());
    if count > MAX_PROPERTIES || bytes > MAX_SCHEMA_BYTES {
        let detail = format!("{count} parameters of {bytes} bytes, at most {MAX_PROPERTIES} of {MAX_SCHEMA_BYTES}");
        return Err(Rejection::ParameterTooLarge { detail });
    }
    Ok(())
}

/// A field that may be added to the collection of this row and schema, complete but for its id.
pub fn added_field(
    bytes: &[u8],
    row: &store::Collection,
    schema: &CollectionSchema,
    limits: &Limits,
) -> Result<FieldSchema, Rejection> {
    if bytes.len() > MAX_SCHEMA_BYTES {
        let detail = format!("the field has {} bytes, at most {MAX_SCHEMA_BYTES} are accepted", bytes.len());
        return Err(Rejection::ParameterTooLarge { detail });
    }
    let mut field = FieldSchema::decode(bytes)
        .map_err(|error| Rejection::invalid(format!("the schema is not a FieldSchema: {error}")))?;
    field.field_id = 0;
    field.state = FieldState::FieldCreated.into();
    field.is_function_output = false;
    check_added_field(schema, &field, &FieldLimits::from(limits))?;
    let alone =
        CollectionSchema { name: schema.name.clone(), fields: vec![field.clone()], ..CollectionSchema::default() };
    super::types::check_declared(&alone)?;
    fields::check(&field, schema, limits)?;
    let properties: Vec<_> = row.properties.iter().map(|own| (own.key.clone(), own.value.clone())).collect();
    let mut settled = alone;
    defaults::settle(&mut settled, properties::time_zone(&properties))?;
    settled.fields.pop().ok_or_else(|| Rejection::Internal { detail: "the field was lost".to_owned() })
}

/// A function that may be added, or take the place of the one called `name`.
pub fn changed_functions(
    schema: &CollectionSchema,
    name: Option<&str>,
    function: Option<&FunctionSchema>,
) -> Result<FunctionSchema, Rejection> {
    let Some(function) = function else {
        return Err(Rejection::invalid("function schema is empty"));
    };
    let verb = if name.is_some() { "alter" } else { "adding" };
    let bm25 = |function: &FunctionSchema| function.r#type == i32::from(FunctionType::Bm25);
    let refused = || Rejection::invalid(format!("currently does not support {verb} BM25 function"));
    if bm25(function) {
        return Err(refused());
    }
    let mut wanted = schema.clone();
    if let Some(name) = name {
        if name != function.name {
            return Err(Rejection::invalid("invalid function config, name not match"));
        }
        let Some(place) = wanted.functions.iter().position(|own| own.name == name) else {
            return Err(Rejection::invalid(format!("function {name} not found")));
        };
        if bm25(&wanted.functions.remove(place)) {
            return Err(refused());
        }
    }
    wanted.functions.push(function.clone());
    functions::check(&mut wanted)?;
    Ok(function.clone())
}

#[cfg(test)]
mod tests;
