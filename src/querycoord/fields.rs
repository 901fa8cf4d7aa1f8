//! Which fields of a collection are loaded: all that may be, or those that are named.

use crate::error::Rejection;
use crate::pb::schema::{CollectionSchema, DataType, FieldSchema};
use crate::rootcoord::validate;

/// The ids of the fields to load.
pub(super) fn to_load(schema: &CollectionSchema, named: &[String], skip_dynamic: bool) -> Result<Vec<i64>, Rejection> {
    if named.is_empty() {
        return Ok(all(schema, skip_dynamic));
    }
    let mut chosen = Vec::new();
    for name in named {
        chosen.extend(of_name(schema, name)?);
    }
    if !skip_dynamic {
        chosen.extend(schema.fields.iter().filter(|field| field.is_dynamic));
    }
    check(schema, named, &chosen)?;
    Ok(chosen.into_iter().map(|field| field.field_id).collect())
}

fn all(schema: &CollectionSchema, skip_dynamic: bool) -> Vec<i64> {
    let members = schema.struct_array_fields.iter().flat_map(|parent| &parent.fields);
    let fields = schema.fields.iter().chain(members).filter(|field| validate::is_users_own(field));
    fields
        .filter(|field| !(validate::skips_loading(field) || (skip_dynamic && field.is_dynamic)))
        .map(|field| field.field_id)
        .collect()
}

/// The field, or all members of the struct field.
fn of_name<'a>(schema: &'a CollectionSchema, name: &str) -> Result<Vec<&'a FieldSchema>, Rejection> {
    if let Some(parent) = schema.struct_array_fields.iter().find(|parent| parent.name == name) {
        return Ok(parent.fields.iter().collect());
    }
    let mut user_fields = schema.fields.iter().filter(|field| validate::is_users_own(field));
    match user_fields.find(|field| field.name == name) {
        Some(field) => Ok(vec![field]),
        None => {
            let detail = format!("failed to get field schema by name: fieldName({name}) not found");
            Err(Rejection::invalid(detail))
        }
    }
}

/// Keys and at least one vector field must be among the chosen ones.
fn check(schema: &CollectionSchema, named: &[String], chosen: &[&FieldSchema]) -> Result<(), Rejection> {
    let list = format!("load field list [{}] does not contain", named.join(" "));
    let lacks = |is_key: fn(&FieldSchema) -> bool| {
        let key = schema.fields.iter().find(|field| is_key(field))?;
        (!chosen.iter().any(|field| field.field_id == key.field_id)).then_some(&key.name)
    };
    let detail = if let Some(name) = lacks(|field| field.is_primary_key) {
        format!("{list} primary key field {name}")
    } else if let Some(name) = lacks(|field| field.is_partition_key) {
        format!("{list} partition key field {name}")
    } else if let Some(name) = lacks(|field| field.is_clustering_key) {
        format!("{list} clustering key field {name}")
    } else if !chosen.iter().any(|field| is_vector(field)) {
        format!("{list} vector field")
    } else {
        return Ok(());
    };
    Err(Rejection::invalid(detail))
}

fn is_vector(field: &FieldSchema) -> bool {
    DataType::try_from(field.data_type)
        .is_ok_and(|data_type| validate::is_vector(data_type) || data_type == DataType::ArrayOfVector)
}
