//! The best that moving a few channels at once can do, found by trying every choice of them and every place for each.
//! A search step by step misses what only pays when three channels change places; clusters of usual size are small
//! enough to look at all of it.

use super::layout::{Hold, Layout};

/// Channels that are moved at once.
const CHANNELS_MAX: usize = 3;
/// Layouts that are looked at; 16 channels on 10 nodes are 419,000.
const LOOKS_MAX: f64 = 500_000.0;

/// A channel, and the node that it was on.
pub type Undo = (usize, Option<usize>);

struct Exchange<'a> {
    layout: &'a mut Layout,
    /// Channels that may be moved.
    open: Vec<usize>,
    /// Those taken off now, and where each was.
    taken: Vec<(usize, usize)>,
    /// Where those that were placed again are.
    placed: Vec<(usize, usize)>,
    /// By how much the cost falls at best, and how.
    best_gain: f64,
    best: Vec<(usize, usize)>,
    epsilon: f64,
}

/// Lays the best exchange of open channels out: how to undo it, and by how much it lowers the cost. Moves at most
/// `length` channels, `held` of which may have a node that they could stay on. None if there are too many to look at.
pub fn exchange(
    layout: &mut Layout,
    open: &[bool],
    length: usize,
    held: usize,
    epsilon: f64,
) -> Option<(Vec<Undo>, f64)> {
    let open: Vec<usize> = (0..layout.items.len()).filter(|item| open[*item]).collect();
    let length = length.min(CHANNELS_MAX);
    if looks(open.len(), layout.nodes.len(), length) > LOOKS_MAX {
        return None;
    }
    let (taken, placed, best) = (Vec::new(), Vec::new(), Vec::new());
    let mut search = Exchange { layout, open, taken, placed, best_gain: 0.0, best, epsilon };
    // Of exchanges that gain the same the one that moves the fewest.
    for size in 1..=length {
        search.take(0, size, held, 0.0);
    }
    let Exchange { layout, best, best_gain, .. } = search;
    let lay = |(item, to): (usize, usize)| {
        let from = layout.items[item].node;
        layout.lay(item, Some(to));
        (item, from)
    };
    Some((best.into_iter().map(lay).collect(), best_gain))
}

/// How many layouts there are to look at.
fn looks(channels: usize, nodes: usize, length: usize) -> f64 {
    let (mut ways, mut sum) = (1.0, 0.0);
    for size in 0..length {
        ways *= channels.saturating_sub(size) as f64 / (size + 1) as f64 * nodes.saturating_sub(1) as f64;
        sum += ways;
    }
    sum
}

impl Exchange<'_> {
    /// Takes `more` channels off in every way, those from `first` on, and tries every place for them.
    fn take(&mut self, first: usize, more: usize, held: usize, cost: f64) {
        if more == 0 {
            self.place(cost);
            return;
        }
        for index in first..self.open.len() {
            let item = self.open[index];
            let holds = usize::from(self.layout.items[item].hold == Hold::Movable);
            let Some(from) = self.layout.items[item].node.filter(|_| holds <= held) else { continue };
            let vchannels = self.layout.items[item].vchannels;
            let cheaper = self.layout.change(from, -1.0, -vchannels) - self.layout.nearness_to(item, from);
            self.layout.lay(item, None);
            self.taken.push((item, from));
            self.take(index + 1, more - 1, held - holds, cost + cheaper);
            self.taken.pop();
            self.layout.lay(item, Some(from));
        }
    }

    /// Lays what was taken off on every node but its own: what stays belongs to a smaller exchange.
    fn place(&mut self, cost: f64) {
        let Some((item, from)) = self.taken.get(self.placed.len()).copied() else {
            if -cost > self.best_gain + self.epsilon {
                self.best_gain = -cost;
                self.best.clone_from(&self.placed);
            }
            return;
        };
        let vchannels = self.layout.items[item].vchannels;
        let mut near = Vec::new();
        self.layout.nearness(item, &mut near);
        for (node, near) in near.into_iter().enumerate().filter(|(node, _)| *node != from) {
            let dearer = self.layout.change(node, 1.0, vchannels) + near;
            self.layout.lay(item, Some(node));
            self.placed.push((item, node));
            self.place(cost + dearer);
            self.placed.pop();
            self.layout.lay(item, None);
        }
    }
}
