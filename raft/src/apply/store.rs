//! `RaftStateMachine`: applies batches, publishes events after the write, then answers; builds and installs snapshots.
//!
//! Apply does not sync. The quorum's log holds every applied entry durably, the position lies in the same batch as the
//! rows, and a purge comes later in the same write-ahead log, so a crash only means applying some entries again, exactly.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use futures::{FutureExt, Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{OptionalSend, entry::RaftEntry};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{broadcast, watch};

use super::hash::StateHash;
use super::position::Position;
use crate::codec::{self, corrupt};
use crate::failpoint;
use crate::kv::{Batch, KeyRange, Read, Space, Txn, Visit};
use crate::machine::{ApplyContext, Machine};
use crate::snapshot::{self, SnapshotData, SnapshotHeader};
use crate::storage::engine::Engine;
use crate::storage::wal::Wal;
use crate::system::{self, Alarm, SystemCommand};
use crate::types::{CommandKind, Entry, LogId, Outcome, Payload, SnapshotMeta, StoredMembership, TypeConfig};

/// Entries that one batch may hold: bounds memory and the delay of the first reply.
const BATCH_ENTRIES_MAX: usize = 1024;
/// Event batches that a slow subscriber may fall behind before it must resynchronise.
const EVENTS_MAX: usize = 4096;
/// Positions whose hash is remembered, so that nodes can be compared at a common index while they apply.
const RECENT_HASHES: usize = 1024;

/// The events of one applied entry; `index` is their revision.
#[derive(Debug)]
pub struct AppliedEvents<E> {
    pub index: u64,
    pub events: Vec<E>,
}

type Snapshot = openraft::type_config::alias::SnapshotOf<TypeConfig, SnapshotData>;

/// What apply shares with the host's readers.
pub(crate) struct StateShared<M: Machine> {
    pub engine: Arc<dyn Engine>,
    pub machine: M,
    pub applied: watch::Sender<Option<LogId>>,
    pub events: broadcast::Sender<Arc<AppliedEvents<M::Event>>>,
    wal: Wal,
    snapshot_dir: PathBuf,
    /// Held for writing while a snapshot replaces the rows, so that nobody pins a half-installed state.
    gate: RwLock<()>,
    newest: Mutex<Option<Snapshot>>,
    /// Decoded system rows, replaced before the index that changed them is published.
    system: RwLock<Arc<SystemFacts>>,
    recent: Mutex<VecDeque<(u64, StateHash)>>,
    diverged: Mutex<Option<u64>>,
}

/// The host's own facts that every proposal looks at.
#[derive(Debug)]
pub(crate) struct SystemFacts {
    pub apply_version: u32,
    pub alarms: Vec<Alarm>,
}

