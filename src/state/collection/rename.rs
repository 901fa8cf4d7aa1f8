//! Renaming: another name, another database, or both. The collection keeps its id, and everything that hangs on it.

use std::fmt;

use prost::Message;
use serde::{Deserialize, Serialize};

use super::{find, lookup, revision};
use crate::error::Rejection;
use crate::pb::store;
use crate::state::event::Event;
use crate::state::limits::Limits;
use crate::state::reply::Reply;
use crate::state::step::{Outcome, Step};
use crate::state::tables::{COLLECTION_NAMES, DATABASE_COLLECTIONS};
use crate::state::{access, alias, database, name};

/// Says that a database's data is encrypted; such a collection stays where its key is.
const ENCRYPTED: &str = "cipher.enabled";

/// Not idempotent, as in Milvus: afterwards the old name is not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenameCollection {
    /// Empty: the default database.
    pub database: String,
    pub name: String,
    /// Empty: the same database.
    pub new_database: String,
    pub new_name: String,
    /// Hybrid timestamp of the change.
    pub ts: u64,
    pub limits: Limits,
}

impl RenameCollection {
    pub(super) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        name::collection_name(&self.new_name)?;
        let from = database::find(step.txn, &self.database)?;
        let to = match self.new_database.as_str() {
            "" => from.clone(),
            other => database::find(step.txn, other)?,
        };
        if from.id == to.id && self.name == self.new_name {
            return Err(Rejection::invalid("collection name or database name should be different").into());
        }
        if from.id != to.id && (is_encrypted(&from) || is_encrypted(&to)) {
            return Err(Rejection::NotSupported {
                detail: format!(
                    "deny to change collection databases due to at least one database enabled encryption, original \
                     DB: {}, target DB: {}",
                    from.name, to.name
                ),
            }
            .into());
        }
        if alias::target(step.txn, from.id, &self.name)?.is_some() {
            let detail = format!("unsupported use an alias to rename collection, alias:{}", self.name);
            return Err(Rejection::invalid(detail).into());
        }
        if alias::target(step.txn, to.id, &self.new_name)?.is_some() {
            return Err(Rejection::AliasIsCollection { database: to.name, alias: self.new_name.clone() }.into());
        }
        if lookup(step.txn, to.id, &self.new_name)?.is_some() {
            let (database, name) = (&to.name, &self.new_name);
            let detail =
                format!("duplicated new collection name {database}:{name} with other collection name or alias");
            return Err(Rejection::invalid(detail).into());
        }
        let row = find(step.txn, &self.database, &self.name)?;
        if from.id != to.id {
            if row.aliases > 0 {
                let detail = "fail to rename db name, must drop all aliases of this collection before rename";
                return Err(Rejection::invalid(detail).into());
            }
            database::add_collection(step.txn, &to, &self.limits)?;
            database::remove_collection(step.txn, from.id)?;
        }
        access::rename_object(step, (&from.name, &self.name), (&to.name, &self.new_name))?;
        self.move_rows(step, row, &to)
    }

    fn move_rows(&self, step: &mut Step<'_, '_>, mut row: store::Collection, to: &store::Database) -> Outcome {
        let mut schema = row.decoded_schema()?;
        schema.name.clone_from(&self.new_name);
        let (id, old_database_id) = (row.id, row.database_id);
        let old_name = std::mem::replace(&mut row.name, self.new_name.clone());
        COLLECTION_NAMES.delete(step.txn, &(old_database_id, old_name.clone()));
        DATABASE_COLLECTIONS.delete(step.txn, &(old_database_id, id));
        row.database_id = to.id;
        row.schema = schema.encode_to_vec();
        row.updated_ts = row.updated_ts.max(self.ts);
        COLLECTION_NAMES.put(step.txn, &(to.id, row.name.clone()), &store::Reference { id });
        DATABASE_COLLECTIONS.put(step.txn, &(to.id, id), &store::Present {});
        revision::save(step, &mut row);
        step.events.push(Event::CollectionRenamed {
            old_database_id,
            old_name,
            database_id: to.id,
            name: row.name,
            collection_id: id,
        });
        Ok(Reply::CollectionAltered { collection_id: id, changed: true })
    }
}

fn is_encrypted(database: &store::Database) -> bool {
    database.properties.iter().any(|own| own.key == ENCRYPTED && own.value.eq_ignore_ascii_case("true"))
}

impl fmt::Display for RenameCollection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let old = name::database_or_default(&self.database);
        let new = if self.new_database.is_empty() { old } else { &self.new_database };
        let (old_name, new_name) = (self.name.escape_debug(), self.new_name.escape_debug());
        write!(f, "rename collection {}.{old_name} to {}.{new_name}", old.escape_debug(), new.escape_debug())
    }
}
