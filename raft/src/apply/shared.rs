//! What apply shares with the host's readers: consistent views, the decoded system facts, events, remembered hashes.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{broadcast, watch};

use super::hash::StateHash;
use super::position::Position;
use crate::failpoint;
use crate::kv::{KeyRange, Read, Space, Visit};
use crate::machine::Machine;
use crate::mutation;
use crate::snapshot::{SnapshotData, SnapshotHeader};
use crate::storage::engine::Engine;
use crate::storage::wal::Wal;
use crate::system::{self, Alarm};
use crate::types::{LogId, TypeConfig};

/// Event batches that a slow subscriber may fall behind before it must resynchronise.
const EVENTS_MAX: usize = 4096;
/// Positions whose hash is remembered, so that nodes can be compared at a common index while they apply.
const RECENT_HASHES: usize = 1024;
/// Positions before system entries that are remembered: one a minute and a few at each change of the cluster.
const BOUNDARIES: usize = 64;

/// The events of one applied entry; `index` is their revision. None at all: a snapshot of that index replaced the
/// state.
#[derive(Debug)]
pub struct AppliedEvents<E> {
    pub index: u64,
    pub events: Vec<E>,
}

pub(super) type Snapshot = openraft::type_config::alias::SnapshotOf<TypeConfig, SnapshotData>;

/// What apply shares with the host's readers.
pub(crate) struct StateShared<M: Machine> {
    pub engine: Arc<dyn Engine>,
    pub machine: M,
    pub applied: watch::Sender<Option<LogId>>,
    /// Entries with events that are not common (see [`Machine::is_common`]).
    pub events: broadcast::Sender<Arc<AppliedEvents<M::Event>>>,
    pub all_events: broadcast::Sender<Arc<AppliedEvents<M::Event>>>,
    /// See [`StateShared::shown`].
    shown: AtomicU64,
    wal: Wal,
    pub(super) snapshot_dir: PathBuf,
    /// Held for writing while a snapshot replaces the rows, so that nobody pins a half-installed state.
    pub(super) gate: RwLock<()>,
    pub(super) newest: Mutex<Option<Snapshot>>,
    /// Decoded system rows, replaced before the index that changed them is published.
    pub(super) system: RwLock<Arc<SystemFacts>>,
    recent: Mutex<VecDeque<(u64, StateHash)>>,
    boundaries: Mutex<VecDeque<(u64, StateHash)>>,
    diverged: Mutex<Option<u64>>,
}

/// The host's own facts that every proposal looks at.
#[derive(Debug)]
pub(crate) struct SystemFacts {
    pub apply_version: u32,
    pub alarms: Vec<Alarm>,
}

impl SystemFacts {
    pub(super) fn read(rows: &dyn Read) -> io::Result<Arc<Self>> {
        Ok(Arc::new(SystemFacts { apply_version: system::apply_version(rows)?, alarms: system::alarms(rows)? }))
    }
}

/// A consistent view of the state together with its position.
pub struct StateView {
    rows: Arc<dyn Read>,
    /// Where in the log this view stands.
    pub position: Position,
}

impl StateView {
    /// Index of the last entry this view includes.
    pub fn index(&self) -> u64 {
        self.position.applied.map_or(0, |id| id.index())
    }

    pub(crate) fn rows(&self) -> Arc<dyn Read> {
        self.rows.clone()
    }
}

impl Read for StateView {
    fn get(&self, space: Space, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.rows.get(space, key)
    }

    fn scan(&self, space: Space, range: KeyRange<'_>, reverse: bool, visit: &mut Visit<'_>) -> io::Result<()> {
        self.rows.scan(space, range, reverse, visit)
    }
}

