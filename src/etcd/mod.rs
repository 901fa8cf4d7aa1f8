//! The etcd v3 API over the replicated key space: any etcd client may use a node as if it were etcd. Each service
//! validates as etcd does, reads on this node after a barrier, and writes through the relay to the leader.

pub mod access;
mod auth;
pub mod error;
mod header;
mod history;
mod keyspace;
mod kv;
mod lease;
pub mod lessor;
mod validate;
pub mod watch;

pub use auth::AuthService;
pub use header::Headers;
pub use history::HistoryTask;
pub use keyspace::Keyspace;
pub use kv::KvService;
pub use lease::LeaseService;
