//! The etcd v3 API over the replicated key space: any etcd client may use a node as if it were etcd. Each service
//! validates as etcd does, reads on this node after a barrier, and writes through the relay to the leader.

pub mod access;
mod auth;
mod cluster;
mod election;
pub mod error;
mod header;
mod history;
mod keyspace;
mod kv;
mod lease;
pub mod lessor;
mod lock;
mod maintenance;
mod metrics;
mod operator;
mod turn;
mod validate;
pub mod watch;

pub use auth::AuthService;
pub use cluster::ClusterService;
pub use election::ElectionService;
pub use header::Headers;
pub use history::HistoryTask;
pub use keyspace::Keyspace;
pub use kv::KvService;
pub use lease::LeaseService;
pub use lock::LockService;
pub use maintenance::MaintenanceService;
pub use metrics::EtcdGauges;
pub use operator::Operator;
pub use turn::Turns;
