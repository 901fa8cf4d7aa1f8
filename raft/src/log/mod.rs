//! The Raft log on the engine: entries in `Space::LOG` by index, vote and purge point in `Space::META`.

mod cache;
mod growth;
mod store;

pub(crate) use store::mark_purged;
pub use store::{LogReader, LogStore, OpenError};
