//! What clients are told of who has which channel: on every node, from the facts that it has applied.
//!
//! - `assignments`: the latest picture, encoded once for all listeners;
//! - `reports`: what listeners say does not work, on its way to the leader;
//! - `stream`: one listener; `service`: the API on the wire.
//!
//! Milvus' wire knows only full assignments, so a change is told by the whole picture; a listener that is slow is told
//! the latest one and none of those before.

mod assignments;
mod reports;
mod service;
mod stream;

pub use assignments::{Assignments, ListenerGauges, Published};
pub use reports::Reports;
pub use service::DiscoveryService;
