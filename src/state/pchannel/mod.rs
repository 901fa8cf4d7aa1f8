//! Physical channels as facts: which there are, which node may append to each, under which term.
//!
//! ```text
//! UNINITIALIZED ── Assign ──> ASSIGNING ── AssignDone ──> ASSIGNED ── MarkUnavailable ──> UNAVAILABLE
//!                              ^   │ Assign to another      │ Assign                         │ Assign
//!                              └───┴────────────────────────┴────────────────────────────────┘
//! ```
//!
//! Every Assign gives out a new term, and it is committed before any node hears of it; the nodes that may still hold
//! the channel under older terms are remembered until the new one has taken it.

mod assign;
mod command;
mod policy;
mod read;
mod restore;

pub(super) use assign::touch;
pub use command::{AssignOrder, PChannelCommand, PChannelReply, PolicyChange};
pub(super) use read::{all, assigning, count, find, streaming, terms, version};
pub use restore::skip_terms;
