//! Finds a cheap layout. What has no node is placed one by one, the largest first, and then shifted for as long as that
//! lowers the cost; channels that have a node are moved or swapped a few at a time, if that is worth it.

use super::exchange::{Undo, exchange};
use super::layout::{Hold, Layout};

/// What differs by less is the same, whatever the order of additions was.
const EPSILON: f64 = 1e-9;
/// Possible moves that are looked at while freshly placed channels are shifted: it bounds the time of a plan.
const SHIFT_LOOKS_MAX: usize = 4_000_000;
/// Orders in which channels are placed, and for how large a product of channels and nodes, squared.
const ORDERS_MAX: usize = 64;
const ORDER_LOOKS_MAX: usize = 1_000_000;
/// A swap is looked for between all nodes up to so many; beyond, between those with the most and the fewest vchannels.
const SWAP_NODES_MAX: usize = 8;
/// Channels of one node that are looked at for a swap.
const SWAP_CHANNELS_MAX: usize = 64;
/// Channels that are moved in thought, to see how far a large cluster is from balance.
const FAR_LENGTH_MAX: usize = 64;
/// Series of moves in one plan. Each lowers the cost by more than the tolerance, so more are not expected.
const SERIES_MAX: usize = 256;

/// One channel to another node, or two that change places.
#[derive(Clone, Copy, Debug)]
struct Step {
    item: usize,
    to: usize,
    /// What comes back from there.
    back: Option<usize>,
    /// By how much the cost falls.
    gain: f64,
}

/// Places what has no node, the largest first, each where it costs least; then shifts it to where it costs less. Where
/// there is time, other orders are tried as well, because what is placed first decides much.
pub fn place(layout: &mut Layout) {
    let mut free: Vec<usize> = (0..layout.items.len()).filter(|item| layout.items[*item].hold == Hold::Free).collect();
    if free.is_empty() {
        return;
    }
    free.sort_by(|a, b| layout.items[*b].vchannels.total_cmp(&layout.items[*a].vchannels).then(a.cmp(b)));
    place_in_order(layout, &free);
    let (mut best, mut cost) = (places(layout, &free), layout.cost());
    let looks = free.len() * layout.nodes.len();
    let orders = (ORDER_LOOKS_MAX / (looks * looks)).min(ORDERS_MAX);
    let mut order = free.clone();
    let mut numbers = Numbers(1);
    for _ in 0..orders {
        numbers.shuffle(&mut order);
        free.iter().for_each(|item| layout.lay(*item, None));
        place_in_order(layout, &order);
        let other = layout.cost();
        if other < cost - EPSILON {
            (best, cost) = (places(layout, &free), other);
        }
    }
    free.iter().zip(best.drain(..)).for_each(|(item, node)| layout.lay(*item, node));
}

fn place_in_order(layout: &mut Layout, order: &[usize]) {
    let mut near = Vec::new();
    for item in order {
        let best = best_node(layout, *item, &mut near).map(|(node, _)| node);
        layout.lay(*item, best);
    }
    shift(layout, order);
}

fn places(layout: &Layout, items: &[usize]) -> Vec<Option<usize>> {
    items.iter().map(|item| layout.items[*item].node).collect()
}

/// Numbers without a pattern that matters here, the same ones every time (Knuth's constants for 64 bits).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn shuffle(&mut self, items: &mut [usize]) {
        for end in (1..items.len()).rev() {
            items.swap(end, (self.next() % (end as u64 + 1)) as usize);
        }
    }
}

/// Moves and swaps freshly placed channels until nothing gets cheaper by it.
fn shift(layout: &mut Layout, free: &[usize]) {
    let (mut near, mut looks) = (Vec::new(), 0);
    loop {
        let mut shifted = false;
        for item in free {
            let Some(from) = layout.items[*item].node else { continue };
            layout.lay(*item, None);
            let best = best_node(layout, *item, &mut near);
            let stays = layout.change(from, 1.0, layout.items[*item].vchannels) + near[from];
            let to = best.filter(|(_, cost)| *cost < stays - EPSILON).map_or(from, |(node, _)| node);
            layout.lay(*item, Some(to));
            shifted |= to != from;
            looks += layout.nodes.len() + layout.neighbours(*item);
        }
        let open: Vec<bool> = layout.items.iter().map(|item| item.hold == Hold::Free).collect();
        if !shifted && let Some(swap) = best_swap(layout, &open, usize::MAX).filter(|swap| swap.gain > EPSILON) {
            take(layout, swap);
            shifted = true;
            looks += SWAP_CHANNELS_MAX * SWAP_CHANNELS_MAX * SWAP_NODES_MAX;
        }
        if !shifted || looks > SHIFT_LOOKS_MAX {
            return;
        }
    }
}

/// The node on which a channel that is nowhere costs least, the lowest of several, and what it costs there.
fn best_node(layout: &Layout, item: usize, near: &mut Vec<f64>) -> Option<(usize, f64)> {
    layout.nearness(item, near);
    let vchannels = layout.items[item].vchannels;
    let mut best: Option<(usize, f64)> = None;
    for (node, near) in near.iter().enumerate() {
        let cost = layout.change(node, 1.0, vchannels) + near;
        if best.is_none_or(|(_, least)| cost < least - EPSILON) {
            best = Some((node, cost));
        }
    }
    best
}

