//! How streaming nodes are given physical channels. Milvus' settings `streaming.walBalancer.*`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::state::PCHANNELS;
use crate::streamingcoord::policy::{Settings, Weights};

/// See the module. The same on all nodes: whoever leads balances by its own.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Streaming {
    /// Physical channels, at least; there are never fewer than before.
    pub pchannels: u16,
    /// The name of the policy that lays channels out on nodes.
    pub balancer_policy: String,
    /// How often the balancer looks when nothing happens, and asks nodes how they are.
    pub balancer_check_interval_ms: u64,
    /// Channels that have a node are moved only if the cost of the layout falls by more than this.
    pub balancer_rebalance_threshold: f64,
    /// The most channels that are moved for balance at once.
    pub balancer_max_step: usize,
    /// A channel that a node took less than so long ago is not moved for balance.
    pub balancer_min_interval_ms: u64,
    /// A channel whose log has so much to recover is not moved for balance.
    pub balancer_max_recovery_lag_ms: u64,
    /// Moves for balance in a second; 0: no bound.
    pub balancer_moves_per_s: f64,
    /// How much each part counts in the cost of a layout.
    pub balancer_weights: Weights,
    /// Labels of nodes, with their values, that channels should be on.
    pub balancer_preferred_labels: BTreeMap<String, String>,
    /// How long a node may take to let go of a channel, and to take one, before it is tried elsewhere.
    pub balancer_operation_timeout_ms: u64,
}

impl Default for Streaming {
    fn default() -> Self {
        let policy = Settings::default();
        Self {
            pchannels: PCHANNELS,
            balancer_policy: "vchannelFair".to_owned(),
            balancer_check_interval_ms: 10_000,
            balancer_rebalance_threshold: policy.tolerance,
            balancer_max_step: policy.max_step,
            balancer_min_interval_ms: 300_000,
            balancer_max_recovery_lag_ms: 1000,
            balancer_moves_per_s: 0.0,
            balancer_weights: policy.weights,
            balancer_preferred_labels: policy.preferred_labels,
            balancer_operation_timeout_ms: 30_000,
        }
    }
}
