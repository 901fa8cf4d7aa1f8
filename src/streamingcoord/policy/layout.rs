//! Channels laid out on nodes, and what that costs: each node should have its share of the pchannels and of the
//! vchannels, channels of the same collections should be apart, and each channel where it was before, on a node with
//! the preferred labels. Of a node `pchannels x ((p - its share) / its share)^2`, the same of its vchannels,
//! `affinity x` how much the collections of each pair of its channels are the same, and of each of its channels, as a
//! part of all, `labels x` the part of the preferred labels that it lacks and `former x` how far the channel is from
//! where it was; the weights are those of the settings.

use std::collections::BTreeMap;

use super::affinity::neighbours;
use super::{ChannelView, ClusterView, NodeView, Settings, Weights};

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
    /// Nodes that have or had it, the latest first; each one's part of [`Weights::former`] is spared
    /// there: all of it, a half, a quarter, ...
    former: Vec<usize>,
}

/// A node that takes channels, and what is laid out on it.
#[derive(Debug)]
pub struct Slot {
    pub id: i64,
    pub channels: f64,
    pub vchannels: f64,
    pub channel_share: f64,
    pub vchannel_share: f64,
    /// For people: what its share comes of, if it is not that of any node.
    pub why: String,
    /// What each channel on it costs, whichever it is: for the labels that the node does not have.
    pub lacking: f64,
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
    former: f64,
}

impl Layout {
    /// Channels as they are now. What a frozen node has is not part of it, nor are nodes that take nothing.
    pub fn new(view: &ClusterView, settings: &Settings) -> Self {
        let weights = settings.weights;
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
            let former = if weights.former == 0.0 { Vec::new() } else { formerly(home, &channel.former, taker) };
            items.push(Item { index, vchannels, home, node: None, hold, near: Vec::new(), former });
        }
        if weights.affinity != 0.0 {
            let of = |item: &Item| view.channels[item.index].collections.as_slice();
            let near = neighbours(&items.iter().map(of).collect::<Vec<_>>());
            items.iter_mut().zip(near).for_each(|(item, near)| item.near = near);
        }
        let vchannels: f64 = items.iter().map(|item| item.vchannels).sum();
        let parts = parts(&takers, weights.load, weights.capacity);
        let slot = |(node, part): (&&NodeView, f64)| {
            let (channel_share, vchannel_share) = (items.len() as f64 * part, vchannels * part);
            let factor = |weight: f64, share: f64| if share > 0.0 { weight / (share * share) } else { 0.0 };
            Slot {
                id: node.id,
                channels: 0.0,
                vchannels: 0.0,
                channel_share,
                vchannel_share,
                why: share_of(node, &weights),
                lacking: weights.labels * lacking(node, &settings.preferred_labels) / items.len().max(1) as f64,
                channel_factor: factor(weights.pchannels, channel_share),
                vchannel_factor: factor(weights.vchannels, vchannel_share),
            }
        };
        let nodes = takers.iter().zip(parts).map(slot).collect();
        let former = weights.former / items.len().max(1) as f64;
        let mut layout = Layout { nodes, items, affinity: weights.affinity, former };
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
        let placed = self.items.iter().filter_map(|item| Some(self.placement(item, item.node?)));
        self.nodes.iter().map(of_slot).sum::<f64>() + self.affinity * pairs + placed.sum::<f64>()
    }

    /// What a channel costs on a node, whatever else is there.
    fn placement(&self, item: &Item, node: usize) -> f64 {
        self.nodes[node].lacking + self.away(item, item.former.iter().position(|former| *former == node))
    }

    /// The cost of not being where it was last; `rank` is that of the node among those that had it.
    fn away(&self, item: &Item, rank: Option<usize>) -> f64 {
        let spared = rank.map_or(0.0, |rank| 0.5_f64.powi(i32::try_from(rank).unwrap_or(i32::MAX)));
        if item.former.is_empty() { 0.0 } else { self.former * (1.0 - spared) }
    }

    /// Others that share collections with a channel.
    pub fn neighbours(&self, item: usize) -> usize {
        self.items[item].near.len()
    }

    /// How many channels on this node share collections with a channel.
    pub fn sharing(&self, item: &Item, node: usize) -> usize {
        item.near.iter().filter(|(other, _)| self.items[*other as usize].node == Some(node)).count()
    }

    /// Whether the node had the channel before another that has it, or had it last.
    pub fn was_on(item: &Item, node: usize) -> bool {
        item.home != Some(node) && item.former.contains(&node)
    }

    /// What a channel costs on each node beside the numbers: its placement, and how near it is to what the node has,
    /// itself left out.
    pub fn nearness(&self, item: usize, by_node: &mut Vec<f64>) {
        by_node.clear();
        let elsewhere = self.away(&self.items[item], None);
        by_node.extend(self.nodes.iter().map(|slot| slot.lacking + elsewhere));
        for (rank, node) in self.items[item].former.iter().enumerate() {
            by_node[*node] += self.away(&self.items[item], Some(rank)) - elsewhere;
        }
        for (other, same) in &self.items[item].near {
            if let Some(node) = self.items[*other as usize].node {
                by_node[node] += self.affinity * same;
            }
        }
    }

    /// The same of one node.
    pub fn nearness_to(&self, item: usize, node: usize) -> f64 {
        let there = |(other, _): &&(u32, f64)| self.items[*other as usize].node == Some(node);
        let near = self.items[item].near.iter().filter(there).map(|(_, same)| same).sum::<f64>();
        self.placement(&self.items[item], node) + self.affinity * near
    }

    /// How near two channels are to each other; the cost of it.
    pub fn pair(&self, one: usize, other: usize) -> f64 {
        let near = &self.items[one].near;
        near.binary_search_by_key(&(other as u32), |(index, _)| *index).map_or(0.0, |at| self.affinity * near[at].1)
    }

    /// The change of cost when a node's channels and vchannels change by so much; nearness not counted.
    pub fn change(&self, node: usize, channels: f64, vchannels: f64) -> f64 {
        let slot = &self.nodes[node];
        slot.channel_factor * channels * (2.0 * (slot.channels - slot.channel_share) + channels)
            + slot.vchannel_factor * vchannels * (2.0 * (slot.vchannels - slot.vchannel_share) + vchannels)
    }
}

