//! Data types and the parameters each demands: dimension, length, capacity, element type.

use crate::error::Rejection;
use crate::limits::Limits;
use crate::pb::schema::{CollectionSchema, DataType, FieldSchema};

use super::params;

pub(super) const DIM: &str = "dim";
pub(super) const MAX_LENGTH: &str = "max_length";
pub(super) const MAX_CAPACITY: &str = "max_capacity";

/// Whether values of this type are vectors, one a row.
pub fn is_vector(data_type: DataType) -> bool {
    use DataType::*;
    matches!(data_type, BinaryVector | FloatVector | Float16Vector | BFloat16Vector | SparseFloatVector | Int8Vector)
}

/// The name of a type as Milvus prints it; an unknown one prints as its number.
pub(super) fn type_name(data_type: i32) -> String {
    DataType::try_from(data_type).map_or_else(|_| data_type.to_string(), |known| known.as_str_name().to_owned())
}

/// Every field's declared type exists and may be declared where it stands.
pub(super) fn check_declared(schema: &CollectionSchema) -> Result<(), Rejection> {
    for field in &schema.fields {
        match DataType::try_from(field.data_type) {
            Ok(DataType::String) => {
                return Err(Rejection::invalid("string data type not supported yet, please use VarChar type instead"));
            }
            Ok(DataType::None) => return Err(Rejection::invalid("data type None is not valid")),
            Ok(DataType::Array) => check_element(field.element_type)?,
            Ok(DataType::ArrayOfVector) => {
                let detail = "array of vector can only be in the struct array field, field name: ";
                return Err(Rejection::invalid(format!("{detail}{}", field.name)));
            }
            Ok(DataType::ArrayOfStruct | DataType::Struct) | Err(_) => return Err(unsupported(field)),
            Ok(_) => {}
        }
    }
    for field in schema.struct_array_fields.iter().flat_map(|parent| &parent.fields) {
        match DataType::try_from(field.data_type) {
            Ok(DataType::Array) => check_element(field.element_type)?,
            Ok(DataType::ArrayOfVector) => {}
            _ => {
                return Err(Rejection::invalid(format!(
                    "fields in StructArrayField must be Array or ArrayOfVector, field name = {}, field type = {}",
                    field.name,
                    type_name(field.data_type)
                )));
            }
        }
    }
    Ok(())
}

fn unsupported(field: &FieldSchema) -> Rejection {
    Rejection::ParameterUnexpected {
        expected: "Invalid field".to_owned(),
        actual: format!("field data type: {} is not supported", type_name(field.data_type)),
        detail: String::new(),
    }
}

/// What an array may hold.
fn check_element(element: i32) -> Result<(), Rejection> {
    use DataType::*;
    match DataType::try_from(element) {
        Ok(Bool | Int8 | Int16 | Int32 | Int64 | Float | Double | VarChar) => Ok(()),
        Ok(String) => Err(Rejection::invalid("string data type not supported yet, please use VarChar type instead")),
        Ok(None) => Err(Rejection::invalid("element data type None is not valid")),
        _ => Err(Rejection::invalid(format!("element type {} is not supported", type_name(element)))),
    }
}

/// A vector's `dim`. `vector` is the field's type, or the element type of an array of vectors.
pub(super) fn check_dimension(field: &FieldSchema, vector: DataType, limits: &Limits) -> Result<(), Rejection> {
    let (name, most) = (&field.name, limits.max_dimension);
    let given = params::get(&field.type_params, DIM);
    if vector == DataType::SparseFloatVector {
        return match given {
            None => Ok(()),
            Some(_) => Err(Rejection::invalid(format!(
                "dim should not be specified for sparse vector field {name}({})",
                field.field_id
            ))),
        };
    }
    let Some(given) = given else {
        return Err(Rejection::invalid(format!(
            "dimension is not defined in field type params of field {name}, check type param `dim` for vector field"
        )));
    };
    let dim: i64 = given.parse().map_err(|_| Rejection::invalid(format!("invalid dimension: {given}")))?;
    let start = format!("invalid dimension: {dim}");
    if dim < 2 {
        return Err(Rejection::invalid(format!("{start}. should be in range 2 ~ {most}")));
    }
    if vector != DataType::BinaryVector {
        return if dim <= most {
            Ok(())
        } else {
            let range = format!("float vector dimension should be in range 2 ~ {most}");
            Err(Rejection::invalid(format!("{start} of field {name}. {range}")))
        };
    }
    if dim % 8 != 0 {
        return Err(Rejection::invalid(format!(
            "{start} of field {name}. binary vector dimension should be multiple of 8. "
        )));
    }
    let most = most.saturating_mul(8);
    if dim > most {
        let range = format!("binary vector dimension should be in range 2 ~ {most}");
        return Err(Rejection::invalid(format!("{start} of field {name}. {range}")));
    }
    Ok(())
}

/// A VarChar's `max_length`, which it must have; a Text's, which it may have.
pub(super) fn check_length(
    field: &FieldSchema,
    text: DataType,
    collection: &str,
    limits: &Limits,
) -> Result<(), Rejection> {
    let name = &field.name;
    let most = if text == DataType::Text { limits.max_text_length } else { limits.max_varchar_length };
    let Some(given) = params::get(&field.type_params, MAX_LENGTH) else {
        return if text == DataType::Text {
            Ok(())
        } else {
            let what = format!("for the field({name}) of collection {collection}");
            Err(Rejection::missing(format!("type param(max_length) should be specified {what}")))
        };
    };
    let length = integer(given, MAX_LENGTH, name)?;
    if length < 1 || length > most {
        return Err(Rejection::invalid(format!(
            "the maximum length specified for the field({name}) should be in (0, {most}], but got {length} instead"
        )));
    }
    Ok(())
}

/// An array's `max_capacity`.
pub(super) fn check_capacity(field: &FieldSchema, collection: &str, limits: &Limits) -> Result<(), Rejection> {
    let name = &field.name;
    let Some(given) = params::get(&field.type_params, MAX_CAPACITY) else {
        return Err(Rejection::missing(format!(
            "type param(max_capacity) should be specified for array field {name} of collection {collection}"
        )));
    };
    let capacity = integer(given, MAX_CAPACITY, name)?;
    let most = limits.max_array_capacity;
    if capacity < 1 || capacity > most {
        let detail = format!("the maximum capacity specified for a Array should be in (0, {most}]");
        return Err(Rejection::invalid(detail));
    }
    Ok(())
}

fn integer(given: &str, key: &str, field: &str) -> Result<i64, Rejection> {
    given.parse().map_err(|_| Rejection::invalid(format!("the value for {key} of field {field} must be an integer")))
}
