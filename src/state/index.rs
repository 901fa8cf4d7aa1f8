//! Indexes of a collection's fields: what was asked for, and what is to be built. A field has one; a JSON field one for
//! each path within it.

use std::fmt;
use std::io;

use roost_raft::kv::{Read, Txn};
use serde::{Deserialize, Serialize};

use super::event::Event;
use super::limits::MAX_INDEXES;
use super::property::{self, Properties};
use super::reply::Reply;
use super::step::{Outcome, Refusal, Step};
use super::tables::{INDEXES, LOADS};
use super::{collection, id, schema};
use crate::error::Rejection;
use crate::pb::store;

/// The parameter that tells indexes of one JSON field apart.
pub const JSON_PATH: &str = "json_path";
const METRIC: &str = "metric_type";
/// Parameters that may change later; they do not make another index.
const CHANGEABLE: [&str; 3] = ["mmap.enabled", "indexoffsetcache.enabled", "warmup"];

/// Stored in the log by the variant's place: append variants, never reorder, change or remove one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IndexCommand {
    Create(CreateIndex),
    Alter(AlterIndex),
    Drop(DropIndex),
}

/// Stored by the variant's place: append variants, never reorder, change or remove one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IndexReply {
    Created {
        index_id: i64,
        /// The same index was there already.
        existed: bool,
    },
    Altered {
        /// False when every parameter had its value already.
        changed: bool,
    },
    /// `None`: there was none, which is a success.
    Dropped { index_id: Option<i64> },
}

/// Idempotent: the same index of the same field is a success, another one is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateIndex {
    pub collection_id: i64,
    pub field_id: i64,
    /// Empty: that of the field's index, or else `default_name`.
    pub name: String,
    pub default_name: String,
    pub type_params: Properties,
    pub index_params: Properties,
    pub user_params: Properties,
    /// The server chose the index type.
    pub is_auto: bool,
    /// The server chose the metric type: an index that has another one is the same index.
    pub metric_is_default: bool,
    /// Hybrid timestamp of the creation.
    pub ts: u64,
}

/// Sets or deletes changeable parameters, not both at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlterIndex {
    pub collection_id: i64,
    /// The id too, because what may be set depends on the index's type.
    pub index_id: i64,
    pub name: String,
    pub set: Properties,
    pub delete: Vec<String>,
    /// Hybrid timestamp of the change.
    pub ts: u64,
}

/// Idempotent: dropping what is not there is a success. The collection must be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropIndex {
    pub collection_id: i64,
    /// Empty: the collection's only index.
    pub name: String,
}

impl IndexCommand {
    /// For metrics and traces.
    pub fn name(&self) -> &'static str {
        match self {
            IndexCommand::Create(_) => "create_index",
            IndexCommand::Alter(_) => "alter_index",
            IndexCommand::Drop(_) => "drop_index",
        }
    }

    pub(super) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        match self {
            IndexCommand::Create(command) => command.apply(step),
            IndexCommand::Alter(command) => command.apply(step),
            IndexCommand::Drop(command) => command.apply(step),
        }
        .map(Reply::Index)
    }
}

impl CreateIndex {
    fn apply(&self, step: &mut Step<'_, '_>) -> Result<IndexReply, Refusal> {
        let collection = collection::find_by_id(step.txn, self.collection_id)?;
        if schema::field(&collection.decoded_schema()?, self.field_id).is_none() {
            return Err(Rejection::FieldNotFound { field: self.field_id.to_string() }.into());
        }
        let present = of_collection(step.txn, collection.id)?;
        let wanted = self.wanted(&present)?;
        for index in &present {
            let same_place = index.field_id == wanted.field_id && index.json_path() == wanted.json_path();
            if index.name == wanted.name {
                if same_place && self.is_same(index, &wanted) {
                    return Ok(IndexReply::Created { index_id: index.id, existed: true });
                }
                let detail = "CreateIndex failed: at most one distinct index is allowed per field";
                return Err(Rejection::invalid(detail).into());
            }
            if same_place {
                let detail = "CreateIndex failed: creating multiple indexes on same field is not supported";
                return Err(Rejection::invalid(detail).into());
            }
        }
        if present.len() >= MAX_INDEXES {
            let detail = format!("a collection may have {MAX_INDEXES} indexes at most");
            return Err(Rejection::invalid(detail).into());
        }
        let index_id = id::take(step.txn, 1)?;
        INDEXES.put(step.txn, &(collection.id, index_id), &store::Index { id: index_id, ..wanted });
        step.events.push(Event::IndexCreated { collection_id: collection.id, index_id });
        Ok(IndexReply::Created { index_id, existed: false })
    }

    /// The row that is asked for, without its id.
    fn wanted(&self, present: &[store::Index]) -> Result<store::Index, Rejection> {
        let mut index = store::Index {
            collection_id: self.collection_id,
            field_id: self.field_id,
            type_params: property::stored(&self.type_params)?,
            index_params: property::stored(&self.index_params)?,
            user_params: property::stored(&self.user_params)?,
            is_auto: self.is_auto,
            created_ts: self.ts,
            updated_ts: self.ts,
            ..store::Index::default()
        };
        let namesake = || {
            let same_place =
                |old: &&store::Index| old.field_id == self.field_id && old.json_path() == index.json_path();
            present.iter().find(same_place).map_or(&self.default_name, |old| &old.name)
        };
        index.name = if self.name.is_empty() { namesake().clone() } else { self.name.clone() };
        if index.name.is_empty() {
            return Err(Rejection::invalid("index name is empty"));
        }
        Ok(index)
    }

