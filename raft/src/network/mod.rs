//! The peers' transport: one protocol, separate connections for replication, heartbeats and snapshots.

mod channel;
mod client;
mod commits;
mod identity;
mod service;
mod snapshot;

/// Generated from `proto/roost/peer.proto`.
#[allow(missing_docs, clippy::all, clippy::unwrap_used)]
pub mod proto {
    tonic::include_proto!("roost.peer.v1");
}

pub use channel::{Dial, connect, dial_tcp};
pub use client::{PeerClient, Transport};
pub use identity::{Identity, SECRET_KEY, Secret};
pub use service::PeerService;
pub(crate) use snapshot::remove_partial_snapshots;

/// The largest message a peer accepts: one read of the log (2 MiB) or one entry of the largest proposal, with room.
pub const MESSAGE_BYTES_MAX: usize = 32 << 20;
