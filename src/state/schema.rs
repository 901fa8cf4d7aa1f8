//! What the state machine itself demands of a schema. Field by field the services check more, before they propose;
//! here stands what makes a stored schema readable and unambiguous on every node.

use std::collections::BTreeSet;
use std::io;

use prost::Message;

use super::limits::MAX_SCHEMA_BYTES;
use super::tables::COLLECTIONS;
use crate::error::Rejection;
use crate::pb::common::KeyValuePair;
use crate::pb::schema::{CollectionSchema, DataType, FieldSchema};
use crate::pb::store;

/// Decodes a proposed schema and checks it.
pub(super) fn check(bytes: &[u8], collection: &str) -> Result<CollectionSchema, Rejection> {
    if bytes.len() > MAX_SCHEMA_BYTES {
        let detail = format!("schema of {} bytes, at most {MAX_SCHEMA_BYTES}", bytes.len());
        return Err(Rejection::ParameterTooLarge { detail });
    }
    let schema = CollectionSchema::decode(bytes)
        .map_err(|error| Rejection::invalid(format!("failed to unmarshal schema: {error}")))?;
    if schema.name != collection {
        return Err(Rejection::ParameterUnexpected {
            expected: "collection name matches schema name".to_owned(),
            actual: "don't match".to_owned(),
            detail: String::new(),
        });
    }
    check_primary_key(&schema)?;
    check_unique(&schema)?;
    Ok(schema)
}

fn check_primary_key(schema: &CollectionSchema) -> Result<(), Rejection> {
    let mut keys = schema.fields.iter().filter(|field| field.is_primary_key);
    match (keys.next(), keys.next()) {
        (None, _) => Err(Rejection::ParameterMissing { detail: "primary key is not specified".to_owned() }),
        (Some(_), None) => Ok(()),
        (Some(one), Some(other)) => Err(Rejection::invalid(format!(
            "there are more than one primary key, field name = {}, {}",
            one.name, other.name
        ))),
    }
}

/// Names are unique beside each other, ids in the whole schema.
fn check_unique(schema: &CollectionSchema) -> Result<(), Rejection> {
    let structs = &schema.struct_array_fields;
    unique_names(schema.fields.iter().map(|f| &f.name).chain(structs.iter().map(|f| &f.name)))?;
    for parent in structs {
        unique_names(parent.fields.iter().map(|field| &field.name))?;
    }
    let mut ids = BTreeSet::new();
    let members = structs.iter().flat_map(|parent| &parent.fields);
    let all = schema.fields.iter().chain(members).map(|field| field.field_id);
    match all.chain(structs.iter().map(|parent| parent.field_id)).find(|id| !ids.insert(*id)) {
        None => Ok(()),
        Some(id) => Err(Rejection::invalid(format!("duplicated fieldID: {id}"))),
    }
}

fn unique_names<'a>(names: impl Iterator<Item = &'a String>) -> Result<(), Rejection> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(Rejection::invalid(format!("duplicated field name {name} found")));
        }
    }
    Ok(())
}

/// Whether two schemas declare the same, ids and version aside: those are the server's.
pub(super) fn same(a: &CollectionSchema, b: &CollectionSchema) -> bool {
    declared(a) == declared(b)
}

/// As [`same`], and the order of parameters says nothing.
pub(super) fn same_in_any_order(a: &CollectionSchema, b: &CollectionSchema) -> bool {
    sorted(declared(a)) == sorted(declared(b))
}

fn declared(schema: &CollectionSchema) -> CollectionSchema {
    let mut schema = schema.clone();
    schema.version = 0;
    schema.db_name.clear();
    strip(&mut schema.fields);
    for parent in &mut schema.struct_array_fields {
        parent.field_id = 0;
        strip(&mut parent.fields);
    }
    for function in &mut schema.functions {
        function.id = 0;
        function.input_field_ids.clear();
        function.output_field_ids.clear();
    }
    schema
}

fn strip(fields: &mut [FieldSchema]) {
    for field in fields {
        field.field_id = 0;
    }
}

/// The field of this id, also within struct fields.
pub(super) fn field(schema: &CollectionSchema, id: i64) -> Option<&FieldSchema> {
    let members = schema.struct_array_fields.iter().flat_map(|parent| &parent.fields);
    schema.fields.iter().chain(members).find(|field| field.field_id == id)
}

fn sorted(mut schema: CollectionSchema) -> CollectionSchema {
    for parent in &mut schema.struct_array_fields {
        sort(&mut parent.type_params);
    }
    for function in &mut schema.functions {
        sort(&mut function.params);
    }
    let members = schema.struct_array_fields.iter_mut().flat_map(|parent| &mut parent.fields);
    for field in schema.fields.iter_mut().chain(members) {
        sort(&mut field.type_params);
        sort(&mut field.index_params);
    }
    schema
}

fn sort(params: &mut [KeyValuePair]) {
    params.sort_by(|a, b| a.key.cmp(&b.key));
}

/// Whether the field's values are vectors, or arrays of them.
pub(super) fn is_vector_field(field: &FieldSchema) -> bool {
    use DataType::*;
    matches!(
        DataType::try_from(field.data_type),
        Ok(BinaryVector
            | FloatVector
            | Float16Vector
            | BFloat16Vector
            | SparseFloatVector
            | Int8Vector
            | ArrayOfVector)
    )
}

/// Whether rows find their partition by a field's value; then partitions are not the user's to create or drop.
pub(super) fn has_partition_key(schema: &CollectionSchema) -> bool {
    schema.fields.iter().any(|field| field.is_partition_key)
}

impl store::Collection {
    /// The schema as stored. An error means that the row cannot be trusted.
    pub fn decoded_schema(&self) -> io::Result<CollectionSchema> {
        CollectionSchema::decode(self.schema.as_slice())
            .map_err(|error| COLLECTIONS.corrupt(&COLLECTIONS.key(&self.id), &format!("schema: {error}")))
    }

    /// Milliseconds since the Unix epoch.
    pub fn created_utc_ms(&self) -> u64 {
        super::clock::physical_ms(self.created_ts)
    }
}

impl store::Partition {
    /// Milliseconds since the Unix epoch.
    pub fn created_utc_ms(&self) -> u64 {
        super::clock::physical_ms(self.created_ts)
    }
}

impl store::Database {
    /// Milliseconds since the Unix epoch.
    pub fn created_utc_ms(&self) -> u64 {
        super::clock::physical_ms(self.created_ts)
    }
}
