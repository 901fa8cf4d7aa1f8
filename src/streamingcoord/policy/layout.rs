//! Channels laid out on nodes, and what that costs: each node should have its share of the pchannels and of the
//! vchannels, and channels of the same collections should be apart. Of a node
//! `pchannels x ((p - its share) / its share)^2`, the same of its vchannels, and `affinity x` how much the collections
//! of each pair of its channels are the same; the weights are those of the settings.

use super::affinity::neighbours;
use super::{ChannelView, ClusterView, NodeView, Weights};

/// How far capacities may be apart: one node counts for a hundredth to a hundred times the average.
const WEIGHT_MIN: f64 = 0.01;
const WEIGHT_MAX: f64 = 100.0;
/// Reported load changes a node's share at most by this factor, whatever weight it is given.
const LOAD_FACTOR_MIN: f64 = 0.1;
const LOAD_FACTOR_MAX: f64 = 10.0;

/// What a plan may do with a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It has no node to stay on and goes wherever it is best.
    Free,
    /// It may be moved for balance.
    Movable,
    /// It stays, or goes where an operator wants it.
    Fixed,
}

/// A channel that is laid out.
#[derive(Debug)]
pub struct Item {
    /// Its place in the view.
    pub index: usize,
    pub vchannels: f64,
    /// The node that has it, if it may stay there.
    pub home: Option<usize>,
    /// The node that it is laid out on.
    pub node: Option<usize>,
    pub hold: Hold,
    /// Others that share collections, see `neighbours`.
    near: Vec<(u32, f64)>,
}

/// A node that takes channels, and what is laid out on it.
#[derive(Debug)]
pub struct Slot {
    pub id: i64,
    pub channels: f64,
    pub vchannels: f64,
    pub channel_share: f64,
    pub vchannel_share: f64,
    /// Weight / share^2, so that a change of cost takes no division.
    channel_factor: f64,
    vchannel_factor: f64,
}

/// See the module.
#[derive(Debug)]
pub struct Layout {
    pub nodes: Vec<Slot>,
    pub items: Vec<Item>,
    affinity: f64,
}

impl Layout {
    /// Channels as they are now. What a frozen node has is not part of it, nor are nodes that take nothing.
    /// `even`: all nodes have the same share, whatever their capacity and load.
    pub fn new(view: &ClusterView, weights: Weights, even: bool) -> Self {
        let takers: Vec<&NodeView> = view.nodes.iter().filter(|node| !node.frozen && !node.draining).collect();
        let taker = |id: i64| takers.binary_search_by_key(&id, |node| node.id).ok();
        let keeps = |id: i64| view.nodes.iter().any(|node| node.id == id && node.frozen && !node.draining);
        let mut items = Vec::with_capacity(view.channels.len());
        for (index, channel) in view.channels.iter().enumerate() {
            let (home, pinned) = (channel.owner.and_then(taker), channel.pinned.and_then(taker));
            if pinned.is_none() && channel.owner.is_some_and(keeps) {
                continue;
            }
            let hold = match (pinned, home) {
                (Some(_), _) => Hold::Fixed,
                (None, None) => Hold::Free,
                (None, Some(_)) if channel.movable => Hold::Movable,
                (None, Some(_)) => Hold::Fixed,
            };
            let vchannels = channel.collections.len() as f64;
            items.push(Item { index, vchannels, home, node: None, hold, near: Vec::new() });
        }
        if weights.affinity != 0.0 {
            let of = |item: &Item| view.channels[item.index].collections.as_slice();
            let near = neighbours(&items.iter().map(of).collect::<Vec<_>>());
            items.iter_mut().zip(near).for_each(|(item, near)| item.near = near);
        }
        let vchannels: f64 = items.iter().map(|item| item.vchannels).sum();
        let parts = parts(&takers, weights.load, even);
        let slot = |(node, part): (&&NodeView, f64)| {
            let (channel_share, vchannel_share) = (items.len() as f64 * part, vchannels * part);
            let factor = |weight: f64, share: f64| if share > 0.0 { weight / (share * share) } else { 0.0 };
            Slot {
                id: node.id,
                channels: 0.0,
                vchannels: 0.0,
                channel_share,
                vchannel_share,
                channel_factor: factor(weights.pchannels, channel_share),
                vchannel_factor: factor(weights.vchannels, vchannel_share),
            }
        };
        let nodes = takers.iter().zip(parts).map(slot).collect();
        let mut layout = Layout { nodes, items, affinity: weights.affinity };
        for item in 0..layout.items.len() {
            layout.lay(item, layout.items[item].home);
        }
        layout
    }

