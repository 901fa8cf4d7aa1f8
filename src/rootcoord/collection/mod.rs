//! Collections for both APIs: validate, propose, and read behind a barrier.

mod ddl;
mod erase;
mod evolve;
mod read;

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
