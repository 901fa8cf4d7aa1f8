//! How far plans are from the best layout there is, which small clusters allow to be found by trying all.

use proptest::prelude::*;

use super::super::layout::Layout;
use super::*;

/// The least cost of all ways to lay the channels out that move at most so many of those that have a node.
fn best_cost(view: &ClusterView, settings: &Settings, moves: usize) -> f64 {
    let mut layout = Layout::new(view, settings);
    let mut best = f64::INFINITY;
    lay_from(&mut layout, 0, moves, &mut best);
    best
}

fn lay_from(layout: &mut Layout, item: usize, moves: usize, best: &mut f64) {
    if item == layout.items.len() {
        *best = best.min(layout.cost());
        return;
    }
    let home = layout.items[item].home;
    for node in 0..layout.nodes.len() {
        let moved = usize::from(home.is_some_and(|home| home != node));
        if moved <= moves {
            layout.lay(item, Some(node));
            lay_from(layout, item + 1, moves - moved, best);
        }
    }
}

/// Some nodes have the label, and some channels were somewhere before.
fn labelled() -> Settings {
    Settings { preferred_labels: [("disk".to_owned(), "fast".to_owned())].into(), ..Settings::default() }
}

/// Whether one cost is within a twentieth of another.
fn is_near(found: f64, best: f64) -> bool {
    found <= best * 1.05 + 1e-9
}

/// Clusters small enough to try everything: at most 4^7 or 3^9 layouts.
fn small_cluster(owned: bool) -> impl Strategy<Value = ClusterView> {
    (2..5i64).prop_flat_map(move |nodes| {
        let channels = if nodes == 4 { 1..8usize } else { 1..10usize };
        let owner = if owned { (0..nodes).prop_map(Some).boxed() } else { Just(None).boxed() };
        let former = proptest::collection::vec(0..nodes, 0..3);
        let any_channel = (proptest::collection::vec(0..6i64, 0..5), owner, former);
        let weight = prop_oneof![Just(1.0), Just(1.0), Just(2.0)];
        let any_node = proptest::collection::vec((weight, any::<bool>()), nodes as usize);
        (any_node, proptest::collection::vec(any_channel, channels)).prop_map(|(nodes, channels)| {
            let labels = |fast: bool| fast.then(|| ("disk".to_owned(), "fast".to_owned())).into_iter().collect();
            let nodes = nodes.into_iter().enumerate();
            let nodes = nodes.map(|(id, (weight, fast))| NodeView { weight, labels: labels(fast), ..node(id as i64) });
            let channels = channels.into_iter().enumerate();
            let channels =
                channels.map(|(number, (of, owner, former))| ChannelView { former, ..channel(number, &of, owner) });
            cluster(nodes, channels)
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Within a twentieth of the best.
    #[test]
    fn a_first_layout_is_nearly_the_best(view in small_cluster(false)) {
        for settings in [Settings::default(), labelled()] {
            let (found, best) = (VChannelFair.plan(&view, &settings).cost_after, best_cost(&view, &settings, 0));
            prop_assert!(is_near(found, best), "{found} where {best} is possible");
        }
    }

    /// No three moves would have lowered the cost by more than the tolerance.
    #[test]
    fn repeated_plans_leave_nothing_to_do(view in small_cluster(true)) {
        let mut view = view;
        let settings = labelled();
        let mut found = f64::NAN;
        for _ in 0..20 {
            let plan = VChannelFair.plan(&view, &settings);
            found = plan.cost_after;
            view = after(&view, &plan);
        }
        let best = best_cost(&view, &settings, settings.max_step);
        prop_assert!(found <= best + settings.tolerance + 1e-9, "{found} where {best} is possible");
    }
}

/// The measure finds what is worse: channels dealt out by turns are often not near the best.
#[test]
fn channels_that_are_dealt_out_by_turns_are_not_near_the_best() {
    let far = |nodes: i64, channels: usize| {
        let busy = |number: usize| (0..(number * 7 % 5) as i64).collect::<Vec<_>>();
        let dealt = |number: usize| channel(number, &busy(number), Some(number as i64 % nodes));
        let view = cluster((0..nodes).map(node), (0..channels).map(dealt));
        let settings = Settings::default();
        let stays = Settings { allow_rebalance: false, ..settings.clone() };
        let (found, best) = (VChannelFair.plan(&view, &stays).cost_after, best_cost(&view, &settings, channels));
        assert!(found >= best - 1e-9, "nothing is better than the best: {found} and {best}");
        !is_near(found, best)
    };
    let cases: Vec<(i64, usize)> = (2..4).flat_map(|nodes| (3..8).map(move |channels| (nodes, channels))).collect();
    let found = cases.iter().filter(|(nodes, channels)| far(*nodes, *channels)).count();
    assert!(found > cases.len() / 2, "{found} of {}", cases.len());
}

/// The costs of what is laid out add up as the changes said.
#[test]
fn the_change_of_cost_is_the_difference_of_costs() {
    let of = |number: usize| vec![number as i64 % 3, number as i64 % 5, number as i64];
    let mut view =
        cluster((1..=3).map(node), (0..9).map(|number| channel(number, &of(number), Some(1 + number as i64 % 3))));
    view.nodes[1].labels = labelled().preferred_labels;
    view.channels.iter_mut().for_each(|channel| channel.former = vec![3, 1]);
    let mut layout = Layout::new(&view, &labelled());
    let mut near = Vec::new();
    for item in 0..9 {
        let (before, from) = (layout.cost(), layout.items[item].node.unwrap());
        let to = (from + 1) % 3;
        layout.nearness(item, &mut near);
        let change = layout.change(from, -1.0, -3.0) + layout.change(to, 1.0, 3.0) + near[to] - near[from];
        layout.lay(item, Some(to));
        let difference = layout.cost() - before;
        assert!((difference - change).abs() < 1e-12, "{difference} and not {change}");
    }
}
