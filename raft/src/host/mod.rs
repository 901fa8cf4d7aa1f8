//! The host: one node of the replicated state machine, as the rest of the process uses it.

mod barrier;
mod batch;
mod bootstrap;
mod clock;
mod config;
mod environment;
mod housekeeping;
mod inspect;
mod membership;
mod metrics;
mod propose;
mod read;
mod start;
mod status;

pub use barrier::Confirmed;
pub use batch::BatchLimits;
pub use clock::Gaps;
pub use config::HostConfig;
pub use environment::Environment;
pub use inspect::LogLine;
pub use propose::{Applied, PROPOSAL_BYTES_MAX, Proposal};
pub use start::Host;
pub(crate) use start::HostCore;
pub use status::{HostStatus, MemberStatus, NodeState};
