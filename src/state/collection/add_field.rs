//! New fields of a collection that exists: one that a client declares, and the dynamic one.

use std::fmt;

use prost::Message;
use serde::{Deserialize, Serialize};

use super::edit::{self, Target};
use crate::error::Rejection;
use crate::pb::schema::value_field::Data;
use crate::pb::schema::{CollectionSchema, DataType, FieldSchema, ValueField};
use crate::state::name;
use crate::state::schema;
use crate::state::step::{Outcome, Step};

/// Ids below this are the server's own fields'.
const FIRST_USER_ID: i64 = 100;
/// Names that the server gives itself.
const SYSTEM_NAMES: [&str; 4] = ["RowID", "Timestamp", DYNAMIC_FIELD, "$namespace_id"];
/// Holds what a row has beyond the declared fields.
const DYNAMIC_FIELD: &str = "$meta";

/// How many fields a schema may have, as the proposing node is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldLimits {
    pub max_fields: u64,
    pub max_vector_fields: u64,
}

impl From<&crate::limits::Limits> for FieldLimits {
    fn from(configured: &crate::limits::Limits) -> Self {
        FieldLimits { max_fields: configured.max_fields as u64, max_vector_fields: configured.max_vector_fields as u64 }
    }
}

/// Not idempotent, as in Milvus: a field of that name is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddField {
    /// Empty: the default database.
    pub database: String,
    pub collection: String,
    /// The collection that the field was judged by.
    pub judged_id: i64,
    /// An encoded `FieldSchema`; its id is given here.
    pub field: Vec<u8>,
    /// Hybrid timestamp of the change.
    pub ts: u64,
    pub limits: FieldLimits,
}

/// Adds the dynamic field. Idempotent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnableDynamicField {
    pub database: String,
    pub collection: String,
    /// False asks for what is impossible: a dynamic field stays.
    pub enable: bool,
    /// Hybrid timestamp of the change.
    pub ts: u64,
}

impl AddField {
    pub(super) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        let target =
            Target { database: &self.database, collection: &self.collection, judged_id: self.judged_id, ts: self.ts };
        let field = FieldSchema::decode(self.field.as_slice())
            .map_err(|error| Rejection::invalid(format!("failed to unmarshal field schema: {error}")))?;
        edit::schema(step, &target, |schema| {
            check_added_field(schema, &field, &self.limits)?;
            push(schema, field);
            Ok(true)
        })
    }
}

impl EnableDynamicField {
    pub(super) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        let (database, collection, ts) = (&self.database, &self.collection, self.ts);
        edit::schema(step, &Target { database, collection, judged_id: 0, ts }, |schema| {
            if schema.enable_dynamic_field == self.enable {
                return Ok(false);
            }
            if !self.enable {
                return Err(Rejection::invalid("dynamic schema cannot supported to be disabled"));
            }
            schema.enable_dynamic_field = true;
            // Rows that are there already have no value of it.
            let field = FieldSchema {
                name: DYNAMIC_FIELD.to_owned(),
                data_type: DataType::Json.into(),
                is_dynamic: true,
                nullable: true,
                default_value: Some(ValueField { data: Some(Data::BytesData(b"{}".to_vec())) }),
                ..FieldSchema::default()
            };
            push(schema, field);
            Ok(true)
        })
    }
}

