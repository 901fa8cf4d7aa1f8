//! Executing committed entries: N entries are one batch, written together with the position they bring the state to.

mod hash;
mod position;
mod store;

pub use hash::StateHash;
pub use position::Position;
pub(crate) use store::StateShared;
pub use store::{AppliedEvents, StateStore, StateView};
