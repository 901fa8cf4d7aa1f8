//! Properties that may not change at every time: how data is brought into memory not while it is there, and how a
//! vector index is laid out not while there is one.

use std::io;

use crate::error::Rejection;
use crate::pb::store;
use crate::state::index;
use crate::state::property::{Properties, switch};
use crate::state::schema;
use crate::state::step::{Refusal, Step};
use crate::state::tables::LOADS;

const MMAP: &str = "mmap.enabled";
const WARMUP: &str = "warmup";
const ISOLATION: &str = "partitionkey.isolation";
/// Members of older apply versions let everything pass.
const SINCE: u32 = 5;

/// Whether these properties may be set and deleted now.
pub(in crate::state) fn check(
    step: &Step<'_, '_>,
    row: &store::Collection,
    set: &Properties,
    delete: &[String],
) -> Result<(), Refusal> {
    let frozen = |key: &str| key == MMAP || key == WARMUP || key.starts_with("warmup.");
    let kind = |key: &str| if key == MMAP { "mmap" } else { WARMUP };
    let changed = set.iter().map(|(key, _)| key).find(|key| frozen(key));
    let dropped = delete.iter().find(|key| frozen(key));
    let detail = match (changed, dropped) {
        (Some(key), _) => Some(format!("can not alter {} properties if collection loaded", kind(key))),
        (None, Some(key)) if key == MMAP => Some("can not delete mmap properties if collection loaded".to_owned()),
        (None, Some(key)) => Some(format!("can not delete {key} properties if collection loaded")),
        (None, None) => None,
    };
    if let Some(detail) = detail
        && is_loaded(step, row)?
    {
        return Err(Rejection::CollectionLoaded { collection: row.name.clone(), detail }.into());
    }
    if step.apply_version < SINCE { Ok(()) } else { isolation(step, row, set, delete) }
}

/// Whether something of the collection is in memory, as far as this apply version asks.
pub(super) fn is_loaded(step: &Step<'_, '_>, row: &store::Collection) -> io::Result<bool> {
    Ok(step.apply_version >= SINCE && LOADS.get(step.txn, &row.id)?.is_some())
}

/// A vector index of an isolated collection is built apart for each partition key.
fn isolation(step: &Step<'_, '_>, row: &store::Collection, set: &Properties, delete: &[String]) -> Result<(), Refusal> {
    let on = |value: &str| switch(value).unwrap_or(false);
    let before = row.properties.iter().find(|own| own.key == ISOLATION).is_some_and(|own| on(&own.value));
    let deleted = delete.iter().any(|key| key == ISOLATION);
    // Of a repeated key the last one counts.
    let after = match set.iter().rev().find(|(key, _)| key == ISOLATION) {
        Some((_, value)) => on(value),
        None => before && !deleted,
    };
    if after == before {
        return Ok(());
    }
    let declared = row.decoded_schema()?;
    let of_vectors =
        |index: &store::Index| schema::field(&declared, index.field_id).is_some_and(schema::is_vector_field);
    match index::of_collection(step.txn, row.id)?.into_iter().find(of_vectors) {
        None => Ok(()),
        Some(index) => {
            let what = if deleted { ISOLATION } else { "partition key isolation mode" };
            let detail = format!(
                "can not alter {what} if the collection already has a vector index. Please drop the index first"
            );
            Err(Rejection::IndexInTheWay { index: index.name, detail }.into())
        }
    }
}
