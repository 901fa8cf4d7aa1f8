//! Executing committed entries: N entries are one batch, written together with the position they bring the state to.

mod hash;
mod position;
mod recent;
mod shared;
mod store;

pub use hash::StateHash;
pub use position::Position;
pub(crate) use shared::StateShared;
pub use shared::{AppliedEvents, StateView};
pub use store::StateStore;
