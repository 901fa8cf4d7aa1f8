//! How long broadcasts are tried and remembered. Milvus' settings `streaming.walBroadcaster.*`.

use serde::{Deserialize, Serialize};

/// See the module. The same on all nodes: whoever leads goes by its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Broadcast {
    /// How often it is tried again to reach the nodes of a caller's broadcast before it is given up; 0: without end.
    /// What has begun is never given up, nor what the catalogue says.
    pub max_retries: u32,
    /// How long, likewise; 0: without end.
    pub timeout_ms: u64,
    /// Finished broadcasts that are remembered, so that late copies are recognised.
    pub tombstone_max_count: u64,
    /// For how long.
    pub tombstone_lifetime_ms: u64,
    /// How often it is looked for those that are too many or too old.
    pub sweep_interval_ms: u64,
}

impl Default for Broadcast {
    fn default() -> Self {
        Self {
            max_retries: 0,
            timeout_ms: 0,
            tombstone_max_count: 8192,
            tombstone_lifetime_ms: 24 * 60 * 60 * 1000,
            sweep_interval_ms: 5 * 60 * 1000,
        }
    }
}
