//! What concerns no vchannel: databases, aliases, and what is loaded. It goes to the control channel alone.

use super::{Outgoing, database_name, pairs, supersede, was_never_told};
use crate::pb::messages::{
    AlterAliasMessageBody, AlterAliasMessageHeader, AlterDatabaseMessageBody, AlterDatabaseMessageHeader,
    AlterLoadConfigMessageBody, AlterLoadConfigMessageHeader, CreateDatabaseMessageBody, CreateDatabaseMessageHeader,
    DropAliasMessageBody, DropAliasMessageHeader, DropDatabaseMessageBody, DropDatabaseMessageHeader,
    DropLoadConfigMessageBody, DropLoadConfigMessageHeader, LoadFieldConfig, LoadReplicaConfig, MessageType,
};
use crate::state::broadcast::lock::ResourceKey;
use crate::state::index;
use crate::state::step::{Refusal, Step};
use crate::state::tables::{COLLECTIONS, DATABASES, LOADS, PARTITIONS};

/// To the control channel, and nobody else may change the database at the same time.
fn of_database(mut outgoing: Outgoing, control: &str, database: &str, subject_id: i64) -> Outgoing {
    outgoing.vchannels = vec![control.to_owned()];
    outgoing.keys = vec![ResourceKey::database(database, false)];
    outgoing.subject_id = subject_id;
    outgoing
}

pub(super) fn database_created(step: &mut Step<'_, '_>, control: &str, id: i64, name: &str) -> Result<(), Refusal> {
    let properties = DATABASES.get(step.txn, &id)?.map(|row| pairs(&row.properties)).unwrap_or_default();
    let header = CreateDatabaseMessageHeader { db_name: name.to_owned(), db_id: id };
    let body = CreateDatabaseMessageBody { properties };
    of_database(Outgoing::new(MessageType::CreateDatabase, &header, &body), control, name, id).send(step)
}

pub(super) fn database_altered(step: &mut Step<'_, '_>, control: &str, id: i64, name: &str) -> Result<(), Refusal> {
    supersede(step, id, &[MessageType::AlterDatabase], |_: &AlterDatabaseMessageHeader| true)?;
    let properties = DATABASES.get(step.txn, &id)?.map(|row| pairs(&row.properties)).unwrap_or_default();
    let header = AlterDatabaseMessageHeader { db_name: name.to_owned(), db_id: id };
    let body = AlterDatabaseMessageBody { properties, alter_load_config: None };
    of_database(Outgoing::new(MessageType::AlterDatabase, &header, &body), control, name, id).send(step)
}

pub(super) fn database_dropped(step: &mut Step<'_, '_>, control: &str, id: i64, name: &str) -> Result<(), Refusal> {
    supersede(step, id, &[MessageType::AlterDatabase], |_: &AlterDatabaseMessageHeader| true)?;
    if was_never_told(step, id, MessageType::CreateDatabase, |_: &CreateDatabaseMessageHeader| true)? {
        return Ok(());
    }
    let header = DropDatabaseMessageHeader { db_name: name.to_owned(), db_id: id };
    let outgoing = Outgoing::new(MessageType::DropDatabase, &header, &DropDatabaseMessageBody {});
    Outgoing { takes_away: true, ..of_database(outgoing, control, name, id) }.send(step)
}

pub(super) fn alias_set(
    step: &mut Step<'_, '_>,
    control: &str,
    database_id: i64,
    collection_id: i64,
    alias: &str,
) -> Result<(), Refusal> {
    let database = database_name(step.txn, database_id)?;
    let collection_name = COLLECTIONS.get(step.txn, &collection_id)?.map(|row| row.name).unwrap_or_default();
    let header = AlterAliasMessageHeader {
        db_id: database_id,
        db_name: database.clone(),
        collection_id,
        collection_name,
        alias: alias.to_owned(),
    };
    let outgoing = Outgoing::new(MessageType::AlterAlias, &header, &AlterAliasMessageBody {});
    of_database(outgoing, control, &database, collection_id).send(step)
}

