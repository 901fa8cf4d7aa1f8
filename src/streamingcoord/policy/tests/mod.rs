//! Policies: what they do by example, what always holds, and how far they are from the best.

mod best;
mod examples;
mod properties;
mod settings;

use std::collections::BTreeMap;

use super::{ChannelView, ClusterView, NodeView, Plan, Policy, Settings, VChannelFair};

fn node(id: i64) -> NodeView {
    NodeView { id, labels: BTreeMap::new(), weight: 1.0, load: None, frozen: false, draining: false }
}

/// `of` names the collection of each vchannel.
fn channel(number: usize, of: &[i64], owner: Option<i64>) -> ChannelView {
    let mut collections = of.to_vec();
    collections.sort_unstable();
    ChannelView { name: name(number), collections, owner, former: Vec::new(), movable: true, pinned: None }
}

fn name(number: usize) -> String {
    format!("by-dev-rootcoord-dml_{number:05}")
}

fn cluster(nodes: impl IntoIterator<Item = NodeView>, channels: impl IntoIterator<Item = ChannelView>) -> ClusterView {
    ClusterView { nodes: nodes.into_iter().collect(), channels: channels.into_iter().collect(), now_ms: 0 }
}

fn plan(view: &ClusterView) -> Plan {
    VChannelFair.plan(view, &Settings::default())
}

/// The cluster after the plan was carried out.
fn after(view: &ClusterView, plan: &Plan) -> ClusterView {
    let mut view = view.clone();
    for step in &plan.moves {
        let channel = view.channels.iter_mut().find(|channel| channel.name == step.channel).unwrap();
        channel.owner = Some(step.to);
    }
    view
}

/// `counts` channels on each of the nodes 1, 2, ...; each serves a collection of its own.
fn laid_out(counts: &[usize]) -> ClusterView {
    let owners = counts.iter().enumerate().flat_map(|(index, count)| vec![index as i64 + 1; *count]);
    let channels = owners.enumerate().map(|(number, owner)| channel(number, &[number as i64], Some(owner)));
    cluster((1..=counts.len() as i64).map(node), channels)
}

/// The node is gone, or says nothing of its channels.
fn orphan(view: &mut ClusterView, node: i64) {
    view.channels.iter_mut().filter(|channel| channel.owner == Some(node)).for_each(|channel| channel.owner = None);
}

/// How many channels each node has.
fn counts(view: &ClusterView) -> Vec<usize> {
    let of = |node: &NodeView| view.channels.iter().filter(|channel| channel.owner == Some(node.id)).count();
    view.nodes.iter().map(of).collect()
}
