//! Functions of a collection that exists. What a function may compute from what, the services have judged by the schema
//! that the command names; here is what may have changed since: which names and outputs are taken.

use std::fmt;

use prost::Message;
use serde::{Deserialize, Serialize};

use super::edit::{self, Target};
use crate::error::Rejection;
use crate::pb::schema::{CollectionSchema, FunctionSchema, FunctionType};
use crate::state::name;
use crate::state::step::{Outcome, Step};

/// Ids of functions begin here.
const FIRST_FUNCTION_ID: i64 = 100;

/// One change of a collection's functions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeFunction {
    /// Empty: the default database.
    pub database: String,
    pub collection: String,
    /// The collection that the function was judged by; 0 for none.
    pub judged_id: i64,
    pub change: FunctionChange,
    /// Hybrid timestamp of the change.
    pub ts: u64,
}

/// Stored in the log by the variant's place: append variants, never reorder, change or remove one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FunctionChange {
    /// An encoded `FunctionSchema`; its ids are given here. Not idempotent: a function of that name is refused.
    Add(Vec<u8>),
    /// An encoded `FunctionSchema`, which takes the place of the one with its name.
    Alter(Vec<u8>),
    /// By name. Idempotent: dropping what is not there is a success. Its output fields stay, as ordinary ones.
    Drop(String),
}

impl ChangeFunction {
    pub(super) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        let target =
            Target { database: &self.database, collection: &self.collection, judged_id: self.judged_id, ts: self.ts };
        match &self.change {
            FunctionChange::Add(bytes) => {
                let function = decoded(bytes)?;
                edit::schema(step, &target, |schema| add(schema, function))
            }
            FunctionChange::Alter(bytes) => {
                let function = decoded(bytes)?;
                edit::schema(step, &target, |schema| alter(schema, function))
            }
            FunctionChange::Drop(name) => edit::schema(step, &target, |schema| remove(schema, name)),
        }
    }
}

fn decoded(bytes: &[u8]) -> Result<FunctionSchema, Rejection> {
    FunctionSchema::decode(bytes)
        .map_err(|error| Rejection::invalid(format!("failed to unmarshal function schema: {error}")))
}

fn add(schema: &mut CollectionSchema, mut function: FunctionSchema) -> Result<bool, Rejection> {
    if schema.functions.iter().any(|own| own.name == function.name) {
        return Err(Rejection::invalid(format!("function name already exists: {}", function.name)));
    }
    let ids = schema.functions.iter().map(|own| own.id.saturating_add(1));
    function.id = ids.max().unwrap_or_default().max(FIRST_FUNCTION_ID);
    connect(schema, &mut function)?;
    schema.functions.push(function);
    Ok(true)
}

fn alter(schema: &mut CollectionSchema, mut function: FunctionSchema) -> Result<bool, Rejection> {
    let Some(place) = schema.functions.iter().position(|own| own.name == function.name) else {
        return Err(Rejection::invalid(format!("function {} not exists", function.name)));
    };
    let old = schema.functions.remove(place);
    refuse_bm25(&old, "alter")?;
    disconnect(schema, &old);
    function.id = old.id;
    connect(schema, &mut function)?;
    let changed = function != old;
    schema.functions.push(function);
    Ok(changed)
}

fn remove(schema: &mut CollectionSchema, name: &str) -> Result<bool, Rejection> {
    let Some(place) = schema.functions.iter().position(|own| own.name == name) else { return Ok(false) };
    let old = schema.functions.remove(place);
    refuse_bm25(&old, "droping")?;
    disconnect(schema, &old);
    Ok(true)
}

/// What BM25 computed is part of the rows; it cannot be computed differently afterwards.
fn refuse_bm25(function: &FunctionSchema, what: &str) -> Result<(), Rejection> {
    if function.r#type == i32::from(FunctionType::Bm25) {
        return Err(Rejection::invalid(format!("currently does not support {what} BM25 function")));
    }
    Ok(())
}

/// Finds the function's fields and marks its outputs.
fn connect(schema: &mut CollectionSchema, function: &mut FunctionSchema) -> Result<(), Rejection> {
    function.input_field_ids.clear();
    function.output_field_ids.clear();
    for name in &function.input_field_names {
        let Some(field) = schema.fields.iter().find(|field| field.name == *name) else {
            return Err(Rejection::invalid(format!("function's input field {name} not exists")));
        };
        function.input_field_ids.push(field.field_id);
    }
    for name in &function.output_field_names {
        let Some(field) = schema.fields.iter_mut().find(|field| field.name == *name) else {
            return Err(Rejection::invalid(format!("function's output field {name} not exists")));
        };
        if field.is_function_output {
            let detail = format!("function's output field {name} is already of other functions");
            return Err(Rejection::invalid(detail));
        }
        field.is_function_output = true;
        function.output_field_ids.push(field.field_id);
    }
    Ok(())
}

fn disconnect(schema: &mut CollectionSchema, function: &FunctionSchema) {
    for field in schema.fields.iter_mut().filter(|field| function.output_field_names.contains(&field.name)) {
        field.is_function_output = false;
    }
}

impl fmt::Display for ChangeFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (database, collection) = (name::database_or_default(&self.database), self.collection.escape_debug());
        let database = database.escape_debug();
        match &self.change {
            FunctionChange::Add(_) => write!(f, "add function to collection {database}.{collection}"),
            FunctionChange::Alter(_) => write!(f, "alter function of collection {database}.{collection}"),
            FunctionChange::Drop(name) => {
                write!(f, "drop function {} of collection {database}.{collection}", name.escape_debug())
            }
        }
    }
}
