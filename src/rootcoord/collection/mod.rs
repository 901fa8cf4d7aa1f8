//! Collections for both APIs: validate, propose, and read behind a barrier.

mod ddl;
mod erase;
mod evolve;
mod list;
mod read;

use std::io;

use crate::pb::store;
use crate::state::View;

pub use erase::Eraser;

/// Who asks for a schema: clients do not see what Milvus adds to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Without system fields.
    Client,
    /// As stored.
    Internal,
    /// As stored; by id also while it is being dropped.
    AnyState,
}

impl Which {
    pub(super) fn by_id(self, view: &View<'_>, id: i64) -> io::Result<Option<store::Collection>> {
        match self {
            Which::Client | Which::Internal => view.collection_by_id(id),
            Which::AnyState => view.collection_in_any_state(id),
        }
    }
}
