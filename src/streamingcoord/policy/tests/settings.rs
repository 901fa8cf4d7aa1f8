//! Each setting by example and by property: what it changes in a plan, what the plan says of it, and that without it
//! nothing of the sort counts.

use proptest::prelude::*;

use super::super::{Move, Weights};
use super::properties::{any_cluster, any_settings, find, for_balance};
use super::*;

fn with(weights: Weights) -> Settings {
    Settings { weights, ..Settings::default() }
}

fn vfair(view: &ClusterView, settings: &Settings) -> Plan {
    VChannelFair.plan(view, settings)
}

fn noted(plan: &Plan, what: &str) -> bool {
    plan.notes.iter().any(|note| note.contains(what))
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(label, value)| (label.to_string(), value.to_string())).collect()
}

/// Plans until nothing is moved.
fn settled(mut view: ClusterView, settings: &Settings) -> ClusterView {
    for _ in 0..10_000 {
        let plan = vfair(&view, settings);
        if plan.moves.is_empty() {
            return view;
        }
        view = after(&view, &plan);
    }
    panic!("it does not come to an end");
}

#[test]
fn a_channel_comes_back_to_where_it_was() {
    // Node 1 died and is back, as node 4 at the same address, where six of the channels had been.
    let mut view = laid_out(&[0, 8, 8]);
    view.nodes[0].id = 4;
    view.nodes.sort_by_key(|node| node.id);
    for number in [1, 3, 5, 9, 11, 13] {
        view.channels[number].former = vec![4];
    }
    let plan_back = plan(&view);
    assert_eq!(plan_back.moves.len(), 3);
    for step in &plan_back.moves {
        let channel = view.channels.iter().find(|channel| channel.name == step.channel).unwrap();
        assert!(step.to == 4 && channel.former == [4], "{step:?}");
        assert!(step.reason.contains("it had the channel before"), "{}", step.reason);
    }
    let without = with(Weights { former: 0.0, ..Weights::default() });
    let plan = vfair(&view, &without);
    let back = |step: &Move| view.channels.iter().any(|one| one.name == step.channel && !one.former.is_empty());
    assert!(!plan.moves.iter().all(back), "{:?}", plan.moves);
    assert!(plan.moves.iter().all(|step| !step.reason.contains("before")));
}

#[test]
fn what_has_no_node_goes_to_the_one_that_had_it_last() {
    let mut view = cluster((1..=3).map(node), (0..3).map(|number| channel(number, &[number as i64], None)));
    view.channels[0].former = vec![9, 3, 1];
    view.channels[1].former = vec![2, 3];
    view.channels[2].former = vec![3, 1];
    let owners: Vec<_> = after(&view, &plan(&view)).channels.iter().map(|channel| channel.owner).collect();
    // Node 9 is gone; of those that want node 3 one goes where it was before that.
    let last = [(Some(3), Some(1)), (Some(1), Some(3))];
    assert!(owners[1] == Some(2) && last.contains(&(owners[0], owners[2])), "{owners:?}");
}

#[test]
fn nodes_with_the_preferred_labels_have_more() {
    let mut view = laid_out(&[4, 4, 4]);
    view.nodes[2].labels = labels(&[("disk", "fast"), ("zone", "a")]);
    assert!(plan(&view).moves.is_empty());
    let preferred_labels = labels(&[("disk", "fast")]);
    let settings = Settings { preferred_labels: preferred_labels.clone(), ..Settings::default() };
    let plan = vfair(&view, &settings);
    assert!(!plan.moves.is_empty() && plan.moves.iter().all(|step| step.to == 3), "{:?}", plan.moves);
    assert!(plan.moves.iter().all(|step| step.reason.contains("it has the preferred labels")));
    // The more they weigh, the more it has; and one value is not another.
    let heavy = Settings { weights: Weights { labels: 1200.0, ..Weights::default() }, ..settings.clone() };
    assert_eq!(counts(&settled(view.clone(), &heavy)), [0, 0, 12]);
    view.nodes[2].labels = labels(&[("disk", "slow")]);
    assert!(vfair(&view, &settings).moves.is_empty(), "none has them");
    orphan(&mut view, 1);
    assert!(vfair(&view, &settings).moves.iter().all(|step| step.reason.contains("lacks preferred labels")));
}

