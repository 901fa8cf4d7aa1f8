//! Aliases: further names of a collection. Within a database the names of collections and aliases are one space, so a
//! name says which collection is meant. The collection's row counts them.

use std::fmt;
use std::io;

use roost_raft::kv::Read;
use serde::{Deserialize, Serialize};

use super::event::Event;
use super::limits::{MAX_ALIASES, MAX_NAME_BYTES};
use super::reply::Reply;
use super::step::{Outcome, Refusal, Step};
use super::tables::{ALIASES, COLLECTION_ALIASES, COLLECTIONS};
use super::{collection, database, name};
use crate::error::Rejection;
use crate::pb::store;

/// Stored in the log by the variant's place: append variants, never reorder, change or remove one.
/// An empty database is the default one. `collection` is a collection's own name, never an alias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AliasCommand {
    /// Idempotent: an alias that the collection has already is a success.
    Create { database: String, alias: String, collection: String },
    /// Idempotent: dropping what is not there is a success. The database must be there.
    Drop { database: String, alias: String },
    /// Moves an alias that exists to this collection.
    Alter { database: String, alias: String, collection: String },
}

impl AliasCommand {
    pub(super) fn name(&self) -> &'static str {
        match self {
            AliasCommand::Create { .. } => "create_alias",
            AliasCommand::Drop { .. } => "drop_alias",
            AliasCommand::Alter { .. } => "alter_alias",
        }
    }

    pub(super) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        match self {
            AliasCommand::Create { database, alias, collection } => create(step, database, alias, collection),
            AliasCommand::Drop { database, alias } => drop(step, database, alias),
            AliasCommand::Alter { database, alias, collection } => alter(step, database, alias, collection),
        }
    }
}

impl fmt::Display for AliasCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, database, alias, collection) = match self {
            AliasCommand::Create { database, alias, collection } => ("create", database, alias, Some(collection)),
            AliasCommand::Drop { database, alias } => ("drop", database, alias, None),
            AliasCommand::Alter { database, alias, collection } => ("alter", database, alias, Some(collection)),
        };
        let database = name::database_or_default(database).escape_debug();
        write!(f, "{verb} alias {database}.{}", alias.escape_debug())?;
        match collection {
            Some(collection) => write!(f, " collection={}", collection.escape_debug()),
            None => Ok(()),
        }
    }
}

fn create(step: &mut Step<'_, '_>, database: &str, alias: &str, collection: &str) -> Outcome {
    let (database, row) = checked(step.txn, database, alias, collection)?;
    match target(step.txn, database.id, alias)? {
        None => {
            database::add_alias(step.txn, &database)?;
            set(step, row, alias)
        }
        Some(id) if id == row.id => Ok(Reply::AliasSet { collection_id: id, changed: false }),
        Some(id) => {
            let other = COLLECTIONS.get(step.txn, &id)?.ok_or_else(|| COLLECTIONS.missing(&id))?;
            let (database, alias) = (database.name, alias.to_owned());
            Err(Rejection::AliasExists { database, alias, collection: other.name }.into())
        }
    }
}

fn alter(step: &mut Step<'_, '_>, database: &str, alias: &str, collection: &str) -> Outcome {
    let (database, row) = checked(step.txn, database, alias, collection)?;
    match target(step.txn, database.id, alias)? {
        None => Err(Rejection::AliasNotFound { database: database.name, alias: alias.to_owned() }.into()),
        Some(id) if id == row.id => Ok(Reply::AliasSet { collection_id: id, changed: false }),
        Some(id) => {
            take_from(step, id, alias)?;
            // Both collections change.
            let name = alias.to_owned();
            step.events.push(Event::AliasDropped { database_id: database.id, collection_id: id, name });
            set(step, row, alias)
        }
    }
}

fn drop(step: &mut Step<'_, '_>, database: &str, alias: &str) -> Outcome {
    let database = database::find(step.txn, database)?;
    let found = match alias.len() > MAX_NAME_BYTES {
        true => None,
        false => target(step.txn, database.id, alias)?,
    };
    let Some(collection_id) = found else { return Ok(Reply::AliasDropped { collection_id: None }) };
    take_from(step, collection_id, alias)?;
    database::remove_alias(step.txn, database.id)?;
    ALIASES.delete(step.txn, &(database.id, alias.to_owned()));
    let name = alias.to_owned();
    step.events.push(Event::AliasDropped { database_id: database.id, collection_id, name });
    Ok(Reply::AliasDropped { collection_id: Some(collection_id) })
}

/// What creating and moving an alias both need: a name that no collection bears, and a collection.
fn checked(
    read: &dyn Read,
    database: &str,
    alias: &str,
    collection: &str,
) -> Result<(store::Database, store::Collection), Refusal> {
    name::alias_name(alias)?;
    let database = database::find(read, database)?;
    if collection::lookup(read, database.id, alias)?.is_some() {
        return Err(Rejection::AliasIsCollection { database: database.name, alias: alias.to_owned() }.into());
    }
    match collection::lookup(read, database.id, collection)? {
        Some(row) => Ok((database, row)),
        None => {
            let collection = name::shown(collection).to_owned();
            Err(Rejection::CollectionNotFound { database: database.name, collection }.into())
        }
    }
}

/// Points the alias to the collection, which counts it.
fn set(step: &mut Step<'_, '_>, mut row: store::Collection, alias: &str) -> Outcome {
    if row.aliases >= MAX_ALIASES {
        let detail = format!("collection {} has {MAX_ALIASES} aliases, more are not possible", row.name);
        return Err(Rejection::QuotaExceeded { detail }.into());
    }
    row.aliases += 1;
    collection::revision::save(step, &mut row);
    ALIASES.put(step.txn, &(row.database_id, alias.to_owned()), &store::Reference { id: row.id });
    COLLECTION_ALIASES.put(step.txn, &(row.id, alias.to_owned()), &store::Present {});
    let name = alias.to_owned();
    step.events.push(Event::AliasSet { database_id: row.database_id, collection_id: row.id, name });
    Ok(Reply::AliasSet { collection_id: row.id, changed: true })
}

/// Removes the alias from its collection's list and count.
fn take_from(step: &mut Step<'_, '_>, collection_id: i64, alias: &str) -> io::Result<()> {
    let Some(mut row) = COLLECTIONS.get(step.txn, &collection_id)? else {
        return Err(COLLECTIONS.missing(&collection_id));
    };
    row.aliases = row.aliases.checked_sub(1).ok_or_else(|| uncounted(collection_id))?;
    collection::revision::save(step, &mut row);
    COLLECTION_ALIASES.delete(step.txn, &(collection_id, alias.to_owned()));
    Ok(())
}

/// The id of the collection that the alias stands for.
pub(super) fn target(read: &dyn Read, database_id: i64, alias: &str) -> io::Result<Option<i64>> {
    Ok(ALIASES.get(read, &(database_id, alias.to_owned()))?.map(|reference| reference.id))
}

/// Every alias of a collection, by name.
pub(super) fn of(read: &dyn Read, row: &store::Collection) -> io::Result<Vec<String>> {
    let count = row.aliases.min(MAX_ALIASES) as usize;
    if count == 0 {
        return Ok(Vec::new());
    }
    let page = COLLECTION_ALIASES.page(read, &row.id, None, count + 1)?;
    if page.len() != row.aliases as usize {
        return Err(uncounted(row.id));
    }
    Ok(page.into_iter().map(|((_, alias), _)| alias).collect())
}

fn uncounted(collection_id: i64) -> io::Error {
    COLLECTIONS.corrupt(&COLLECTIONS.key(&collection_id), "it does not count its aliases")
}
