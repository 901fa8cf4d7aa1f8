//! What streaming nodes must see of the catalogue leaves by broadcasts that the change itself writes: both are facts,
//! or neither is. No change waits for a node, and as long as no streaming node was ever there nothing is written.
//!
//! What nobody has begun with gives way: to a newer message that says all it says, and to the drop of what it is about.
//! So nodes that are away for long leave behind what the catalogue holds, and not how it came to be.

mod about;
mod access;
mod collection;
mod index;

use std::io;

use roost_raft::kv::Read;

use super::command::Submit;
use super::lock::ResourceKey;
use super::message;
use super::task::{self, Origin};
use crate::pb::common::KeyValuePair;
use crate::pb::messages::MessageType;
use crate::pb::store;
use crate::state::event::Event;
use crate::state::limits::MAX_LOOKED_AT_BROADCASTS;
use crate::state::step::{Refusal, Step};
use crate::state::tables::{BROADCAST_MESSAGES, BROADCASTS, DATABASES, STREAMING, SUBJECT_BROADCASTS};

pub(in crate::state) use access::{
    bound, granted, group_changed, group_created, group_dropped, restored, revoked, role_dropped, role_set, unbound,
    user_dropped, user_set,
};
pub(in crate::state) use collection::{altered as collection_altered, dropped as collection_dropped};

/// From this apply version on indexes and access are told, and what was not looked at is not taken for told.
const FULL_SINCE: u32 = 7;

