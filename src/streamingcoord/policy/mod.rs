//! How pchannels are laid out on streaming nodes. A policy is a pure function from a view of one moment to a plan:
//! no clock, no randomness, no I/O, so the same view gives the same plan on every leader. The balancer executes plans;
//! an operator may ask for one without that it is executed.

mod affinity;
mod exchange;
mod fair;
mod layout;
mod registry;
mod search;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use fair::{PChannelCountFair, VChannelFair};
pub use registry::Registry;

/// What a policy looks at: a consistent picture of one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterView {
    /// Live streaming nodes, sorted by id, each once.
    pub nodes: Vec<NodeView>,
    /// All pchannels, sorted by name, each once.
    pub channels: Vec<ChannelView>,
    /// Milliseconds since 1970; for custom policies, the ones built in do not look at it.
    pub now_ms: u64,
}

/// A live streaming node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeView {
    /// Its server id.
    pub id: i64,
    pub labels: BTreeMap<String, String>,
    /// Its capacity, 1.0 being the average of the nodes: what share of the channels it should have.
    pub weight: f64,
    /// Its load as last reported, 0.0 to 1.0.
    pub load: Option<f64>,
    /// It takes nothing new and keeps what it has.
    pub frozen: bool,
    /// It gives everything away.
    pub draining: bool,
}

/// A pchannel and where it is.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelView {
    pub name: String,
    /// The collection of each of its vchannels, sorted; a collection is named once for each vchannel.
    pub collections: Vec<i64>,
    /// The live node that has it, or to which it is being assigned. A node that is not in the view counts as none.
    pub owner: Option<i64>,
    /// Nodes that had it before, the latest first: what they cached of its log may still be there. Those that are not
    /// in the view, and its owner, do not count.
    pub former: Vec<i64>,
    /// False: it was moved too recently, or its log lags. It is not moved for balance then; a node that drains gives
    /// it away nevertheless.
    pub movable: bool,
    /// An operator's order where it has to be. Void while that node is not in the view, drains, or is frozen and does
    /// not have it.
    pub pinned: Option<i64>,
}

/// What an operator may set.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Channels that have a node are moved only if the cost falls by more than this.
    pub tolerance: f64,
    /// The most channels that one plan moves for balance. What has no node, or one that drains, is not counted.
    pub max_step: usize,
    /// False: channels that have a node stay there, unless it drains or an operator moves them.
    pub allow_rebalance: bool,
    /// Labels, with their values, that nodes should have.
    pub preferred_labels: BTreeMap<String, String>,
    pub weights: Weights,
}

impl Default for Settings {
    /// Those of Milvus 2.6 (streaming.walBalancer.balancePolicy).
    fn default() -> Self {
        let (preferred_labels, weights) = (BTreeMap::new(), Weights::default());
        Settings { tolerance: 0.01, max_step: 3, allow_rebalance: true, preferred_labels, weights }
    }
}

/// How much each part counts in the cost of a layout, see [`VChannelFair`]. 0.0: not at all.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Weights {
    /// Of the squared relative deviation of a node's number of pchannels from its share.
    pub pchannels: f64,
    /// Of the same of its vchannels.
    pub vchannels: f64,
    /// Of each pair of pchannels on one node, times how much their collections are the same.
    pub affinity: f64,
    /// How much the share of a node falls, relatively, for each 1.0 by which its reported load is above the average.
    pub load: f64,
    /// How much of a node's capacity counts in its share: at 1.0 twice the capacity is twice the share.
    pub capacity: f64,
    /// Of the part of all channels that are on nodes without the preferred labels; a node that has some of them counts
    /// by those that it lacks.
    pub labels: f64,
    /// Of the part of all channels that are not where they were: one counts nothing where it was last, half where it
    /// was before that, and so on; and nothing anywhere if it was on none of the nodes.
    pub former: f64,
}

impl Default for Weights {
    fn default() -> Self {
        Weights { pchannels: 0.4, vchannels: 0.3, affinity: 0.01, load: 0.25, capacity: 1.0, labels: 3.0, former: 0.03 }
    }
}

impl Weights {
    /// Numbers of pchannels and nothing else.
    const OF_PCHANNELS: Weights =
        Weights { pchannels: 1.0, vchannels: 0.0, affinity: 0.0, load: 0.0, capacity: 0.0, labels: 0.0, former: 0.0 };

    /// All of them, by their names.
    pub fn named(&self) -> [(&'static str, f64); 7] {
        let Weights { pchannels, vchannels, affinity, load, capacity, labels, former } = *self;
        [
            ("pchannels", pchannels),
            ("vchannels", vchannels),
            ("affinity", affinity),
            ("load", load),
            ("capacity", capacity),
            ("labels", labels),
            ("former", former),
        ]
    }
}

/// One channel to another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    pub channel: String,
    /// The node that has it; none if none that lives does.
    pub from: Option<i64>,
    pub to: i64,
    /// For people: why this channel, and why there.
    pub reason: String,
}

/// What should be done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Sorted by channel, each at most once.
    pub moves: Vec<Move>,
    /// The cost of the layout as it is, and as it will be: 0.0 is perfect. What it counts is the policy's affair.
    pub cost_before: f64,
    pub cost_after: f64,
    /// Channels without a node that no node may take, sorted.
    pub unplaced: Vec<String>,
    /// For people: why no more is moved.
    pub notes: Vec<String>,
}

/// Lays channels out on nodes.
pub trait Policy: Send + Sync {
    /// The name by which it is chosen.
    fn name(&self) -> &'static str;

    /// Places every channel without a node and everything of nodes that drain, and moves at most
    /// `settings.max_step` others for balance.
    fn plan(&self, view: &ClusterView, settings: &Settings) -> Plan;
}
