//! Worker nodes: how they register, show that they live, report their load, drain and leave, by Roost's own API
//! (`proto/roost/session.proto`). That they are there is a fact (`state/worker`); when one is dead is what the leader's
//! lessor decides, as of every lease of the key space: a keep-alive is no entry of the log.
//!
//! - `service`: the calls; `watch`: changes from a revision on; `wire`: rows as they are shown;
//! - `loads`: what workers reported to this leader;
//! - `task`: what the leader does: says where sessions are, and, if it is so configured, publishes where the
//!   coordinator is (`publish`), so that Milvus' processes find it;
//! - `metrics`.
//!
//! The node's side is `crate::client`.

mod loads;
mod metrics;
mod publish;
mod service;
mod task;
#[cfg(test)]
mod tests;
mod watch;
mod wire;

pub use loads::{Loads, Reported};
pub use metrics::WorkerGauges;
pub use service::SessionService;
pub use task::SessionTask;
pub use watch::WorkerHub;
