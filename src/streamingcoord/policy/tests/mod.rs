//! Policies: what they do by example, what always holds, and how far they are from the best.

mod best;
mod examples;
mod properties;

use std::collections::BTreeMap;

use super::{ChannelView, ClusterView, NodeView, Plan, Policy, Settings, VChannelFair};

fn node(id: i64) -> NodeView {
    NodeView { id, labels: BTreeMap::new(), weight: 1.0, load: None, frozen: false, draining: false }
}

/// `of` names the collection of each vchannel.
fn channel(number: usize, of: &[i64], owner: Option<i64>) -> ChannelView {
    let mut collections = of.to_vec();
    collections.sort_unstable();
    ChannelView { name: name(number), collections, owner, movable: true, pinned: None }
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

/// How many channels each node has.
fn counts(view: &ClusterView) -> Vec<usize> {
    let of = |node: &NodeView| view.channels.iter().filter(|channel| channel.owner == Some(node.id)).count();
    view.nodes.iter().map(of).collect()
}