pub(super) fn alias_dropped(
    step: &mut Step<'_, '_>,
    control: &str,
    database_id: i64,
    collection_id: i64,
    alias: &str,
) -> Result<(), Refusal> {
    let database = database_name(step.txn, database_id)?;
    let creation = |header: &AlterAliasMessageHeader| header.alias == alias;
    if was_never_told(step, collection_id, MessageType::AlterAlias, creation)? {
        return Ok(());
    }
    let header = DropAliasMessageHeader { db_id: database_id, db_name: database.clone(), alias: alias.to_owned() };
    let outgoing = Outgoing::new(MessageType::DropAlias, &header, &DropAliasMessageBody {});
    Outgoing { takes_away: true, ..of_database(outgoing, control, &database, collection_id) }.send(step)
}

/// To the control channel, and nobody else may change the collection at the same time.
pub(super) fn of_collection(
    step: &Step<'_, '_>,
    mut outgoing: Outgoing,
    control: &str,
    collection_id: i64,
) -> Result<Option<Outgoing>, Refusal> {
    let Some(row) = COLLECTIONS.get(step.txn, &collection_id)? else { return Ok(None) };
    let database = database_name(step.txn, row.database_id)?;
    outgoing.vchannels = vec![control.to_owned()];
    outgoing.keys = vec![ResourceKey::database(&database, true), ResourceKey::collection(&database, &row.name)];
    outgoing.subject_id = collection_id;
    Ok(Some(outgoing))
}

pub(super) fn load_changed(step: &mut Step<'_, '_>, control: &str, collection_id: i64) -> Result<(), Refusal> {
    let (Some(row), Some(load)) = (COLLECTIONS.get(step.txn, &collection_id)?, LOADS.get(step.txn, &collection_id)?)
    else {
        return Ok(());
    };
    forget_loads(step, collection_id)?;
    let partitions = PARTITIONS.page(step.txn, &collection_id, None, row.partitions as usize)?;
    let indexes = index::of_collection(step.txn, collection_id)?;
    let field = |field_id: &i64| {
        let index = indexes.iter().find(|index| index.field_id == *field_id);
        LoadFieldConfig { field_id: *field_id, index_id: index.map_or(0, |index| index.id) }
    };
    let replica = |replica: &crate::pb::store::Replica| LoadReplicaConfig {
        replica_id: replica.id,
        resource_group_name: replica.resource_group.clone(),
        ..LoadReplicaConfig::default()
    };
    let header = AlterLoadConfigMessageHeader {
        db_id: row.database_id,
        collection_id,
        partition_ids: partitions.iter().map(|(_, row)| row.id).filter(|id| load.holds(*id)).collect(),
        load_fields: load.fields.iter().map(field).collect(),
        replicas: load.replicas.iter().map(replica).collect(),
        ..AlterLoadConfigMessageHeader::default()
    };
    let outgoing = Outgoing::new(MessageType::AlterLoadConfig, &header, &AlterLoadConfigMessageBody {});
    of_collection(step, outgoing, control, collection_id)?.map_or(Ok(()), |outgoing| outgoing.send(step))
}

pub(super) fn load_ended(step: &mut Step<'_, '_>, control: &str, collection_id: i64) -> Result<(), Refusal> {
    forget_loads(step, collection_id)?;
    let db_id = COLLECTIONS.get(step.txn, &collection_id)?.map_or(0, |row| row.database_id);
    let header = DropLoadConfigMessageHeader { db_id, collection_id };
    let outgoing = Outgoing::new(MessageType::DropLoadConfig, &header, &DropLoadConfigMessageBody {});
    match of_collection(step, outgoing, control, collection_id)? {
        Some(outgoing) => Outgoing { takes_away: true, ..outgoing }.send(step),
        None => Ok(()),
    }
}

/// What is loaded is said as a whole each time.
fn forget_loads(step: &mut Step<'_, '_>, collection_id: i64) -> Result<(), Refusal> {
    let kinds = [MessageType::AlterLoadConfig, MessageType::DropLoadConfig];
    supersede(step, collection_id, &kinds, |_: &DropLoadConfigMessageHeader| true)?;
    Ok(())
}
