//! Aliases for both APIs.

use super::catalog::{Catalog, existing, named_collection};
use super::validate;
use crate::error::Rejection;
use crate::failure::Failure;
use crate::handler::Asked;
use crate::ledger::reply;
use crate::limits;
use crate::pb::common;
use crate::pb::milvus::{
    AlterAliasRequest, CreateAliasRequest, DescribeAliasRequest, DescribeAliasResponse, DropAliasRequest,
    ListAliasesRequest, ListAliasesResponse,
};
use crate::state::{AliasCommand, Command, Reply, View};

impl Catalog {
    /// On the leader. An alias that the collection has already is a success.
    pub async fn create_alias(&self, asked: &Asked<CreateAliasRequest>) -> Result<(), Failure> {
        let CreateAliasRequest { db_name, collection_name, alias, .. } = &asked.message;
        let (alias, collection) = names(alias, collection_name)?;
        let command = AliasCommand::Create { database: asked.database(db_name).to_owned(), alias, collection };
        let done = reply!(Reply::AliasSet { .. } => ());
        self.ledger.propose(&asked.call, Command::Alias(command), done).await
    }

    /// On the leader. The alias must be there.
    pub async fn alter_alias(&self, asked: &Asked<AlterAliasRequest>) -> Result<(), Failure> {
        let AlterAliasRequest { db_name, collection_name, alias, .. } = &asked.message;
        let (alias, collection) = names(alias, collection_name)?;
        let command = AliasCommand::Alter { database: asked.database(db_name).to_owned(), alias, collection };
        let done = reply!(Reply::AliasSet { .. } => ());
        self.ledger.propose(&asked.call, Command::Alias(command), done).await
    }

    /// On the leader. A missing alias is a success; a missing database is not.
    pub async fn drop_alias(&self, asked: &Asked<DropAliasRequest>) -> Result<(), Failure> {
        let DropAliasRequest { db_name, alias, .. } = &asked.message;
        let alias = alias.trim();
        validate::alias_name(alias)?;
        let command = AliasCommand::Drop { database: asked.database(db_name).to_owned(), alias: alias.to_owned() };
        let done = reply!(Reply::AliasDropped { .. } => ());
        self.ledger.propose(&asked.call, Command::Alias(command), done).await
    }

    /// Which collection an alias stands for.
    pub async fn describe_alias(&self, asked: &Asked<DescribeAliasRequest>) -> Result<DescribeAliasResponse, Failure> {
        let DescribeAliasRequest { db_name, alias, .. } = &asked.message;
        validate::alias_name(alias)?;
        let view = self.ledger.view(&asked.call).await?;
        let view = View::new(view.as_ref());
        let database = existing(&view, asked.database(db_name))?;
        let target = match view.alias(database.id, alias)? {
            Some(id) => view.collection_by_id(id)?,
            None => None,
        };
        let (db_name, alias) = (database.name, alias.clone());
        match target {
            Some(row) => {
                let status = Some(common::Status::default());
                Ok(DescribeAliasResponse { status, db_name, alias, collection: row.name })
            }
            None => Err(Rejection::AliasNotFound { database: db_name, alias }.into()),
        }
    }

    /// The aliases of a collection, which must be called by its own name, or of a whole database; by name.
    pub async fn list_aliases(&self, asked: &Asked<ListAliasesRequest>) -> Result<ListAliasesResponse, Failure> {
        let ListAliasesRequest { db_name, collection_name, .. } = &asked.message;
        if !collection_name.is_empty() {
            validate::collection_name(collection_name)?;
        }
        let (database, collection_name) = (asked.database(db_name).to_owned(), collection_name.clone());
        let read = move |view: &View<'_>| {
            let aliases = match collection_name.is_empty() {
                true => all_aliases(view, &database)?,
                false => aliases_of(view, &database, &collection_name)?,
            };
            let status = Some(common::Status::default());
            Ok(ListAliasesResponse { status, db_name: database, collection_name, aliases })
        };
        self.ledger.list(&asked.call, read).await
    }
}

fn all_aliases(view: &View<'_>, database: &str) -> Result<Vec<String>, Failure> {
    let database = existing(view, database)?;
    let mut all: Vec<String> = Vec::new();
    loop {
        let page = view.aliases(database.id, all.last().map(String::as_str), limits::LIST_PAGE)?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page.into_iter().map(|(name, _)| name));
    }
}

fn aliases_of(view: &View<'_>, database: &str, collection: &str) -> Result<Vec<String>, Failure> {
    let row = named_collection(view, database, collection)?;
    if row.name != collection {
        let (database, collection) = (database.to_owned(), collection.to_owned());
        return Err(Rejection::CollectionNotFound { database, collection }.into());
    }
    Ok(view.aliases_of(&row)?)
}

/// Checks both names, without the blanks around them.
fn names(alias: &str, collection: &str) -> Result<(String, String), Rejection> {
    let (alias, collection) = (alias.trim(), collection.trim());
    validate::alias_name(alias)?;
    validate::collection_name(collection)?;
    Ok((alias.to_owned(), collection.to_owned()))
}
