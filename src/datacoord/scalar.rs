//! Index types of scalar fields: which fields each takes and which parameters.

use super::params::Map;
use crate::error::Rejection;
use crate::pb::schema::{DataType, FieldSchema};

pub(super) const CAST: &str = "json_cast_type";
const CAST_FUNCTION: &str = "json_cast_function";
/// Chosen by the server only.
const HYBRID: &str = "HYBRID";
const BITMAP: &str = "BITMAP";
const INVERTED: &str = "INVERTED";
const NGRAM: &str = "NGRAM";
const RTREE: &str = "RTREE";
const SORTED: &str = "STL_SORT";

const CASTS: [&str; 7] = ["BOOL", "DOUBLE", "VARCHAR", "ARRAY_BOOL", "ARRAY_DOUBLE", "ARRAY_VARCHAR", "JSON"];

/// Whether a user may name this type.
pub(super) fn is_known(index_type: &str) -> bool {
    matches!(index_type, INVERTED | SORTED | "Asceneding" | "TRIE" | "Trie" | "marisa-trie" | BITMAP | RTREE | NGRAM)
}

/// Whether the index can be mapped from disk.
pub(super) fn maps(index_type: &str) -> bool {
    matches!(index_type, INVERTED | BITMAP | HYBRID | "Trie" | NGRAM)
}

pub(super) fn is_bitmap(index_type: &str) -> bool {
    index_type == BITMAP
}

/// What the server builds when it is asked to choose.
pub(super) fn automatic(field: &FieldSchema) -> Result<&'static str, Rejection> {
    use DataType::*;
    let primitive = |data_type: DataType| match data_type {
        Bool => Some(BITMAP),
        Int8 | Int16 | Int32 | Int64 | VarChar | String => Some(HYBRID),
        Float | Double => Some(INVERTED),
        Timestamptz => Some(SORTED),
        _ => Option::None,
    };
    let data_type = DataType::try_from(field.data_type).unwrap_or_default();
    let chosen = match data_type {
        Array => primitive(DataType::try_from(field.element_type).unwrap_or_default()),
        Json => Some(INVERTED),
        Geometry => Some(RTREE),
        other => primitive(other),
    };
    chosen.ok_or_else(|| Rejection::ParameterUnexpected {
        expected: "supported field".to_owned(),
        actual: format!("create auto index on type:{} is not supported", data_type.as_str_name()),
        detail: std::string::String::new(),
    })
}

/// Whether the field can have this index, with these parameters.
pub(super) fn check(index_type: &str, field: &FieldSchema, params: &Map) -> Result<(), Rejection> {
    let data_type = DataType::try_from(field.data_type).unwrap_or_default();
    let name = data_type.as_str_name();
    match index_type {
        INVERTED if !inverts(data_type) => {
            Err(Rejection::invalid(format!("INVERTED are not supported on {name} field")))
        }
        INVERTED if data_type == DataType::Json => check_cast(params),
        SORTED | "Asceneding" if !sorts(data_type) => Err(Rejection::invalid(format!(
            "STL_SORT are only supported on numeric, varchar or timestamptz field, got {name}"
        ))),
        "TRIE" | "Trie" | "marisa-trie" if !is_text(data_type) => {
            Err(Rejection::invalid("TRIE are only supported on varchar field"))
        }
        BITMAP => check_bitmap(field, data_type),
        RTREE if data_type != DataType::Geometry => {
            Err(Rejection::invalid(format!("RTREE index can only be built on geometry field, got {name}")))
        }
        NGRAM => check_ngram(data_type, params),
        INVERTED | SORTED | "Asceneding" | "TRIE" | "Trie" | "marisa-trie" | RTREE | HYBRID => Ok(()),
        other => Err(Rejection::invalid(format!("invalid index type: {other}"))),
    }
}

fn is_number(data_type: DataType) -> bool {
    use DataType::*;
    matches!(data_type, Int8 | Int16 | Int32 | Int64 | Float | Double)
}

fn is_text(data_type: DataType) -> bool {
    matches!(data_type, DataType::VarChar | DataType::String)
}

fn inverts(data_type: DataType) -> bool {
    is_number(data_type) || is_text(data_type) || matches!(data_type, DataType::Bool | DataType::Array | DataType::Json)
}

fn sorts(data_type: DataType) -> bool {
    is_number(data_type) || is_text(data_type) || data_type == DataType::Timestamptz
}

/// A few distinct values: no fractions.
fn check_bitmap(field: &FieldSchema, data_type: DataType) -> Result<(), Rejection> {
    let few = |data_type: DataType| {
        let fraction = matches!(data_type, DataType::Float | DataType::Double);
        (is_number(data_type) && !fraction) || is_text(data_type) || data_type == DataType::Bool
    };
    let element = DataType::try_from(field.element_type).unwrap_or_default();
    let fault = match data_type {
        _ if field.is_primary_key => "create bitmap index on primary key not supported",
        DataType::Array if !few(element) => "bitmap index are only supported on bool, int, string for array field",
        DataType::Array => return Ok(()),
        other if !few(other) => "bitmap index are only supported on bool, int, string and array field",
        _ => return Ok(()),
    };
    Err(Rejection::invalid(fault))
}

/// What the values at a path are taken for.
fn check_cast(params: &Map) -> Result<(), Rejection> {
    let Some(cast) = params.get(CAST) else {
        let detail = "json index must specify cast type: missing parameter[missing_param=json_cast_type]";
        return Err(Rejection::invalid(detail));
    };
    if !CASTS.contains(&cast.as_str()) {
        return Err(Rejection::invalid(format!("json_cast_type {cast} is not supported")));
    }
    match params.get(CAST_FUNCTION).map(String::as_str) {
        None => Ok(()),
        Some("STRING_TO_DOUBLE") if cast == "DOUBLE" => Ok(()),
        Some(function @ "STRING_TO_DOUBLE") => {
            Err(Rejection::invalid(format!("json_cast_function {function} is not supported for json_cast_type {cast}")))
        }
        Some(function) => Err(Rejection::invalid(format!("json_cast_function {function} is not supported"))),
    }
}

/// Pieces of a text, from `min_gram` to `max_gram` characters.
fn check_ngram(data_type: DataType, params: &Map) -> Result<(), Rejection> {
    if !is_text(data_type) && data_type != DataType::Json {
        return Err(Rejection::invalid("ngram index can only be created on VARCHAR or JSON field"));
    }
    if data_type == DataType::Json {
        match params.get(CAST).map(String::as_str) {
            None => return Err(Rejection::missing("JSON field with ngram index must specify json_cast_type")),
            Some("VARCHAR") => {}
            Some(cast) => {
                let detail = format!("JSON field with ngram index only supports VARCHAR cast type, got: {cast}");
                return Err(Rejection::invalid(detail));
            }
        }
    }
    let (Some(least), Some(most)) = (params.get("min_gram"), params.get("max_gram")) else {
        return Err(Rejection::missing("Ngram index must specify both min_gram and max_gram"));
    };
    let number = |key: &str, value: &str| {
        let detail = format!("{key} for Ngram index must be an integer, got: {value}");
        value.parse::<i64>().map_err(|_| Rejection::invalid(detail))
    };
    let (least, most) = (number("min_gram", least)?, number("max_gram", most)?);
    if least <= 0 || most <= 0 || least > most {
        return Err(Rejection::invalid(format!(
            "invalid min_gram or max_gram value for Ngram index, min_gram: {least}, max_gram: {most}"
        )));
    }
    Ok(())
}
