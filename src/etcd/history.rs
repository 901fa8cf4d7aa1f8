//! The leader task that keeps history short: it has compacted rows reclaimed, a bounded number with each entry, and
//! compacts by itself if it is configured to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::leader::{LeaderTask, Reign};
use crate::proposer::Proposer;
use crate::replica::Replica;
use crate::state::keyspace::{self, KeyspaceCommand, KeyspaceReply, Revisions};
use crate::state::{Command, Reply};

/// How often it is looked whether something was compacted. Nobody waits for it: a physical compaction reclaims by
/// itself.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it is compacted automatically.
const COMPACT_EVERY: Duration = Duration::from_secs(60);

/// See the module.
pub struct HistoryTask {
    replica: Arc<dyn Replica>,
    proposer: Arc<Proposer>,
    /// How many revisions automatic compaction keeps; 0 turns it off.
    keep_revisions: u64,
    look_every: Duration,
    compact_every: Duration,
}

#[tonic::async_trait]
impl LeaderTask for HistoryTask {
    fn name(&self) -> &'static str {
        "history"
    }

    async fn run(&self, reign: Reign) {
        self.proposer.clock_settled(reign.term).await;
        // Nothing of what an earlier leader may have reclaimed is known, so the first look finds something to do, unless
        // nothing was ever compacted.
        let mut reclaimed = 0;
        let mut compacted_at = Instant::now();
        loop {
            if let Err(error) = self.look(reign, &mut reclaimed, &mut compacted_at).await {
                tracing::warn!(term = reign.term, %error, "history is not kept short; trying again");
            }
            tokio::time::sleep(self.look_every).await;
        }
    }
}

impl HistoryTask {
    pub fn new(replica: Arc<dyn Replica>, proposer: Arc<Proposer>, keep_revisions: u64) -> Arc<Self> {
        Self::with_intervals(replica, proposer, keep_revisions, LOOK_EVERY, COMPACT_EVERY)
    }

    fn with_intervals(
        replica: Arc<dyn Replica>,
        proposer: Arc<Proposer>,
        keep_revisions: u64,
        look_every: Duration,
        compact_every: Duration,
    ) -> Arc<Self> {
        Arc::new(HistoryTask { replica, proposer, keep_revisions, look_every, compact_every })
    }

    /// `reclaimed` is the revision below which nothing is left.
    async fn look(&self, reign: Reign, reclaimed: &mut i64, compacted_at: &mut Instant) -> Result<(), Failure> {
        if self.keep_revisions > 0 && compacted_at.elapsed() >= self.compact_every {
            *compacted_at = Instant::now();
            self.compact(reign).await?;
        }
        let compacted = self.revisions()?.compacted;
        if *reclaimed == compacted {
            return Ok(());
        }
        while self.propose(reign, KeyspaceCommand::ReclaimHistory).await?
            == Reply::Keyspace(KeyspaceReply::HistoryReclaimed { more: true })
        {}
        *reclaimed = compacted;
        Ok(())
    }

    async fn compact(&self, reign: Reign) -> Result<(), Failure> {
        let Revisions { current, compacted } = self.revisions()?;
        let revision = current.saturating_sub(i64::try_from(self.keep_revisions).unwrap_or(i64::MAX));
        if revision > compacted {
            // Refused if a client has compacted further in the meantime.
            self.propose(reign, KeyspaceCommand::Compact { revision }).await?;
            tracing::debug!(revision, "compacted automatically");
        }
        Ok(())
    }

    fn revisions(&self) -> Result<Revisions, Failure> {
        Ok(keyspace::revisions(self.replica.view()?.as_ref())?)
    }

    async fn propose(&self, reign: Reign, command: KeyspaceCommand) -> Result<Reply, Failure> {
        self.proposer.propose_internal(reign.term, Command::Keyspace(command)).await
    }
}
