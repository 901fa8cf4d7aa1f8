//! An engine in memory that can lose what was not synced, from any batch on: for models, simulation and the storage
//! suite.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::engine::Engine;
use crate::kv::{Batch, KeyRange, Read, Space, Visit};

type Rows = BTreeMap<Vec<u8>, Bytes>;

/// The rows of every space. A copy is cheap: a space's rows are copied when they change while a copy is held.
#[derive(Clone, Default)]
struct Tables([Arc<Rows>; Space::ALL.len()]);

impl Tables {
    fn of(&self, space: Space) -> io::Result<&Arc<Rows>> {
        self.0.get(usize::from(space.0)).ok_or_else(|| io::Error::other(format!("no such space: {space:?}")))
    }

    fn of_mut(&mut self, space: Space) -> io::Result<&mut Rows> {
        let rows = self.0.get_mut(usize::from(space.0));
        rows.map(Arc::make_mut).ok_or_else(|| io::Error::other(format!("no such space: {space:?}")))
    }

    fn write(&mut self, batch: &Change) -> io::Result<()> {
        for (space, from, to) in &batch.cleared {
            let rows = self.of_mut(*space)?;
            match to {
                Some(to) if from >= to => {}
                Some(to) => {
                    let doomed: Vec<_> = rows.range(from.clone()..to.clone()).map(|(key, _)| key.clone()).collect();
                    doomed.iter().for_each(|key| _ = rows.remove(key));
                }
                None => _ = rows.split_off(from),
            }
        }
        for (space, key, value) in &batch.ops {
            let rows = self.of_mut(*space)?;
            match value {
                Some(value) => rows.insert(key.clone(), value.clone()),
                None => rows.remove(key),
            };
        }
        Ok(())
    }
}

/// A [`Batch`] whose values are shared by the tables that hold them.
struct Change {
    ops: Vec<(Space, Vec<u8>, Option<Bytes>)>,
    cleared: Vec<(Space, Vec<u8>, Option<Vec<u8>>)>,
}

impl From<Batch> for Change {
    fn from(batch: Batch) -> Self {
        let ops = batch.ops.into_iter().map(|(space, key, value)| (space, key, value.map(Bytes::from)));
        Change { ops: ops.collect(), cleared: batch.cleared }
    }
}

#[derive(Default)]
struct Inner {
    durable: Tables,
    current: Tables,
    /// In the order in which they were written.
    unsynced: VecDeque<Change>,
}

impl Inner {
    /// Makes the oldest `count` unsynced batches durable.
    fn settle(&mut self, count: usize) -> io::Result<()> {
        for change in self.unsynced.drain(..count) {
            self.durable.write(&change)?;
        }
        Ok(())
    }
}

/// See the module's text. Cloning shares the store.
#[derive(Clone, Default)]
pub struct MemEngine(Arc<Mutex<Inner>>);

impl MemEngine {
    /// A power loss: everything written since the last sync is gone.
    pub fn lose_unsynced(&self) {
        self.lose_after(0);
    }

    /// How many batches were written since the last sync.
    pub fn unsynced(&self) -> usize {
        self.0.lock().unsynced.len()
    }

    /// A power loss that the oldest `kept` of the unsynced batches survive: a disk may write early, never out of order.
    pub fn lose_after(&self, kept: usize) {
        let mut inner = self.0.lock();
        let kept = kept.min(inner.unsynced.len());
        // They were written to `current` before, so they fit.
        let _ = inner.settle(kept);
        inner.unsynced.clear();
        inner.current = inner.durable.clone();
    }
}

impl Read for Tables {
    fn get(&self, space: Space, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        Ok(self.of(space)?.get(key).map(|value| value.to_vec()))
    }

    fn scan(&self, space: Space, range: KeyRange<'_>, reverse: bool, visit: &mut Visit<'_>) -> io::Result<()> {
        if range.is_inverted() {
            return Ok(());
        }
        let rows = self.of(space)?.range::<[u8], _>((range.from, range.to));
        let rows: Box<dyn Iterator<Item = _>> = if reverse { Box::new(rows.rev()) } else { Box::new(rows) };
        for (key, value) in rows {
            if visit(key, value)?.is_break() {
                return Ok(());
            }
        }
        Ok(())
    }
}

impl Read for MemEngine {
    fn get(&self, space: Space, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.0.lock().current.get(space, key)
    }

    fn scan(&self, space: Space, range: KeyRange<'_>, reverse: bool, visit: &mut Visit<'_>) -> io::Result<()> {
        // A copy, so that `visit` may call back into the engine.
        let tables = self.0.lock().current.clone();
        tables.scan(space, range, reverse, visit)
    }
}

impl Engine for MemEngine {
    fn write(&self, batch: Batch) -> io::Result<()> {
        let change = Change::from(batch);
        let mut inner = self.0.lock();
        inner.current.write(&change)?;
        inner.unsynced.push_back(change);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.0.lock();
        let all = inner.unsynced.len();
        inner.settle(all)
    }

    fn pin(&self) -> Arc<dyn Read> {
        Arc::new(self.0.lock().current.clone())
    }

    fn reclaim(&self, _space: Space, _from: &[u8], _to: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn size(&self, space: Space) -> u64 {
        let tables = self.0.lock().current.clone();
        let rows = tables.of(space).map(|rows| rows.iter().map(|(key, value)| key.len() + value.len()).sum());
        rows.map_or(0, |bytes: usize| bytes as u64)
    }

    fn stalled(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_loss_takes_a_suffix_of_what_was_not_synced() {
        let engine = MemEngine::default();
        let put = |value: u8| {
            let mut batch = Batch::default();
            batch.put(Space::META, *b"k", [value]);
            batch.put(Space::STATE, [value], *b"");
            engine.write(batch).unwrap();
        };
        let held = || engine.get(Space::META, b"k").unwrap().map(|value| value[0]);
        put(1);
        engine.sync().unwrap();
        (2..=4).for_each(put);
        assert_eq!((engine.unsynced(), held()), (3, Some(4)), "reads see what is not synced");
        let before = engine.pin();
        engine.lose_after(2);
        assert_eq!((engine.unsynced(), held()), (0, Some(3)));
        assert_eq!(engine.get(Space::STATE, &[4]).unwrap(), None);
        assert_eq!(before.get(Space::META, b"k").unwrap(), Some(vec![4]), "a view does not move");
        put(5);
        engine.lose_unsynced();
        assert_eq!(held(), Some(3));
    }
}
