//! Whose turn it is, in memory: the same rule as `state/broadcast/lock.rs`, kept up with each task that comes and goes,
//! so that finding the next one costs what has changed and not what waits.

use std::collections::{BTreeMap, BTreeSet};

use crate::pb::store;

/// A resource.
type Name = (u32, String);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Turns {
    queues: BTreeMap<Name, Queue>,
    tasks: BTreeMap<i64, Task>,
    ready: BTreeSet<i64>,
}

#[derive(Debug)]
struct Task {
    keys: Vec<(Name, bool)>,
    /// Resources that others are ahead for.
    missing: usize,
}

/// By id, whether it shares the resource.
#[derive(Debug, Default)]
struct Queue {
    holders: BTreeMap<i64, bool>,
    waiting: BTreeMap<i64, bool>,
}

impl Queue {
    /// Lets in whoever may hold the resource now.
    fn admit(&mut self) -> Vec<i64> {
        let mut admitted = Vec::new();
        while let Some(first) = self.waiting.first_entry() {
            let alone = self.holders.is_empty();
            let shares = *first.get() && self.holders.values().next().is_some_and(|shared| *shared);
            if !alone && !shares {
                break;
            }
            let (id, shared) = first.remove_entry();
            self.holders.insert(id, shared);
            admitted.push(id);
        }
        admitted
    }
}

impl Turns {
    /// Takes in a pending task. Tasks come in the order of their ids.
    pub(super) fn insert(&mut self, row: &store::BroadcastTask) {
        let keys: Vec<(Name, bool)> = row.keys.iter().map(|key| ((key.domain, key.key.clone()), key.shared)).collect();
        self.tasks.insert(row.id, Task { missing: keys.len(), keys: keys.clone() });
        if keys.is_empty() {
            self.ready.insert(row.id);
        }
        for (name, shared) in keys {
            let queue = self.queues.entry(name).or_default();
            queue.waiting.insert(row.id, shared);
            let admitted = queue.admit();
            self.granted(admitted);
        }
    }

    /// A task is over, or was taken back.
    pub(super) fn remove(&mut self, id: i64) {
        self.ready.remove(&id);
        let Some(task) = self.tasks.remove(&id) else { return };
        for (name, _) in task.keys {
            let Some(queue) = self.queues.get_mut(&name) else { continue };
            queue.holders.remove(&id);
            queue.waiting.remove(&id);
            let admitted = queue.admit();
            if queue.holders.is_empty() {
                self.queues.remove(&name);
            }
            self.granted(admitted);
        }
    }

    fn granted(&mut self, ids: Vec<i64>) {
        for id in ids {
            if let Some(task) = self.tasks.get_mut(&id) {
                task.missing = task.missing.saturating_sub(1);
                if task.missing == 0 {
                    self.ready.insert(id);
                }
            }
        }
    }

    /// The tasks that have got their turn since this was asked last.
    pub(super) fn take_ready(&mut self) -> BTreeSet<i64> {
        std::mem::take(&mut self.ready)
    }

    pub(super) fn contains(&self, id: i64) -> bool {
        self.tasks.contains_key(&id)
    }

    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }

    pub(super) fn ids(&self) -> BTreeSet<i64> {
        self.tasks.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    fn row(id: i64, keys: &[(u32, bool)]) -> store::BroadcastTask {
        let keys: BTreeMap<u32, bool> = keys.iter().copied().collect();
        let key = |(domain, shared)| store::ResourceKey { domain, key: "k".into(), shared };
        store::BroadcastTask { id, keys: keys.into_iter().map(key).collect(), ..Default::default() }
    }

    fn conflict(a: &store::BroadcastTask, b: &store::BroadcastTask) -> bool {
        let clash = |x: &store::ResourceKey| {
            b.keys.iter().any(|y| x.domain == y.domain && x.key == y.key && !(x.shared && y.shared))
        };
        a.keys.iter().any(clash)
    }

    proptest! {
        /// Whatever is removed, in whatever order, those are ready with whom no earlier one conflicts.
        #[test]
        fn turns_are_those_of_the_facts(
            tasks in proptest::collection::vec(proptest::collection::vec((0_u32..3, any::<bool>()), 0..3), 1..12),
            removed in proptest::collection::vec(any::<Index>(), 0..12),
        ) {
            let mut turns = Turns::default();
            let mut rows: Vec<_> = tasks.iter().zip(1..).map(|(keys, id)| row(id, keys)).collect();
            rows.iter().for_each(|row| turns.insert(row));
            let mut ready = turns.take_ready();
            for at in removed {
                if rows.is_empty() {
                    break;
                }
                let gone = rows.remove(at.index(rows.len()));
                turns.remove(gone.id);
                ready.remove(&gone.id);
                ready.extend(turns.take_ready());
                let expected: BTreeSet<i64> = rows
                    .iter()
                    .enumerate()
                    .filter(|(at, row)| rows[..*at].iter().all(|earlier| !conflict(earlier, row)))
                    .map(|(_, row)| row.id)
                    .collect();
                prop_assert_eq!(&ready, &expected);
                prop_assert_eq!(turns.len(), rows.len());
            }
            rows.iter().for_each(|row| turns.remove(row.id));
            prop_assert!(turns.queues.is_empty() && turns.tasks.is_empty());
        }
    }
}
