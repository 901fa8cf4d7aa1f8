//! `roostctl db list|describe|create|alter|drop`.

use std::collections::BTreeMap;

use clap::{ArgGroup, Subcommand};
use serde::Serialize;

use super::Context;
use super::confirm::confirm;
use super::exit::Failure;
use super::output::{Done, Report, facts, table};
use super::property;
use super::tso::given_at;
use crate::pb::common::KeyValuePair;
use crate::pb::milvus::{CreateDatabaseRequest, DropDatabaseRequest, ListDatabasesRequest};
use crate::pb::rootcoord::{AlterDatabaseRequest, DescribeDatabaseRequest};

const LIST_JSON: &str = "JSON: {\"databases\": [{\"name\", \"id\", \"created_timestamp\"}]}";
const DESCRIBE_JSON: &str = "JSON: {\"name\", \"id\", \"created_timestamp\", \"properties\": {key: value}}";
const DONE_JSON: &str = "JSON: {\"kind\": \"database\", \"name\", \"done\"}";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the databases by name
    #[command(after_help = LIST_JSON)]
    List,
    /// Show one database with its properties
    #[command(after_help = DESCRIBE_JSON)]
    Describe { name: String },
    /// Create a database; an existing name is an error
    #[command(after_help = DONE_JSON)]
    Create {
        name: String,
        /// A property to begin with; repeat it for more
        #[arg(long = "property", value_name = "KEY=VALUE", value_parser = property::parse)]
        properties: Vec<KeyValuePair>,
    },
    /// Set properties of a database, or delete some
    #[command(after_help = DONE_JSON, group = ArgGroup::new("change").required(true))]
    Alter {
        name: String,
        /// A property to set; repeat it for more
        #[arg(long, value_name = "KEY=VALUE", value_parser = property::parse, group = "change")]
        set: Vec<KeyValuePair>,
        /// A property to delete; repeat it for more
        #[arg(long, value_name = "KEY", group = "change")]
        unset: Vec<String>,
    },
    /// Drop a database, which must be empty
    #[command(after_help = DONE_JSON)]
    Drop { name: String },
}

pub async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::List => list(context).await,
        Command::Describe { name } => describe(context, name).await,
        Command::Create { name, properties } => create(context, &name, properties).await,
        Command::Alter { name, set, unset } => alter(context, &name, set, unset).await,
        Command::Drop { name } => drop(context, &name).await,
    }
}

fn done(context: &Context, name: &str, done: &'static str) -> Result<(), Failure> {
    context.output.print(&Done { kind: "database", name, done })
}

async fn list(context: &Context) -> Result<(), Failure> {
    let session = context.dialer.any().await?;
    let rpc = session.ask(ListDatabasesRequest::default(), |mut client, request| async move {
        client.list_databases(request).await
    });
    let list = rpc.await?;
    let rows = list.db_names.into_iter().zip(list.db_ids).zip(list.created_timestamp);
    let databases = rows.map(|((name, id), created_timestamp)| Entry { name, id, created_timestamp }).collect();
    context.output.print(&Databases { databases })
}

async fn describe(context: &Context, name: String) -> Result<(), Failure> {
    let session = context.dialer.any().await?;
    let request = DescribeDatabaseRequest { db_name: name, ..Default::default() };
    let rpc = session.ask(request, |mut client, request| async move { client.describe_database(request).await });
    let found = rpc.await?;
    context.output.print(&Database {
        name: found.db_name,
        id: found.db_id,
        created_timestamp: found.created_timestamp,
        properties: property::map(found.properties),
    })
}

async fn create(context: &Context, name: &str, properties: Vec<KeyValuePair>) -> Result<(), Failure> {
    let session = context.dialer.with_leader().await?;
    let request = CreateDatabaseRequest { db_name: name.to_owned(), properties, ..Default::default() };
    session.ask(request, |mut client, request| async move { client.create_database(request).await }).await?;
    done(context, name, "created")
}

async fn alter(context: &Context, name: &str, set: Vec<KeyValuePair>, unset: Vec<String>) -> Result<(), Failure> {
    let session = context.dialer.with_leader().await?;
    let request =
        AlterDatabaseRequest { db_name: name.to_owned(), properties: set, delete_keys: unset, ..Default::default() };
    session.ask(request, |mut client, request| async move { client.alter_database(request).await }).await?;
    done(context, name, "altered")
}

async fn drop(context: &Context, name: &str) -> Result<(), Failure> {
    confirm(context.yes, &format!("Drop database {name}?"))?;
    let session = context.dialer.with_leader().await?;
    let request = DropDatabaseRequest { db_name: name.to_owned(), ..Default::default() };
    session.ask(request, |mut client, request| async move { client.drop_database(request).await }).await?;
    done(context, name, "dropped")
}

#[derive(Debug, Serialize)]
struct Databases {
    databases: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Entry {
    name: String,
    id: i64,
    created_timestamp: u64,
}

impl Report for Databases {
    fn table(&self) -> String {
        let row = |entry: &Entry| vec![entry.name.clone(), entry.id.to_string(), given_at(entry.created_timestamp)];
        table(&["NAME", "ID", "CREATED"], self.databases.iter().map(row))
    }
}

#[derive(Debug, Serialize)]
struct Database {
    name: String,
    id: i64,
    created_timestamp: u64,
    properties: BTreeMap<String, String>,
}

impl Report for Database {
    fn table(&self) -> String {
        facts(&[
            ("name", self.name.clone()),
            ("id", self.id.to_string()),
            ("created", given_at(self.created_timestamp)),
            ("properties", property::line(&self.properties)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_for_people_and_for_programs() {
        let properties = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
        let database = Database { name: "a".into(), id: 100, created_timestamp: 0, properties };
        let people = "name:       a\nid:         100\ncreated:    1970-01-01T00:00:00.000Z\nproperties: k=v";
        assert_eq!(database.table(), people);
        let programs = r#"{"name":"a","id":100,"created_timestamp":0,"properties":{"k":"v"}}"#;
        assert_eq!(serde_json::to_string(&database).unwrap(), programs);
        assert_eq!(Done { kind: "database", name: "a", done: "created" }.table(), "database a created");
    }
}
