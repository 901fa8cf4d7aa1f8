//! `roostctl collection list|describe|create|alter|drop`.

use std::path::PathBuf;

use clap::{ArgGroup, Subcommand};
use prost::Message;
use serde::Serialize;

use super::Context;
use super::alias::Place;
use super::collection_report::Collection;
use super::confirm::confirm;
use super::exit::Failure;
use super::output::{Done, Report, table};
use super::property;
use super::schema_file;
use super::tso::given_at;
use crate::pb::catalog::{
    AlterCollectionRequest, CreateCollectionRequest, DropCollectionRequest, InspectCollectionRequest,
};
use crate::pb::common::{ConsistencyLevel, KeyValuePair};
use crate::pb::milvus::ShowCollectionsRequest;

const LIST_JSON: &str = "JSON: {\"collections\": [{\"name\", \"id\", \"shards\", \"created_timestamp\"}]}";
const DESCRIBE_JSON: &str = "\
JSON: {\"name\", \"id\", \"database\", \"database_id\", \"description\", \"aliases\": [name], \"partitions\": count,
  \"shards\", \"revision\", \"state\", \"load_percent\": or null, \"replicas\", \"indexes\": [name],
  \"consistency\", \"dynamic_field\": bool, \"schema_version\", \"created_timestamp\", \"updated_timestamp\",
  \"properties\": {key: value}, \"virtual_channels\": [name], \"physical_channels\": [name],
  \"fields\": [{\"name\", \"id\", \"type\", \"element_type\": or null, \"attributes\": [text],
    \"params\": {key: value}, \"default\": or null}],
  \"functions\": [{\"name\", \"id\", \"type\", \"inputs\": [name], \"outputs\": [name], \"params\": {key: value}}]}
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
        #[arg(required_unless_present = "id")]
        name: Option<String>,
        /// By its id, also while it is being dropped
        #[arg(long, conflicts_with = "name")]
        id: Option<i64>,
        #[command(flatten)]
        place: Place,
    },
    /// Create a collection from a schema in a file; an identical one is left as it is
    #[command(after_help = schema_file::FORM)]
    Create {
        name: String,
        /// The schema, as JSON
        #[arg(long, value_name = "FILE")]
        schema: PathBuf,
        #[arg(long, default_value_t = 1)]
        shards: i32,
        /// Strong, Session, Bounded or Eventually
        #[arg(long, value_name = "LEVEL", default_value = "Bounded", value_parser = consistency)]
        consistency: ConsistencyLevel,
        /// Partitions of a partition key; 0: as many as are usual
        #[arg(long, value_name = "COUNT", default_value_t = 0)]
        partitions: i64,
        /// A property to begin with; repeat it for more
        #[arg(long = "property", value_name = "KEY=VALUE", value_parser = property::parse)]
        properties: Vec<KeyValuePair>,
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        condition: Condition,
    },
    /// Set properties of a collection, or delete some
    #[command(after_help = DONE_JSON, group = ArgGroup::new("change").required(true))]
    Alter {
        /// Its name or an alias
        name: String,
        /// A property to set; repeat it for more
        #[arg(long, value_name = "KEY=VALUE", value_parser = property::parse, group = "change")]
        set: Vec<KeyValuePair>,
        /// A property to delete; repeat it for more
        #[arg(long, value_name = "KEY", group = "change")]
        unset: Vec<String>,
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        condition: Condition,
    },
    /// Drop a collection with everything in it; a missing one is no error
    #[command(after_help = DONE_JSON)]
    Drop {
        /// Its own name
        name: String,
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        condition: Condition,
    },
}

/// When a change is made.
#[derive(Debug, clap::Args)]
pub struct Condition {
    /// Change it only at this revision, as `collection describe` shows it; 0: only if there is none
    #[arg(long, value_name = "N")]
    if_revision: Option<u64>,
}

fn consistency(name: &str) -> Result<ConsistencyLevel, String> {
    let known = ConsistencyLevel::from_str_name(name).filter(|level| *level != ConsistencyLevel::Customized);
    known.ok_or_else(|| format!("'{name}' is not Strong, Session, Bounded or Eventually"))
}

pub async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::List { place } => list(context, place.db).await,
        Command::Describe { name, id, place } => describe(context, place.db, name, id).await,
        Command::Create { name, schema, shards, consistency, partitions, properties, place, condition } => {
            if condition.if_revision.is_some_and(|revision| revision != 0) {
                let text = "a collection is created where there is none: --if-revision can only be 0";
                return Err(Failure::Usage(text.to_owned()));
            }
            let request = CreateCollectionRequest {
                db_name: place.db,
                collection_name: name.clone(),
                if_revision: condition.if_revision,
                schema: schema_file::read(&schema, &name)?.encode_to_vec(),
                shards_num: shards,
                consistency_level: consistency.into(),
                properties,
                num_partitions: partitions,
            };
            let session = context.dialer.with_leader().await?;
            session
                .catalog(request, |mut client, request| async move { client.create_collection(request).await })
                .await?;
            done(context, &name, "created")
        }
        Command::Alter { name, set: properties, unset: delete_keys, place, condition } => {
            let (db_name, collection_name, if_revision) = (place.db, name.clone(), condition.if_revision);
            let request = AlterCollectionRequest { db_name, collection_name, if_revision, properties, delete_keys };
            let session = context.dialer.with_leader().await?;
            session
                .catalog(request, |mut client, request| async move { client.alter_collection(request).await })
                .await?;
            done(context, &name, "altered")
        }
        Command::Drop { name, place, condition } => {
            confirm(context.yes, &format!("Drop collection {}.{name} and everything in it?", place.db))?;
            let (db_name, collection_name, if_revision) = (place.db, name.clone(), condition.if_revision);
            let request = DropCollectionRequest { db_name, collection_name, if_revision };
            let session = context.dialer.with_leader().await?;
            session
                .catalog(request, |mut client, request| async move { client.drop_collection(request).await })
                .await?;
            done(context, &name, "dropped")
        }
    }
}

fn done(context: &Context, name: &str, done: &'static str) -> Result<(), Failure> {
    context.output.print(&Done { kind: "collection", name, done })
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

async fn describe(context: &Context, db_name: String, name: Option<String>, id: Option<i64>) -> Result<(), Failure> {
    let session = context.dialer.any().await?;
    let (collection_name, collection_id) = (name.unwrap_or_default(), id.unwrap_or_default());
    let request = InspectCollectionRequest { db_name, collection_name, collection_id };
    let rpc = session.catalog(request, |mut client, request| async move { client.inspect_collection(request).await });
    let found = rpc.await?;
    context.output.print(&Collection::from(found))
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
