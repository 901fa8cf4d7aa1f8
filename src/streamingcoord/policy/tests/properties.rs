//! What holds for every cluster and both policies.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::{Move, PChannelCountFair, Weights};
use super::*;

pub fn any_node() -> impl Strategy<Value = NodeView> {
    let load = proptest::option::of(0.0..1.0f64);
    let labels = proptest::collection::btree_map("[ab]", "[xy]", 0..3);
    (0.2..4.0f64, load, prop::bool::weighted(0.2), prop::bool::weighted(0.2), labels).prop_map(
        |(weight, load, frozen, draining, labels)| NodeView { weight, load, frozen, draining, labels, ..node(0) },
    )
}

fn any_channel() -> impl Strategy<Value = ChannelView> {
    let id = || proptest::option::weighted(0.7, 0..10i64);
    let pinned = proptest::option::weighted(0.1, 0..10i64);
    let former = proptest::collection::vec(0..10i64, 0..4);
    (proptest::collection::vec(0..12i64, 0..6), id(), prop::bool::weighted(0.8), pinned, former).prop_map(
        |(collections, owner, movable, pinned, former)| ChannelView {
            movable,
            pinned,
            former,
            ..channel(0, &collections, owner)
        },
    )
}

/// Nodes 0 to 6 at most, so that some owners and orders name nodes that are gone.
pub fn any_cluster() -> impl Strategy<Value = ClusterView> {
    let nodes = proptest::collection::vec(any_node(), 0..7);
    (nodes, proptest::collection::vec(any_channel(), 0..24)).prop_map(|(mut nodes, mut channels)| {
        nodes.iter_mut().enumerate().for_each(|(index, node)| node.id = index as i64);
        channels.iter_mut().enumerate().for_each(|(index, channel)| channel.name = name(index));
        cluster(nodes, channels)
    })
}

pub fn any_settings() -> impl Strategy<Value = Settings> {
    let weights = (0.0..1.0f64, 0.0..1.0f64, 0.0..0.1f64, 0.0..1.0f64, 0.0..1.5f64, 0.0..5.0f64, 0.0..0.5f64).prop_map(
        |(pchannels, vchannels, affinity, load, capacity, labels, former)| Weights {
            pchannels,
            vchannels,
            affinity,
            load,
            capacity,
            labels,
            former,
        },
    );
    let labels = proptest::collection::btree_map("[ab]", "[xy]", 0..3);
    (0.0..0.1f64, 0..6usize, prop::bool::weighted(0.8), labels, weights).prop_map(
        |(tolerance, max_step, allow_rebalance, preferred_labels, weights)| Settings {
            tolerance,
            max_step,
            allow_rebalance,
            preferred_labels,
            weights,
        },
    )
}

fn policies() -> [&'static dyn Policy; 2] {
    [&VChannelFair, &PChannelCountFair]
}

pub fn find(view: &ClusterView, id: i64) -> Option<&NodeView> {
    view.nodes.iter().find(|node| node.id == id)
}

/// The moves that nothing but balance asks for.
pub fn for_balance(view: &ClusterView, plan: &Plan) -> usize {
    let of_balance = |step: &&Move| {
        let channel = view.channels.iter().find(|channel| channel.name == step.channel).unwrap();
        let stays = channel.owner.and_then(|owner| find(view, owner)).is_some_and(|node| !node.draining);
        stays && channel.pinned != Some(step.to)
    };
    plan.moves.iter().filter(of_balance).count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_channel_is_placed_where_it_may_be(view in any_cluster(), settings in any_settings()) {
        for policy in policies() {
            let plan = policy.plan(&view, &settings);
            let result = after(&view, &plan);
            let takes = view.nodes.iter().any(|node| !node.frozen && !node.draining);
            let mut unplaced = BTreeSet::new();
            for (before, channel) in view.channels.iter().zip(&result.channels) {
                let Some(node) = channel.owner.and_then(|owner| find(&view, owner)) else {
                    unplaced.insert(channel.name.clone());
                    continue;
                };
                let stayed = before.owner == channel.owner;
                prop_assert!(stayed || !node.frozen && !node.draining, "{} went to {node:?}", channel.name);
                prop_assert!(!node.draining || !takes, "{} is left on a node that drains", channel.name);
            }
            prop_assert!(unplaced.is_empty() || !takes, "{unplaced:?} could have been placed");
            prop_assert_eq!(unplaced.into_iter().collect::<Vec<_>>(), plan.unplaced);
        }
    }

    #[test]
    fn moves_are_few_real_and_sorted(view in any_cluster(), settings in any_settings()) {
        for policy in policies() {
            let plan = policy.plan(&view, &settings);
            prop_assert!(plan.moves.iter().is_sorted_by(|a, b| a.channel < b.channel));
            prop_assert!(plan.moves.iter().all(|step| step.from != Some(step.to) && !step.reason.is_empty()));
            let allowed = if settings.allow_rebalance { settings.max_step } else { 0 };
            prop_assert!(for_balance(&view, &plan) <= allowed, "{:?}", plan.moves);
            for step in &plan.moves {
                let channel = view.channels.iter().find(|channel| channel.name == step.channel).unwrap();
                let from = channel.owner.filter(|owner| find(&view, *owner).is_some());
                prop_assert_eq!(step.from, from);
                let frozen = from.and_then(|id| find(&view, id)).is_some_and(|node| node.frozen && !node.draining);
                prop_assert!(!frozen || channel.pinned == Some(step.to), "{} left a frozen node", step.channel);
            }
        }
    }

    #[test]
    fn the_same_view_gives_the_same_plan(view in any_cluster(), settings in any_settings()) {
        for policy in policies() {
            prop_assert_eq!(policy.plan(&view, &settings), policy.plan(&view.clone(), &settings));
        }
    }

    /// And a plan that moves nothing for balance has seen whatever the next one sees.
    #[test]
    fn plans_come_to_an_end_and_every_one_makes_it_cheaper(view in any_cluster(), settings in any_settings()) {
        let mut view = view;
        view.channels.iter_mut().for_each(|channel| channel.movable = true);
        for policy in policies() {
            let (mut view, mut settled) = (view.clone(), false);
            for round in 0..200 {
                let plan = policy.plan(&view, &settings);
                prop_assert!(plan.moves.is_empty() || !settled, "{} plans again: {:?}", policy.name(), plan);
                if settled {
                    break;
                }
                prop_assert!(plan.moves.is_empty() || round == 0 || plan.cost_after < plan.cost_before, "{plan:?}");
                settled = for_balance(&view, &plan) == 0;
                view = after(&view, &plan);
            }
            prop_assert!(settled, "{} does not come to an end", policy.name());
        }
    }

    #[test]
    fn what_has_just_been_placed_is_not_moved_again(view in any_cluster()) {
        let mut view = view;
        view.channels.iter_mut().for_each(|channel| channel.owner = None);
        for policy in policies() {
            let first = policy.plan(&view, &Settings::default());
            let second = policy.plan(&after(&view, &first), &Settings::default());
            prop_assert!(second.moves.is_empty(), "{} plans again: {:?}", policy.name(), second.moves);
        }
    }
}
