//! A field's parameters, as far as they may change.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::edit::{self, Target};
use super::restraint;
use crate::error::Rejection;
use crate::pb::common::KeyValuePair;
use crate::pb::schema::{CollectionSchema, DataType, FieldSchema};
use crate::state::limits::MAX_PROPERTY_BYTES;
use crate::state::name;
use crate::state::property::{Properties, switch};
use crate::state::step::{Outcome, Step};

const MAX_LENGTH: &str = "max_length";
const MAX_CAPACITY: &str = "max_capacity";
const MMAP: &str = "mmap.enabled";
/// What some clients call it.
const MMAP_OLD: &str = "mmap_enabled";
const WARMUP: &str = "warmup";
/// Not a parameter: changes what the field says of itself.
const DESCRIPTION: &str = "field.description";
const MAY_CHANGE: [&str; 5] = [MAX_LENGTH, MMAP, MAX_CAPACITY, DESCRIPTION, WARMUP];
const MAY_GO: [&str; 2] = [MMAP, WARMUP];

/// How far parameters may go, as the proposing node is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParamLimits {
    pub max_varchar_length: i64,
    pub max_array_capacity: i64,
}

impl From<&crate::limits::Limits> for ParamLimits {
    fn from(configured: &crate::limits::Limits) -> Self {
        ParamLimits {
            max_varchar_length: configured.max_varchar_length,
            max_array_capacity: configured.max_array_capacity,
        }
    }
}

/// Sets and deletes parameters of a field. Idempotent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlterField {
    /// Empty: the default database.
    pub database: String,
    pub collection: String,
    pub field: String,
    pub set: Properties,
    pub delete: Vec<String>,
    /// Hybrid timestamp of the change.
    pub ts: u64,
    pub limits: ParamLimits,
}

impl AlterField {
    pub(super) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        let (database, collection, ts) = (&self.database, &self.collection, self.ts);
        let target = Target { database, collection, judged_id: 0, ts };
        let row = edit::judged(step, &target)?;
        let loaded = restraint::is_loaded(step, &row)?;
        let in_memory = |what| {
            let (collection, detail) = (row.name.clone(), format!("can not {what} if collection loaded"));
            Err(Rejection::CollectionLoaded { collection, detail })
        };
        edit::schema(step, &target, |schema| {
            let field = find_field(schema, &self.field);
            for (key, value) in &self.set {
                match current(key) {
                    MMAP if loaded => return in_memory("alter collection field properties"),
                    WARMUP if loaded => return in_memory("alter warmup"),
                    key => check_set(key, value, field.as_deref(), &self.limits)?,
                }
            }
            if let Some(key) = self.delete.iter().find(|key| !MAY_GO.contains(&current(key))) {
                let detail = format!("{key} is not allowed to drop in collection field param");
                return Err(Rejection::invalid(detail));
            }
            if loaded && !self.delete.is_empty() {
                return in_memory("drop collection field properties");
            }
            let Some(field) = field else {
                let detail = format!("field {} does not exist in collection", name::shown(&self.field));
                return Err(Rejection::invalid(detail));
            };
            let before = field.clone();
            for (key, value) in &self.set {
                set(field, current(key), value);
            }
            field.type_params.retain(|pair| !self.delete.iter().any(|key| current(key) == pair.key));
            Ok(*field != before)
        })
    }
}

/// The name under which the parameter is kept.
fn current(key: &str) -> &str {
    if key == MMAP_OLD { MMAP } else { key }
}

/// Members of struct fields are no fields here, as in Milvus.
fn find_field<'s>(schema: &'s mut CollectionSchema, name: &str) -> Option<&'s mut FieldSchema> {
    schema.fields.iter_mut().find(|field| field.name == name)
}

/// In the order and the words of Milvus' proxy, which looks at a value before it knows whether there is such a field.
fn check_set(key: &str, value: &str, field: Option<&FieldSchema>, limits: &ParamLimits) -> Result<(), Rejection> {
    if !MAY_CHANGE.contains(&key) {
        return Err(Rejection::invalid(format!("{key} does not allow update in collection field param")));
    }
    if value.len() > MAX_PROPERTY_BYTES {
        let detail = format!("{key} of {} bytes, at most {MAX_PROPERTY_BYTES}", value.len());
        return Err(Rejection::ParameterTooLarge { detail });
    }
    match key {
        MAX_LENGTH => check_length(value, field, limits.max_varchar_length),
        MAX_CAPACITY => check_capacity(value, field, limits.max_array_capacity),
        MMAP if switch(value).is_none() => {
            Err(Rejection::invalid(format!("invalid collection property: [key={key}] [value={value}]")))
        }
        WARMUP if !matches!(value, "sync" | "disable") => {
            Err(Rejection::invalid(format!("invalid warmup policy: {value}, must be 'sync' or 'disable'")))
        }
        _ => Ok(()),
    }
}

fn check_length(value: &str, field: Option<&FieldSchema>, most: i64) -> Result<(), Rejection> {
    let Some(field) = field.filter(|field| holds_text(field)) else {
        return Err(Rejection::invalid(" can not modify the maxlength for non-string types"));
    };
    // Milvus prints Go's name of the value's type.
    let length: i64 =
        value.parse().map_err(|_| Rejection::invalid("max_length should be an integer, but got string"))?;
    if length > most {
        return Err(Rejection::invalid(format!("{value} exceeds the maximum allowed value {most}")));
    }
    if length < 1 {
        return Err(Rejection::invalid(format!(
            "the maximum length specified for the field({}) should be in (0, {most}], but got {length} instead",
            field.name
        )));
    }
    Ok(())
}

fn check_capacity(value: &str, field: Option<&FieldSchema>, most: i64) -> Result<(), Rejection> {
    let is_array = |field: &&FieldSchema| field.data_type == i32::from(DataType::Array);
    let Some(field) = field.filter(is_array) else {
        return Err(Rejection::invalid(" can not modify the maxcapacity for non-array types"));
    };
    let capacity: i64 = value.parse().map_err(|_| {
        Rejection::invalid(format!("the value for {MAX_CAPACITY} of field {} must be an integer", field.name))
    })?;
    if !(1..=most).contains(&capacity) {
        let detail = format!("the maximum capacity specified for a Array should be in (0, {most}]");
        return Err(Rejection::invalid(detail));
    }
    Ok(())
}

fn holds_text(field: &FieldSchema) -> bool {
    let text =
        |kind: i32| matches!(DataType::try_from(kind), Ok(DataType::VarChar | DataType::String | DataType::Text));
    text(field.data_type) || (field.data_type == i32::from(DataType::Array) && text(field.element_type))
}

fn set(field: &mut FieldSchema, key: &str, value: &str) {
    if key == DESCRIPTION {
        value.clone_into(&mut field.description);
        return;
    }
    match field.type_params.iter_mut().find(|pair| pair.key == key) {
        Some(pair) => value.clone_into(&mut pair.value),
        None => field.type_params.push(KeyValuePair { key: key.to_owned(), value: value.to_owned() }),
    }
}

impl fmt::Display for AlterField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (database, collection) = (name::database_or_default(&self.database), self.collection.escape_debug());
        let field = self.field.escape_debug();
        write!(f, "alter field {}.{collection}.{field}", database.escape_debug())?;
        for (key, _) in &self.set {
            write!(f, " set={}", key.escape_debug())?;
        }
        for key in &self.delete {
            write!(f, " delete={}", key.escape_debug())?;
        }
        Ok(())
    }
}
