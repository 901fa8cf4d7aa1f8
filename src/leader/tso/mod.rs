//! The timestamp oracle: 64 bits, milliseconds since 1970 << 18 | logical.
//!
//! Invariants:
//! 1. A replicated bound covers every timestamp ever served. A leader serves only in [bound found, bound committed),
//!    so no two leaders' ranges overlap, and a range is handed out by one compare-exchange, so no two callers' do.
//! 2. The bound in memory moves only after the leader's own commit, fenced by its term.
//! 3. After taking a range and before answering, the leader proves that it still leads its term. So a range answered
//!    before another request began is the smaller one, whatever pauses, partitions and clock steps happen.

mod keeper;
mod metrics;
mod oracle;
mod service;
#[cfg(test)]
mod tests;
mod window;

pub use keeper::{Keeper, PeerClocks, VoterClocks};
pub use metrics::OracleGauges;
pub use oracle::{Error, Oracle};
pub use service::TimestampService;
pub use window::Window;

/// Bits of the logical part.
pub const LOGICAL_BITS: u32 = 18;

/// The smallest timestamp of a millisecond.
pub const fn compose(physical_ms: u64) -> u64 {
    physical_ms << LOGICAL_BITS
}

/// The millisecond of a timestamp.
pub const fn physical_ms(timestamp: u64) -> u64 {
    timestamp >> LOGICAL_BITS
}
