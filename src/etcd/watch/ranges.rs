//! Ranges of keys by the keys in them: a treap over the ranges' starts, where every node knows the farthest end below
//! it. A lookup costs the logarithm of the ranges and the number of matches, however many ranges there are.

use std::cmp::Ordering;

use bytes::Bytes;

use super::selector::End;

/// Values by range. Random priorities keep the tree flat whatever the order of the starts.
pub struct Ranges<T> {
    root: Tree<T>,
}

type Tree<T> = Option<Box<Node<T>>>;
/// Where a range is in the order: by its start, then by its end.
type Place<'a> = (&'a Bytes, &'a End);

struct Node<T> {
    start: Bytes,
    end: End,
    /// The farthest end in this subtree.
    farthest: End,
    priority: u64,
    value: T,
    left: Tree<T>,
    right: Tree<T>,
}

impl<T> Default for Ranges<T> {
    fn default() -> Self {
        Ranges { root: None }
    }
}

impl<T> Ranges<T> {
    pub fn get_mut(&mut self, start: &Bytes, end: &End) -> Option<&mut T> {
        let mut tree = &mut self.root;
        while let Some(node) = tree {
            match (start, end).cmp(&node.place()) {
                Ordering::Less => tree = &mut node.left,
                Ordering::Equal => return Some(&mut node.value),
                Ordering::Greater => tree = &mut node.right,
            }
        }
        None
    }

    /// Adds a range that is not there yet.
    pub fn insert(&mut self, start: Bytes, end: End, value: T) {
        let (below, above) = split(self.root.take(), (&start, &end));
        let (farthest, priority) = (end.clone(), rand::random());
        let fresh = Box::new(Node { start, end, farthest, priority, value, left: None, right: None });
        self.root = merge(merge(below, Some(fresh)), above);
    }

    pub fn remove(&mut self, start: &Bytes, end: &End) {
        self.root = remove(self.root.take(), (start, end));
    }

    /// Visits the values of the ranges that hold `key`.
    pub fn visit(&self, key: &[u8], visit: &mut impl FnMut(&T)) {
        visit_in(&self.root, key, visit);
    }

    pub fn is_empty(&self) -> bool {
        self.root.is_none()
    }
}

impl<T> Node<T> {
    fn place(&self) -> Place<'_> {
        (&self.start, &self.end)
    }

    /// Takes the subtrees' ends into account again.
    fn renewed(mut self: Box<Self>) -> Box<Self> {
        let below = [&self.left, &self.right].into_iter().flatten().map(|node| &node.farthest);
        let farthest = below.fold(&self.end, |farthest, end| farthest.max(end));
        if *farthest != self.farthest {
            self.farthest = farthest.clone();
        }
        self
    }
}

/// The ranges before `place`, and those from it on.
fn split<T>(tree: Tree<T>, place: Place<'_>) -> (Tree<T>, Tree<T>) {
    let Some(mut node) = tree else { return (None, None) };
    if node.place() < place {
        let (below, above) = split(node.right.take(), place);
        node.right = below;
        (Some(node.renewed()), above)
    } else {
        let (below, above) = split(node.left.take(), place);
        node.left = above;
        (below, Some(node.renewed()))
    }
}

/// Everything in `below` comes before everything in `above`.
fn merge<T>(below: Tree<T>, above: Tree<T>) -> Tree<T> {
    match (below, above) {
        (None, tree) | (tree, None) => tree,
        (Some(mut below), Some(mut above)) => {
            if below.priority >= above.priority {
                below.right = merge(below.right.take(), Some(above));
                Some(below.renewed())
            } else {
                above.left = merge(Some(below), above.left.take());
                Some(above.renewed())
            }
        }
    }
}

fn remove<T>(tree: Tree<T>, place: Place<'_>) -> Tree<T> {
    let mut node = tree?;
    match place.cmp(&node.place()) {
        Ordering::Less => node.left = remove(node.left.take(), place),
        Ordering::Greater => node.right = remove(node.right.take(), place),
        Ordering::Equal => return merge(node.left.take(), node.right.take()),
    }
    Some(node.renewed())
}

fn visit_in<T>(tree: &Tree<T>, key: &[u8], visit: &mut impl FnMut(&T)) {
    let Some(node) = tree else { return };
    if !node.farthest.is_after(key) {
        return;
    }
    visit_in(&node.left, key, visit);
    if *node.start <= *key {
        if node.end.is_after(key) {
            visit(&node.value);
        }
        visit_in(&node.right, key, visit);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn depth<T>(tree: &Tree<T>) -> usize {
        tree.as_ref().map_or(0, |node| 1 + depth(&node.left).max(depth(&node.right)))
    }

    proptest! {
        #[test]
        fn agrees_with_a_scan(steps in prop::collection::vec((any::<bool>(), 0u8..40, 1u8..42), 1..200)) {
            let (mut ranges, mut model) = (Ranges::default(), BTreeMap::new());
            for (number, (add, start, length)) in steps.into_iter().enumerate() {
                let end = if length > 40 { End::Never } else { End::At(vec![start + length].into()) };
                let start = Bytes::from(vec![start]);
                match (add, ranges.get_mut(&start, &end)) {
                    (true, Some(value)) => *value = number,
                    (true, None) => ranges.insert(start.clone(), end.clone(), number),
                    (false, _) => ranges.remove(&start, &end),
                }
                match add {
                    true => model.insert((start, end), number),
                    false => model.remove(&(start, end)),
                };
                for key in 0..90u8 {
                    let mut found = Vec::new();
                    ranges.visit(&[key], &mut |value| found.push(*value));
                    let holds = |(start, end): &(Bytes, End)| start[0] <= key && end.is_after(&[key]);
                    let wanted: Vec<usize> =
                        model.iter().filter(|(range, _)| holds(range)).map(|(_, value)| *value).collect();
                    prop_assert_eq!(found, wanted);
                }
            }
            prop_assert_eq!(ranges.is_empty(), model.is_empty());
        }
    }

    #[test]
    fn stays_flat_when_starts_are_sorted() {
        let mut ranges = Ranges::default();
        for start in 0..20_000u32 {
            let start = start.to_be_bytes().to_vec();
            ranges.insert(start.clone().into(), End::At([start, vec![0]].concat().into()), ());
        }
        assert!(depth(&ranges.root) < 64, "{}", depth(&ranges.root));
    }
}
