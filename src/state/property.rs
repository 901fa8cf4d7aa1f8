//! Properties: sorted key-value pairs of a database or a collection, and the command that changes a collection's.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::broadcast::outbox;
use super::event::Event;
use super::limits::{MAX_PROPERTIES, MAX_PROPERTY_BYTES};
use super::reply::Reply;
use super::step::{Outcome, Step};
use super::{collection, name};
use crate::error::Rejection;
use crate::pb::store;

/// Pairs as they came. Of a repeated key the last one counts.
pub type Properties = Vec<(String, String)>;

/// Sets or deletes properties of a collection, not both at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlterCollectionProperties {
    pub database: String,
    pub collection: String,
    pub set: Properties,
    pub delete: Vec<String>,
    /// Hybrid timestamp of the change.
    pub ts: u64,
}

impl AlterCollectionProperties {
    pub(super) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        match (self.set.is_empty(), self.delete.is_empty()) {
            (true, true) => return Err(Rejection::invalid("no properties or delete keys provided").into()),
            (false, false) => {
                let detail = "can not provide properties and deletekeys at the same time";
                return Err(Rejection::invalid(detail).into());
            }
            _ => {}
        }
        let mut row = collection::find(step.txn, &self.database, &self.collection)?;
        collection::restraint::check(step, &row, &self.set, &self.delete)?;
        let properties = changed(&row.properties, &self.set, &self.delete)?;
        let changed = properties != row.properties;
        if changed {
            row.properties = properties;
            row.updated_ts = row.updated_ts.max(self.ts);
            outbox::collection_altered(step, &row)?;
            collection::revision::save(step, &mut row);
            step.events.push(Event::CollectionAltered {
                database_id: row.database_id,
                collection_id: row.id,
                name: row.name,
            });
        }
        Ok(Reply::CollectionAltered { collection_id: row.id, changed })
    }
}

/// Values stay out of the line: some of them are secrets.
impl fmt::Display for AlterCollectionProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let database = name::database_or_default(&self.database).escape_debug();
        let collection = self.collection.escape_debug();
        write!(f, "alter collection {database}.{collection}")?;
        fmt_keys(&self.set, &self.delete, f)
    }
}

/// Which properties a command changes.
pub(super) fn fmt_keys(set: &Properties, delete: &[String], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (key, _) in set {
        write!(f, " set={}", key.escape_debug())?;
    }
    for key in delete {
        write!(f, " delete={}", key.escape_debug())?;
    }
    Ok(())
}

/// A switch as Go's strconv.ParseBool reads it, because that is what Milvus accepts.
pub fn switch(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// The stored form of new properties.
pub(super) fn stored(properties: &Properties) -> Result<Vec<store::Property>, Rejection> {
    changed(&[], properties, &[])
}

/// The stored form of `old` with some set or deleted.
pub(super) fn changed(
    old: &[store::Property],
    set: &Properties,
    delete: &[String],
) -> Result<Vec<store::Property>, Rejection> {
    let mut map: BTreeMap<&str, &str> =
        old.iter().map(|property| (property.key.as_str(), property.value.as_str())).collect();
    map.extend(set.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    for key in delete {
        map.remove(key.as_str());
    }
    let bytes: usize = map.iter().map(|(key, value)| key.len() + value.len()).sum();
    if map.len() > MAX_PROPERTIES || bytes > MAX_PROPERTY_BYTES {
        let detail = format!(
            "{} properties of {bytes} bytes, at most {MAX_PROPERTIES} of {MAX_PROPERTY_BYTES} bytes",
            map.len()
        );
        return Err(Rejection::ParameterTooLarge { detail });
    }
    if map.contains_key("") {
        return Err(Rejection::invalid("property key should not be empty"));
    }
    Ok(map.into_iter().map(|(key, value)| store::Property { key: key.to_owned(), value: value.to_owned() }).collect())
}
