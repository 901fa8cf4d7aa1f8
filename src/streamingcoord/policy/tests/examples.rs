//! What the policies do, by example.

use std::sync::Arc;

use super::super::{Move, PChannelCountFair, Registry};
use super::*;

#[test]
fn channels_without_a_node_are_spread_evenly() {
    let view = cluster((1..=3).map(node), (0..16).map(|number| channel(number, &[], None)));
    let plan = plan(&view);
    assert_eq!(counts(&after(&view, &plan)), [6, 5, 5]);
    assert!(plan.moves.iter().all(|step| step.from.is_none() && step.reason.starts_with("no live node has it")));
    assert!(plan.cost_after < plan.cost_before);
}

#[test]
fn a_dead_nodes_channels_go_to_the_others_and_no_more_moves_than_that() {
    let mut view = laid_out(&[4, 4, 4]);
    view.nodes.remove(1);
    let plan = plan(&view);
    assert_eq!(plan.moves.len(), 4);
    assert!(plan.moves.iter().all(|step| step.from.is_none()), "the view knows no node 2: {:?}", plan.moves);
    assert_eq!(counts(&after(&view, &plan)), [6, 6]);
}

#[test]
fn vchannels_are_spread_as_well() {
    // One channel of each pair is busy.
    let busy = |number: usize| {
        if number.is_multiple_of(2) { (0..9).map(|c| number as i64 * 100 + c).collect() } else { vec![] }
    };
    let view = cluster((1..=2).map(node), (0..8).map(|number| channel(number, &busy(number), None)));
    let view = after(&view, &plan(&view));
    let vchannels = |id: i64| {
        view.channels.iter().filter(|channel| channel.owner == Some(id)).map(|channel| channel.collections.len()).sum()
    };
    let (ours, theirs): (usize, usize) = (vchannels(1), vchannels(2));
    assert_eq!((counts(&view), ours, theirs), (vec![4, 4], 18, 18));
}

#[test]
fn channels_of_one_collection_are_kept_apart() {
    // Collections 1 to 4 have two shards each.
    let view = cluster((1..=2).map(node), (0..8).map(|number| channel(number, &[number as i64 / 2], None)));
    let view = after(&view, &plan(&view));
    for pair in view.channels.chunks(2) {
        assert_ne!(pair[0].owner, pair[1].owner, "{} and {} serve one collection", pair[0].name, pair[1].name);
    }
}

#[test]
fn capacity_and_load_decide_the_share() {
    let mut nodes: Vec<NodeView> = (1..=3).map(node).collect();
    nodes[0].weight = 2.0;
    let view = cluster(nodes, (0..16).map(|number| channel(number, &[number as i64], None)));
    assert_eq!(counts(&after(&view, &plan(&view))), [8, 4, 4]);

    let mut nodes: Vec<NodeView> = (1..=2).map(node).collect();
    (nodes[0].load, nodes[1].load) = (Some(1.0), Some(0.2));
    let view = cluster(nodes, (0..20).map(|number| channel(number, &[number as i64], None)));
    assert_eq!(counts(&after(&view, &plan(&view))), [9, 11], "0.4 above and below the average, a tenth of the share");
}

#[test]
fn nonsense_in_what_nodes_report_is_as_good_as_nothing() {
    let mut nodes: Vec<NodeView> = (1..=4).map(node).collect();
    (nodes[0].weight, nodes[0].load) = (f64::NAN, Some(f64::NAN));
    (nodes[1].weight, nodes[1].load) = (f64::INFINITY, Some(f64::INFINITY));
    let view = cluster(nodes, (0..8).map(|number| channel(number, &[], None)));
    let plan = plan(&view);
    assert_eq!(counts(&after(&view, &plan)), [2, 2, 2, 2]);
    assert!(plan.cost_before.is_finite() && plan.cost_after.is_finite());
}

#[test]
fn a_node_that_joins_gets_a_few_channels_at_a_time() {
    let mut view = laid_out(&[8, 8, 0]);
    let mut rounds = Vec::new();
    loop {
        let plan = plan(&view);
        if plan.moves.is_empty() {
            break;
        }
        assert!(plan.moves.iter().all(|step| step.to == 3 && step.reason.starts_with("balance: now node ")));
        rounds.push(plan.moves.len());
        view = after(&view, &plan);
    }
    let mut counts = counts(&view);
    counts.sort_unstable();
    assert_eq!((rounds, counts), (vec![3, 2], vec![5, 5, 6]));
}

#[test]
fn what_gains_no_more_than_the_tolerance_is_left_alone() {
    let view = laid_out(&[6, 5, 5]);
    assert!(plan(&view).moves.is_empty());
    let uneven = laid_out(&[7, 5, 4]);
    assert_eq!(plan(&uneven).moves.len(), 1);
    let lenient = Settings { tolerance: 0.2, ..Settings::default() };
    assert!(VChannelFair.plan(&uneven, &lenient).moves.is_empty());
}

