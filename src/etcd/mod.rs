//! The etcd v3 API over the replicated key space: any etcd client may use a node as if it were etcd. Each service
//! validates as etcd does, reads on this node after a barrier, and writes through the relay to the leader.

pub mod access;
mod auth;
mod cluster;
pub mod error;
mod header;
mod keyspace;
mod kv;
pub mod lessor;
mod maintenance;
mod operator;
mod validate;
pub mod watch;

pub use auth::AuthService;
pub use cluster::ClusterService;
pub use header::Headers;
pub use keyspace::Keyspace;
pub use kv::KvService;
pub use maintenance::MaintenanceService;
pub use operator::Operator;
