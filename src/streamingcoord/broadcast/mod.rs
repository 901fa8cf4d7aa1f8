//! Broadcasts: the leader brings each message to all of its vchannels, through the nodes that own their pchannels.
//!
//! - `request`: what callers and nodes send; `service`: StreamingCoordBroadcastService;
//! - `turns`: whose turn it is, in memory; `task`: the leader's work; `drive`: one broadcast from its turn to its end;
//!   `sweep`: what is over is forgotten;
//! - `producer`: one stream of appends to one node; `producers`: the streams of all pchannels;
//! - `board`: what waiting callers look at; `operate`: what operators ask; `metrics`;
//! - `replication`: the configuration of replication between clusters.
//!
//! The facts are in `state/broadcast`. A leader that dies leaves tasks that have begun and are not acknowledged by all;
//! the next one appends them again to the vchannels that are left, as the same messages under the same broadcast id.

mod board;
mod drive;
mod metrics;
pub mod operate;
mod producer;
mod producers;
mod replication;
mod request;
mod service;
mod sweep;
mod task;
#[cfg(test)]
mod tests;
mod turns;

pub use board::Board;
pub use metrics::BroadcastMetrics;
pub use replication::Replication;
pub use service::{BroadcastService, refused};
pub use sweep::Sweeper;
pub use task::Broadcaster;
