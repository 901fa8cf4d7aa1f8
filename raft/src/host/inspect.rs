//! Looking into a node: its snapshot as a stream, its committed log as text, its recent state hashes.

use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::entry::RaftEntry;

use super::start::HostCore;
use crate::apply::StateHash;
use crate::codec;
use crate::error::ChangeError;
use crate::kv::Space;
use crate::machine::Machine;
use crate::snapshot::{SnapshotData, SnapshotHeader};
use crate::system::SystemCommand;
use crate::types::{CommandKind, Payload};

const BUILD_TIMEOUT: Duration = Duration::from_secs(30);

/// A committed log entry, readable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    pub index: u64,
    pub term: u64,
    /// `blank`, `membership`, `system` or `command`.
    pub kind: &'static str,
    pub text: String,
}

impl<M: Machine> HostCore<M> {
    /// Pins the state as it is now, durably known, to be written as a snapshot file.
    pub async fn pin_snapshot(&self) -> std::io::Result<(SnapshotHeader, SnapshotData)> {
        let snapshot = self.shared.snapshot().await?;
        let header = match &snapshot.snapshot {
            SnapshotData::Pinned { header, .. } => header.as_ref().clone(),
            SnapshotData::File(file) => file.header.clone(),
        };
        Ok((header, snapshot.snapshot))
    }

    /// Approximate bytes, on disk and in memory, of everything that a snapshot would hold.
    pub fn stored_bytes(&self) -> u64 {
        Space::REPLICATED.into_iter().map(|space| self.shared.engine.size(space)).sum()
    }

    /// Builds the snapshot that the log may be purged up to. Returns the last index in it.
    pub async fn build_snapshot(&self) -> Result<u64, ChangeError> {
        let wanted = self.shared.applied.borrow().map_or(0, |id| id.index());
        self.raft.trigger().snapshot().await.map_err(|_| ChangeError::Stopped)?;
        let wait = self.raft.wait(Some(BUILD_TIMEOUT));
        let built = wait.metrics(|metrics| metrics.snapshot.is_some_and(|id| id.index() >= wanted), "snapshot").await;
        let built = built.map_err(|error| ChangeError::TimedOut(error.to_string()))?;
        Ok(built.snapshot.map_or(0, |id| id.index()))
    }

    /// Committed entries from `from` on, at most `limit`; fewer when they are large, none beyond the commit index.
    pub fn log_lines(&self, from: u64, limit: usize) -> std::io::Result<Vec<LogLine>> {
        let committed = self.raft.metrics().borrow_watched().local_committed.map_or(0, |id| id.index());
        let end = from.saturating_add(limit as u64).min(committed.saturating_add(1));
        let entries = self.log.entries(from, end)?;
        let line = |entry: crate::types::Entry| {
            let (kind, text) = match &entry.payload {
                Payload::Blank => ("blank", "a leader's first entry".to_string()),
                Payload::Membership(membership) => ("membership", membership.to_string()),
                Payload::Normal(command) if command.kind == CommandKind::System => {
                    let decoded = codec::decode::<SystemCommand>(&command.data);
                    ("system", decoded.map_or_else(|error| error.to_string(), |command| command.to_string()))
                }
                Payload::Normal(command) if command.kind == CommandKind::AppBatch => ("batch", self.describe(command)),
                Payload::Normal(command) => ("command", self.shared.machine.describe(&command.data)),
            };
            LogLine { index: entry.index(), term: **entry.log_id.committed_leader_id(), kind, text }
        };
        Ok(entries.into_iter().map(line).collect())
    }

    fn describe(&self, batch: &crate::types::Command) -> String {
        match codec::decode_batch(batch.data.clone()) {
            Ok(commands) => {
                let lines: Vec<_> = commands.iter().map(|command| self.shared.machine.describe(command)).collect();
                lines.join("; ")
            }
            Err(error) => error.to_string(),
        }
    }

    /// State hashes at recently applied indexes, newest first, to compare nodes at a common one.
    pub fn recent_hashes(&self) -> Vec<(u64, StateHash)> {
        self.shared.recent_hashes()
    }
}