#[test]
fn each_weight_is_a_reason_of_its_own() {
    // One channel of each node has nine vchannels and the other two have one.
    let busy = |number: usize| (0..if number < 2 { 9 } else { 1 }).map(|one| (number * 10 + one) as i64).collect();
    let busy: Vec<Vec<i64>> = (0..4).map(busy).collect();
    let owner = |number: usize| Some(number as i64 / 2 + 1);
    let view = cluster([node(1), node(2)], (0..4).map(|number| channel(number, &busy[number], owner(number))));
    let vchannels = |view: &ClusterView| {
        let of = |id| view.channels.iter().filter(move |channel| channel.owner == Some(id));
        [1, 2].map(|id| of(id).map(|channel| channel.collections.len()).sum::<usize>())
    };
    assert_eq!(vchannels(&settled(view.clone(), &Settings::default())), [10, 10]);
    let none = with(Weights { vchannels: 0.0, ..Weights::default() });
    assert_eq!(vchannels(&settled(view, &none)), [18, 2]);

    // Pairs that serve one collection are together: apart from each other nothing else speaks for a move.
    let pair = |number: usize| channel(number, &[number as i64 / 2], owner(number));
    let view = cluster([node(1), node(2)], (0..4).map(pair));
    let strong = with(Weights { affinity: 0.1, ..Weights::default() });
    let apart = settled(view.clone(), &strong);
    assert!(apart.channels.chunks(2).all(|pair| pair[0].owner != pair[1].owner));
    assert!(vfair(&view, &with(Weights { affinity: 0.0, ..Weights::default() })).moves.is_empty());
    let only = cluster([node(1)], view.channels.iter().map(|channel| ChannelView { owner: None, ..channel.clone() }));
    assert!(plan(&only).moves[0].reason.contains("1 of its channels serve the same collections"));

    // Numbers of pchannels do not count without their weight.
    let view = cluster([node(1), node(2)], (0..6).map(|number| channel(number, &[], Some(1))));
    assert_eq!(counts(&settled(view.clone(), &Settings::default())), [3, 3]);
    assert!(vfair(&view, &with(Weights { pchannels: 0.0, ..Weights::default() })).moves.is_empty());
}

#[test]
fn capacity_and_load_count_as_much_as_they_weigh() {
    let mut view = laid_out(&[8, 8]);
    view.nodes[0].weight = 3.0;
    let by = |view: &ClusterView, capacity, load| {
        counts(&settled(view.clone(), &with(Weights { capacity, load, ..Weights::default() })))
    };
    assert_eq!(by(&view, 0.0, 0.25), [8, 8]);
    assert_eq!(by(&view, 1.0, 0.25), [12, 4]);
    assert!(plan(&view).moves[0].reason.contains("(capacity 3.00)"));
    let mut view = laid_out(&[8, 8]);
    (view.nodes[0].load, view.nodes[1].load) = (Some(1.0), Some(0.0));
    assert_eq!(by(&view, 1.0, 0.0), [8, 8]);
    assert_eq!(by(&view, 1.0, 1.0), [4, 12]);
    let plan = vfair(&view, &with(Weights { load: 1.0, ..Weights::default() }));
    assert!(plan.moves[0].reason.contains("(load 1.00)") && plan.moves[0].reason.contains("(load 0.00)"));
}

#[test]
fn a_plan_says_why_it_moves_no_more() {
    let uneven = laid_out(&[9, 5, 1]);
    let plan = plan(&uneven);
    assert!(plan.moves.len() == 3 && noted(&plan, "no more than 3 channels are moved for balance at once"));
    let one = vfair(&uneven, &Settings { max_step: 1, ..Settings::default() });
    assert!(one.moves.len() == 1 && noted(&one, "no more than 1 channels"));
    let lenient = vfair(&uneven, &Settings { tolerance: 5.0, ..Settings::default() });
    assert!(lenient.moves.is_empty() && noted(&lenient, "not above the tolerance of 5"), "{:?}", lenient.notes);
    let mut frozen = laid_out(&[9, 5, 1]);
    frozen.nodes[0].frozen = true;
    let plan = super::plan(&frozen);
    assert!(noted(&plan, "node 1 is frozen: it keeps its 9 channels and gets no others"), "{:?}", plan.notes);
    assert!(super::plan(&laid_out(&[4, 4])).notes.is_empty());
}