/// Of a channel: the node that has it, then those that had it, by their places among the takers.
fn formerly(home: Option<usize>, former: &[i64], taker: impl Fn(i64) -> Option<usize>) -> Vec<usize> {
    let mut found: Vec<usize> = home.into_iter().collect();
    for node in former.iter().filter_map(|id| taker(*id)) {
        if !found.contains(&node) {
            found.push(node);
        }
    }
    found
}

/// The part of the preferred labels that a node does not have.
fn lacking(node: &NodeView, preferred: &BTreeMap<String, String>) -> f64 {
    let lacked = preferred.iter().filter(|(label, value)| node.labels.get(*label) != Some(value)).count();
    lacked as f64 / preferred.len().max(1) as f64
}

/// What a node's share comes of.
fn share_of(node: &NodeView, weights: &Weights) -> String {
    let capacity = (weights.capacity != 0.0 && node.weight != 1.0).then(|| format!("capacity {:.2}", node.weight));
    let load = load(node).filter(|_| weights.load != 0.0).map(|load| format!("load {load:.2}"));
    let parts: Vec<String> = capacity.into_iter().chain(load).collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

/// What part of everything each node should have; their sum is 1.0.
fn parts(takers: &[&NodeView], load_weight: f64, capacity_weight: f64) -> Vec<f64> {
    let reported: Vec<f64> = takers.iter().filter_map(|node| load(node)).collect();
    let average = reported.iter().sum::<f64>() / reported.len().max(1) as f64;
    let part = |node: &&NodeView| {
        let capacity = if node.weight.is_finite() { node.weight.clamp(WEIGHT_MIN, WEIGHT_MAX) } else { 1.0 };
        let weight = (1.0 + capacity_weight * (capacity - 1.0)).clamp(WEIGHT_MIN, WEIGHT_MAX);
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
