//! What every change of a schema shares: the row is read, edited, checked as a whole, counted up by one version, and
//! written.

use prost::Message;

use super::{find, revision};
use crate::error::Rejection;
use crate::pb::schema::CollectionSchema;
use crate::pb::store;
use crate::state::broadcast::outbox;
use crate::state::event::Event;
use crate::state::limits::MAX_SCHEMA_BYTES;
use crate::state::reply::Reply;
use crate::state::step::{Outcome, Refusal, Step};

/// Which collection is meant.
pub(super) struct Target<'a> {
    pub database: &'a str,
    pub collection: &'a str,
    /// The one that the proposer judged the change by; 0 for none. Another one under that name is not changed: then
    /// there was a moment within the call when the judged one was gone.
    pub judged_id: i64,
    /// Hybrid timestamp of the change.
    pub ts: u64,
}

/// `edit` says whether it changed something.
pub(super) fn schema(
    step: &mut Step<'_, '_>,
    target: &Target<'_>,
    edit: impl FnOnce(&mut CollectionSchema) -> Result<bool, Rejection>,
) -> Outcome {
    let mut row = judged(step, target)?;
    let mut schema = row.decoded_schema()?;
    if !edit(&mut schema)? {
        return Ok(Reply::CollectionAltered { collection_id: row.id, changed: false });
    }
    row.schema_version = row.schema_version.saturating_add(1);
    schema.version = row.schema_version;
    row.schema = encoded(&schema)?;
    write(step, row, target.ts)
}

pub(super) fn judged(step: &mut Step<'_, '_>, target: &Target<'_>) -> Result<store::Collection, Refusal> {
    let row = find(step.txn, target.database, target.collection)?;
    if target.judged_id != 0 && target.judged_id != row.id {
        return Err(Rejection::CollectionIdNotFound { id: target.judged_id }.into());
    }
    Ok(row)
}

/// The stored form of a changed schema, which may not outgrow what a new one may have.
pub(super) fn encoded(schema: &CollectionSchema) -> Result<Vec<u8>, Rejection> {
    let bytes = schema.encode_to_vec();
    if bytes.len() > MAX_SCHEMA_BYTES {
        let detail = format!("schema of {} bytes, at most {MAX_SCHEMA_BYTES}", bytes.len());
        return Err(Rejection::ParameterTooLarge { detail });
    }
    Ok(bytes)
}

/// Writes a changed row and says so.
pub(super) fn write(step: &mut Step<'_, '_>, mut row: store::Collection, ts: u64) -> Outcome {
    row.updated_ts = row.updated_ts.max(ts);
    outbox::collection_altered(step, &row)?;
    revision::save(step, &mut row);
    let (database_id, collection_id) = (row.database_id, row.id);
    step.events.push(Event::CollectionAltered { database_id, collection_id, name: row.name });
    Ok(Reply::CollectionAltered { collection_id, changed: true })
}