/// Where moving for balance ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Halt {
    /// Channels that were moved for balance.
    pub moved: usize,
    /// By how much the best that was found next would lower the cost; not above the tolerance.
    pub gain: f64,
}

/// Moves channels that have a node, at most `max_step` of them, while a series of steps lowers the cost by more than
/// `tolerance`.
pub fn rebalance(layout: &mut Layout, tolerance: f64, max_step: usize) -> Halt {
    let worth = tolerance.max(EPSILON);
    let away = |layout: &Layout| {
        layout.items.iter().filter(|item| item.hold == Hold::Movable && item.node != item.home).count()
    };
    for _ in 0..SERIES_MAX {
        let moved = away(layout);
        let held = max_step.saturating_sub(moved);
        let exchanged = exchange(layout, &open_items(layout), max_step, held, EPSILON);
        let is_large = exchanged.is_none();
        let exchanged = exchanged.unwrap_or_default();
        let exchange_gain = exchanged.1;
        if worth_it(layout, exchanged, worth) {
            continue;
        }
        let series = best_series(layout, max_step, held);
        let gain = exchange_gain.max(series.1);
        if worth_it(layout, series, worth) || is_large && begin_far(layout, held, worth) {
            continue;
        }
        return Halt { moved, gain };
    }
    Halt { moved: away(layout), gain: 0.0 }
}

/// What a few moves gain falls with the square of a node's share: of a large cluster that is far from balance it is
/// below any tolerance. So it is looked what many moves would gain, and the first ones are kept if all of them are
/// worth it. Whether any were.
fn begin_far(layout: &mut Layout, held: usize, worth: f64) -> bool {
    if held == 0 {
        return false;
    }
    let mut open = open_items(layout);
    let (mut taken, mut gain): (Vec<Undo>, f64) = (Vec::new(), 0.0);
    while taken.len() < FAR_LENGTH_MAX {
        let Some(step) = best_relief(layout, &open).filter(|step| step.gain > EPSILON) else { break };
        open[step.item] = false;
        taken.extend(take(layout, step));
        gain += step.gain;
    }
    let (mut kept, mut left) = (0, held);
    while kept < taken.len() && gain > worth {
        let needed = held_by(layout, taken[kept].0);
        if needed > left {
            break;
        }
        left -= needed;
        kept += 1;
    }
    for (item, from) in taken.drain(kept..).rev() {
        layout.lay(item, from);
    }
    kept > 0
}

/// The best move away from the node that gains most by having a channel less.
fn best_relief(layout: &Layout, open: &[bool]) -> Option<Step> {
    let on_node = |node: usize| layout.items.iter().zip(open).map(move |(item, open)| *open && item.node == Some(node));
    let mut gives = vec![false; layout.nodes.len()];
    for (item, _) in layout.items.iter().zip(open).filter(|(_, open)| **open) {
        item.node.into_iter().for_each(|node| gives[node] = true);
    }
    let relieved = |node: &usize| {
        let slot = &layout.nodes[*node];
        layout.change(*node, -1.0, -slot.vchannels / slot.channels)
    };
    let from = (0..gives.len())
        .filter(|node| gives[*node])
        .min_by(|a, b| relieved(a).total_cmp(&relieved(b)).then(a.cmp(b)))?;
    best_move(layout, &on_node(from).collect::<Vec<_>>(), usize::MAX)
}

/// Undoes what gains too little.
fn worth_it(layout: &mut Layout, (steps, gain): (Vec<Undo>, f64), worth: f64) -> bool {
    if gain <= worth {
        steps.into_iter().rev().for_each(|(item, from)| layout.lay(item, from));
    }
    gain > worth
}

fn open_items(layout: &Layout) -> Vec<bool> {
    layout.items.iter().map(|item| item.hold != Hold::Fixed).collect()
}

/// Takes the best steps one after the other, dear ones too, because a later one may make up for them, and goes back to
/// where the cost was least. Moves at most `length` channels, `held` of which may have a node that they could stay on.
/// How to undo the steps, and by how much they lower the cost.
fn best_series(layout: &mut Layout, length: usize, mut held: usize) -> (Vec<Undo>, f64) {
    let mut open = open_items(layout);
    let (mut taken, mut gain): (Vec<Undo>, f64) = (Vec::new(), 0.0);
    let (mut best_length, mut best_gain) = (0, 0.0);
    while taken.len() < length {
        let room = length - taken.len();
        let (single, swap) = (best_move(layout, &open, held), best_swap(layout, &open, held));
        let swap = swap.filter(|_| room >= 2);
        // Of two that gain the same the one that moves less.
        let Some(step) =
            [single, swap].into_iter().flatten().reduce(|a, b| if b.gain > a.gain + EPSILON { b } else { a })
        else {
            break;
        };
        let moved = [Some(step.item), step.back];
        for item in moved.into_iter().flatten() {
            // A channel that was moved by an earlier series is not counted again, which makes this the stricter one.
            held -= usize::from(layout.items[item].hold == Hold::Movable);
            open[item] = false;
        }
        taken.extend(take(layout, step));
        gain += step.gain;
        if gain > best_gain + EPSILON {
            (best_length, best_gain) = (taken.len(), gain);
        }
    }
    for (item, from) in taken.drain(best_length..).rev() {
        layout.lay(item, from);
    }
    (taken, best_gain)
}

