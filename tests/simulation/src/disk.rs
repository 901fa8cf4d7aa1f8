//! A disk in memory whose power can fail: at any moment, or at the n-th write or sync from now on. What was not synced
//! then survives up to a point that the seed chooses.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::SmallRng;
use roost_raft::kv::{Batch, KeyRange, Read, Space, Visit};
use roost_raft::storage::engine::Engine;
use roost_raft::storage::mem::MemEngine;

use crate::trace::Trace;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Power {
    On,
    /// For so many more writes and syncs.
    Failing(u64),
    Off,
}

pub struct Disk {
    engine: MemEngine,
    power: Mutex<Power>,
    name: String,
    trace: Trace,
}

impl Disk {
    pub fn new(name: &str, trace: Trace) -> Self {
        Disk { engine: MemEngine::default(), power: Mutex::new(Power::On), name: name.to_owned(), trace }
    }

    /// Lets the power fail at the write or sync after so many more.
    pub fn fail_after(&self, operations: u64) {
        *self.power.lock() = Power::Failing(operations);
    }

    pub fn has_power(&self) -> bool {
        *self.power.lock() != Power::Off
    }

    /// The power has failed: of what was not synced, a prefix is kept.
    pub fn lose_power(&self, rng: &mut SmallRng) {
        let unsynced = self.engine.unsynced();
        let kept = rng.random_range(0..=unsynced);
        self.trace.note(format_args!("{} keeps {kept} of {unsynced} unsynced batches", self.name));
        self.engine.lose_after(kept);
    }

    pub fn restore_power(&self) {
        *self.power.lock() = Power::On;
    }

    /// Counts one write or sync.
    fn operate(&self) -> io::Result<()> {
        let mut power = self.power.lock();
        *power = match *power {
            Power::On => return Ok(()),
            Power::Failing(0) | Power::Off => Power::Off,
            Power::Failing(left) => {
                *power = Power::Failing(left - 1);
                return Ok(());
            }
        };
        Err(io::Error::other("the power has failed"))
    }
}

impl Read for Disk {
    fn get(&self, space: Space, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.engine.get(space, key)
    }

    fn scan(&self, space: Space, range: KeyRange<'_>, reverse: bool, visit: &mut Visit<'_>) -> io::Result<()> {
        self.engine.scan(space, range, reverse, visit)
    }
}

impl Engine for Disk {
    fn write(&self, batch: Batch) -> io::Result<()> {
        self.operate()?;
        let mut hasher = blake3::Hasher::new();
        for (space, key, value) in &batch.ops {
            hasher.update(&[space.0]).update(key).update(value.as_deref().unwrap_or_default());
        }
        let (count, hash) = (batch.ops.len(), hasher.finalize().to_hex());
        self.trace.note(format_args!("{} writes {count} rows, {}", self.name, hash.get(..16).unwrap_or_default()));
        self.engine.write(batch)
    }

    fn sync(&self) -> io::Result<()> {
        self.operate()?;
        self.trace.note(format_args!("{} syncs {} batches", self.name, self.engine.unsynced()));
        self.engine.sync()
    }

    fn pin(&self) -> Arc<dyn Read> {
        self.engine.pin()
    }

    fn reclaim(&self, space: Space, from: &[u8], to: &[u8]) -> io::Result<()> {
        self.engine.reclaim(space, from, to)
    }

    fn size(&self, space: Space) -> u64 {
        self.engine.size(space)
    }

    fn stalled(&self) -> bool {
        self.engine.stalled()
    }
}
