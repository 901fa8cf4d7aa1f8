//! What proxies must forget after a change of the catalogue or of who may do what. A proxy caches no absence, so what
//! is new needs no word.

use std::io;

use super::stale::{Stale, StaleMeta};
use crate::pb::common::MsgType;
use crate::state::access::AccessEvent;
use crate::state::{Event, View};

/// The things that this event makes stale. `view` shows it, and perhaps what came after.
pub fn stale_after(view: &View<'_>, event: &Event) -> io::Result<Vec<Stale>> {
    // A database that is gone already is told by an event of its own.
    let database = |id: i64| Ok::<_, io::Error>(view.database_by_id(id)?.map(|row| row.name).unwrap_or_default());
    let of_collection = |why, database_id: i64, id: i64, name: &str| {
        let database = database(database_id)?;
        // Without its database a name would mean a collection of the default one.
        let collection = if database.is_empty() { String::new() } else { name.to_owned() };
        Ok::<_, io::Error>(Stale::Meta(StaleMeta {
            why,
            database,
            collection,
            collection_id: id,
            partition: String::new(),
        }))
    };
    let things = match event {
        Event::DatabaseDropped { name, .. } => vec![of_database(MsgType::DropDatabase, name)],
        Event::DatabaseAltered { name, .. } => vec![of_database(MsgType::AlterDatabase, name)],
        Event::CollectionDropped { database_id, collection_id, name } => {
            vec![of_collection(MsgType::DropCollection, *database_id, *collection_id, name)?]
        }
        Event::CollectionAltered { database_id, collection_id, name }
        | Event::CollectionTruncated { database_id, collection_id, name } => {
            vec![of_collection(MsgType::AlterCollection, *database_id, *collection_id, name)?]
        }
        Event::CollectionRenamed { old_database_id, old_name, collection_id, .. } => {
            vec![of_collection(MsgType::RenameCollection, *old_database_id, *collection_id, old_name)?]
        }
        Event::AliasSet { database_id, collection_id, name } => {
            vec![of_collection(MsgType::AlterAlias, *database_id, *collection_id, name)?]
        }
        Event::AliasDropped { database_id, collection_id, name } => {
            vec![of_collection(MsgType::DropAlias, *database_id, *collection_id, name)?]
        }
        Event::PartitionCreated { collection_id, name, .. } => {
            partition(view, MsgType::CreatePartition, *collection_id, name)?
        }
        Event::PartitionDropped { collection_id, name, .. } => {
            partition(view, MsgType::DropPartition, *collection_id, name)?
        }
        Event::LoadChanged { collection_id } => vec![of_load(MsgType::LoadCollection, *collection_id)],
        Event::LoadEnded { collection_id } => vec![of_load(MsgType::ReleaseCollection, *collection_id)],
        Event::Access(AccessEvent::User { name }) => vec![Stale::User(name.clone()), Stale::Policy],
        Event::Access(AccessEvent::Role { .. } | AccessEvent::Groups) => vec![Stale::Policy],
        Event::Access(AccessEvent::Everything) => vec![Stale::Everything],
        Event::DatabaseCreated { .. }
        | Event::CollectionCreated { .. }
        | Event::IndexCreated { .. }
        | Event::IndexAltered { .. }
        | Event::IndexDropped { .. }
        | Event::TsoExtended { .. }
        | Event::KeysChanged(_)
        | Event::HistoryCompacted { .. }
        | Event::LeaseGranted { .. }
        | Event::LeaseEnded { .. }
        | Event::WorkerChanged { .. }
        | Event::AssignmentsChanged { .. }
        | Event::BroadcastChanged { .. }
        | Event::ReplicationChanged => Vec::new(),
    };
    Ok(things)
}

/// The events of a busy key space and of the oracle, for which no view of the tables is worth making.
pub fn is_nothing_to_proxies(event: &Event) -> bool {
    matches!(
        event,
        Event::KeysChanged(_)
            | Event::TsoExtended { .. }
            | Event::LeaseGranted { .. }
            | Event::LeaseEnded { .. }
            | Event::WorkerChanged { .. }
            | Event::AssignmentsChanged { .. }
            | Event::BroadcastChanged { .. }
    )
}

/// Whether the event changes who is there to be limited, or how.
pub fn changes_limits(event: &Event) -> bool {
    matches!(
        event,
        Event::DatabaseCreated { .. }
            | Event::DatabaseDropped { .. }
            | Event::DatabaseAltered { .. }
            | Event::CollectionCreated { .. }
            | Event::CollectionDropped { .. }
            | Event::CollectionAltered { .. }
            | Event::CollectionRenamed { .. }
            | Event::PartitionCreated { .. }
            | Event::PartitionDropped { .. }
    )
}

/// Everything a proxy may hold of a database.
pub fn of_database(why: MsgType, name: &str) -> Stale {
    let nothing = String::new;
    Stale::Meta(StaleMeta {
        why,
        database: name.to_owned(),
        collection: nothing(),
        collection_id: 0,
        partition: nothing(),
    })
}

fn of_load(why: MsgType, collection_id: i64) -> Stale {
    let nothing = String::new;
    Stale::Meta(StaleMeta { why, database: nothing(), collection: nothing(), collection_id, partition: nothing() })
}

/// Of a collection that is gone there is nothing to forget but what its own event says.
fn partition(view: &View<'_>, why: MsgType, collection_id: i64, name: &str) -> io::Result<Vec<Stale>> {
    let Some(row) = view.collection_by_id(collection_id)? else { return Ok(Vec::new()) };
    let Some(database) = view.database_by_id(row.database_id)? else { return Ok(Vec::new()) };
    let (collection, partition) = (row.name, name.to_owned());
    Ok(vec![Stale::Meta(StaleMeta { why, database: database.name, collection, collection_id, partition })])
}
