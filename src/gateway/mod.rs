//! MilvusService for clients. Calls reach it stamped by the ingress, on the node that must execute them; what they do
//! is RootCoord's catalog, with clients' view of it.

mod data_plane;
mod service;

pub use service::Gateway;

/// What clients are told of this server: the Milvus release whose contract it keeps, and its own version.
pub const VERSION: &str = concat!("2.6.18-roost-", env!("CARGO_PKG_VERSION"));
