//! Who wants to hear of a key: single keys by hash, ranges by a tree. Idle watchers cost nothing when others' keys
//! change.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::outlet::Outlet;
use super::ranges::Ranges;
use super::selector::Selector;

/// One interest of one outlet.
#[derive(Clone)]
pub struct Target {
    pub outlet: Arc<Outlet>,
    /// Which of the outlet's interests.
    pub interest: u64,
}

/// All interests of one node.
#[derive(Default)]
pub struct Index {
    keys: HashMap<Bytes, Vec<Target>>,
    ranges: Ranges<Vec<Target>>,
}

impl Index {
    pub fn add(&mut self, selector: &Selector, target: Target) {
        match selector {
            Selector::Key(key) => self.keys.entry(key.clone()).or_default().push(target),
            Selector::Range { start, end } => match self.ranges.get_mut(start, end) {
                Some(targets) => targets.push(target),
                None => self.ranges.insert(start.clone(), end.clone(), vec![target]),
            },
        }
    }

    pub fn remove(&mut self, selector: &Selector, outlet: &Arc<Outlet>, interest: u64) {
        let drop_from = |targets: &mut Vec<Target>| {
            let is_it = |target: &Target| target.interest == interest && Arc::ptr_eq(&target.outlet, outlet);
            if let Some(place) = targets.iter().position(is_it) {
                targets.swap_remove(place);
            }
            targets.is_empty()
        };
        match selector {
            Selector::Key(key) => {
                if self.keys.get_mut(key).is_some_and(drop_from) {
                    self.keys.remove(key);
                }
            }
            Selector::Range { start, end } => {
                if self.ranges.get_mut(start, end).is_some_and(drop_from) {
                    self.ranges.remove(start, end);
                }
            }
        }
    }

    pub fn visit(&self, key: &[u8], mut visit: impl FnMut(&Target)) {
        if let Some(targets) = self.keys.get(key) {
            targets.iter().for_each(&mut visit);
        }
        self.ranges.visit(key, &mut |targets: &Vec<Target>| targets.iter().for_each(&mut visit));
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.ranges.is_empty()
    }
}