#[test]
fn nothing_is_moved_for_balance_where_that_is_off_or_too_soon() {
    let mut view = laid_out(&[9, 1]);
    let off = Settings { allow_rebalance: false, ..Settings::default() };
    assert!(VChannelFair.plan(&view, &off).moves.is_empty());
    let none = Settings { max_step: 0, ..Settings::default() };
    assert!(VChannelFair.plan(&view, &none).moves.is_empty());
    view.channels.iter_mut().for_each(|channel| channel.movable = false);
    assert!(plan(&view).moves.is_empty());
    // A dead node's channels do not wait for any of that.
    orphan(&mut view, 2);
    assert_eq!(VChannelFair.plan(&view, &off).moves.len(), 1);
}

#[test]
fn a_node_that_drains_gives_everything_away() {
    let mut view = laid_out(&[5, 5, 5]);
    view.nodes[0].draining = true;
    view.channels.iter_mut().for_each(|channel| channel.movable = false);
    let plan = plan(&view);
    assert_eq!(plan.moves.len(), 5);
    assert!(plan.moves.iter().all(|step| step.from == Some(1) && step.reason.starts_with("node 1 gives everything")));
    assert_eq!(counts(&after(&view, &plan)), [0, 8, 7]);
}

#[test]
fn a_frozen_node_takes_nothing_and_keeps_what_it_has() {
    let mut view = laid_out(&[1, 7, 6]);
    orphan(&mut view, 3);
    view.nodes[0].frozen = true;
    view.nodes[1].frozen = true;
    let plan = plan(&view);
    assert_eq!(counts(&after(&view, &plan)), [1, 7, 6], "the third takes all that is left");
    assert!(plan.unplaced.is_empty());
}

#[test]
fn without_a_node_that_may_take_it_a_channel_waits() {
    let mut view = laid_out(&[2, 2]);
    (view.nodes[0].frozen, view.nodes[1].draining) = (true, true);
    orphan(&mut view, 1);
    let found = plan(&view);
    assert_eq!(found.unplaced, [name(0), name(1)], "the other two are served until somebody can take them");
    assert!(found.moves.is_empty());
    assert_eq!(plan(&ClusterView::default()), Plan::default());
}

#[test]
fn an_operators_order_is_obeyed_once_it_can_be() {
    let mut view = laid_out(&[4, 2]);
    view.channels[0].pinned = Some(2);
    view.channels[0].movable = false;
    let plan_now = plan(&view);
    let reason = "an operator wants it on node 2".to_owned();
    assert_eq!(plan_now.moves, [Move { channel: name(0), from: Some(1), to: 2, reason }]);
    let settled = after(&view, &plan_now);
    assert!(plan(&settled).moves.is_empty(), "and it stays there");
    for void in [|node: &mut NodeView| node.draining = true, |node: &mut NodeView| node.frozen = true] {
        let mut view = laid_out(&[3, 3, 3]);
        view.channels[0].pinned = Some(2);
        void(&mut view.nodes[1]);
        assert!(plan(&view).moves.iter().all(|step| step.channel != name(0)), "node 2 takes nothing");
    }
}

#[test]
fn counts_of_pchannels_differ_by_one_at_most() {
    let mut view = laid_out(&[7, 5, 4]);
    view.channels[0].collections = (0..50).collect();
    (view.nodes[0].weight, view.nodes[1].load) = (9.0, Some(1.0));
    let lenient = Settings { tolerance: 1.0, ..Settings::default() };
    let plan = PChannelCountFair.plan(&view, &lenient);
    assert_eq!(counts(&after(&view, &plan)), [6, 5, 5]);
    assert_eq!(plan.moves.len(), 1);
}

struct Lazy;

impl Policy for Lazy {
    fn name(&self) -> &'static str {
        "lazy"
    }

    fn plan(&self, _: &ClusterView, _: &Settings) -> Plan {
        Plan::default()
    }
}

#[test]
fn policies_are_found_by_name_and_others_can_be_added() {
    let mut registry = Registry::default();
    assert_eq!(registry.names().collect::<Vec<_>>(), ["pchannelCountFair", "vchannelFair"]);
    assert!(registry.get("lazy").is_none());
    assert!(registry.register(Arc::new(Lazy)).is_none());
    let view = laid_out(&[9, 1]);
    assert!(registry.get("lazy").unwrap().plan(&view, &Settings::default()).moves.is_empty());
    assert!(!registry.get("vchannelFair").unwrap().plan(&view, &Settings::default()).moves.is_empty());
    assert_eq!(registry.register(Arc::new(Lazy)).unwrap().name(), "lazy", "the one before it");
}
