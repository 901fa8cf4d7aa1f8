//! What the cluster tests stand on: processes, their ports and configuration, clients, and waiting with a deadline.

pub mod client;
pub mod cluster;
pub mod config;
pub mod ctl;
pub mod etcd;
pub mod etcdctl;
pub mod hostile;
pub mod intervals;
pub mod node;
pub mod ports;
pub mod sim;
pub mod streaming;
pub mod wait;
pub mod writers;

pub use client::Client;
pub use cluster::Cluster;
pub use ctl::Ran;
pub use etcdctl::Etcdctl;
pub use wait::{eventually, soon};
