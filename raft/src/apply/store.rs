//! `RaftStateMachine`: applies batches, publishes events after the write, then answers; builds and installs snapshots.
//!
//! Apply does not sync. The quorum's log holds every applied entry durably, the position lies in the same batch as the
//! rows, and a purge comes later in the same write-ahead log, so a crash only means applying some entries again,
//! exactly.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use futures::{FutureExt, Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{OptionalSend, entry::RaftEntry};

use super::position::Position;
use super::recent::RecentRows;
use super::shared::{AppliedEvents, Snapshot, StateShared, SystemFacts};
use crate::codec::{self, corrupt};
use crate::failpoint;
use crate::kv::{Batch, Read, Space, Txn};
use crate::machine::{ApplyContext, Machine};
use crate::offer;
use crate::offload::off_the_core;
use crate::snapshot::{self, SnapshotData};
use crate::storage::engine::Engine;
use crate::storage::wal::Wal;
use crate::system::{self, SystemCommand};
use crate::types::{CommandKind, Entry, LogId, Outcome, Payload, SnapshotMeta, StoredMembership, TypeConfig};

/// Entries that one batch may hold: bounds memory and the delay of the first reply.
const BATCH_ENTRIES_MAX: usize = 1024;
/// Command bytes after which a batch is closed.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// A write is closed once it and the replies to its entries take so much memory: a short command may write a lot.
const WRITE_BYTES_MAX: usize = 32 << 20;
/// No further command of an entry is executed once those before it wrote and answered so much. What an entry means must
/// not depend on the binary that executes it: a change of this, or of how [`Txn::bytes`] counts, needs a new apply
/// version.
const BATCHED_WRITE_BYTES_MAX: usize = 16 << 20;
/// Batches from here on would keep Raft's core waiting on this worker.
const LONG_BATCH_COMMANDS: usize = 256;
const LONG_BATCH_BYTES: usize = 256 << 10;

/// The state machine as openraft drives it.
pub struct StateStore<M: Machine> {
    shared: Arc<StateShared<M>>,
    position: Position,
    recent: RecentRows,
}

impl<M: Machine> StateStore<M> {
    /// Opens the state, finishing an installation that a crash interrupted.
    pub fn open(engine: Arc<dyn Engine>, wal: Wal, snapshot_dir: PathBuf, machine: M) -> io::Result<Self> {
        snapshot::resume_install(engine.as_ref(), &snapshot_dir)?;
        check_apply_version::<M>(engine.as_ref())?;
        let position = Position::read(engine.as_ref())?;
        machine.restored(engine.as_ref())?;
        let shared = StateShared::new(engine, wal, snapshot_dir, machine, &position)?;
        Ok(StateStore { shared: Arc::new(shared), position, recent: RecentRows::default() })
    }

    pub(crate) fn shared(&self) -> Arc<StateShared<M>> {
        self.shared.clone()
    }

    /// Applies entries that follow each other, and answers their proposers.
    fn apply_batch(&mut self, entries: Vec<EntryResponder<TypeConfig>>, bytes: usize) -> io::Result<()> {
        let mut commands = 0;
        let long = bytes > LONG_BATCH_BYTES
            || entries.iter().any(|(entry, _)| {
                let (more, long) = weigh(&self.shared.machine, entry);
                commands += more;
                long || commands > LONG_BATCH_COMMANDS
            });
        if long { off_the_core(|| self.apply_entries(entries)) } else { self.apply_entries(entries) }
    }

    /// In as few writes as their memory allows.
    fn apply_entries(&mut self, entries: Vec<EntryResponder<TypeConfig>>) -> io::Result<()> {
        let mut entries = entries.into_iter().peekable();
        while entries.peek().is_some() {
            self.apply_some(&mut entries)?;
        }
        Ok(())
    }

    /// Replaces the state by a snapshot's.
    fn install(&mut self, meta: &SnapshotMeta, data: SnapshotData) -> io::Result<()> {
        let shared = self.shared.clone();
        // Verified and made durable before the gate closes: readers wait only for the rows to be replaced.
        let file = snapshot::stage(data, &shared.snapshot_dir)?;
        if file.header.last_log_id != meta.last_log_id {
            return Err(corrupt("a snapshot's file and its announced position disagree"));
        }
        let _gate = shared.gate.write();
        shared.will_show(meta.last_log_id);
        self.recent = RecentRows::default();
        snapshot::install(shared.engine.as_ref(), &file)?;
        check_apply_version::<M>(shared.engine.as_ref())?;
        self.position = Position::read(shared.engine.as_ref())?;
        shared.machine.restored(shared.engine.as_ref())?;
        *shared.system.write() = SystemFacts::read(shared.engine.as_ref())?;
        shared.remember(&self.position);
        *shared.newest.lock() = None;
        Ok(())
    }

