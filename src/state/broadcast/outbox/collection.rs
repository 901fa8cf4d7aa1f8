//! Collections and partitions: their messages go to every vchannel of the collection and to the control channel.

use prost_types::FieldMask;

use super::{
    FULL_SINCE, Outgoing, Unbegun, control_channel, database_name, is_of, pairs, supersede, unbegun, was_never_told,
};
use crate::pb::common::{ConsistencyLevel, MsgBase, MsgType};
use crate::pb::messages::{
    AlterCollectionMessageBody, AlterCollectionMessageHeader, AlterCollectionMessageUpdates,
    CreateCollectionMessageHeader, CreatePartitionMessageHeader, DropCollectionMessageHeader,
    DropPartitionMessageHeader, MessageType, TruncateCollectionMessageBody, TruncateCollectionMessageHeader,
};
use crate::pb::msg::{CreateCollectionRequest, CreatePartitionRequest, DropCollectionRequest, DropPartitionRequest};
use crate::pb::store;
use crate::state::broadcast::lock::ResourceKey;
use crate::state::broadcast::task;
use crate::state::step::{Refusal, Step};
use crate::state::tables::{COLLECTIONS, PARTITIONS};

/// Milvus' names of what an alteration changes.
const MASK_DATABASE: &str = "db";
const MASK_NAME: &str = "name";
const MASK_DESCRIPTION: &str = "description";
const MASK_CONSISTENCY: &str = "consistency_level";
const MASK_PROPERTIES: &str = "properties";
const MASK_SCHEMA: &str = "schema";

/// The collection's own vchannels and the control channel; nobody else may change it, or its database as a whole, at
/// the same time.
fn addressed(mut outgoing: Outgoing, control: &str, database: &str, row: &store::Collection) -> Outgoing {
    outgoing.vchannels.clone_from(&row.vchannels);
    outgoing.vchannels.push(control.to_owned());
    outgoing.keys = vec![ResourceKey::database(database, true), ResourceKey::collection(database, &row.name)];
    outgoing.subject_id = row.id;
    outgoing
}

fn base(kind: MsgType) -> Option<MsgBase> {
    Some(MsgBase { msg_type: kind.into(), ..MsgBase::default() })
}

pub(super) fn created(step: &mut Step<'_, '_>, control: &str, id: i64) -> Result<(), Refusal> {
    let Some(row) = COLLECTIONS.get(step.txn, &id)? else { return Ok(()) };
    let database = database_name(step.txn, row.database_id)?;
    let partitions = PARTITIONS.page(step.txn, &id, None, row.partitions as usize)?;
    let partition_ids: Vec<i64> = partitions.iter().map(|(_, partition)| partition.id).collect();
    let header = CreateCollectionMessageHeader {
        collection_id: id,
        partition_ids: partition_ids.clone(),
        db_id: row.database_id,
    };
    let body = CreateCollectionRequest {
        base: base(MsgType::CreateCollection),
        db_name: database.clone(),
        collection_name: row.name.clone(),
        db_id: row.database_id,
        collection_id: id,
        virtual_channel_names: row.vchannels.clone(),
        physical_channel_names: row.pchannels.clone(),
        partition_i_ds: partition_ids,
        partition_names: partitions.into_iter().map(|(_, partition)| partition.name).collect(),
        collection_schema: Some(row.decoded_schema()?),
        ..CreateCollectionRequest::default()
    };
    addressed(Outgoing::new(MessageType::CreateCollection, &header, &body), control, &database, &row).send(step)
}

/// Before the rows go. What nobody has begun with goes with them; if that is the creation, nodes have nothing to drop.
pub(in crate::state) fn dropped(step: &mut Step<'_, '_>, row: &store::Collection) -> Result<(), Refusal> {
    let Some(control) = control_channel(step.txn)? else { return Ok(()) };
    let Unbegun { rows, is_all } = unbegun(step, row.id)?;
    let is_creation = |earlier: &store::BroadcastTask| is_of(earlier, &[MessageType::CreateCollection]);
    let never_seen = is_all && rows.iter().any(is_creation);
    for earlier in rows {
        // What was not looked at needs the creation; and a drop does not name aliases that nodes know.
        let is_needed = is_creation(&earlier) || is_of(&earlier, &[MessageType::DropAlias]);
        if never_seen || !is_needed || step.apply_version < FULL_SINCE {
            task::remove(step, &earlier)?;
        }
    }
    if never_seen {
        return Ok(());
    }
    let database = database_name(step.txn, row.database_id)?;
    let header = DropCollectionMessageHeader { collection_id: row.id, db_id: row.database_id };
    let body = DropCollectionRequest {
        base: base(MsgType::DropCollection),
        db_name: database.clone(),
        collection_name: row.name.clone(),
        db_id: row.database_id,
        collection_id: row.id,
    };
    let outgoing = Outgoing::new(MessageType::DropCollection, &header, &body);
    Outgoing { takes_away: true, ..addressed(outgoing, &control, &database, row) }.send(step)
}

/// Before the changed row is written over the old one.
pub(in crate::state) fn altered(step: &mut Step<'_, '_>, row: &store::Collection) -> Result<(), Refusal> {
    let Some(control) = control_channel(step.txn)? else { return Ok(()) };
    let old = COLLECTIONS.get(step.txn, &row.id)?.unwrap_or_default();
    let (old_schema, schema) = (old.decoded_schema()?, row.decoded_schema()?);
    let changes = [
        (MASK_DESCRIPTION, old_schema.description != schema.description),
        (MASK_CONSISTENCY, old.consistency != row.consistency),
        (MASK_PROPERTIES, old.properties != row.properties),
        (MASK_SCHEMA, old.schema_version != row.schema_version),
    ];
    let changed = changes.into_iter().filter(|(_, changed)| *changed);
    let paths: Vec<String> = changed.map(|(path, _)| path.to_owned()).collect();
    match paths.is_empty() {
        true => Ok(()),
        false => alteration(step, &control, row, paths, &[]),
    }
}

