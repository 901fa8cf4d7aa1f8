//! The two policies built in. Both are the same search under different weights.

use super::layout::{Hold, Item, Layout, Slot, is_served};
use super::search::Halt;
use super::{ClusterView, Move, Plan, Policy, Settings, Weights, search};

/// `vchannelFair`, the default: even numbers of pchannels and of vchannels, by capacity and load, and channels that
/// serve the same collections apart from each other. The cost of a layout is that of Milvus' policy of this name, and
/// of nodes that lack preferred labels or never had the channel.
#[derive(Clone, Copy, Debug)]
pub struct VChannelFair;

/// `pchannelCountFair`: numbers of pchannels that differ by one at most, and nothing else: no weight counts, nor does
/// the tolerance.
#[derive(Clone, Copy, Debug)]
pub struct PChannelCountFair;

impl Policy for VChannelFair {
    fn name(&self) -> &'static str {
        "vchannelFair"
    }

    fn plan(&self, view: &ClusterView, settings: &Settings) -> Plan {
        plan(view, settings)
    }
}

impl Policy for PChannelCountFair {
    fn name(&self) -> &'static str {
        "pchannelCountFair"
    }

    fn plan(&self, view: &ClusterView, settings: &Settings) -> Plan {
        plan(view, &Settings { tolerance: 0.0, weights: Weights::OF_PCHANNELS, ..settings.clone() })
    }
}

fn plan(view: &ClusterView, settings: &Settings) -> Plan {
    let mut layout = Layout::new(view, settings);
    if layout.nodes.is_empty() {
        let unserved = view.channels.iter().filter(|channel| !is_served(view, channel));
        return Plan { unplaced: unserved.map(|channel| channel.name.clone()).collect(), ..Plan::default() };
    }
    let cost_before = layout.cost();
    let standings = |layout: &Layout| layout.nodes.iter().map(standing).collect::<Vec<_>>();
    let before = standings(&layout);
    for item in 0..layout.items.len() {
        let pinned = view.channels[layout.items[item].index].pinned;
        if let Some(node) = pinned.and_then(|id| layout.nodes.iter().position(|slot| slot.id == id)) {
            layout.lay(item, Some(node));
        }
    }
    search::place(&mut layout);
    let halt = match settings.allow_rebalance {
        true => search::rebalance(&mut layout, settings.tolerance, settings.max_step),
        false => Halt::default(),
    };
    let cost_after = layout.cost();
    let after = standings(&layout);
    let explained = Explained { view, settings, layout: &layout, before, after, cost_before, cost_after };
    let moves = layout.items.iter().filter_map(|item| explained.move_of(item)).collect();
    let notes = explained.notes(halt);
    // Whatever is laid out has a node, and what is not is where it stays.
    Plan { moves, cost_before, cost_after, unplaced: Vec::new(), notes }
}

/// What a node has, and what it should have.
fn standing(slot: &Slot) -> String {
    let Slot { id, channels, channel_share, vchannels, vchannel_share, why, .. } = slot;
    format!(
        "node {id} has {channels} of {channel_share:.2} pchannels and {vchannels} of {vchannel_share:.2} vchannels{why}"
    )
}

/// What is needed to say why.
struct Explained<'a> {
    view: &'a ClusterView,
    settings: &'a Settings,
    layout: &'a Layout,
    /// What each node had, and what it will have.
    before: Vec<String>,
    after: Vec<String>,
    cost_before: f64,
    cost_after: f64,
}

impl Explained<'_> {
    fn move_of(&self, item: &Item) -> Option<Move> {
        let to = item.node.filter(|_| item.node != item.home)?;
        let channel = &self.view.channels[item.index];
        let from = channel.owner.filter(|_| is_served(self.view, channel));
        let id = self.layout.nodes[to].id;
        let then = &self.after[to];
        let mut reason = match (from, item.home) {
            _ if channel.pinned == Some(id) => format!("an operator wants it on node {id}"),
            (None, _) => format!("no live node has it; with this plan {then}"),
            (Some(from), None) => format!("node {from} gives everything away; with this plan {then}"),
            (Some(_), Some(home)) => {
                let Explained { cost_before, cost_after, .. } = self;
                let now = &self.before[home];
                format!("balance: now {now}; with this plan {then}; cost {cost_before:.4} to {cost_after:.4}")
            }
        };
        if item.hold != Hold::Fixed {
            reason.extend(self.likings(item, to));
        }
        Some(Move { channel: channel.name.clone(), from, to: id, reason })
    }

    /// What else speaks for a node, or against it.
    fn likings(&self, item: &Item, to: usize) -> Vec<String> {
        let (mut found, slot) = (Vec::new(), &self.layout.nodes[to]);
        if Layout::was_on(item, to) {
            found.push("; it had the channel before".to_owned());
        }
        if self.settings.weights.labels > 0.0 && !self.settings.preferred_labels.is_empty() {
            let has = if slot.lacking > 0.0 { "lacks preferred labels" } else { "has the preferred labels" };
            found.push(format!("; it {has}"));
        }
        match self.layout.sharing(item, to) {
            0 => {}
            count => found.push(format!("; {count} of its channels serve the same collections")),
        }
        found
    }

    /// Why no more is moved.
    fn notes(&self, halt: Halt) -> Vec<String> {
        let Settings { tolerance, max_step, allow_rebalance, .. } = self.settings;
        let mut notes = Vec::new();
        if *allow_rebalance && halt.moved >= *max_step {
            notes.push(format!("no more than {max_step} channels are moved for balance at once"));
        }
        if halt.gain > 0.0 {
            let gain = halt.gain;
            notes.push(format!("more moves would lower the cost by {gain:.4}, not above the tolerance of {tolerance}"));
        }
        for node in self.view.nodes.iter().filter(|node| node.frozen && !node.draining) {
            let has = self.view.channels.iter().filter(|channel| channel.owner == Some(node.id)).count();
            notes.push(format!("node {} is frozen: it keeps its {has} channels and gets no others", node.id));
        }
        notes
    }
}