/// Of many channels three moves gain little, also where much is wrong.
#[test]
fn a_large_cluster_that_a_node_joins_is_balanced_to_the_end() {
    let settings = Settings::default();
    let joined = laid_out(&[100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 0]);
    assert!(vfair(&joined, &settings).moves.len() <= settings.max_step);
    let view = settled(joined, &settings);
    let best = plan(&laid_out(&[91, 91, 91, 91, 91, 91, 91, 91, 91, 91, 90]));
    assert!(best.moves.is_empty());
    let found = plan(&view).cost_before;
    let counts = counts(&view);
    // Beside the tolerance there is what it costs to leave a node.
    let possible = best.cost_before + settings.tolerance + 0.001;
    assert!(found <= possible, "{found} where {possible} is possible: {counts:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn without_its_weight_nothing_of_it_counts(
        view in any_cluster(),
        other in any_cluster(),
        settings in any_settings(),
    ) {
        // The same cluster, but for labels, former owners, capacities and loads.
        let mut strange = view.clone();
        for (node, other) in strange.nodes.iter_mut().zip(&other.nodes) {
            (node.labels, node.weight, node.load) = (other.labels.clone(), other.weight, other.load);
        }
        for (channel, other) in strange.channels.iter_mut().zip(&other.channels) {
            channel.former = other.former.clone();
        }
        let weights = Weights { labels: 0.0, former: 0.0, capacity: 0.0, load: 0.0, ..settings.weights };
        let deaf = Settings { weights, ..settings };
        prop_assert_eq!(vfair(&view, &deaf), vfair(&strange, &deaf));
    }

    #[test]
    fn without_affinity_collections_are_all_the_same(view in any_cluster(), settings in any_settings()) {
        let deaf = Settings { weights: Weights { affinity: 0.0, ..settings.weights }, ..settings };
        let mut same = view.clone();
        for channel in &mut same.channels {
            channel.collections = vec![7; channel.collections.len()];
        }
        prop_assert_eq!(vfair(&view, &deaf), vfair(&same, &deaf));
    }

    #[test]
    fn without_their_weights_numbers_do_not_count(view in any_cluster(), settings in any_settings()) {
        let weights = Weights { pchannels: 0.0, vchannels: 0.0, affinity: 0.0, labels: 0.0, ..settings.weights };
        let plan = vfair(&view, &Settings { weights, ..settings });
        prop_assert_eq!(for_balance(&view, &plan), 0, "{:?}", plan.moves);
    }

    /// What is not to be moved yet stays, however bad its place is.
    #[test]
    fn what_is_not_movable_stays_on_a_node_that_keeps(view in any_cluster(), settings in any_settings()) {
        let plan = vfair(&view, &settings);
        for channel in view.channels.iter().filter(|channel| !channel.movable && channel.pinned.is_none()) {
            let keeps = channel.owner.and_then(|id| find(&view, id)).is_some_and(|node| !node.draining);
            let moved = plan.moves.iter().any(|step| step.channel == channel.name);
            prop_assert!(!(keeps && moved), "{} left its node", channel.name);
        }
    }

    /// A plan that nothing but balance asks for gains more than the tolerance.
    #[test]
    fn moves_for_balance_gain_more_than_the_tolerance(view in any_cluster(), settings in any_settings()) {
        let plan = vfair(&view, &settings);
        let moves = for_balance(&view, &plan);
        if moves > 0 && moves == plan.moves.len() {
            prop_assert!(plan.cost_before - plan.cost_after > settings.tolerance - 1e-9, "{plan:?}");
        }
    }

    /// More capacity never means fewer channels, where nothing else differs.
    #[test]
    fn a_larger_node_has_no_fewer(capacities in prop::collection::vec(0.3..3.0f64, 2..5), channels in 1..30usize) {
        let nodes = capacities.iter().enumerate().map(|(id, weight)| NodeView { weight: *weight, ..node(id as i64) });
        let view = cluster(nodes, (0..channels).map(|number| channel(number, &[], None)));
        let counts = counts(&after(&view, &plan(&view)));
        for (one, capacity) in capacities.iter().enumerate() {
            for (other, less) in capacities.iter().enumerate() {
                prop_assert!(capacity < less || counts[one] >= counts[other].saturating_sub(1), "{counts:?}");
            }
        }
    }
}
