//! The apply version that this process offers to its cluster: the newest that its state machine knows. With the feature
//! `failpoints` a test may have it offer an older one, by `ROOST_OFFER_APPLY_VERSION`, as an older binary would.

use crate::machine::Machine;

/// What this process announces, and beyond which it executes nothing.
#[cfg(feature = "failpoints")]
pub fn apply_version<M: Machine>() -> u32 {
    use std::sync::OnceLock;

    static OLDER: OnceLock<Option<u32>> = OnceLock::new();

    let older = OLDER.get_or_init(|| std::env::var("ROOST_OFFER_APPLY_VERSION").ok()?.parse().ok());
    older.map_or(M::APPLY_VERSION, |older| older.min(M::APPLY_VERSION))
}

/// What this process announces, and beyond which it executes nothing.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn apply_version<M: Machine>() -> u32 {
    M::APPLY_VERSION
}
