//! What `roostctl collection describe` shows.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::output::{Report, facts, table};
use super::tso::given_at;
use super::{property, schema_file};
use crate::pb::catalog::InspectCollectionResponse;
use crate::pb::schema::{DataType, FieldSchema, FunctionSchema};

/// A collection's schema, and how it is.
#[derive(Debug, Serialize)]
pub struct Collection {
    name: String,
    id: i64,
    database: String,
    database_id: i64,
    description: String,
    aliases: Vec<String>,
    revision: u64,
    state: String,
    load_percent: Option<i64>,
    replicas: u32,
    indexes: Vec<String>,
    partitions: i64,
    shards: i32,
    consistency: &'static str,
    dynamic_field: bool,
    schema_version: i32,
    created_timestamp: u64,
    updated_timestamp: u64,
    properties: BTreeMap<String, String>,
    virtual_channels: Vec<String>,
    physical_channels: Vec<String>,
    fields: Vec<Field>,
    functions: Vec<Function>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Field {
    name: String,
    id: i64,
    #[serde(rename = "type")]
    data_type: String,
    element_type: Option<String>,
    attributes: Vec<&'static str>,
    params: BTreeMap<String, String>,
    default: Option<Value>,
}

#[derive(Debug, Serialize)]
struct Function {
    name: String,
    id: i64,
    #[serde(rename = "type")]
    kind: &'static str,
    inputs: Vec<String>,
    outputs: Vec<String>,
    params: BTreeMap<String, String>,
}

impl From<InspectCollectionResponse> for Collection {
    fn from(inspected: InspectCollectionResponse) -> Self {
        let InspectCollectionResponse { description, revision, state, load_percent, replicas, indexes, .. } = inspected;
        let found = description.unwrap_or_default();
        let consistency = found.consistency_level().as_str_name();
        let schema = found.schema.unwrap_or_default();
        let mut fields: Vec<Field> = schema.fields.into_iter().map(|field| Field::new("", field)).collect();
        for parent in schema.struct_array_fields {
            let prefix = format!("{}.", parent.name);
            fields.extend(parent.fields.into_iter().map(|field| Field::new(&prefix, field)));
        }
        Collection {
            name: found.collection_name,
            id: found.collection_id,
            database: found.db_name,
            database_id: found.db_id,
            description: schema.description,
            aliases: found.aliases,
            revision,
            state,
            load_percent,
            replicas,
            indexes,
            partitions: found.num_partitions,
            shards: found.shards_num,
            consistency,
            dynamic_field: schema.enable_dynamic_field,
            schema_version: schema.version,
            created_timestamp: found.created_timestamp,
            updated_timestamp: found.update_timestamp,
            properties: property::map(found.properties),
            virtual_channels: found.virtual_channel_names,
            physical_channels: found.physical_channel_names,
            fields,
            functions: schema.functions.into_iter().map(Function::from).collect(),
        }
    }
}

impl Collection {
    fn loaded(&self) -> String {
        match self.load_percent {
            None => "no".to_owned(),
            Some(percent) => format!("{percent} %, {} replicas", self.replicas),
        }
    }
}

impl Field {
    fn new(prefix: &str, field: FieldSchema) -> Self {
        let name_of = |number| {
            // A type that is newer than this command is shown by its number.
            DataType::try_from(number).map_or_else(|_| format!("{number}"), |known| known.as_str_name().to_owned())
        };
        let attributes = [
            ("primary key", field.is_primary_key),
            ("auto id", field.auto_id),
            ("partition key", field.is_partition_key),
            ("clustering key", field.is_clustering_key),
            ("nullable", field.nullable),
            ("dynamic", field.is_dynamic),
            ("function output", field.is_function_output),
        ];
        Field {
            name: format!("{prefix}{}", field.name),
            id: field.field_id,
            data_type: name_of(field.data_type),
            element_type: (field.element_type != 0).then(|| name_of(field.element_type)),
            attributes: attributes.into_iter().filter_map(|(name, has)| has.then_some(name)).collect(),
            params: property::map(field.type_params),
            default: field.default_value.as_ref().and_then(schema_file::shown_default),
        }
    }
}

impl From<FunctionSchema> for Function {
    fn from(function: FunctionSchema) -> Self {
        let kind = function.r#type().as_str_name();
        let FunctionSchema { name, id, input_field_names, output_field_names, params, .. } = function;
        let (inputs, outputs, params) = (input_field_names, output_field_names, property::map(params));
        Function { name, id, kind, inputs, outputs, params }
    }
}

impl Report for Collection {
    fn table(&self) -> String {
        let list = |names: &[String]| if names.is_empty() { "-".to_owned() } else { names.join(" ") };
        let facts = facts(&[
            ("name", self.name.clone()),
            ("id", self.id.to_string()),
            ("database", format!("{} ({})", self.database, self.database_id)),
            ("description", self.description.clone()),
            ("revision", self.revision.to_string()),
            ("state", self.state.clone()),
            ("loaded", self.loaded()),
            ("indexes", list(&self.indexes)),
            ("aliases", list(&self.aliases)),
            ("partitions", self.partitions.to_string()),
            ("shards", self.shards.to_string()),
            ("consistency", self.consistency.to_owned()),
            ("dynamic field", self.dynamic_field.to_string()),
            ("schema version", self.schema_version.to_string()),
            ("created", given_at(self.created_timestamp)),
            ("updated", given_at(self.updated_timestamp)),
            ("properties", property::line(&self.properties)),
            ("virtual channels", list(&self.virtual_channels)),
            ("physical channels", list(&self.physical_channels)),
        ]);
        let field = |field: &Field| {
            let of = field.element_type.as_ref().map_or_else(String::new, |element| format!(" of {element}"));
            vec![
                field.id.to_string(),
                field.name.clone(),
                format!("{}{of}", field.data_type),
                if field.attributes.is_empty() { "-".to_owned() } else { field.attributes.join(", ") },
                property::line(&field.params),
            ]
        };
        let fields = table(&["FIELD", "NAME", "TYPE", "ATTRIBUTES", "PARAMS"], self.fields.iter().map(field));
        if self.functions.is_empty() {
            return format!("{facts}\n\n{fields}");
        }
        let function = |one: &Function| {
            let (kind, params) = (one.kind.to_owned(), property::line(&one.params));
            vec![one.id.to_string(), one.name.clone(), kind, list(&one.inputs), list(&one.outputs), params]
        };
        let functions =
            table(&["FUNCTION", "NAME", "TYPE", "INPUTS", "OUTPUTS", "PARAMS"], self.functions.iter().map(function));
        format!("{facts}\n\n{fields}\n\n{functions}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::common::KeyValuePair;
    use crate::pb::milvus::DescribeCollectionResponse;
    use crate::pb::schema::{CollectionSchema, StructArrayFieldSchema};

    #[test]
    fn fields_show_what_they_are() {
        let dim = KeyValuePair { key: "dim".into(), value: "8".into() };
        let key =
            FieldSchema { name: "id".into(), field_id: 100, is_primary_key: true, auto_id: true, ..Default::default() };
        let vector = FieldSchema {
            name: "v".into(),
            data_type: DataType::FloatVector.into(),
            type_params: vec![dim],
            ..Default::default()
        };
        let newer = FieldSchema { name: "n".into(), data_type: 9999, ..Default::default() };
        let parent = StructArrayFieldSchema { name: "s".into(), fields: vec![vector.clone()], ..Default::default() };
        let schema = CollectionSchema {
            fields: vec![key, vector, newer],
            struct_array_fields: vec![parent],
            ..Default::default()
        };
        let description = Some(DescribeCollectionResponse { schema: Some(schema), ..Default::default() });
        let inspected = InspectCollectionResponse {
            description,
            revision: 7,
            load_percent: Some(100),
            replicas: 2,
            ..Default::default()
        };
        let shown = Collection::from(inspected);
        let names: Vec<&str> = shown.fields.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(names, ["id", "v", "n", "s.v"]);
        assert_eq!(shown.fields[0].attributes, ["primary key", "auto id"]);
        assert_eq!((shown.fields[1].data_type.as_str(), shown.fields[2].data_type.as_str()), ("FloatVector", "9999"));
        let text = shown.table();
        assert!(text.contains("\n0      v     FloatVector  -                     dim=8\n"), "{text}");
        assert!(text.contains("aliases:           -\n"), "{text}");
        assert!(text.contains("revision:          7\n") && text.contains("100 %, 2 replicas\n"), "{text}");
    }
}
