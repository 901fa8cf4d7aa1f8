//! Keys: the primary key and who makes its values, the partition key, the clustering key.

use crate::error::Rejection;
use crate::limits::Limits;
use crate::pb::schema::{CollectionSchema, DataType, FieldSchema};

use super::types;

fn members(schema: &CollectionSchema) -> impl Iterator<Item = &FieldSchema> {
    schema.struct_array_fields.iter().flat_map(|parent| &parent.fields)
}

/// The one field that `is_key` marks; two are `Err` with both names.
fn only(fields: &[FieldSchema], is_key: impl Fn(&FieldSchema) -> bool) -> Result<Option<&FieldSchema>, String> {
    let mut marked = fields.iter().filter(|field| is_key(field));
    match (marked.next(), marked.next()) {
        (Some(first), Some(second)) => Err(format!("{}, {}", first.name, second.name)),
        (first, _) => Ok(first),
    }
}

fn is_type(field: &FieldSchema, among: &[DataType]) -> bool {
    among.iter().any(|one| field.data_type == i32::from(*one))
}

/// Exactly one primary key, Int64 or VarChar.
pub(super) fn primary(schema: &CollectionSchema) -> Result<(), Rejection> {
    let found = only(&schema.fields, |field| field.is_primary_key)
        .map_err(|both| Rejection::invalid(format!("there are more than one primary key, field name = {both}")))?;
    let Some(key) = found else {
        return Err(Rejection::missing("primary key is not specified"));
    };
    if !is_type(key, &[DataType::Int64, DataType::VarChar]) {
        return Err(Rejection::invalid("the data type of primary key should be Int64 or VarChar"));
    }
    match members(schema).find(|field| field.is_primary_key) {
        None => Ok(()),
        Some(field) => {
            let name = &field.name;
            let detail = format!("primary key is not supported for struct field, field name = {name}");
            Err(Rejection::invalid(detail))
        }
    }
}

/// Only the primary key's values may be the server's to make.
pub(super) fn auto_id(schema: &CollectionSchema) -> Result<(), Rejection> {
    only(&schema.fields, |field| field.auto_id).map_err(|both| {
        Rejection::invalid(format!("only one field can speficy AutoID with true, field name = {both}"))
    })?;
    if let Some(field) = schema.fields.iter().find(|field| field.auto_id && !field.is_primary_key) {
        let name = &field.name;
        let detail = format!("only primary field can speficy AutoID with true, field name = {name}");
        return Err(Rejection::invalid(detail));
    }
    match members(schema).find(|field| field.auto_id) {
        None => Ok(()),
        Some(field) => {
            let name = &field.name;
            Err(Rejection::invalid(format!("autoID is not supported for struct field, field name = {name}")))
        }
    }
}

/// The number of partitions of a collection with a partition key; None without one.
pub(super) fn partition(schema: &CollectionSchema, asked: i64, limits: &Limits) -> Result<Option<u64>, Rejection> {
    let found = only(&schema.fields, |field| field.is_partition_key)
        .map_err(|both| Rejection::invalid(format!("there are more than one partition key, field name = {both}")))?;
    if let Some(field) = members(schema).find(|field| field.is_partition_key) {
        return Err(Rejection::IllegalSchema {
            collection: schema.name.clone(),
            detail: format!("partition key is not supported for struct field, field name = {}", field.name),
        });
    }
    let Some(key) = found else {
        return if asked == 0 {
            Ok(None)
        } else {
            Err(Rejection::invalid("num_partitions should only be specified with partition key field enabled"))
        };
    };
    if key.is_primary_key {
        return Err(Rejection::invalid("the partition key field must not be primary field"));
    }
    if key.nullable {
        return Err(Rejection::invalid("partition key field not support nullable"));
    }
    if !is_type(key, &[DataType::Int64, DataType::VarChar]) {
        return Err(Rejection::invalid("the data type of partition key should be Int64 or VarChar"));
    }
    let asked = u64::try_from(asked).map_err(|_| {
        Rejection::invalid("the specified partitions should be greater than 0 if partition key is used")
    })?;
    let count = if asked == 0 { limits.default_key_partitions } else { asked };
    if count > limits.max_partitions {
        let most = limits.max_partitions;
        return Err(Rejection::invalid(format!("partition number ({count}) exceeds max configuration ({most})")));
    }
    Ok(Some(count))
}

/// At most one clustering key, of a scalar type that can be ordered.
pub(super) fn clustering(schema: &CollectionSchema) -> Result<(), Rejection> {
    use DataType::*;
    let illegal = |detail: std::string::String| Rejection::IllegalSchema { collection: schema.name.clone(), detail };
    if let Some(field) = members(schema).find(|field| field.is_clustering_key) {
        let name = &field.name;
        return Err(illegal(format!("clustering key is not supported for struct field, field name = {name}")));
    }
    let found = only(&schema.fields, |field| field.is_clustering_key)
        .map_err(|both| illegal(format!("there are more than one clustering key, field name = {both}")))?;
    let Some(key) = found else {
        return Ok(());
    };
    if DataType::try_from(key.data_type).is_ok_and(types::is_vector) {
        return Err(Rejection::VectorClusteringKey {
            collection: schema.name.clone(),
            detail: format!("clustering key field {} is a vector", key.name),
        });
    }
    if !is_type(key, &[Int8, Int16, Int32, Int64, Float, Double, VarChar]) {
        let what = types::type_name(key.data_type);
        return Err(illegal(format!("clustering key field {} has unsupported data type {what}", key.name)));
    }
    Ok(())
}
