//! How far plans are from the best layout there is, which small clusters allow to be found by trying all.

use proptest::prelude::*;

use super::super::Weights;
use super::super::layout::Layout;
use super::*;

/// The least cost of all ways to lay the channels out that move at most so many of those that have a node.
fn best_cost(view: &ClusterView, moves: usize) -> f64 {
    let mut layout = Layout::new(view, Weights::default(), false);
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

/// Clusters small enough to try everything: at most 4^7 or 3^9 layouts.
fn small_cluster(owned: bool) -> impl Strategy<Value = ClusterView> {
    (2..5i64).prop_flat_map(move |nodes| {
        let channels = if nodes == 4 { 1..8usize } else { 1..10usize };
        let owner = if owned { (0..nodes).prop_map(Some).boxed() } else { Just(None).boxed() };
        let any_channel = (proptest::collection::vec(0..6i64, 0..5), owner);
        let weights = proptest::collection::vec(prop_oneof![Just(1.0), Just(1.0), Just(2.0)], nodes as usize);
        (weights, proptest::collection::vec(any_channel, channels)).prop_map(|(weights, channels)| {
            let nodes = weights.into_iter().enumerate();
            let nodes = nodes.map(|(index, weight)| NodeView { weight, ..node(index as i64) });
            let channels = channels.into_iter().enumerate();
            cluster(nodes, channels.map(|(number, (of, owner))| channel(number, &of, owner)))
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Within a twentieth of the best.
    #[test]
    fn a_first_layout_is_nearly_the_best(view in small_cluster(false)) {
        let (found, best) = (plan(&view).cost_after, best_cost(&view, 0));
        prop_assert!(found <= best * 1.05 + 1e-9, "{found} where {best} is possible");
    }

    /// No three moves would have lowered the cost by more than the tolerance.
    #[test]
    fn repeated_plans_leave_nothing_to_do(view in small_cluster(true)) {
        let mut view = view;
        let settings = Settings::default();
        let mut found = f64::NAN;
        for _ in 0..20 {
            let plan = plan(&view);
            found = plan.cost_after;
            view = after(&view, &plan);
        }
        let best = best_cost(&view, settings.max_step);
        prop_assert!(found <= best + settings.tolerance + 1e-9, "{found} where {best} is possible");
    }
}

/// The costs of what is laid out add up as the changes said.
#[test]
fn the_change_of_cost_is_the_difference_of_costs() {
    let of = |number: usize| vec![number as i64 % 3, number as i64 % 5, number as i64];
    let view =
        cluster((1..=3).map(node), (0..9).map(|number| channel(number, &of(number), Some(1 + number as i64 % 3))));
    let mut layout = Layout::new(&view, Weights::default(), false);
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
