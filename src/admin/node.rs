//! What the admin API needs of the node it runs on.

use std::io;
use std::time::Instant;

use super::Error;
use crate::pb::admin::{Address, Alarm, HashPoint, LogEntry, NodeStatus, SnapshotBegin};

/// Writes a whole snapshot in the file format. Blocks.
pub type WriteSnapshot = Box<dyn FnOnce(&mut dyn io::Write) -> io::Result<()> + Send>;

/// A pinned snapshot: what it is, and how to get at its bytes.
pub struct SnapshotSource {
    pub begin: SnapshotBegin,
    pub write: WriteSnapshot,
}

/// One node of the cluster, as its operator sees it. Changes return the log index of their entry.
#[tonic::async_trait]
pub trait Node: Send + Sync + 'static {
    /// Everything this node knows about itself and the membership; lags only while it leads.
    fn status(&self) -> Result<NodeStatus, Error>;

    /// Approximate bytes of the replicated tables on this node.
    fn stored_bytes(&self) -> u64;

    /// Hashes at recent applied indexes besides the one in `status`, newest first.
    fn recent_hashes(&self) -> Vec<HashPoint>;

    /// Gives an empty node its first membership. Returns the cluster's id.
    async fn initialize(&self, voters: Vec<(u64, Address)>) -> Result<String, Error>;

    async fn add_learner(&self, id: u64, address: Address) -> Result<u64, Error>;

    async fn promote(&self, id: u64) -> Result<u64, Error>;

    /// Makes the learner `new` a voter and the voter `old` a learner, in one membership change.
    async fn swap(&self, old: u64, new: u64) -> Result<u64, Error>;

    /// Takes a voter or learner out of the membership and closes its id.
    async fn remove(&self, id: u64) -> Result<u64, Error>;

    /// Asks a voter to take over, the best one if none is named. Its success shows in `status` alone.
    async fn start_transfer(&self, to: Option<u64>) -> Result<(), Error>;

    /// Pins the state as it is now.
    async fn pin_snapshot(&self) -> Result<SnapshotSource, Error>;

    /// Builds a snapshot that the log may be shortened to. Returns the last index in it.
    async fn build_snapshot(&self) -> Result<u64, Error>;

    /// One timestamp of the oracle.
    async fn timestamp(&self, deadline: Instant) -> Result<u64, Error>;

    /// Committed entries from `from` on, at most `limit`, fewer if they are large. Empty: nothing there yet.
    async fn entries(&self, from: u64, limit: usize) -> Result<Vec<LogEntry>, Error>;

    /// Withdraws these alarms.
    async fn disarm(&self, alarms: &[Alarm]) -> Result<(), Error>;
}
