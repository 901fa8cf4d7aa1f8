//! A collection's schema as a JSON file, in the form in which `collection describe -o json` prints one, so that what is
//! printed can be created again.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::exit::Failure;
use crate::pb::common::KeyValuePair;
use crate::pb::schema::value_field::Data;
use crate::pb::schema::{CollectionSchema, DataType, FieldSchema, FunctionSchema, FunctionType, ValueField};

/// Fields below it are the server's own.
const FIRST_FIELD_ID: i64 = 100;

pub const FORM: &str = "\
FILE is JSON: {\"description\": text, \"dynamic_field\": bool,
  \"fields\": [{\"name\", \"type\": Int64, VarChar, FloatVector..., \"element_type\": of an Array, \"description\",
    \"attributes\": [primary key | auto id | partition key | clustering key | nullable], \"params\": {key: value},
    \"default\": value}],
  \"functions\": [{\"name\", \"type\": BM25, TextEmbedding..., \"inputs\": [field], \"outputs\": [field],
    \"params\": {key: value}}]}
Only name and type are needed. What `collection describe -o json` prints is such a file.";

#[derive(Deserialize)]
struct Schema {
    #[serde(default)]
    description: String,
    #[serde(default)]
    dynamic_field: bool,
    fields: Vec<Field>,
    #[serde(default)]
    functions: Vec<Function>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Field {
    name: String,
    id: Option<i64>,
    #[serde(rename = "type")]
    data_type: String,
    element_type: Option<String>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    attributes: Vec<String>,
    #[serde(default)]
    params: BTreeMap<String, Value>,
    default: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Function {
    name: String,
    #[serde(default, rename = "id")]
    _id: Option<i64>,
    #[serde(rename = "type")]
    kind: String,
    inputs: Vec<String>,
    outputs: Vec<String>,
    #[serde(default)]
    params: BTreeMap<String, Value>,
}

/// The schema of a collection of this name.
pub fn read(path: &Path, name: &str) -> Result<CollectionSchema, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::Usage(format!("{}: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    parse(&text, name).map_err(|error| failed(&error))
}

fn parse(text: &str, name: &str) -> Result<CollectionSchema, String> {
    let schema: Schema = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let own = |field: &Field| field.id.is_none_or(|id| id >= FIRST_FIELD_ID) && !has(field, "dynamic");
    let fields = schema.fields.into_iter().filter(own).map(field).collect::<Result<_, _>>()?;
    Ok(CollectionSchema {
        name: name.to_owned(),
        description: schema.description,
        enable_dynamic_field: schema.dynamic_field,
        fields,
        functions: schema.functions.into_iter().map(function).collect::<Result<_, _>>()?,
        ..CollectionSchema::default()
    })
}

fn has(field: &Field, attribute: &str) -> bool {
    field.attributes.iter().any(|own| own == attribute)
}

fn field(field: Field) -> Result<FieldSchema, String> {
    const KNOWN: [&str; 6] =
        ["primary key", "auto id", "partition key", "clustering key", "nullable", "function output"];
    let name = &field.name;
    if name.contains('.') {
        return Err(format!("{name}: fields of structs cannot be given in a file"));
    }
    if let Some(unknown) = field.attributes.iter().find(|own| !KNOWN.contains(&own.as_str())) {
        return Err(format!("{name}: there is no attribute {unknown}"));
    }
    let data_type =
        data_type(&field.data_type).ok_or_else(|| format!("{name}: no type is called {}", field.data_type))?;
    let element_type = match &field.element_type {
        None => DataType::None,
        Some(of) => self::data_type(of).ok_or_else(|| format!("{name}: no type is called {of}"))?,
    };
    let default =
        |value: &Value| default_value(data_type, value).ok_or_else(|| format!("{name}: {value} is no default"));
    let data = field.default.as_ref().map(default).transpose()?;
    Ok(FieldSchema {
        is_primary_key: has(&field, "primary key"),
        auto_id: has(&field, "auto id"),
        is_partition_key: has(&field, "partition key"),
        is_clustering_key: has(&field, "clustering key"),
        nullable: has(&field, "nullable"),
        default_value: data.map(|data| ValueField { data: Some(data) }),
        data_type: data_type.into(),
        element_type: element_type.into(),
        type_params: pairs(field.params),
        name: field.name,
        description: field.description,
        ..FieldSchema::default()
    })
}

fn function(function: Function) -> Result<FunctionSchema, String> {
    let kind = FunctionType::from_str_name(&function.kind)
        .ok_or_else(|| format!("{}: no type of functions is called {}", function.name, function.kind))?;
    Ok(FunctionSchema {
        name: function.name,
        r#type: kind.into(),
        input_field_names: function.inputs,
        output_field_names: function.outputs,
        params: pairs(function.params),
        ..FunctionSchema::default()
    })
}

/// By Milvus' own name, or as pymilvus writes it: FLOAT_VECTOR.
fn data_type(name: &str) -> Option<DataType> {
    let camel = |word: &str| {
        let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
        format!("{first}{}", rest.to_ascii_lowercase())
    };
    let known = DataType::from_str_name(name).or_else(|| {
        let written = name.split('_').map(camel).collect::<String>();
        DataType::from_str_name(if written == "Varchar" { "VarChar" } else { &written })
    });
    known.filter(|known| *known != DataType::None)
}

fn default_value(data_type: DataType, value: &Value) -> Option<Data> {
    match data_type {
        DataType::Bool => value.as_bool().map(Data::BoolData),
        DataType::Int8 | DataType::Int16 | DataType::Int32 => Some(Data::IntData(i32::try_from(value.as_i64()?).ok()?)),
        DataType::Int64 => value.as_i64().map(Data::LongData),
        // A float of JSON is a double; what does not fit is refused by the server.
        DataType::Float => value.as_f64().map(|value| Data::FloatData(value as f32)),
        DataType::Double => value.as_f64().map(Data::DoubleData),
        DataType::Timestamptz if value.is_i64() => value.as_i64().map(Data::TimestamptzData),
        DataType::Json => Some(Data::BytesData(value.to_string().into_bytes())),
        _ => value.as_str().map(|text| Data::StringData(text.to_owned())),
    }
}

/// The other way round; `None`: it has no form in JSON.
pub fn shown_default(default: &ValueField) -> Option<Value> {
    Some(match default.data.as_ref()? {
        Data::BoolData(value) => (*value).into(),
        Data::IntData(value) => (*value).into(),
        Data::LongData(value) | Data::TimestamptzData(value) => (*value).into(),
        Data::FloatData(value) => f64::from(*value).into(),
        Data::DoubleData(value) => (*value).into(),
        Data::StringData(value) => value.clone().into(),
        Data::BytesData(value) => serde_json::from_slice(value).ok()?,
    })
}

/// Numbers and switches are texts to Milvus.
fn pairs(params: BTreeMap<String, Value>) -> Vec<KeyValuePair> {
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    params.into_iter().map(|(key, value)| KeyValuePair { key, value: text(value) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_a_schema() {
        let text = r#"{
            "description": "all books", "dynamic_field": true, "name": "ignored", "id": 7,
            "fields": [
                {"name": "RowID", "id": 0, "type": "Int64"},
                {"name": "id", "id": 100, "type": "Int64", "attributes": ["primary key", "auto id"]},
                {"name": "title", "type": "VARCHAR", "params": {"max_length": 64, "enable_analyzer": true},
                    "default": "?"},
                {"name": "v", "type": "FLOAT_VECTOR", "params": {"dim": "8"}},
                {"name": "tags", "type": "Array", "element_type": "Int64", "attributes": ["nullable"]},
                {"name": "$meta", "id": 105, "type": "JSON", "attributes": ["dynamic"]},
                {"name": "sparse", "type": "SparseFloatVector", "attributes": ["function output"]}
            ],
            "functions": [{"name": "bm25", "id": 100, "type": "BM25", "inputs": ["title"], "outputs": ["sparse"]}]
        }"#;
        let schema = parse(text, "books").unwrap();
        assert_eq!((schema.name.as_str(), schema.description.as_str()), ("books", "all books"));
        assert!(schema.enable_dynamic_field);
        let names: Vec<_> = schema.fields.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(names, ["id", "title", "v", "tags", "sparse"]);
        assert!(schema.fields[0].is_primary_key && schema.fields[0].auto_id && !schema.fields[0].nullable);
        let params: Vec<_> = schema.fields[1].type_params.iter().map(|pair| pair.value.as_str()).collect();
        assert_eq!(params, ["true", "64"]);
        let default = schema.fields[1].default_value.clone().unwrap().data.unwrap();
        assert_eq!(default, Data::StringData("?".into()));
        assert_eq!(schema.fields[2].data_type(), DataType::FloatVector);
        assert_eq!(schema.fields[3].element_type(), DataType::Int64);
        assert_eq!(schema.functions[0].r#type(), FunctionType::Bm25);
    }

    #[test]
    fn a_default_is_shown_as_it_is_given() {
        for (data_type, value) in [
            (DataType::Bool, "true"),
            (DataType::Int8, "-3"),
            (DataType::Int64, "9007199254740993"),
            (DataType::Float, "0.5"),
            (DataType::Double, "0.1"),
            (DataType::VarChar, "\"?\""),
            (DataType::Timestamptz, "1700000000000000"),
            (DataType::Timestamptz, "\"2025-01-01T00:00:00Z\""),
            (DataType::Json, "{\"a\":[1,null]}"),
        ] {
            let value: Value = serde_json::from_str(value).unwrap();
            let field = ValueField { data: default_value(data_type, &value) };
            assert_eq!(shown_default(&field), Some(value), "{data_type:?}");
        }
        assert_eq!(shown_default(&ValueField::default()), None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let one = |field: &str| parse(&format!("{{\"fields\": [{field}]}}"), "c").unwrap_err();
        for (field, reason) in [
            (r#"{"name": "a", "type": "Int63"}"#, "a: no type is called Int63"),
            (r#"{"name": "a", "type": "Int64", "attributes": ["prime"]}"#, "a: there is no attribute prime"),
            (r#"{"name": "a", "type": "Int8", "default": "x"}"#, "a: \"x\" is no default"),
            (r#"{"name": "s.a", "type": "Int8"}"#, "s.a: fields of structs cannot be given in a file"),
        ] {
            assert_eq!(one(field), reason);
        }
        assert!(one(r#"{"name": "a", "type": "Int8", "tipe": 1}"#).contains("unknown field `tipe`"));
        assert!(parse("{}", "c").unwrap_err().contains("missing field `fields`"));
    }
}
