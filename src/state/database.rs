//! Databases: a name space of collections, with properties. `default` is there from the first apply and stays.

use std::fmt;
use std::io;

use roost_raft::kv::{Read, Txn};
use serde::{Deserialize, Serialize};

use super::event::Event;
use super::limits::{Limits, MAX_ALIASES_OF_DATABASE};
use super::property::{self, Properties};
use super::reply::Reply;
use super::step::{Outcome, Refusal, Step};
use super::tables::{DATABASE_NAMES, DATABASE_USE, DATABASES};
use super::{DEFAULT_DATABASE_ID, id, name, totals};
use crate::error::Rejection;
use crate::pb::store;

/// Overrides the limit of collections in one database.
const MAX_COLLECTIONS_PROPERTY: &str = "database.max.collections";

/// Not idempotent, as in Milvus: an existing name is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateDatabase {
    pub name: String,
    pub properties: Properties,
    /// Hybrid timestamp of the creation.
    pub ts: u64,
    pub limits: Limits,
}

/// The database must be empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropDatabase {
    pub name: String,
}

/// Sets or deletes properties of a database, not both at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlterDatabase {
    pub name: String,
    pub set: Properties,
    pub delete: Vec<String>,
}

impl CreateDatabase {
    pub(super) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        name::database_name(&self.name)?;
        let properties = property::stored(&self.properties)?;
        if DATABASE_NAMES.get(step.txn, &self.name)?.is_some() {
            return Err(Rejection::invalid(format!("database already exist: {}", self.name)).into());
        }
        totals::add_database(step.txn, &self.limits)?;
        let id = id::take(step.txn, 1)?;
        let row = store::Database { id, name: self.name.clone(), properties, created_ts: self.ts };
        DATABASES.put(step.txn, &id, &row);
        DATABASE_NAMES.put(step.txn, &row.name, &store::Reference { id });
        step.events.push(Event::DatabaseCreated { database_id: id, name: row.name });
        Ok(Reply::DatabaseCreated { database_id: id })
    }
}

impl DropDatabase {
    pub(super) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        let row = find(step.txn, &self.name)?;
        if row.id == DEFAULT_DATABASE_ID {
            return Err(Rejection::invalid("can not drop default database").into());
        }
        if DATABASE_USE.get_or_default(step.txn, &row.id)?.collections > 0 {
            let detail = format!("database:{} not empty, must drop all collections before drop database", row.name);
            return Err(Rejection::invalid(detail).into());
        }
        totals::remove_database(step.txn)?;
        DATABASES.delete(step.txn, &row.id);
        DATABASE_NAMES.delete(step.txn, &row.name);
        DATABASE_USE.delete(step.txn, &row.id);
        step.events.push(Event::DatabaseDropped { database_id: row.id, name: row.name });
        Ok(Reply::DatabaseDropped { database_id: row.id })
    }
}

impl AlterDatabase {
    pub(super) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        let detail = match (self.set.is_empty(), self.delete.is_empty()) {
            (true, true) => {
                "alter database with empty properties and delete keys, expected to set either properties or delete keys"
            }
            (false, false) => "alter database cannot modify properties and delete keys at the same time",
            _ => "",
        };
        if !detail.is_empty() {
            return Err(Rejection::invalid(detail).into());
        }
        let mut row = find(step.txn, &self.name)?;
        let properties = property::changed(&row.properties, &self.set, &self.delete)?;
        let changed = properties != row.properties;
        if changed {
            row.properties = properties;
            DATABASES.put(step.txn, &row.id, &row);
            step.events.push(Event::DatabaseAltered { database_id: row.id, name: row.name });
        }
        Ok(Reply::DatabaseAltered { database_id: row.id, changed })
    }
}

impl fmt::Display for CreateDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "create database {}", self.name.escape_debug())
    }
}

impl fmt::Display for DropDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "drop database {}", self.name.escape_debug())
    }
}

/// Values stay out of the line: some of them are secrets.
impl fmt::Display for AlterDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "alter database {}", name::database_or_default(&self.name).escape_debug())?;
        property::fmt_keys(&self.set, &self.delete, f)
    }
}

/// The database of this name (empty: the default one), if any.
pub(super) fn lookup(read: &dyn Read, database: &str) -> io::Result<Option<store::Database>> {
    let database = name::database_or_default(database).to_owned();
    let Some(reference) = DATABASE_NAMES.get(read, &database)? else { return Ok(None) };
    match DATABASES.get(read, &reference.id)? {
        Some(row) => Ok(Some(row)),
        None => Err(DATABASES.missing(&reference.id)),
    }
}

/// As [`lookup`], refusing when there is none.
pub(super) fn find(read: &dyn Read, database: &str) -> Result<store::Database, Refusal> {
    lookup(read, database)?.ok_or_else(|| {
        let database = name::shown(name::database_or_default(database)).to_owned();
        Refusal::from(Rejection::DatabaseNotFound { database, detail: String::new() })
    })
}

/// Counts one more collection in the database, if it may have it.
pub(super) fn add_collection(txn: &mut Txn<'_>, row: &store::Database, limits: &Limits) -> Result<(), Refusal> {
    let mut used = DATABASE_USE.get_or_default(txn, &row.id)?;
    let limit = max_collections(row, limits)?;
    if used.collections >= limit {
        return Err(Rejection::CollectionLimit { database: row.name.clone(), limit }.into());
    }
    used.collections += 1;
    DATABASE_USE.put(txn, &row.id, &used);
    Ok(())
}

/// Counts one collection less.
pub(super) fn remove_collection(txn: &mut Txn<'_>, database_id: i64) -> io::Result<()> {
    let mut used = DATABASE_USE.get_or_default(txn, &database_id)?;
    used.collections = used.collections.checked_sub(1).ok_or_else(|| DATABASE_USE.missing(&database_id))?;
    DATABASE_USE.put(txn, &database_id, &used);
    Ok(())
}

/// Counts one more alias in the database, if it may have it.
pub(super) fn add_alias(txn: &mut Txn<'_>, row: &store::Database) -> Result<(), Refusal> {
    let mut used = DATABASE_USE.get_or_default(txn, &row.id)?;
    if used.aliases >= MAX_ALIASES_OF_DATABASE {
        let detail = format!("database {} has {MAX_ALIASES_OF_DATABASE} aliases, more are not possible", row.name);
        return Err(Rejection::QuotaExceeded { detail }.into());
    }
    used.aliases += 1;
    DATABASE_USE.put(txn, &row.id, &used);
    Ok(())
}

/// Counts one alias less.
pub(super) fn remove_alias(txn: &mut Txn<'_>, database_id: i64) -> io::Result<()> {
    let mut used = DATABASE_USE.get_or_default(txn, &database_id)?;
    used.aliases = used.aliases.checked_sub(1).ok_or_else(|| DATABASE_USE.missing(&database_id))?;
    DATABASE_USE.put(txn, &database_id, &used);
    Ok(())
}

/// How many collections the database may have: its own property's word, else the cluster's.
pub fn max_collections(row: &store::Database, limits: &Limits) -> Result<u64, Rejection> {
    let Some(own) = row.properties.iter().find(|property| property.key == MAX_COLLECTIONS_PROPERTY) else {
        return Ok(limits.max_collections_per_database);
    };
    own.value.parse().map_err(|_| Rejection::Internal {
        detail: format!("parse value of property fail, key:{}, value:{}", own.key, own.value),
    })
}
