//! Indexes: their messages go to the control channel alone, and nobody else may change the collection at the same time.

use super::about::of_collection;
use super::{Outgoing, pairs, supersede, was_never_told};
use crate::pb::index::{FieldIndex, IndexInfo};
use crate::pb::messages::{
    AlterIndexMessageBody, AlterIndexMessageHeader, CreateIndexMessageBody, CreateIndexMessageHeader,
    DropIndexMessageBody, DropIndexMessageHeader, MessageType,
};
use crate::pb::store;
use crate::state::step::{Refusal, Step};
use crate::state::tables::{COLLECTIONS, INDEXES};

fn send(step: &mut Step<'_, '_>, control: &str, collection_id: i64, outgoing: Outgoing) -> Result<(), Refusal> {
    of_collection(step, outgoing, control, collection_id)?.map_or(Ok(()), |outgoing| outgoing.send(step))
}

fn field_index(row: &store::Index) -> FieldIndex {
    let info = IndexInfo {
        collection_id: row.collection_id,
        field_id: row.field_id,
        index_name: row.name.clone(),
        index_id: row.id,
        type_params: pairs(&row.type_params),
        index_params: pairs(&row.index_params),
        is_auto_index: row.is_auto,
        user_index_params: pairs(&row.user_params),
        ..IndexInfo::default()
    };
    FieldIndex { index_info: Some(info), deleted: false, create_time: row.created_ts }
}

pub(super) fn created(
    step: &mut Step<'_, '_>,
    control: &str,
    collection_id: i64,
    index_id: i64,
) -> Result<(), Refusal> {
    let Some(row) = INDEXES.get(step.txn, &(collection_id, index_id))? else { return Ok(()) };
    let header = CreateIndexMessageHeader {
        db_id: COLLECTIONS.get(step.txn, &collection_id)?.map_or(0, |collection| collection.database_id),
        collection_id,
        field_id: row.field_id,
        index_id,
        index_name: row.name.clone(),
    };
    let body = CreateIndexMessageBody { field_index: Some(field_index(&row)) };
    let outgoing = Outgoing::new(MessageType::CreateIndex, &header, &body);
    send(step, control, collection_id, Outgoing { creates: true, ..outgoing })
}

/// Says how the index is now.
pub(super) fn altered(
    step: &mut Step<'_, '_>,
    control: &str,
    collection_id: i64,
    index_id: i64,
) -> Result<(), Refusal> {
    let Some(row) = INDEXES.get(step.txn, &(collection_id, index_id))? else { return Ok(()) };
    forget_alterations(step, collection_id, index_id)?;
    let header = AlterIndexMessageHeader { collection_id, index_ids: vec![index_id] };
    let body = AlterIndexMessageBody { field_indexes: vec![field_index(&row)] };
    send(step, control, collection_id, Outgoing::new(MessageType::AlterIndex, &header, &body))
}

pub(super) fn dropped(
    step: &mut Step<'_, '_>,
    control: &str,
    collection_id: i64,
    index_id: i64,
) -> Result<(), Refusal> {
    forget_alterations(step, collection_id, index_id)?;
    let creation = |header: &CreateIndexMessageHeader| header.index_id == index_id;
    if was_never_told(step, collection_id, MessageType::CreateIndex, creation)? {
        return Ok(());
    }
    let header = DropIndexMessageHeader { collection_id, index_ids: vec![index_id] };
    let outgoing = Outgoing::new(MessageType::DropIndex, &header, &DropIndexMessageBody {});
    send(step, control, collection_id, Outgoing { takes_away: true, ..outgoing })
}

fn forget_alterations(step: &mut Step<'_, '_>, collection_id: i64, index_id: i64) -> Result<(), Refusal> {
    let of_it = |header: &AlterIndexMessageHeader| header.index_ids == [index_id];
    supersede(step, collection_id, &[MessageType::AlterIndex], of_it)?;
    Ok(())
}