impl SystemFacts {
    fn read(rows: &dyn Read) -> io::Result<Arc<Self>> {
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
    /// A consistent view of everything applied so far.
    pub fn view(&self) -> io::Result<StateView> {
        let rows = {
            let _gate = self.gate.read();
            self.engine.pin()
        };
        let position = Position::read(rows.as_ref())?;
        Ok(StateView { rows, position })
    }

    /// A snapshot of this moment. Syncs first, so that the snapshot never knows more than the disk.
    pub async fn snapshot(&self) -> io::Result<Snapshot> {
        self.wal.barrier().await?;
        let view = self.view()?;
        let header = SnapshotHeader::of(&view)?;
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
    fn compare_hash(&self, at: u64, theirs: StateHash) {
        let ours = self.recent.lock().iter().find(|(index, _)| *index == at).map(|(_, hash)| *hash);
        if let Some(ours) = ours
            && ours != theirs
        {
            tracing::error!(at, %ours, %theirs, "this node's state differs from the leader's");
            self.diverged.lock().get_or_insert(at);
        }
    }

    fn remember(&self, position: &Position) {
        let mut recent = self.recent.lock();
        if recent.len() == RECENT_HASHES {
            recent.pop_front();
        }
        recent.push_back((position.applied.map_or(0, |id| id.index()), position.hash));
    }

    fn publish(&self, applied: Option<LogId>, events: Vec<AppliedEvents<M::Event>>) {
        for batch in events {
            // Nobody listening is fine.
            let _ = self.events.send(Arc::new(batch));
        }
        self.applied.send_replace(applied);
    }
}

/// The state machine as openraft drives it. Cloning shares it.
pub struct StateStore<M: Machine> {
    shared: Arc<StateShared<M>>,
    position: Position,
}

impl<M: Machine> StateStore<M> {
    /// Opens the state, finishing an installation that a crash interrupted.
    pub fn open(engine: Arc<dyn Engine>, wal: Wal, snapshot_dir: PathBuf, machine: M) -> io::Result<Self> {
        snapshot::resume_install(engine.as_ref(), &snapshot_dir)?;
        let position = Position::read(engine.as_ref())?;
        machine.restored(engine.as_ref())?;
        let system = RwLock::new(SystemFacts::read(engine.as_ref())?);
        let shared = StateShared {
            engine,
            machine,
            applied: watch::Sender::new(position.applied),
            events: broadcast::Sender::new(EVENTS_MAX),
            wal,
            snapshot_dir,
            gate: RwLock::new(()),
            newest: Mutex::new(None),
            system,
            recent: Mutex::new(VecDeque::with_capacity(RECENT_HASHES)),
            diverged: Mutex::new(None),
        };
        shared.remember(&position);
        Ok(StateStore { shared: Arc::new(shared), position })
    }

    pub(crate) fn shared(&self) -> Arc<StateShared<M>> {
        self.shared.clone()
    }

    /// Applies entries that follow each other, in one batch, and answers their proposers.
    fn apply_batch(&mut self, entries: Vec<EntryResponder<TypeConfig>>) -> io::Result<()> {
        let shared = self.shared.clone();
        let mut txn = Txn::new(shared.engine.as_ref());
        let mut next = self.position.clone();
        let mut published = Vec::new();
        let mut replies = Vec::with_capacity(entries.len());
        for (entry, responder) in entries {
            next.applied = Some(entry.log_id);
            let mut events = Vec::new();
            let outcome = execute(&shared, &entry, &mut txn, &mut next, &mut events)?;
            if !events.is_empty() {
                published.push(AppliedEvents { index: entry.index(), events });
            }
            if let Some(responder) = responder {
                replies.push((responder, outcome));
            }
        }
        let batch = self.changes(txn, &mut next)?;
        let system_changed = batch.ops.iter().any(|(space, _, _)| *space == Space::SYSTEM);
        failpoint::point("apply.before_write");
        shared.engine.write(batch)?;
        failpoint::point("apply.after_write");
        if system_changed {
            *shared.system.write() = SystemFacts::read(shared.engine.as_ref())?;
        }
        self.position = next;
        shared.remember(&self.position);
        shared.publish(self.position.applied, published);
        replies.into_iter().for_each(|(responder, outcome)| responder.send(outcome));
        Ok(())
    }

    /// The rows that differ, with the hash and position that they bring the state to.
    fn changes(&self, txn: Txn<'_>, next: &mut Position) -> io::Result<Batch> {
        let mut batch = Batch::default();
        for ((space, key), value) in txn.into_rows() {
            let old = self.shared.engine.get(space, &key)?;
            if old == value {
                continue;
            }
            if let Some(old) = &old {
                next.hash.remove(space, &key, old);
            }
            if let Some(value) = &value {
                next.hash.add(space, &key, value);
            }
            batch.ops.push((space, key, value));
        }
        next.put(&mut batch)?;
        Ok(batch)
    }
}

fn is_system(entry: &Entry) -> bool {
    matches!(&entry.payload, Payload::Normal(command) if command.kind == CommandKind::System)
}

fn execute<M: Machine>(
    shared: &StateShared<M>,
    entry: &Entry,
    txn: &mut Txn<'_>,
    position: &mut Position,
    events: &mut Vec<M::Event>,
) -> io::Result<Outcome> {
    let command = match &entry.payload {
        Payload::Blank => return Ok(Outcome::Empty),
        Payload::Membership(membership) => {
            position.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
            return Ok(Outcome::Empty);
        }
        Payload::Normal(command) => command,
    };
    let term = **entry.log_id.committed_leader_id();
    if command.term != term {
        // The batch API of openraft has no fence, so the entry carries its own.
        return Ok(Outcome::Fenced);
    }
    match command.kind {
        CommandKind::System => {
            let command: SystemCommand = codec::decode(&command.data)?;
            if let SystemCommand::CompareHash { at, hash } = command {
                shared.compare_hash(at, hash);
            }
            Ok(Outcome::Reply(codec::encode(&system::apply(&command, txn)?)?))
        }
        CommandKind::App => {
            let context = ApplyContext {
                index: entry.index(),
                term,
                leader: command.proposer,
                apply_version: system::apply_version(txn)?,
            };
            let reply = shared.machine.apply(&context, &command.data, txn, events);
            reply.map(Outcome::Reply).map_err(|error| {
                corrupt(format!("log entry {} cannot be executed by this binary: {error}", entry.log_id))
            })
        }
    }
}

impl<M: Machine> RaftStateMachine<TypeConfig> for StateStore<M> {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = SnapshotBuilder<M>;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.position.applied, self.position.membership.clone()))
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        // A batch may meet the end; asking once more must then be harmless.
        let mut entries = entries.fuse();
        while let Some(first) = entries.next().await {
            let mut batch = vec![first?];
            while batch.len() < BATCH_ENTRIES_MAX
                && let Some(Some(entry)) = entries.next().now_or_never()
            {
                let entry = entry?;
                if is_system(&entry.0) {
                    // Ends a batch at the same index on every node, so that their hashes can be compared there.
                    self.apply_batch(std::mem::take(&mut batch))?;
                }
                batch.push(entry);
            }
            self.apply_batch(batch)?;
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder<M> {
        SnapshotBuilder { shared: self.shared.clone() }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, data: SnapshotData) -> io::Result<()> {
        let shared = self.shared.clone();
        // Verified and made durable before the gate closes: readers wait only for the rows to be replaced.
        let file = snapshot::stage(data, &shared.snapshot_dir)?;
        if file.header.last_log_id != meta.last_log_id {
            return Err(corrupt("a snapshot's file and its announced position disagree"));
        }
        {
            let _gate = shared.gate.write();
            snapshot::install(shared.engine.as_ref(), &file)?;
            self.position = Position::read(shared.engine.as_ref())?;
            shared.machine.restored(shared.engine.as_ref())?;
            *shared.system.write() = SystemFacts::read(shared.engine.as_ref())?;
            shared.remember(&self.position);
            *shared.newest.lock() = None;
        }
        shared.applied.send_replace(self.position.applied);
        let newest = shared.snapshot().await?;
        *shared.newest.lock() = Some(newest);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        Ok(self.shared.newest.lock().clone())
    }
}

/// Pins the state of the moment; nothing is copied until somebody streams it.
pub struct SnapshotBuilder<M: Machine> {
    shared: Arc<StateShared<M>>,
}

impl<M: Machine> RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder<M> {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let snapshot = self.shared.snapshot().await?;
        *self.shared.newest.lock() = Some(snapshot.clone());
        Ok(snapshot)
    }
}
