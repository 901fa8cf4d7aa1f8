//! The peers' transport: appends as frames, everything else by gRPC, on one port; separate connections for replication,
//! heartbeats and snapshots.

mod append;
mod arrivals;
mod channel;
mod client;
mod commits;
mod frames;
mod greeting;
mod identity;
mod service;
mod snapshot;

/// Generated from `proto/roost/peer.proto`.
#[allow(missing_docs, clippy::all, clippy::unwrap_used)]
pub mod proto {
    tonic::include_proto!("roost.peer.v1");
}

pub use append::AppendService;
pub(crate) use append::append_service;
pub use arrivals::{Arrival, divide};
pub use channel::{Dial, Duplex, Wire, break_when_dead, connect, dial_tcp};
pub use client::{PeerClient, Transport};
pub use greeting::APPENDS;
pub use identity::{Claims, Identity, SECRET_KEY, Secret};
pub use service::PeerService;
pub(crate) use snapshot::remove_partial_snapshots;

/// The largest message a peer accepts: one read of the log (2 MiB) or one entry of the largest proposal, with room.
pub const MESSAGE_BYTES_MAX: usize = 32 << 20;