/// Nobody else may change either database at the same time.
pub(super) fn renamed(step: &mut Step<'_, '_>, control: &str, old_database_id: i64, id: i64) -> Result<(), Refusal> {
    let Some(row) = COLLECTIONS.get(step.txn, &id)? else { return Ok(()) };
    let mut paths = vec![MASK_NAME.to_owned()];
    let mut databases = vec![database_name(step.txn, old_database_id)?];
    if old_database_id != row.database_id {
        paths.push(MASK_DATABASE.to_owned());
        databases.push(database_name(step.txn, row.database_id)?);
    }
    alteration(step, control, &row, paths, &databases)
}

/// Says how the collection is now, in all that `paths` name and in what earlier messages named that are taken back.
fn alteration(
    step: &mut Step<'_, '_>,
    control: &str,
    row: &store::Collection,
    mut paths: Vec<String>,
    whole_databases: &[String],
) -> Result<(), Refusal> {
    let names = |header: &AlterCollectionMessageHeader| {
        let paths = header.update_mask.as_ref().map(|mask| mask.paths.as_slice()).unwrap_or_default();
        paths.iter().any(|path| path == MASK_NAME || path == MASK_DATABASE)
    };
    // A change of names had other resources, so it stands for itself.
    let earlier = supersede(step, row.id, &[MessageType::AlterCollection], |header| !names(header))?;
    paths.extend(earlier.into_iter().filter_map(|header| header.update_mask).flat_map(|mask| mask.paths));
    paths.sort_unstable();
    paths.dedup();
    let database = database_name(step.txn, row.database_id)?;
    let schema = row.decoded_schema()?;
    let header = AlterCollectionMessageHeader {
        db_id: row.database_id,
        collection_id: row.id,
        update_mask: Some(FieldMask { paths }),
        ..AlterCollectionMessageHeader::default()
    };
    let updates = AlterCollectionMessageUpdates {
        db_id: row.database_id,
        db_name: database.clone(),
        collection_name: row.name.clone(),
        description: schema.description.clone(),
        schema: Some(schema),
        consistency_level: ConsistencyLevel::try_from(row.consistency).unwrap_or_default().into(),
        properties: pairs(&row.properties),
        alter_load_config: None,
    };
    let body = AlterCollectionMessageBody { updates: Some(updates) };
    let outgoing = Outgoing::new(MessageType::AlterCollection, &header, &body);
    let mut outgoing = addressed(outgoing, control, &database, row);
    outgoing.keys.extend(whole_databases.iter().map(|name| ResourceKey::database(name, false)));
    outgoing.send(step)
}

pub(super) fn truncated(step: &mut Step<'_, '_>, control: &str, id: i64) -> Result<(), Refusal> {
    let Some(row) = COLLECTIONS.get(step.txn, &id)? else { return Ok(()) };
    let kinds = [MessageType::TruncateCollection];
    supersede(step, id, &kinds, |_: &TruncateCollectionMessageHeader| true)?;
    let database = database_name(step.txn, row.database_id)?;
    let header = TruncateCollectionMessageHeader { db_id: row.database_id, collection_id: id, segment_ids: Vec::new() };
    let outgoing = Outgoing::new(MessageType::TruncateCollection, &header, &TruncateCollectionMessageBody {});
    // As Milvus has it: over when nodes have consumed it, not when it is in the logs.
    let ack_sync_up = step.apply_version >= FULL_SINCE;
    Outgoing { ack_sync_up, ..addressed(outgoing, control, &database, &row) }.send(step)
}

pub(super) fn partition_created(
    step: &mut Step<'_, '_>,
    control: &str,
    collection_id: i64,
    partition_id: i64,
    name: &str,
) -> Result<(), Refusal> {
    let Some(row) = COLLECTIONS.get(step.txn, &collection_id)? else { return Ok(()) };
    let database = database_name(step.txn, row.database_id)?;
    let header = CreatePartitionMessageHeader { collection_id, partition_id };
    let body = CreatePartitionRequest {
        base: base(MsgType::CreatePartition),
        db_name: database.clone(),
        collection_name: row.name.clone(),
        partition_name: name.to_owned(),
        db_id: row.database_id,
        collection_id,
        partition_id,
    };
    addressed(Outgoing::new(MessageType::CreatePartition, &header, &body), control, &database, &row).send(step)
}

pub(super) fn partition_dropped(
    step: &mut Step<'_, '_>,
    control: &str,
    collection_id: i64,
    partition_id: i64,
    name: &str,
) -> Result<(), Refusal> {
    let Some(row) = COLLECTIONS.get(step.txn, &collection_id)? else { return Ok(()) };
    let creation = |header: &CreatePartitionMessageHeader| header.partition_id == partition_id;
    if was_never_told(step, collection_id, MessageType::CreatePartition, creation)? {
        return Ok(());
    }
    let database = database_name(step.txn, row.database_id)?;
    let header = DropPartitionMessageHeader { collection_id, partition_id };
    let body = DropPartitionRequest {
        base: base(MsgType::DropPartition),
        db_name: database.clone(),
        collection_name: row.name.clone(),
        partition_name: name.to_owned(),
        db_id: row.database_id,
        collection_id,
        partition_id,
    };
    let outgoing = Outgoing::new(MessageType::DropPartition, &header, &body);
    Outgoing { takes_away: true, ..addressed(outgoing, control, &database, &row) }.send(step)
}
