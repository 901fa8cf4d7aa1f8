//! Functions of a schema: computed fields. Declarations are checked; running them is the nodes' business.

use std::collections::BTreeSet;

use crate::error::Rejection;
use crate::pb::schema::{CollectionSchema, DataType, FieldSchema, FunctionSchema, FunctionType};

use super::{names, params, types};

const ENABLE_ANALYZER: &str = "enable_analyzer";

/// Checks every function and marks the fields that functions fill, whatever the client marked.
pub(super) fn check(schema: &mut CollectionSchema) -> Result<(), Rejection> {
    let CollectionSchema { fields, functions, .. } = schema;
    for field in fields.iter_mut() {
        field.is_function_output = false;
    }
    let mut names_seen = BTreeSet::new();
    let mut outputs_seen = BTreeSet::new();
    for function in functions.iter() {
        declared(function)?;
        if !names_seen.insert(&function.name) {
            return Err(Rejection::invalid(format!("duplicate function name: {}", function.name)));
        }
        check_inputs(function, fields)?;
        check_outputs(function, fields)?;
        for name in &function.output_field_names {
            if !outputs_seen.insert(name) {
                let function = &function.name;
                let detail = format!("duplicate function output field: function {function}, field {name}");
                return Err(Rejection::invalid(detail));
            }
        }
    }
    for field in fields.iter_mut() {
        field.is_function_output = outputs_seen.contains(&field.name);
    }
    Ok(())
}

/// What can be said of a function without its fields.
fn declared(function: &FunctionSchema) -> Result<(), Rejection> {
    let FunctionSchema { name, input_field_names: inputs, output_field_names: outputs, .. } = function;
    if name.is_empty() {
        return Err(Rejection::missing("function name cannot be empty"));
    }
    if inputs.is_empty() {
        return Err(Rejection::missing(format!("function input field names cannot be empty, function: {name}")));
    }
    if outputs.is_empty() {
        return Err(Rejection::missing(format!("function output field names cannot be empty, function: {name}")));
    }
    names::function_name(name)?;
    let mut seen = BTreeSet::new();
    for input in inputs {
        if input.is_empty() {
            let detail = format!("function input field name cannot be empty string, function: {name}");
            return Err(Rejection::missing(detail));
        }
        if !seen.insert(input) {
            return Err(Rejection::invalid(format!(
                "each function input field should be used exactly once in the same function, function: {name}, \
                 input field: {input}"
            )));
        }
    }
    let mut produced = BTreeSet::new();
    for output in outputs {
        if output.is_empty() {
            let detail = format!("function output field name cannot be empty string, function: {name}");
            return Err(Rejection::missing(detail));
        }
        if seen.contains(output) {
            return Err(Rejection::invalid(format!(
                "a single field cannot be both input and output in the same function, function: {name}, \
                 field: {output}"
            )));
        }
        if !produced.insert(output) {
            return Err(Rejection::invalid(format!(
                "each function output field should be used exactly once in the same function, function: {name}, \
                 output field: {output}"
            )));
        }
    }
    match FunctionType::try_from(function.r#type) {
        Ok(FunctionType::Bm25) if !function.params.is_empty() => {
            Err(Rejection::invalid("BM25 function accepts no params"))
        }
        // The text is Milvus' own; it means that a provider must be named.
        Ok(FunctionType::TextEmbedding) if function.params.is_empty() => {
            Err(Rejection::invalid("TextEmbedding function accepts no params"))
        }
        Ok(FunctionType::Bm25 | FunctionType::TextEmbedding) => Ok(()),
        _ => Err(Rejection::invalid("check function params with unknown function type")),
    }
}

fn check_inputs(function: &FunctionSchema, fields: &[FieldSchema]) -> Result<(), Rejection> {
    let mut inputs = Vec::with_capacity(function.input_field_names.len());
    for name in &function.input_field_names {
        let field = fields.iter().find(|field| field.name == *name);
        inputs.push(field.ok_or_else(|| Rejection::invalid(format!("function input field not found: {name}")))?);
    }
    let (what, text) = match FunctionType::try_from(function.r#type) {
        Ok(FunctionType::Bm25) => ("BM25", true),
        _ => ("TextEmbedding", false),
    };
    match inputs.as_slice() {
        [only] if is_text(only) => {
            if text && !params::is_on(only, ENABLE_ANALYZER) {
                return Err(Rejection::invalid("BM25 function input field must set enable_analyzer to true"));
            }
            Ok(())
        }
        several => {
            let first = several.first().map_or(0, |field| field.data_type);
            Err(Rejection::invalid(format!(
                "{what} function input field must be a VARCHAR/TEXT field, got {} field with type {}",
                several.len(),
                types::type_name(first)
            )))
        }
    }
}

fn is_text(field: &FieldSchema) -> bool {
    matches!(DataType::try_from(field.data_type), Ok(DataType::VarChar | DataType::Text))
}

fn check_outputs(function: &FunctionSchema, fields: &[FieldSchema]) -> Result<(), Rejection> {
    let name = &function.name;
    let refuse = |what: &str, field: &str| {
        Err(Rejection::invalid(format!("function output field cannot be {what}: function {name}, field {field}")))
    };
    let mut data_types = Vec::with_capacity(function.output_field_names.len());
    for output in &function.output_field_names {
        let Some(field) = fields.iter().find(|field| field.name == *output) else {
            return Err(Rejection::invalid(format!("function output field not found: {output}")));
        };
        if field.is_primary_key {
            return refuse("primary key", output);
        }
        if field.is_partition_key || field.is_clustering_key {
            return refuse("partition key or clustering key", output);
        }
        if field.nullable {
            return refuse("nullable", output);
        }
        data_types.push(field.data_type);
    }
    let [data_type] = data_types.as_slice() else {
        let what = if function.r#type == i32::from(FunctionType::Bm25) { "BM25" } else { "TextEmbedding" };
        let count = data_types.len();
        return Err(Rejection::invalid(format!("{what} function only need 1 output field, but got {count}")));
    };
    let printed = types::type_name(*data_type);
    let data_type = DataType::try_from(*data_type).unwrap_or_default();
    if function.r#type == i32::from(FunctionType::Bm25) {
        if data_type != DataType::SparseFloatVector {
            return Err(Rejection::invalid(format!(
                "BM25 function output field must be a SparseFloatVector field, but got {printed}"
            )));
        }
    } else if !matches!(data_type, DataType::FloatVector | DataType::Int8Vector) {
        return Err(Rejection::invalid(format!(
            "TextEmbedding function output field must be a FloatVector or Int8Vector field, but got {printed}"
        )));
    }
    Ok(())
}
