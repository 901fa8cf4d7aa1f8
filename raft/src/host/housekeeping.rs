//! What a node looks after all the time: free space, the size of its log, the speed of its disk, and, on the leader,
//! the apply version that everybody can execute.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;

use super::config::KEEP_LOG_ENTRIES;
use super::start::HostCore;
use crate::machine::Machine;
use crate::offer;
use crate::offload::blocking;
use crate::system::{self, Alarm, AlarmKind, SystemCommand};

const PERIOD: Duration = Duration::from_secs(1);
/// The log is purged in steps of at least this many entries, or of so many bytes: an entry holds one command or many.
const PURGE_STEP: u64 = 1_000;
const PURGE_STEP_BYTES: u64 = 1 << 20;

const SUBMIT_TIMEOUT: Duration = Duration::from_secs(2);
/// Rounds between two comparisons of all nodes' state hashes.
const COMPARE_ROUNDS: u64 = 60;

pub(super) async fn run<M: Machine>(core: Arc<HostCore<M>>) {
    let mut failure = core.failure();
    let mut round: u64 = 0;
    while failure.borrow().is_none() {
        // One that fails does not keep the others from being looked after.
        for looked in [core.look_after_disk().await, core.look_after_log().await, core.look_after_rest().await] {
            if let Err(error) = looked {
                tracing::warn!(%error, "housekeeping");
            }
        }
        core.compare_states(round).await;
        round += 1;
        let _ = tokio::time::timeout(PERIOD, failure.changed()).await;
    }
}

impl<M: Machine> HostCore<M> {
    async fn look_after_rest(&self) -> std::io::Result<()> {
        self.raise_apply_version().await?;
        let addresses: Vec<String> = self.members().into_iter().map(|(_, member)| member.peer).collect();
        self.transport.retain(&addresses);
        let p99 = self.wal.sync_p99();
        if p99 > Duration::from_millis(self.config.election_min_ms) / 10 {
            tracing::warn!(?p99, "syncing the write-ahead log takes more than a tenth of the election timeout");
        }
        if self.shared.engine.stalled() {
            tracing::warn!("RocksDB delays writes: compaction is behind");
        }
        Ok(())
    }

    async fn look_after_disk(&self) -> std::io::Result<()> {
        let state = self.disk.state()?;
        let alarm = Alarm { kind: AlarmKind::NoSpace, node: self.identity.node_id };
        let raised = self.shared.system().alarms.contains(&alarm);
        let command = match (state.short, state.ample, raised) {
            (true, _, false) => {
                tracing::error!(free_bytes = state.free, "the disk is nearly full; raising NOSPACE");
                SystemCommand::RaiseAlarm(alarm)
            }
            (_, true, true) => SystemCommand::ClearAlarm(alarm),
            _ => {
                return if state.free < self.config.min_free_bytes / 4 {
                    self.disk.drop_ballast()
                } else {
                    self.disk.keep_ballast()
                };
            }
        };
        self.try_submit(&command).await;
        Ok(())
    }

    /// Whatever is not accepted in time is tried again in a later round.
    async fn try_submit(&self, command: &SystemCommand) {
        let _ = tokio::time::timeout(SUBMIT_TIMEOUT, self.submit_system(command)).await;
    }

    /// The leader names its hash at an earlier index; a member that has another one there raises CORRUPT.
    async fn compare_states(&self, round: u64) {
        let alarm = Alarm { kind: AlarmKind::Corrupt, node: self.identity.node_id };
        if self.shared.diverged_at().is_some() && !self.shared.system().alarms.contains(&alarm) {
            self.try_submit(&SystemCommand::RaiseAlarm(alarm)).await;
        }
        if round % COMPARE_ROUNDS == COMPARE_ROUNDS - 1
            && self.leadership.borrow().is_self
            && let Some((at, hash)) = self.shared.newest_boundary()
        {
            self.try_submit(&SystemCommand::CompareHash { at, hash }).await;
        }
    }

    async fn look_after_log(&self) -> std::io::Result<()> {
        let (snapshot, purged) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            (metrics.snapshot.map_or(0, |id| id.index()), metrics.purged.map_or(0, |id| id.index()))
        };
        if self.log.bytes_after(snapshot) > self.config.snapshot_log_bytes {
            self.raft.trigger().snapshot().await.map_err(std::io::Error::other)?;
        }
        let upto = self.log.purge_point(self.config.keep_log_bytes, KEEP_LOG_ENTRIES).unwrap_or(0).min(snapshot);
        let bytes = self.log.bytes_after(purged).saturating_sub(self.log.bytes_after(upto));
        if upto >= purged + PURGE_STEP || (upto > purged && bytes >= PURGE_STEP_BYTES) {
            self.raft.trigger().purge_log(upto).await.map_err(std::io::Error::other)?;
            let (log, busy) = (self.log.clone(), self.reclaiming.clone());
            if !busy.swap(true, Ordering::AcqRel) {
                tokio::spawn(blocking(move || {
                    // Of no consequence when it fails: the rows are gone either way.
                    let _ = log.reclaim();
                    busy.store(false, Ordering::Release);
                    Ok(())
                }));
            }
        }
        Ok(())
    }

    /// Once every member announced a newer version, commands may use it.
    async fn raise_apply_version(&self) -> std::io::Result<()> {
        if !self.leadership.borrow().is_self {
            return Ok(());
        }
        let current = self.shared.system().apply_version;
        let mut lowest = offer::apply_version::<M>();
        for (node, _) in self.members() {
            let facts = system::node_facts(self.shared.engine.as_ref(), node)?;
            lowest = lowest.min(facts.map_or(0, |facts| facts.apply_version));
        }
        if lowest > current {
            self.try_submit(&SystemCommand::RaiseApplyVersion { version: lowest }).await;
        }
        Ok(())
    }
}