/// Writes the messages of a command that succeeded; its events are those from `before` on.
pub(in crate::state) fn follow(step: &mut Step<'_, '_>, before: usize) -> Result<(), Refusal> {
    let events: Vec<Event> = step.events.iter().skip(before).filter(|event| concerns(event)).cloned().collect();
    if events.is_empty() {
        return Ok(());
    }
    let Some(control) = control_channel(step.txn)? else { return Ok(()) };
    for event in &events {
        match event {
            Event::DatabaseCreated { database_id, name } => {
                about::database_created(step, &control, *database_id, name)?
            }
            Event::DatabaseAltered { database_id, name } => {
                about::database_altered(step, &control, *database_id, name)?
            }
            Event::DatabaseDropped { database_id, name } => {
                about::database_dropped(step, &control, *database_id, name)?
            }
            Event::CollectionCreated { collection_id, .. } => collection::created(step, &control, *collection_id)?,
            Event::CollectionTruncated { collection_id, .. } => collection::truncated(step, &control, *collection_id)?,
            Event::CollectionRenamed { old_database_id, collection_id, .. } => {
                collection::renamed(step, &control, *old_database_id, *collection_id)?;
            }
            Event::PartitionCreated { collection_id, partition_id, name } => {
                collection::partition_created(step, &control, *collection_id, *partition_id, name)?;
            }
            Event::PartitionDropped { collection_id, partition_id, name } => {
                collection::partition_dropped(step, &control, *collection_id, *partition_id, name)?;
            }
            Event::AliasSet { database_id, collection_id, name } => {
                about::alias_set(step, &control, *database_id, *collection_id, name)?;
            }
            Event::AliasDropped { database_id, collection_id, name } => {
                about::alias_dropped(step, &control, *database_id, *collection_id, name)?;
            }
            Event::LoadChanged { collection_id } => about::load_changed(step, &control, *collection_id)?,
            Event::LoadEnded { collection_id } => about::load_ended(step, &control, *collection_id)?,
            _ if step.apply_version < FULL_SINCE => {}
            Event::IndexCreated { collection_id, index_id } => {
                index::created(step, &control, *collection_id, *index_id)?;
            }
            Event::IndexAltered { collection_id, index_id } => {
                index::altered(step, &control, *collection_id, *index_id)?;
            }
            Event::IndexDropped { collection_id, index_id } => {
                index::dropped(step, &control, *collection_id, *index_id)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether a change of this kind is told by what it left behind. Alterations and drops of collections, and changes of
/// access, are told where they are made, because of what was there before.
fn concerns(event: &Event) -> bool {
    matches!(
        event,
        Event::DatabaseCreated { .. }
            | Event::DatabaseAltered { .. }
            | Event::DatabaseDropped { .. }
            | Event::CollectionCreated { .. }
            | Event::CollectionTruncated { .. }
            | Event::CollectionRenamed { .. }
            | Event::PartitionCreated { .. }
            | Event::PartitionDropped { .. }
            | Event::AliasSet { .. }
            | Event::AliasDropped { .. }
            | Event::LoadChanged { .. }
            | Event::LoadEnded { .. }
            | Event::IndexCreated { .. }
            | Event::IndexAltered { .. }
            | Event::IndexDropped { .. }
    )
}

/// Where whatever concerns no vchannel goes; `None`: no streaming node was ever there.
fn control_channel(read: &dyn Read) -> io::Result<Option<String>> {
    let streaming = STREAMING.get_or_default(read, &())?;
    Ok(streaming.ever_enabled.then(|| message::control_channel(&streaming.control_channel)))
}

/// A message that is about to leave.
struct Outgoing {
    kind: MessageType,
    properties: Vec<(String, String)>,
    payload: Vec<u8>,
    vchannels: Vec<String>,
    keys: Vec<ResourceKey>,
    /// As `store.BroadcastTask` has it.
    subject_id: i64,
    takes_away: bool,
    creates: bool,
    ack_sync_up: bool,
}

impl Outgoing {
    fn new(kind: MessageType, header: &impl prost::Message, body: &impl prost::Message) -> Self {
        Outgoing {
            kind,
            properties: message::properties(kind, header),
            payload: body.encode_to_vec(),
            vchannels: Vec::new(),
            keys: Vec::new(),
            subject_id: 0,
            takes_away: false,
            creates: false,
            ack_sync_up: false,
        }
    }

    fn send(self, step: &mut Step<'_, '_>) -> Result<(), Refusal> {
        let Outgoing { kind, properties, payload, vchannels, keys, subject_id, takes_away, creates, ack_sync_up } =
            self;
        let submit = Submit { message_type: kind.into(), payload, properties, vchannels, keys, ack_sync_up };
        task::insert(step, &submit, &Origin::Own { subject_id, takes_away, creates })?;
        Ok(())
    }
}

/// The tasks about a subject that nobody has begun with, the earliest first.
struct Unbegun {
    rows: Vec<store::BroadcastTask>,
    /// There are no others: what is not here was begun with, or never was.
    is_all: bool,
}

fn unbegun(step: &Step<'_, '_>, subject_id: i64) -> io::Result<Unbegun> {
    let page = SUBJECT_BROADCASTS.page(step.txn, &subject_id, None, MAX_LOOKED_AT_BROADCASTS)?;
    let is_all = page.len() < MAX_LOOKED_AT_BROADCASTS || step.apply_version < FULL_SINCE;
    let mut rows = Vec::new();
    for ((_, id), _) in page {
        let row = BROADCASTS.get(step.txn, &id)?.ok_or_else(|| BROADCASTS.missing(&id))?;
        if !row.begun {
            rows.push(row);
        }
    }
    Ok(Unbegun { rows, is_all })
}

fn is_of(row: &store::BroadcastTask, kinds: &[MessageType]) -> bool {
    kinds.iter().any(|kind| i32::from(*kind) == row.message_type)
}

/// Takes back whatever of these types nobody has begun with; returns the tasks and their messages' headers.
fn take_back<H: prost::Message + Default>(
    step: &mut Step<'_, '_>,
    subject_id: i64,
    kinds: &[MessageType],
    gives_way: impl Fn(&store::BroadcastTask, &H) -> bool,
) -> Result<Vec<(store::BroadcastTask, H)>, Refusal> {
    let mut taken = Vec::new();
    for row in unbegun(step, subject_id)?.rows {
        if !is_of(&row, kinds) {
            continue;
        }
        let carried = BROADCAST_MESSAGES.get(step.txn, &row.id)?.unwrap_or_default();
        let header = carried.properties.iter().find(|property| property.key == message::HEADER);
        let header = header.and_then(|property| message::decoded::<H>(&property.value)).unwrap_or_default();
        if gives_way(&row, &header) {
            task::remove(step, &row)?;
            taken.push((row, header));
        }
    }
    Ok(taken)
}

/// As above, by what the header says; returns the headers.
fn supersede<H: prost::Message + Default>(
    step: &mut Step<'_, '_>,
    subject_id: i64,
    kinds: &[MessageType],
    gives_way: impl Fn(&H) -> bool,
) -> Result<Vec<H>, Refusal> {
    let taken = take_back(step, subject_id, kinds, |_, header: &H| gives_way(header))?;
    Ok(taken.into_iter().map(|(_, header)| header).collect())
}

/// Takes back that something came to be, if nobody has begun with that; then nodes need not hear that it is gone.
fn was_never_told<H: prost::Message + Default>(
    step: &mut Step<'_, '_>,
    subject_id: i64,
    kind: MessageType,
    is_it: impl Fn(&H) -> bool,
) -> Result<bool, Refusal> {
    // Messages that were not looked at may need it.
    Ok(unbegun(step, subject_id)?.is_all && !supersede(step, subject_id, &[kind], is_it)?.is_empty())
}

/// Empty when the database is gone.
fn database_name(read: &dyn Read, id: i64) -> io::Result<String> {
    Ok(DATABASES.get(read, &id)?.map(|row| row.name).unwrap_or_default())
}

fn pairs(properties: &[store::Property]) -> Vec<KeyValuePair> {
    let pair = |property: &store::Property| KeyValuePair { key: property.key.clone(), value: property.value.clone() };
    properties.iter().map(pair).collect()
}
