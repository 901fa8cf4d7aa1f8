//! An engine in memory that can lose what was not synced: for models, simulation and the storage suite.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::engine::Engine;
use crate::kv::{Batch, KeyRange, MemTables, Read, Space, Visit};

#[derive(Default)]
struct Inner {
    durable: MemTables,
    current: MemTables,
    unsynced: Vec<Batch>,
}

/// See the module's text. Cloning shares the store.
#[derive(Clone, Default)]
pub struct MemEngine(Arc<Mutex<Inner>>);

impl MemEngine {
    /// A power loss: everything written since the last sync is gone.
    pub fn lose_unsynced(&self) {
        let mut inner = self.0.lock();
        inner.current = inner.durable.clone();
        inner.unsynced.clear();
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
        let mut inner = self.0.lock();
        inner.current.write(&batch);
        inner.unsynced.push(batch);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.0.lock();
        for batch in std::mem::take(&mut inner.unsynced) {
            inner.durable.write(&batch);
        }
        Ok(())
    }

    fn pin(&self) -> Arc<dyn Read> {
        Arc::new(self.0.lock().current.clone())
    }

    fn reclaim(&self, _space: Space, _from: &[u8], _to: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn size(&self, space: Space) -> u64 {
        self.0.lock().current.len(space) as u64
    }

    fn stalled(&self) -> bool {
        false
    }
}
