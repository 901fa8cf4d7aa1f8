//! Rules for fields: how many, which names are the server's, and what each one's type demands of it.

use crate::error::Rejection;
use crate::limits::Limits;
use crate::pb::schema::{CollectionSchema, DataType, FieldSchema};

use super::normal::{DYNAMIC_FIELD, NAMESPACE_FIELD, ROW_ID_FIELD, TIMESTAMP_FIELD};
use super::{analyzers, names, params, types};

const MMAP_ENABLED: &str = "mmap.enabled";
const WARMUP: &str = "warmup";
/// A field with this switch on stays on disk.
const SKIP_LOAD: &str = "field.skipLoad";

/// How many fields and vectors there are; a struct field counts itself and its members.
pub(super) fn check_counts(schema: &CollectionSchema, limits: &Limits) -> Result<(), Rejection> {
    let members = schema.struct_array_fields.iter().map(|parent| parent.fields.len().saturating_add(1));
    let total = schema.fields.len().saturating_add(members.fold(0, usize::saturating_add));
    if total > limits.max_fields {
        let most = limits.max_fields;
        return Err(Rejection::invalid(format!("maximum field's number should be limited to {most}")));
    }
    let vectors = vectors(schema).count();
    if vectors > limits.max_vector_fields {
        let most = limits.max_vector_fields;
        return Err(Rejection::invalid(format!("maximum vector field's number should be limited to {most}")));
    }
    if vectors == 0 {
        return Err(Rejection::invalid("schema does not contain vector field"));
    }
    Ok(())
}

/// The dynamic field is asked for by `enable_dynamic_field`, never declared.
pub(super) fn no_explicit_dynamic(schema: &CollectionSchema) -> Result<(), Rejection> {
    if schema.fields.iter().any(|field| field.is_dynamic) {
        return Err(Rejection::invalid("cannot explicitly set a field as a dynamic field"));
    }
    if schema.enable_namespace {
        return Err(Rejection::NotSupported { detail: "namespaces are not served".to_owned() });
    }
    Ok(())
}

/// Names that the server gives itself.
pub(super) fn no_system_names(schema: &CollectionSchema) -> Result<(), Rejection> {
    let own = [ROW_ID_FIELD, TIMESTAMP_FIELD, DYNAMIC_FIELD, NAMESPACE_FIELD];
    let structs = schema.struct_array_fields.iter().map(|parent| &parent.name);
    let mut names = schema.fields.iter().map(|field| &field.name).chain(structs);
    if names.any(|name| own.contains(&name.as_str())) {
        return Err(Rejection::ParameterUnexpected {
            expected: "schema don't contains system field".to_owned(),
            actual: "contains".to_owned(),
            detail: format!("schema contains system field: {}", own.join(", ")),
        });
    }
    Ok(())
}

/// Whether a field is left out when its collection is loaded without saying which fields.
pub fn skips_loading(field: &FieldSchema) -> bool {
    params::is_on(field, SKIP_LOAD)
}

/// Keys are always loaded, and at least one vector is.
pub(super) fn check_loaded(schema: &CollectionSchema) -> Result<(), Rejection> {
    for field in schema.fields.iter().filter(|field| skips_loading(field)) {
        let kinds = [
            (field.is_primary_key, "Primary key"),
            (field.is_partition_key, "Partition Key"),
            (field.is_clustering_key, "Clustering Key"),
        ];
        if let Some((_, kind)) = kinds.into_iter().find(|(is_key, _)| *is_key) {
            return Err(Rejection::invalid(format!("{kind} field {} cannot skip loading", field.name)));
        }
    }
    if vectors(schema).all(skips_loading) {
        return Err(Rejection::invalid("cannot config all vector field(s) skip loading"));
    }
    Ok(())
}

/// The fields with vectors, also within struct fields.
fn vectors(schema: &CollectionSchema) -> impl Iterator<Item = &FieldSchema> {
    let inner = schema.struct_array_fields.iter().flat_map(|parent| &parent.fields);
    schema.fields.iter().chain(inner).filter(|field| {
        DataType::try_from(field.data_type)
            .is_ok_and(|known| types::is_vector(known) || known == DataType::ArrayOfVector)
    })
}

/// One top-level field: its name, then its parameters.
pub(super) fn check(field: &FieldSchema, schema: &CollectionSchema, limits: &Limits) -> Result<(), Rejection> {
    names::field_name(&field.name)?;
    check_params(field, schema, limits)?;
    analyzers::check(field, schema)?;
    if field.nullable && field.is_primary_key {
        return Err(Rejection::invalid("primary field not support null"));
    }
    Ok(())
}

/// What the type demands of the parameters; also for the members of a struct field.
pub(super) fn check_params(field: &FieldSchema, schema: &CollectionSchema, limits: &Limits) -> Result<(), Rejection> {
    params::check(field)?;
    let data_type = DataType::try_from(field.data_type).unwrap_or_default();
    let element = DataType::try_from(field.element_type).unwrap_or_default();
    match data_type {
        DataType::VarChar | DataType::Text => types::check_length(field, data_type, &schema.name, limits)?,
        DataType::Array => {
            if element == DataType::VarChar {
                types::check_length(field, element, &schema.name, limits)?;
            }
            types::check_capacity(field, &schema.name, limits)?;
        }
        DataType::ArrayOfVector => types::check_dimension(field, element, limits)?,
        vector if types::is_vector(vector) => types::check_dimension(field, vector, limits)?,
        _ => {}
    }
    if let Some(value) = params::get(&field.type_params, MMAP_ENABLED)
        && params::switch(value).is_none()
    {
        return Err(Rejection::invalid(format!("invalid collection property: [key={MMAP_ENABLED}] [value={value}]")));
    }
    if let Some(policy) = params::get(&field.type_params, WARMUP) {
        super::properties::check_warmup(policy)
            .map_err(|why| Rejection::invalid(format!("invalid warmup policy for field {}: {why}", field.name)))?;
    }
    Ok(())
}
