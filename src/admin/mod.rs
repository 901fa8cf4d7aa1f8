//! The operator's API (`proto/roost/admin.proto`), served on the internal listener for `roostctl`.
//!
//! `service` has one line a call; the work lives beside its noun. Everything talks to the replicated host through the
//! trait `Node`, so that the API is tested without disks and sockets; `host` is the server's implementation.

mod ask;
mod chunks;
mod error;
mod health;
mod host;
mod leader;
mod log;
mod member;
mod node;
mod replace;
mod service;
mod snapshot;
mod status;

#[cfg(test)]
pub(crate) mod tests;

pub use ask::{AskMember, MemberCalls};
pub use chunks::{Chunks, stream};
pub use error::{Error, REASON_KEY};
pub use host::HostNode;
pub use node::{Node, SnapshotSource};
pub use service::AdminService;