    /// Takes entries until what they write and answer is enough for one write.
    fn apply_some(&mut self, entries: &mut impl Iterator<Item = EntryResponder<TypeConfig>>) -> io::Result<()> {
        let shared = self.shared.clone();
        let rows = self.recent.over(shared.engine.as_ref());
        let mut txn = Txn::new(&rows);
        let mut next = self.position.clone();
        let mut published = Vec::new();
        let mut replies = Vec::new();
        let mut reply_bytes = 0;
        for (entry, responder) in entries {
            next.applied = Some(entry.log_id);
            let mut events = Vec::new();
            let outcome = execute(&shared, &entry, &mut txn, &mut next, &mut events)?;
            if !events.is_empty() {
                published.push(AppliedEvents { index: entry.index(), events });
            }
            if let Some(responder) = responder {
                reply_bytes += outcome.bytes();
                replies.push((responder, outcome));
            }
            if txn.bytes() + reply_bytes > WRITE_BYTES_MAX {
                break;
            }
        }
        let (batch, recent) = self.changes(txn, &mut next)?;
        let system_changed = batch.ops.iter().any(|(space, _, _)| *space == Space::SYSTEM);
        failpoint::point("apply.before_write");
        shared.will_show(next.applied);
        shared.engine.write(batch)?;
        self.recent = recent;
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

    /// The rows that differ, with the hash and position that they bring the state to, and what the next apply is likely
    /// to ask for.
    fn changes(&self, txn: Txn<'_>, next: &mut Position) -> io::Result<(Batch, RecentRows)> {
        let (mut batch, mut recent) = (Batch::default(), RecentRows::default());
        let (rows, mut known) = txn.into_parts();
        for ((space, key), value) in rows {
            if !space.hashed() {
                batch.ops.push((space, key, value));
                continue;
            }
            recent.keep(space, &key, value.as_deref());
            let old = match known.take(space, &key) {
                Some(old) => old,
                None => self.shared.engine.get(space, &key)?,
            };
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
        recent.keep_read(known);
        next.put_after(&self.position, &mut batch)?;
        Ok((batch, recent))
    }
}

fn size(entry: &Entry) -> usize {
    match &entry.payload {
        Payload::Normal(command) => command.data.len(),
        Payload::Blank | Payload::Membership(_) => 0,
    }
}

/// A binary that is too old for the cluster's apply version would execute its entries with another meaning.
fn check_apply_version<M: Machine>(rows: &dyn Read) -> io::Result<()> {
    let version = system::apply_version(rows)?;
    let ours = offer::apply_version::<M>();
    if version <= ours {
        return Ok(());
    }
    Err(corrupt(format!("the cluster runs apply version {version}, this binary knows {ours}: upgrade this node")))
}

/// How many commands the entry holds, and whether one of them may take long.
fn weigh<M: Machine>(machine: &M, entry: &Entry) -> (usize, bool) {
    let Payload::Normal(command) = &entry.payload else { return (1, false) };
    match command.kind {
        CommandKind::System => (1, false),
        CommandKind::App => (1, machine.is_long(&command.data)),
        CommandKind::AppBatch => match codec::decode_batch(command.data.clone()) {
            Ok(batch) => (batch.len(), batch.iter().any(|one| machine.is_long(one))),
            Err(_) => (1, false),
        },
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
            let removed = position.membership.nodes().map(|(id, _)| *id).filter(|id| membership.get_node(id).is_none());
            for node in removed.collect::<Vec<_>>() {
                system::apply(&SystemCommand::Retire { node }, txn)?;
            }
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
            let reply = system::apply(&command, txn)?;
            check_apply_version::<M>(txn)?;
            Ok(Outcome::Reply(codec::encode(&reply)?))
        }
        CommandKind::App | CommandKind::AppBatch => {
            let context = ApplyContext {
                index: entry.index(),
                term,
                leader: command.proposer,
                apply_version: system::apply_version(txn)?,
            };
            let unreadable =
                |error| corrupt(format!("log entry {} cannot be executed by this binary: {error}", entry.log_id));
            if command.kind == CommandKind::App {
                let reply = shared.machine.apply(&context, &command.data, txn, events);
                return reply.map(Outcome::Reply).map_err(unreadable);
            }
            let before = txn.bytes();
            let mut replies = Vec::new();
            let mut reply_bytes = 0;
            for command in codec::decode_batch(command.data.clone())? {
                // The same on every node, whatever else is in this write: the proposer sends the rest once more.
                if txn.bytes() - before + reply_bytes > BATCHED_WRITE_BYTES_MAX {
                    break;
                }
                let reply = shared.machine.apply(&context, &command, txn, events).map_err(unreadable)?;
                reply_bytes += reply.len();
                replies.push(reply);
            }
            Ok(Outcome::Replies(replies))
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
        let mut batch = Vec::new();
        let mut bytes = 0;
        loop {
            let next = if batch.is_empty() { Some(entries.next().await) } else { entries.next().now_or_never() };
            let Some(next) = next else {
                // Nothing more is at hand: do not keep those waiting who are.
                self.apply_batch(std::mem::take(&mut batch), bytes)?;
                bytes = 0;
                continue;
            };
            let Some(entry) = next.transpose()? else { break };
            let system = is_system(&entry.0);
            if system || batch.len() >= BATCH_ENTRIES_MAX || bytes >= BATCH_BYTES_MAX {
                self.apply_batch(std::mem::take(&mut batch), bytes)?;
                bytes = 0;
            }
            if system {
                // A batch ends here on every node, so that their hashes can be compared.
                self.shared.mark_boundary(entry.0.index().saturating_sub(1), self.position.hash);
            }
            bytes += size(&entry.0);
            batch.push(entry);
        }
        self.apply_batch(batch, bytes)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder<M> {
        SnapshotBuilder { shared: self.shared.clone() }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, data: SnapshotData) -> io::Result<()> {
        off_the_core(|| self.install(meta, data))?;
        let shared = self.shared.clone();
        let index = self.position.applied.map_or(0, |id| id.index());
        shared.publish(self.position.applied, vec![AppliedEvents { index, events: Vec::new() }]);
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
        let mut newest = self.shared.newest.lock();
        // An installation may have overtaken this one.
        if newest.as_ref().is_none_or(|newest| newest.meta.last_log_id <= snapshot.meta.last_log_id) {
            *newest = Some(snapshot.clone());
        }
        Ok(snapshot)
    }
}

#[cfg(test)]
mod tests;