/// Whether the field fits into the schema, in the order and the words of Milvus' proxy.
pub fn check_added_field(
    schema: &CollectionSchema,
    field: &FieldSchema,
    limits: &FieldLimits,
) -> Result<(), Rejection> {
    let name = &field.name;
    let members = || schema.struct_array_fields.iter().flat_map(|parent| &parent.fields);
    let declared = || schema.fields.iter().filter(|field| field.field_id >= FIRST_USER_ID && !field.is_dynamic);
    let count = declared().count() + schema.struct_array_fields.len() + members().count();
    if count as u64 >= limits.max_fields {
        let most = limits.max_fields;
        return Err(Rejection::invalid(format!("The number of fields has reached the maximum value {most}")));
    }
    let data_type = DataType::try_from(field.data_type).unwrap_or_default();
    if data_type == DataType::None {
        return Err(Rejection::ParameterUnexpected {
            expected: "valid field".to_owned(),
            actual: format!("field data type: {} is not supported", type_name(field.data_type)),
            detail: String::new(),
        });
    }
    if schema::is_vector_field(field) {
        let most = limits.max_vector_fields;
        let vectors = schema.fields.iter().chain(members()).filter(|field| schema::is_vector_field(field)).count();
        if vectors as u64 >= most {
            let detail = format!("maximum vector field's number should be limited to {most}");
            return Err(Rejection::invalid(detail));
        }
    }
    if field.is_dynamic || SYSTEM_NAMES.contains(&name.as_str()) {
        return Err(Rejection::invalid(format!("not support to add system field, field name = {name}")));
    }
    if field.is_primary_key {
        return Err(Rejection::invalid(format!("not support to add pk field, field name = {name}")));
    }
    if !field.nullable {
        return Err(Rejection::invalid(format!("added field must be nullable, please check it, field name = {name}")));
    }
    let sparse = data_type == DataType::SparseFloatVector;
    if schema::is_vector_field(field) && !sparse && field.type_params.is_empty() {
        return Err(Rejection::invalid(format!("vector field must have dimension specified, field name = {name}")));
    }
    check_roles(schema, field, data_type)?;
    let structs = schema.struct_array_fields.iter().map(|parent| &parent.name);
    if schema.fields.iter().chain(members()).map(|field| &field.name).chain(structs).any(|taken| taken == name) {
        return Err(Rejection::invalid(format!("duplicate field name: {name}")));
    }
    Ok(())
}

/// What an added field may be besides a column.
fn check_roles(schema: &CollectionSchema, field: &FieldSchema, data_type: DataType) -> Result<(), Rejection> {
    use DataType::{Double, Float, Int8, Int16, Int32, Int64, VarChar};
    let name = &field.name;
    if field.auto_id {
        let detail = format!("only primary field can speficy AutoID with true, field name = {name}");
        return Err(Rejection::invalid(detail));
    }
    if field.is_partition_key {
        return Err(Rejection::invalid(format!("not support to add partition key field, field name  = {name}")));
    }
    if field.is_clustering_key {
        if !matches!(data_type, Int8 | Int16 | Int32 | Int64 | Float | Double | VarChar) {
            let what = type_name(field.data_type);
            let detail = format!("clustering key field {name} has unsupported data type {what}");
            return Err(Rejection::invalid(detail));
        }
        if schema.fields.iter().any(|field| field.is_clustering_key) {
            let detail = format!("already has another clutering key field, field name: {name}");
            return Err(Rejection::invalid(detail));
        }
    }
    Ok(())
}

/// The name of a type as Milvus prints it; an unknown one prints as its number.
fn type_name(data_type: i32) -> String {
    DataType::try_from(data_type).map_or_else(|_| data_type.to_string(), |known| known.as_str_name().to_owned())
}

/// Appends the field under the next id.
fn push(schema: &mut CollectionSchema, mut field: FieldSchema) {
    let parents = &schema.struct_array_fields;
    let members = parents.iter().flat_map(|parent| &parent.fields).map(|field| field.field_id);
    let taken = schema.fields.iter().map(|field| field.field_id).chain(parents.iter().map(|parent| parent.field_id));
    field.field_id = taken.chain(members).max().map_or(FIRST_USER_ID, |id| id.saturating_add(1)).max(FIRST_USER_ID);
    field.is_function_output = false;
    schema.fields.push(field);
}

impl fmt::Display for AddField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (database, name) = (name::database_or_default(&self.database), self.collection.escape_debug());
        write!(f, "add field to collection {}.{name}", database.escape_debug())
    }
}

impl fmt::Display for EnableDynamicField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (database, name) = (name::database_or_default(&self.database), self.collection.escape_debug());
        write!(f, "alter collection {}.{name} dynamic_field={}", database.escape_debug(), self.enable)
    }
}
