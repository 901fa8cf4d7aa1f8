//! Collections: created in one step, changed by commands of [`CollectionChange`], dropped in bounded steps. A row whose
//! collection is being dropped is found by its id only, and by nothing that serves clients.

mod add_field;
mod alter_field;
mod change;
mod conditional;
mod create;
mod drop;
mod edit;
mod functions;
mod rename;
pub(super) mod restraint;
pub(super) mod revision;
mod settings;

use std::io;

use roost_raft::kv::Read;

use super::step::Refusal;
use super::tables::{COLLECTION_NAMES, COLLECTIONS};
use super::{alias, database, name};
use crate::error::Rejection;
use crate::pb::store;

pub use add_field::{AddField, EnableDynamicField, FieldLimits, check_added_field};
pub use alter_field::{AlterField, ParamLimits};
pub use change::CollectionChange;
pub use conditional::{Conditional, ConditionalChange};
pub use create::CreateCollection;
pub use drop::{DropCollection, EraseCollection};
pub use functions::{ChangeFunction, FunctionChange};
pub use rename::RenameCollection;
pub use settings::{AlterSettings, TruncateCollection};

/// The collection of this name, if any.
pub(super) fn lookup(read: &dyn Read, database_id: i64, name: &str) -> io::Result<Option<store::Collection>> {
    let Some(reference) = COLLECTION_NAMES.get(read, &(database_id, name.to_owned()))? else { return Ok(None) };
    match COLLECTIONS.get(read, &reference.id)? {
        Some(row) => Ok(Some(row)),
        None => Err(COLLECTIONS.missing(&reference.id)),
    }
}

/// The collection of this name or alias, if any. No name is both.
pub(super) fn resolve(read: &dyn Read, database_id: i64, name: &str) -> io::Result<Option<store::Collection>> {
    if let Some(row) = lookup(read, database_id, name)? {
        return Ok(Some(row));
    }
    let Some(id) = alias::target(read, database_id, name)? else { return Ok(None) };
    match COLLECTIONS.get(read, &id)? {
        Some(row) => Ok(Some(row)),
        None => Err(COLLECTIONS.missing(&id)),
    }
}

/// The collection of this id, which must be there and not on its way out.
pub(super) fn find_by_id(read: &dyn Read, id: i64) -> Result<store::Collection, Refusal> {
    match COLLECTIONS.get(read, &id)? {
        Some(row) if row.state == i32::from(store::CollectionState::Created) => Ok(row),
        _ => Err(Rejection::CollectionIdNotFound { id }.into()),
    }
}

/// As [`resolve`] by the database's name, refusing when either is missing.
pub(super) fn find(read: &dyn Read, database: &str, name: &str) -> Result<store::Collection, Refusal> {
    let database = database::find(read, database)?;
    resolve(read, database.id, name)?.ok_or_else(|| {
        let collection = name::shown(name).to_owned();
        Refusal::from(Rejection::CollectionNotFound { database: database.name, collection })
    })
}
