//! Changes of a collection beside its schema: what it says of itself, how consistent its reads are, its properties; and
//! the mark before which its rows do not count.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::edit::{self, Target};
use super::{find, restraint, revision};
use crate::error::Rejection;
use crate::pb::common::ConsistencyLevel;
use crate::state::event::Event;
use crate::state::limits::MAX_PROPERTY_BYTES;
use crate::state::name;
use crate::state::property::{self, Properties};
use crate::state::reply::Reply;
use crate::state::step::{Outcome, Step};

/// Sets properties, and what clients name like properties. Idempotent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlterSettings {
    /// Empty: the default database.
    pub database: String,
    pub collection: String,
    pub description: Option<String>,
    /// A `common.ConsistencyLevel`.
    pub consistency: Option<i32>,
    pub set: Properties,
    /// Hybrid timestamp of the change.
    pub ts: u64,
}

/// Every row that was written before the timestamp does not count any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TruncateCollection {
    /// Empty: the default database.
    pub database: String,
    pub collection: String,
    pub ts: u64,
}

impl AlterSettings {
    pub(super) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        let (database, collection, ts) = (&self.database, &self.collection, self.ts);
        let mut row = edit::judged(step, &Target { database, collection, judged_id: 0, ts })?;
        restraint::check(step, &row, &self.set, &[])?;
        let before = row.clone();
        row.properties = property::changed(&row.properties, &self.set, &[])?;
        if let Some(description) = &self.description {
            if description.len() > MAX_PROPERTY_BYTES {
                let detail = format!("description of {} bytes, at most {MAX_PROPERTY_BYTES}", description.len());
                return Err(Rejection::ParameterTooLarge { detail }.into());
            }
            let mut schema = row.decoded_schema()?;
            if schema.description != *description {
                schema.description.clone_from(description);
                row.schema = edit::encoded(&schema)?;
            }
        }
        if let Some(level) = self.consistency {
            if ConsistencyLevel::try_from(level).is_err() {
                return Err(Rejection::invalid(format!("invalid consistency level: {level}")).into());
            }
            row.consistency = level;
        }
        if row == before {
            return Ok(Reply::CollectionAltered { collection_id: row.id, changed: false });
        }
        edit::write(step, row, ts)
    }
}

impl TruncateCollection {
    pub(super) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        let mut row = find(step.txn, &self.database, &self.collection)?;
        let changed = row.truncated_ts < self.ts;
        if changed {
            row.truncated_ts = self.ts;
            revision::save(step, &mut row);
            let (database_id, collection_id, name) = (row.database_id, row.id, row.name.clone());
            step.events.push(Event::CollectionTruncated { database_id, collection_id, name });
        }
        Ok(Reply::CollectionAltered { collection_id: row.id, changed })
    }
}

/// Values stay out of the line: some of them are secrets.
impl fmt::Display for AlterSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (database, collection) = (name::database_or_default(&self.database), self.collection.escape_debug());
        write!(f, "alter collection {}.{collection}", database.escape_debug())?;
        if self.description.is_some() {
            f.write_str(" description")?;
        }
        if let Some(level) = self.consistency {
            write!(f, " consistency={level}")?;
        }
        for (key, _) in &self.set {
            write!(f, " set={}", key.escape_debug())?;
        }
        Ok(())
    }
}

impl fmt::Display for TruncateCollection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (database, collection) = (name::database_or_default(&self.database), self.collection.escape_debug());
        write!(f, "truncate collection {}.{collection} ts={}", database.escape_debug(), self.ts)
    }
}
