//! Roost: the coordinator of a Milvus cluster as one Raft-replicated state machine.
//!
//! Facts live in [`state`]; the services of [`gateway`], [`rootcoord`], [`datacoord`] and [`querycoord`] turn calls
//! into commands for its log, and [`leader`] holds what only the leader decides. [`server`] wires them to their
//! listeners. See ARCHITECTURE.md.

pub mod access;
pub mod admin;
pub mod boot;
pub mod call;
pub mod client;
pub mod config;
pub mod ctl;
pub mod datacoord;
mod encoded;
pub mod error;
pub mod etcd;
pub mod failure;
pub mod forward;
pub mod gateway;
pub mod handler;
pub mod health;
pub mod http;
pub mod introduce;
pub mod leader;
pub mod ledger;
pub mod limits;
pub mod machine;
pub mod metrics;
pub mod pb;
pub mod proposer;
pub mod proxies;
pub mod querycoord;
pub mod quota;
pub mod relay;
pub mod replica;
pub mod restore;
pub mod rootcoord;
pub mod server;
pub mod session;
pub mod shutdown;
pub mod sim;
pub mod state;
pub mod streamingcoord;
pub mod telemetry;
#[cfg(test)]
pub mod testing;