    /// Whether an index of the same name and field is what is asked for.
    fn is_same(&self, old: &store::Index, new: &store::Index) -> bool {
        let matter = |params: &[store::Property]| -> Vec<store::Property> {
            let ignored = |key: &str| CHANGEABLE.contains(&key) || (self.metric_is_default && key == METRIC);
            params.iter().filter(|param| !ignored(&param.key)).cloned().collect()
        };
        matter(&old.type_params) == matter(&new.type_params) && matter(&old.user_params) == matter(&new.user_params)
    }
}

impl AlterIndex {
    fn apply(&self, step: &mut Step<'_, '_>) -> Result<IndexReply, Refusal> {
        if !self.set.is_empty() && !self.delete.is_empty() {
            return Err(Rejection::invalid("cannot provide both DeleteKeys and ExtraParams").into());
        }
        let collection = collection::find_by_id(step.txn, self.collection_id)?;
        if LOADS.get(step.txn, &collection.id)?.is_some() {
            let detail = "can't alter index on loaded collection, please release the collection first".to_owned();
            return Err(Rejection::CollectionLoaded { collection: collection.name, detail }.into());
        }
        let key = (collection.id, self.index_id);
        let Some(mut index) = INDEXES.get(step.txn, &key)? else {
            return Err(Rejection::IndexNotFound { index: self.name.clone() }.into());
        };
        let user_params = property::changed(&index.user_params, &self.set, &self.delete)?;
        let index_params = property::changed(&index.index_params, &self.set, &self.delete)?;
        let changed = user_params != index.user_params || index_params != index.index_params;
        if changed {
            index.user_params = user_params;
            index.index_params = index_params;
            index.updated_ts = index.updated_ts.max(self.ts);
            INDEXES.put(step.txn, &key, &index);
            step.events.push(Event::IndexAltered { collection_id: collection.id, index_id: index.id });
        }
        Ok(IndexReply::Altered { changed })
    }
}

impl DropIndex {
    fn apply(&self, step: &mut Step<'_, '_>) -> Result<IndexReply, Refusal> {
        let collection = collection::find_by_id(step.txn, self.collection_id)?;
        let mut named = of_collection(step.txn, collection.id)?;
        named.retain(|index| self.name.is_empty() || index.name == self.name);
        let index = match named.as_slice() {
            [] => return Ok(IndexReply::Dropped { index_id: None }),
            [index] => index,
            _ => return Err(Rejection::IndexAmbiguous { index: self.name.clone() }.into()),
        };
        let of_vectors =
            schema::field(&collection.decoded_schema()?, index.field_id).is_some_and(schema::is_vector_field);
        if of_vectors && LOADS.get(step.txn, &collection.id)?.is_some() {
            let detail = format!("vector index cannot be dropped on loaded collection: {}", collection.id);
            return Err(Rejection::invalid(detail).into());
        }
        INDEXES.delete(step.txn, &(collection.id, index.id));
        step.events.push(Event::IndexDropped { collection_id: collection.id, index_id: index.id });
        Ok(IndexReply::Dropped { index_id: Some(index.id) })
    }
}

impl store::Index {
    /// Within a JSON field; none for any other.
    pub fn json_path(&self) -> Option<&str> {
        self.param(JSON_PATH)
    }

    /// One of the parameters of what is built.
    pub fn param(&self, key: &str) -> Option<&str> {
        self.index_params.iter().find(|param| param.key == key).map(|param| param.value.as_str())
    }
}

/// All indexes of a collection, by id.
pub(super) fn of_collection(read: &dyn Read, collection_id: i64) -> io::Result<Vec<store::Index>> {
    let page = INDEXES.page(read, &collection_id, None, MAX_INDEXES)?;
    Ok(page.into_iter().map(|(_, index)| index).collect())
}

/// Deletes up to `most` indexes of a collection. True if some may be left.
pub(super) fn remove_some(txn: &mut Txn<'_>, collection_id: i64, most: usize) -> io::Result<bool> {
    let page = INDEXES.page(txn, &collection_id, None, most)?;
    page.iter().for_each(|(key, _)| INDEXES.delete(txn, key));
    Ok(page.len() == most)
}

impl fmt::Display for IndexCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IndexCommand::Create(CreateIndex { collection_id, field_id, name, .. }) => {
                write!(f, "create index {} collection={collection_id} field={field_id}", name.escape_debug())
            }
            IndexCommand::Alter(AlterIndex { collection_id, name, set, delete, .. }) => {
                write!(f, "alter index {} collection={collection_id}", name.escape_debug())?;
                for (key, value) in set {
                    write!(f, " set={}={}", key.escape_debug(), value.escape_debug())?;
                }
                delete.iter().try_for_each(|key| write!(f, " delete={}", key.escape_debug()))
            }
            IndexCommand::Drop(DropIndex { collection_id, name }) => {
                write!(f, "drop index {} collection={collection_id}", name.escape_debug())
            }
        }
    }
}
