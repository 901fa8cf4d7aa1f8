//! What a host takes from the machine that it runs on, so that a simulation can stand in for the machine.

use std::sync::Arc;

use super::clock::{Gaps, gaps};
use super::config::HostConfig;
use crate::network::{Dial, dial_tcp};
use crate::storage::engine::Engine;
use crate::storage::rocks::RocksEngine;
use crate::storage::wal::Syncing;

/// Disk, network and clocks of one node. Time is tokio's; files beside the engine lie in the configured directory.
#[derive(Clone)]
pub struct Environment {
    pub engine: Arc<dyn Engine>,
    pub syncing: Syncing,
    /// How peers are reached.
    pub dial: Dial,
    /// How far clocks that go on during a suspension are ahead of the monotonic one: see [`Gaps`].
    pub gaps: fn() -> Gaps,
}

impl Environment {
    /// This machine: RocksDB in the configured directory, TCP, the kernel's clocks.
    pub(super) fn of_machine(config: &HostConfig) -> std::io::Result<Self> {
        let engine = Arc::new(RocksEngine::open(&config.data_dir.join("db"), config.budget)?);
        Ok(Environment { engine, syncing: Syncing::Thread, dial: dial_tcp(), gaps })
    }
}