/// Takes a step; how to undo it.
fn take(layout: &mut Layout, step: Step) -> Vec<Undo> {
    let Some(from) = layout.items[step.item].node else { return Vec::new() };
    layout.lay(step.item, Some(step.to));
    let mut undo = vec![(step.item, Some(from))];
    if let Some(back) = step.back {
        layout.lay(back, Some(from));
        undo.push((back, Some(step.to)));
    }
    undo
}

/// How many of the `held` channels that may be moved this one takes.
fn held_by(layout: &Layout, item: usize) -> usize {
    usize::from(layout.items[item].hold == Hold::Movable)
}

/// The move of one open channel after which the cost is least, also if it is higher than now.
fn best_move(layout: &Layout, open: &[bool], held: usize) -> Option<Step> {
    let mut best: Option<Step> = None;
    let mut near = Vec::new();
    for (item, entry) in layout.items.iter().enumerate().filter(|(item, _)| open[*item]) {
        let Some(from) = entry.node.filter(|_| held_by(layout, item) <= held) else { continue };
        layout.nearness(item, &mut near);
        let left = layout.change(from, -1.0, -entry.vchannels) - near[from];
        for to in (0..layout.nodes.len()).filter(|to| *to != from) {
            let gain = -(left + layout.change(to, 1.0, entry.vchannels) + near[to]);
            if best.is_none_or(|best| gain > best.gain + EPSILON) {
                best = Some(Step { item, to, back: None, gain });
            }
        }
    }
    best
}

/// The same for two channels that change places.
fn best_swap(layout: &Layout, open: &[bool], held: usize) -> Option<Step> {
    let mut on_node: Vec<Vec<usize>> = vec![Vec::new(); layout.nodes.len()];
    for (item, entry) in layout.items.iter().enumerate().filter(|(item, _)| open[*item]) {
        if let Some(node) = entry.node {
            on_node[node].push(item);
        }
    }
    let candidates: Vec<Vec<usize>> = on_node.into_iter().map(|items| spread(layout, items)).collect();
    let mut best: Option<Step> = None;
    for (a, b) in swap_nodes(layout) {
        let (ours, theirs) = (with_nearness(layout, &candidates[a], a, b), with_nearness(layout, &candidates[b], b, a));
        for (item, nearer_there) in &ours {
            for (back, nearer_here) in &theirs {
                if held_by(layout, *item) + held_by(layout, *back) > held {
                    continue;
                }
                let more = layout.items[*back].vchannels - layout.items[*item].vchannels;
                // The two do not meet, and both were counted as near to where the other one was.
                let nearer = nearer_there + nearer_here - 2.0 * layout.pair(*item, *back);
                let gain = -(layout.change(a, 0.0, more) + layout.change(b, 0.0, -more) + nearer);
                if best.is_none_or(|best| gain > best.gain + EPSILON) {
                    best = Some(Step { item: *item, to: b, back: Some(*back), gain });
                }
            }
        }
    }
    best
}

/// Each channel, and by how much its nearness to others grows if it goes from `here` to `there`.
fn with_nearness(layout: &Layout, items: &[usize], here: usize, there: usize) -> Vec<(usize, f64)> {
    let mut near = Vec::new();
    let grows = |item: &usize| {
        layout.nearness(*item, &mut near);
        (*item, near[there] - near[here])
    };
    items.iter().map(grows).collect()
}

/// Pairs of nodes between which a swap may be worth it.
fn swap_nodes(layout: &Layout) -> Vec<(usize, usize)> {
    let count = layout.nodes.len();
    if count <= SWAP_NODES_MAX {
        return (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b))).collect();
    }
    let above = |node: &usize| layout.nodes[*node].vchannels - layout.nodes[*node].vchannel_share;
    let mut nodes: Vec<usize> = (0..count).collect();
    nodes.sort_by(|a, b| above(b).total_cmp(&above(a)).then(a.cmp(b)));
    let (most, fewest) = (&nodes[..SWAP_NODES_MAX / 2], &nodes[count - SWAP_NODES_MAX / 2..]);
    most.iter().flat_map(|a| fewest.iter().map(move |b| (*a, *b))).collect()
}

/// At most so many of a node's channels, of all sizes.
fn spread(layout: &Layout, mut items: Vec<usize>) -> Vec<usize> {
    if items.len() <= SWAP_CHANNELS_MAX {
        return items;
    }
    items.sort_by(|a, b| layout.items[*a].vchannels.total_cmp(&layout.items[*b].vchannels).then(a.cmp(b)));
    (0..SWAP_CHANNELS_MAX).map(|part| items[part * items.len() / SWAP_CHANNELS_MAX]).collect()
}
