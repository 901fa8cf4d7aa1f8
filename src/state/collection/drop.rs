//! Dropping: the name and the counts are free at once. What belongs to the collection goes with the same entry if it is
//! little, else in further steps that the leader proposes; meanwhile its row stays, in state Dropping.

use std::fmt;
use std::io;

use roost_raft::kv::Txn;
use serde::{Deserialize, Serialize};

use super::lookup;
use crate::error::Rejection;
use crate::pb::store;
use crate::state::broadcast::outbox;
use crate::state::event::Event;
use crate::state::limits::ERASED_ROWS;
use crate::state::reply::Reply;
use crate::state::step::{Outcome, Step};
use crate::state::tables::{COLLECTION_NAMES, COLLECTIONS, DATABASE_COLLECTIONS, DROPPING};
use crate::state::{access, alias, channel, database, index, load, name, partition, totals};

/// Idempotent: dropping what is not there is a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropCollection {
    /// Empty: the default database.
    pub database: String,
    pub name: String,
}

/// One step of a drop that did not end with its first entry. A collection that is gone is a success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EraseCollection {
    pub collection_id: i64,
}

/// From this apply version on a drop may take several entries.
const STEPS_SINCE: u32 = 4;

impl DropCollection {
    pub(in crate::state) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        let gone = Reply::CollectionDropped { collection_id: None };
        let Some(database) = database::lookup(step.txn, &self.database)? else { return Ok(gone) };
        if alias::target(step.txn, database.id, &self.name)?.is_some() {
            return Err(Rejection::DropViaAlias { alias: self.name.clone() }.into());
        }
        let Some(mut row) = lookup(step.txn, database.id, &self.name)? else { return Ok(gone) };
        if row.aliases > 0 {
            let aliases = alias::of(step.txn, &row)?;
            return Err(Rejection::DropWithAliases { collection: row.name, aliases }.into());
        }
        let store::Collection { id, database_id, .. } = row;
        outbox::collection_dropped(step, &row)?;
        totals::remove_capacity(step.txn, row.partitions.into(), row.shards)?;
        totals::remove_collection(step.txn)?;
        database::remove_collection(step.txn, database_id)?;
        COLLECTION_NAMES.delete(step.txn, &(database_id, row.name.clone()));
        DATABASE_COLLECTIONS.delete(step.txn, &(database_id, id));
        row.state = store::CollectionState::Dropping.into();
        let most = if step.apply_version < STEPS_SINCE { usize::MAX } else { ERASED_ROWS };
        if erase(step.txn, &mut row, most)? {
            DROPPING.put(step.txn, &(database_id, id), &store::Present {});
        }
        access::forget_object(step, name::database_or_default(&self.database), &row.name)?;
        step.events.push(Event::CollectionDropped { database_id, collection_id: id, name: row.name });
        Ok(Reply::CollectionDropped { collection_id: Some(id) })
    }
}

impl EraseCollection {
    pub(super) fn apply(self, step: &mut Step<'_, '_>) -> Outcome {
        let dropping = i32::from(store::CollectionState::Dropping);
        let row = COLLECTIONS.get(step.txn, &self.collection_id)?.filter(|row| row.state == dropping);
        let Some(mut row) = row else { return Ok(Reply::CollectionErased { more: false }) };
        let more = erase(step.txn, &mut row, ERASED_ROWS)?;
        if !more {
            DROPPING.delete(step.txn, &(row.database_id, row.id));
        }
        Ok(Reply::CollectionErased { more })
    }
}

/// Deletes up to `most` of each thing that a dropped collection has, and itself after the last of them. True if some
/// are left.
fn erase(txn: &mut Txn<'_>, row: &mut store::Collection, most: usize) -> io::Result<bool> {
    load::remove(txn, row.id);
    partition::remove_some(txn, row, most)?;
    if row.partitions > 0 || index::remove_some(txn, row.id, most)? {
        COLLECTIONS.put(txn, &row.id, row);
        return Ok(true);
    }
    channel::release(txn, &row.pchannels)?;
    COLLECTIONS.delete(txn, &row.id);
    Ok(false)
}

impl fmt::Display for DropCollection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (database, name) = (name::database_or_default(&self.database).escape_debug(), self.name.escape_debug());
        write!(f, "drop collection {database}.{name}")
    }
}

impl fmt::Display for EraseCollection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "erase dropped collection id={}", self.collection_id)
    }
}
