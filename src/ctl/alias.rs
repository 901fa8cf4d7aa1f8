//! `roostctl alias list|describe|create|alter|drop`.

use clap::Subcommand;
use serde::Serialize;

use super::Context;
use super::confirm::confirm;
use super::exit::Failure;
use super::output::{Done, Report, facts};
use crate::pb::milvus::{
    AlterAliasRequest, CreateAliasRequest, DescribeAliasRequest, DropAliasRequest, ListAliasesRequest,
};

const LIST_JSON: &str = "JSON: {\"aliases\": [name]}";
const DESCRIBE_JSON: &str = "JSON: {\"alias\", \"database\", \"collection\"}";
const DONE_JSON: &str = "JSON: {\"kind\": \"alias\", \"name\", \"done\"}";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the aliases of a collection or of a whole database, by name
    #[command(after_help = LIST_JSON)]
    List {
        /// Only this collection's
        #[arg(long)]
        collection: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Show which collection an alias stands for
    #[command(after_help = DESCRIBE_JSON)]
    Describe {
        alias: String,
        #[command(flatten)]
        place: Place,
    },
    /// Give a collection one more name
    #[command(after_help = DONE_JSON)]
    Create {
        alias: String,
        /// The collection, by its own name
        #[arg(long)]
        collection: String,
        #[command(flatten)]
        place: Place,
    },
    /// Let an alias stand for another collection
    #[command(after_help = DONE_JSON)]
    Alter {
        alias: String,
        /// The collection, by its own name
        #[arg(long)]
        collection: String,
        #[command(flatten)]
        place: Place,
    },
    /// Drop an alias; a missing one is no error
    #[command(after_help = DONE_JSON)]
    Drop {
        alias: String,
        #[command(flatten)]
        place: Place,
    },
}

/// Where names are looked for.
#[derive(Debug, clap::Args)]
pub struct Place {
    /// The database of the collection
    #[arg(long, value_name = "DATABASE", default_value = "default")]
    pub db: String,
}

pub async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::List { collection, place } => list(context, place.db, collection.unwrap_or_default()).await,
        Command::Describe { alias, place } => describe(context, place.db, alias).await,
        Command::Create { alias, collection, place } => create(context, place.db, collection, &alias).await,
        Command::Alter { alias, collection, place } => alter(context, place.db, collection, &alias).await,
        Command::Drop { alias, place } => drop(context, place.db, &alias).await,
    }
}

fn done(context: &Context, name: &str, done: &'static str) -> Result<(), Failure> {
    context.output.print(&Done { kind: "alias", name, done })
}

async fn list(context: &Context, db_name: String, collection_name: String) -> Result<(), Failure> {
    let session = context.dialer.any().await?;
    let request = ListAliasesRequest { db_name, collection_name, ..Default::default() };
    let rpc = session.ask(request, |mut client, request| async move { client.list_aliases(request).await });
    let aliases = rpc.await?.aliases;
    context.output.print(&Aliases { aliases })
}

async fn describe(context: &Context, db_name: String, alias: String) -> Result<(), Failure> {
    let session = context.dialer.any().await?;
    let request = DescribeAliasRequest { db_name, alias, ..Default::default() };
    let rpc = session.ask(request, |mut client, request| async move { client.describe_alias(request).await });
    let found = rpc.await?;
    context.output.print(&Alias { alias: found.alias, database: found.db_name, collection: found.collection })
}

async fn create(context: &Context, db_name: String, collection_name: String, alias: &str) -> Result<(), Failure> {
    let session = context.dialer.with_leader().await?;
    let request = CreateAliasRequest { db_name, collection_name, alias: alias.to_owned(), ..Default::default() };
    session.ask(request, |mut client, request| async move { client.create_alias(request).await }).await?;
    done(context, alias, "created")
}

async fn alter(context: &Context, db_name: String, collection_name: String, alias: &str) -> Result<(), Failure> {
    let session = context.dialer.with_leader().await?;
    let request = AlterAliasRequest { db_name, collection_name, alias: alias.to_owned(), ..Default::default() };
    session.ask(request, |mut client, request| async move { client.alter_alias(request).await }).await?;
    done(context, alias, "altered")
}

async fn drop(context: &Context, db_name: String, alias: &str) -> Result<(), Failure> {
    confirm(context.yes, &format!("Drop alias {alias} of database {db_name}?"))?;
    let session = context.dialer.with_leader().await?;
    let request = DropAliasRequest { db_name, alias: alias.to_owned(), ..Default::default() };
    session.ask(request, |mut client, request| async move { client.drop_alias(request).await }).await?;
    done(context, alias, "dropped")
}

#[derive(Debug, Serialize)]
struct Aliases {
    aliases: Vec<String>,
}

impl Report for Aliases {
    fn table(&self) -> String {
        match self.aliases.is_empty() {
            true => "no aliases".to_owned(),
            false => self.aliases.join("\n"),
        }
    }
}

#[derive(Debug, Serialize)]
struct Alias {
    alias: String,
    database: String,
    collection: String,
}

impl Report for Alias {
    fn table(&self) -> String {
        facts(&[
            ("alias", self.alias.clone()),
            ("database", self.database.clone()),
            ("collection", self.collection.clone()),
        ])
    }
}