impl<M: Machine> StateShared<M> {
    pub(super) fn new(
        engine: Arc<dyn Engine>,
        wal: Wal,
        snapshot_dir: PathBuf,
        machine: M,
        position: &Position,
    ) -> io::Result<Self> {
        let system = SystemFacts::read(engine.as_ref())?;
        let shared = StateShared {
            engine,
            machine,
            applied: watch::Sender::new(position.applied),
            events: broadcast::Sender::new(EVENTS_MAX),
            all_events: broadcast::Sender::new(EVENTS_MAX),
            shown: AtomicU64::new(position.applied.map_or(0, |id| id.index())),
            wal,
            snapshot_dir,
            gate: RwLock::new(()),
            newest: Mutex::new(None),
            system: RwLock::new(system),
            recent: Mutex::new(VecDeque::with_capacity(RECENT_HASHES)),
            boundaries: Mutex::new(VecDeque::with_capacity(BOUNDARIES)),
            diverged: Mutex::new(None),
        };
        shared.remember(position);
        Ok(shared)
    }

    /// A consistent view of everything applied so far.
    pub fn view(&self) -> io::Result<StateView> {
        let rows = {
            let _gate = self.gate.read();
            self.engine.pin()
        };
        let position = Position::read(rows.as_ref())?;
        Ok(StateView { rows, position })
    }

    /// The last index whose rows a view may show: it counts as applied only after they were written.
    pub fn shown(&self) -> u64 {
        self.shown.load(Ordering::SeqCst)
    }

    /// Before rows are written that bring the state to this position.
    pub(super) fn will_show(&self, applied: Option<LogId>) {
        self.shown.fetch_max(applied.map_or(0, |id| id.index()), Ordering::SeqCst);
    }

    /// A snapshot of this moment. What is applied between the sync and the pin is committed: a quorum's disks hold it.
    pub async fn snapshot(&self) -> io::Result<Snapshot> {
        self.wal.barrier().await?;
        let view = self.view()?;
        let mut header = SnapshotHeader::of(&view)?;
        if mutation::active("snapshot-late-metadata") {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            header.last_log_id = self.view()?.position.applied;
        }
        let meta = header.meta();
        failpoint::point("snapshot.built");
        Ok(Snapshot { meta, snapshot: SnapshotData::Pinned { rows: view.rows(), header: Arc::new(header) } })
    }

    /// The apply version and alarms in force.
    pub fn system(&self) -> Arc<SystemFacts> {
        self.system.read().clone()
    }

    /// Hashes after recent batches, newest first.
    pub fn recent_hashes(&self) -> Vec<(u64, StateHash)> {
        self.recent.lock().iter().rev().copied().collect()
    }

    /// The first index at which this node's state was found to differ from the leader's.
    pub fn diverged_at(&self) -> Option<u64> {
        *self.diverged.lock()
    }

    /// Local only: the replicated rows must not depend on what this node remembers.
    pub(super) fn compare_hash(&self, at: u64, theirs: StateHash) {
        let ours = self.boundaries.lock().iter().find(|(index, _)| *index == at).map(|(_, hash)| *hash);
        if let Some(ours) = ours
            && ours != theirs
        {
            tracing::error!(at, %ours, %theirs, "this node's state differs from the leader's");
            self.diverged.lock().get_or_insert(at);
        }
    }

    /// The hash at an index at which every node ended a batch.
    pub fn newest_boundary(&self) -> Option<(u64, StateHash)> {
        self.boundaries.lock().back().copied()
    }

    pub(super) fn mark_boundary(&self, index: u64, hash: StateHash) {
        let mut boundaries = self.boundaries.lock();
        if boundaries.len() == BOUNDARIES {
            boundaries.pop_front();
        }
        boundaries.push_back((index, hash));
    }

    pub(super) fn remember(&self, position: &Position) {
        let mut recent = self.recent.lock();
        if recent.len() == RECENT_HASHES {
            recent.pop_front();
        }
        recent.push_back((position.applied.map_or(0, |id| id.index()), position.hash));
    }

    pub(super) fn publish(&self, applied: Option<LogId>, events: Vec<AppliedEvents<M::Event>>) {
        for batch in events {
            let common = !batch.events.is_empty() && batch.events.iter().all(M::is_common);
            let batch = Arc::new(batch);
            // Nobody listening is fine.
            let _ = self.all_events.send(batch.clone());
            if !common {
                let _ = self.events.send(batch);
            }
        }
        self.applied.send_replace(applied);
    }
}
