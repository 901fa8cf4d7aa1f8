//! Whole hosts in one process, over loopback sockets. Every wait is for a condition, with a generous deadline.

mod faults;
pub mod harness;
mod intruders;
mod life;
mod membership;
mod refusals;
