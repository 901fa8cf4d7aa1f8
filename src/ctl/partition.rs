//! `roostctl partition list|describe|create|drop`.

use clap::Subcommand;
use serde::Serialize;

use super::Context;
use super::alias::Place;
use super::confirm::confirm;
use super::exit::Failure;
use super::output::{Done, Report, facts, table};
use super::tso::given_at;
use crate::pb::milvus::{CreatePartitionRequest, DropPartitionRequest, ShowPartitionsRequest};

const LIST_JSON: &str = "JSON: {\"partitions\": [{\"name\", \"id\", \"created_timestamp\"}]}";
const DESCRIBE_JSON: &str = "JSON: {\"name\", \"id\", \"created_timestamp\"}";
const DONE_JSON: &str = "JSON: {\"kind\": \"partition\", \"name\", \"done\"}";

/// COLLECTION may be an alias.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the partitions of a collection, the older first
    #[command(after_help = LIST_JSON)]
    List {
        collection: String,
        #[command(flatten)]
        place: Place,
    },
    /// Show one partition
    #[command(after_help = DESCRIBE_JSON)]
    Describe {
        collection: String,
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// Create a partition; an existing one is left as it is
    #[command(after_help = DONE_JSON)]
    Create {
        collection: String,
        name: String,
        #[command(flatten)]
        place: Place,
    },
    /// Drop a partition with what is in it; a missing one is no error
    #[command(after_help = DONE_JSON)]
    Drop {
        collection: String,
        name: String,
        #[command(flatten)]
        place: Place,
    },
}

pub async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::List { collection, place } => {
            let partitions = partitions(context, place.db, collection).await?;
            context.output.print(&Partitions { partitions })
        }
        Command::Describe { collection, name, place } => {
            let missing = Failure::Failed(format!("collection {collection} has no partition {name}"));
            let all = partitions(context, place.db, collection).await?;
            context.output.print(&all.into_iter().find(|partition| partition.name == name).ok_or(missing)?)
        }
        Command::Create { collection, name, place } => create(context, place.db, collection, &name).await,
        Command::Drop { collection, name, place } => drop(context, place.db, collection, &name).await,
    }
}

async fn partitions(context: &Context, db_name: String, collection_name: String) -> Result<Vec<Partition>, Failure> {
    let session = context.dialer.any().await?;
    let request = ShowPartitionsRequest { db_name, collection_name, ..Default::default() };
    let rpc = session.ask(request, |mut client, request| async move { client.show_partitions(request).await });
    let list = rpc.await?;
    let rows = list.partition_names.into_iter().zip(list.partition_i_ds).zip(list.created_timestamps);
    Ok(rows.map(|((name, id), created_timestamp)| Partition { name, id, created_timestamp }).collect())
}

async fn create(context: &Context, db_name: String, collection_name: String, name: &str) -> Result<(), Failure> {
    let session = context.dialer.with_leader().await?;
    let partition_name = name.to_owned();
    let request = CreatePartitionRequest { db_name, collection_name, partition_name, ..Default::default() };
    session.ask(request, |mut client, request| async move { client.create_partition(request).await }).await?;
    context.output.print(&Done { kind: "partition", name, done: "created" })
}

async fn drop(context: &Context, db_name: String, collection_name: String, name: &str) -> Result<(), Failure> {
    confirm(context.yes, &format!("Drop partition {name} of {db_name}.{collection_name} and everything in it?"))?;
    let session = context.dialer.with_leader().await?;
    let partition_name = name.to_owned();
    let request = DropPartitionRequest { db_name, collection_name, partition_name, ..Default::default() };
    session.ask(request, |mut client, request| async move { client.drop_partition(request).await }).await?;
    context.output.print(&Done { kind: "partition", name, done: "dropped" })
}

#[derive(Debug, Serialize)]
struct Partitions {
    partitions: Vec<Partition>,
}

#[derive(Debug, Serialize)]
struct Partition {
    name: String,
    id: i64,
    created_timestamp: u64,
}

impl Report for Partitions {
    fn table(&self) -> String {
        let row = |one: &Partition| vec![one.name.clone(), one.id.to_string(), given_at(one.created_timestamp)];
        table(&["NAME", "ID", "CREATED"], self.partitions.iter().map(row))
    }
}

impl Report for Partition {
    fn table(&self) -> String {
        facts(&[
            ("name", self.name.clone()),
            ("id", self.id.to_string()),
            ("created", given_at(self.created_timestamp)),
        ])
    }
}
