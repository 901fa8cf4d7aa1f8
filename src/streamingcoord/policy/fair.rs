//! The two policies built in. Both are the same search under different weights.

use super::layout::{Item, Layout, Slot, is_served};
use super::{ClusterView, Move, Plan, Policy, Settings, Weights, search};

/// `vchannelFair`, the default: even numbers of pchannels and of vchannels, by capacity and load, and channels that
/// serve the same collections apart from each other. The cost of a layout is that of Milvus' policy of this name.
#[derive(Clone, Copy, Debug)]
pub struct VChannelFair;

/// `pchannelCountFair`: numbers of pchannels that differ by one at most, and nothing else: neither capacity nor load,
/// nor a tolerance.
#[derive(Clone, Copy, Debug)]
pub struct PChannelCountFair;

impl Policy for VChannelFair {
    fn name(&self) -> &'static str {
        "vchannelFair"
    }

    fn plan(&self, view: &ClusterView, settings: &Settings) -> Plan {
        plan(view, settings, Layout::new(view, settings.weights, false))
    }
}

impl Policy for PChannelCountFair {
    fn name(&self) -> &'static str {
        "pchannelCountFair"
    }

    fn plan(&self, view: &ClusterView, settings: &Settings) -> Plan {
        let weights = Weights { pchannels: 1.0, vchannels: 0.0, affinity: 0.0, load: 0.0 };
        plan(view, &Settings { tolerance: 0.0, ..settings.clone() }, Layout::new(view, weights, true))
    }
}

fn plan(view: &ClusterView, settings: &Settings, mut layout: Layout) -> Plan {
    if layout.nodes.is_empty() {
        let unserved = view.channels.iter().filter(|channel| !is_served(view, channel));
        return Plan { unplaced: unserved.map(|channel| channel.name.clone()).collect(), ..Plan::default() };
    }
    let cost_before = layout.cost();
    let before: Vec<String> = layout.nodes.iter().map(standing).collect();
    for item in 0..layout.items.len() {
        let pinned = view.channels[layout.items[item].index].pinned;
        if let Some(node) = pinned.and_then(|id| layout.nodes.iter().position(|slot| slot.id == id)) {
            layout.lay(item, Some(node));
        }
    }
    search::place(&mut layout);
    if settings.allow_rebalance {
        search::rebalance(&mut layout, settings.tolerance, settings.max_step);
    }
    let cost_after = layout.cost();
    let explained = Explained { view, layout: &layout, before, cost_before, cost_after };
    let moves = layout.items.iter().filter_map(|item| explained.move_of(item)).collect();
    // Whatever is laid out has a node, and what is not is where it stays.
    Plan { moves, cost_before, cost_after, unplaced: Vec::new() }
}

/// What a node has, and what it should have.
fn standing(slot: &Slot) -> String {
    let Slot { id, channels, channel_share, vchannels, vchannel_share, .. } = slot;
    format!("node {id} has {channels} of {channel_share:.2} pchannels and {vchannels} of {vchannel_share:.2} vchannels")
}

/// What is needed to say why.
struct Explained<'a> {
    view: &'a ClusterView,
    layout: &'a Layout,
    /// What each node had.
    before: Vec<String>,
    cost_before: f64,
    cost_after: f64,
}

impl Explained<'_> {
    fn move_of(&self, item: &Item) -> Option<Move> {
        let to = item.node.filter(|_| item.node != item.home)?;
        let channel = &self.view.channels[item.index];
        let from = channel.owner.filter(|_| is_served(self.view, channel));
        let id = self.layout.nodes[to].id;
        let then = standing(&self.layout.nodes[to]);
        let reason = match (from, item.home) {
            _ if channel.pinned == Some(id) => format!("an operator wants it on node {id}"),
            (None, _) => format!("no live node has it; with this plan {then}"),
            (Some(from), None) => format!("node {from} gives everything away; with this plan {then}"),
            (Some(_), Some(home)) => {
                let Explained { cost_before, cost_after, .. } = self;
                let now = &self.before[home];
                format!("balance: now {now}; with this plan {then}; cost {cost_before:.4} to {cost_after:.4}")
            }
        };
        Some(Move { channel: channel.name.clone(), from, to: id, reason })
    }
}
