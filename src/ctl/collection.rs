//! `roostctl collection list|describe|drop`.

use std::collections::BTreeMap;

use clap::Subcommand;
use serde::Serialize;

use super::Context;
use super::alias::Place;
use super::confirm::confirm;
use super::exit::Failure;
use super::output::{Done, Report, facts, table};
use super::property;
use super::tso::given_at;
use crate::pb::milvus::{
    DescribeCollectionRequest, DescribeCollectionResponse, DropCollectionRequest, ShowCollectionsRequest,
};
use crate::pb::schema::{DataType, FieldSchema, FunctionSchema};

const LIST_JSON: &str = "JSON: {\"collections\": [{\"name\", \"id\", \"shards\", \"created_timestamp\"}]}";
const DESCRIBE_JSON: &str = "\
JSON: {\"name\", \"id\", \"database\", \"database_id\", \"description\", \"aliases\": [name], \"partitions\": count,
  \"shards\",
  \"consistency\", \"dynamic_field\": bool, \"schema_version\", \"created_timestamp\", \"updated_timestamp\",
  \"properties\": {key: value}, \"virtual_channels\": [name], \"physical_channels\": [name],
  \"fields\": [{\"name\", \"id\", \"type\", \"element_type\": or null, \"attributes\": [text],
    \"params\": {key: value}}],
  \"functions\": [{\"name\", \"id\", \"inputs\": [name], \"outputs\": [name]}]}
The schema is the stored one: system fields included; a field of a struct is named STRUCT.FIELD.";
const DONE_JSON: &str = "JSON: {\"kind\": \"collection\", \"name\", \"done\"}";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the collections of a database by name
    #[command(after_help = LIST_JSON)]
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Show a collection's schema, channels, aliases and properties
    #[command(after_help = DESCRIBE_JSON)]
    Describe {
        /// Its name or an alias
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// Drop a collection with everything in it; a missing one is no error
    #[command(after_help = DONE_JSON)]
    Drop {
        /// Its own name
        name: String,
        #[command(flatten)]
        place: Place,
    },
}

pub async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::List { place } => list(context, place.db).await,
        Command::Describe { name, place } => describe(context, place.db, name).await,
        Command::Drop { name, place } => drop(context, place.db, &name).await,
    }
}

async fn list(context: &Context, db_name: String) -> Result<(), Failure> {
    let session = context.dialer.any().await?;
    let request = ShowCollectionsRequest { db_name, ..Default::default() };
    let rpc = session.ask(request, |mut client, request| async move { client.show_collections(request).await });
    let list = rpc.await?;
    let rows = list.collection_names.into_iter().zip(list.collection_ids).zip(list.shards_num);
    let rows = rows.zip(list.created_timestamps);
    let entry = |(((name, id), shards), created_timestamp)| Entry { name, id, shards, created_timestamp };
    context.output.print(&Collections { collections: rows.map(entry).collect() })
}

async fn describe(context: &Context, db_name: String, collection_name: String) -> Result<(), Failure> {
    let session = context.dialer.any().await?;
    let request = DescribeCollectionRequest { db_name, collection_name, ..Default::default() };
    let rpc = session.ask(request, |mut client, request| async move { client.describe_collection(request).await });
    let found = rpc.await?;
    context.output.print(&Collection::from(found))
}

async fn drop(context: &Context, db_name: String, name: &str) -> Result<(), Failure> {
    confirm(context.yes, &format!("Drop collection {db_name}.{name} and everything in it?"))?;
    let session = context.dialer.with_leader().await?;
    let request = DropCollectionRequest { db_name, collection_name: name.to_owned(), ..Default::default() };
    session.ask(request, |mut client, request| async move { client.drop_collection(request).await }).await?;
    context.output.print(&Done { kind: "collection", name, done: "dropped" })
}

#[derive(Debug, Serialize)]
struct Collections {
    collections: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Entry {
    name: String,
    id: i64,
    shards: i32,
    created_timestamp: u64,
}

impl Report for Collections {
    fn table(&self) -> String {
        let row = |entry: &Entry| {
            let (id, shards) = (entry.id.to_string(), entry.shards.to_string());
            vec![entry.name.clone(), id, shards, given_at(entry.created_timestamp)]
        };
        table(&["NAME", "ID", "SHARDS", "CREATED"], self.collections.iter().map(row))
    }
}

#[derive(Debug, Serialize)]
struct Collection {
    name: String,
    id: i64,
    database: String,
    database_id: i64,
    description: String,
    aliases: Vec<String>,
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
}

#[derive(Debug, Serialize)]
struct Function {
    name: String,
    id: i64,
    inputs: Vec<String>,
    outputs: Vec<String>,
}

impl From<DescribeCollectionResponse> for Collection {
    fn from(found: DescribeCollectionResponse) -> Self {
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
        }
    }
}

impl From<FunctionSchema> for Function {
    fn from(function: FunctionSchema) -> Self {
        let FunctionSchema { name, id, input_field_names, output_field_names, .. } = function;
        Function { name, id, inputs: input_field_names, outputs: output_field_names }
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
        let function =
            |one: &Function| vec![one.id.to_string(), one.name.clone(), list(&one.inputs), list(&one.outputs)];
        let functions = table(&["FUNCTION", "NAME", "INPUTS", "OUTPUTS"], self.functions.iter().map(function));
        format!("{facts}\n\n{fields}\n\n{functions}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::common::KeyValuePair;
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
        let shown = Collection::from(DescribeCollectionResponse { schema: Some(schema), ..Default::default() });
        let names: Vec<&str> = shown.fields.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(names, ["id", "v", "n", "s.v"]);
        assert_eq!(shown.fields[0].attributes, ["primary key", "auto id"]);
        assert_eq!((shown.fields[1].data_type.as_str(), shown.fields[2].data_type.as_str()), ("FloatVector", "9999"));
        let text = shown.table();
        assert!(text.contains("\n0      v     FloatVector  -                     dim=8\n"), "{text}");
        assert!(text.contains("aliases:           -\n"), "{text}");
    }
}