    /// Lays a channel on a node, or takes it off.
    pub fn lay(&mut self, item: usize, node: Option<usize>) {
        let (vchannels, from) = (self.items[item].vchannels, self.items[item].node);
        for (place, sign) in [(from, -1.0), (node, 1.0)] {
            if let Some(slot) = place.map(|place| &mut self.nodes[place]) {
                slot.channels += sign;
                slot.vchannels += sign * vchannels;
            }
        }
        self.items[item].node = node;
    }

    /// Of the whole layout.
    pub fn cost(&self) -> f64 {
        let of_slot = |slot: &Slot| {
            let (channels, vchannels) = (slot.channels - slot.channel_share, slot.vchannels - slot.vchannel_share);
            slot.channel_factor * channels * channels + slot.vchannel_factor * vchannels * vchannels
        };
        let same = |item: &Item| -> f64 {
            let together =
                |(other, _): &&(u32, f64)| item.node.is_some() && self.items[*other as usize].node == item.node;
            item.near.iter().filter(together).map(|(_, same)| same).sum()
        };
        // Each pair was met twice.
        let pairs = self.items.iter().map(same).sum::<f64>() / 2.0;
        self.nodes.iter().map(of_slot).sum::<f64>() + self.affinity * pairs
    }

    /// How near a channel is to what each node has, itself left out; the cost of it.
    pub fn nearness(&self, item: usize, by_node: &mut Vec<f64>) {
        by_node.clear();
        by_node.resize(self.nodes.len(), 0.0);
        for (other, same) in &self.items[item].near {
            if let Some(node) = self.items[*other as usize].node {
                by_node[node] += self.affinity * same;
            }
        }
    }

    /// How near a channel is to what one node has; the cost of it.
    pub fn nearness_to(&self, item: usize, node: usize) -> f64 {
        let there = |(other, _): &&(u32, f64)| self.items[*other as usize].node == Some(node);
        self.affinity * self.items[item].near.iter().filter(there).map(|(_, same)| same).sum::<f64>()
    }

    /// How near two channels are to each other; the cost of it.
    pub fn pair(&self, one: usize, other: usize) -> f64 {
        let near = &self.items[one].near;
        near.binary_search_by_key(&(other as u32), |(index, _)| *index).map_or(0.0, |at| self.affinity * near[at].1)
    }

    /// The change of cost when a node's channels and vchannels change by so much; affinity not counted.
    pub fn change(&self, node: usize, channels: f64, vchannels: f64) -> f64 {
        let slot = &self.nodes[node];
        slot.channel_factor * channels * (2.0 * (slot.channels - slot.channel_share) + channels)
            + slot.vchannel_factor * vchannels * (2.0 * (slot.vchannels - slot.vchannel_share) + vchannels)
    }
}

/// What part of everything each node should have; their sum is 1.0.
fn parts(takers: &[&NodeView], load_weight: f64, even: bool) -> Vec<f64> {
    let reported: Vec<f64> = takers.iter().filter_map(|node| load(node)).collect();
    let average = reported.iter().sum::<f64>() / reported.len().max(1) as f64;
    let part = |node: &&NodeView| {
        if even {
            return 1.0;
        }
        let weight = if node.weight.is_finite() { node.weight.clamp(WEIGHT_MIN, WEIGHT_MAX) } else { 1.0 };
        let above = load(node).map_or(0.0, |load| load - average);
        weight * (1.0 - load_weight * above).clamp(LOAD_FACTOR_MIN, LOAD_FACTOR_MAX)
    };
    let parts: Vec<f64> = takers.iter().map(part).collect();
    let sum: f64 = parts.iter().sum();
    parts.into_iter().map(|part| part / sum).collect()
}

fn load(node: &NodeView) -> Option<f64> {
    node.load.filter(|load| load.is_finite()).map(|load| load.clamp(0.0, 1.0))
}

/// Whether a live node has the channel.
pub fn is_served(view: &ClusterView, channel: &ChannelView) -> bool {
    channel.owner.is_some_and(|owner| view.nodes.binary_search_by_key(&owner, |node| node.id).is_ok())
}
