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
        // Nothing of what an earlier leader may have reclaimed is known, so the first look finds something to do,
        // unless nothing was ever compacted.
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

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::leader::clock::{GuardedClock, SystemClock};
    use crate::pb::etcd::api::PutRequest;
    use crate::state::tables::KEY_SPACE;
    use crate::testing::SoloReplica;

    const SOON: Duration = Duration::from_millis(1);

    struct Bench {
        replica: Arc<SoloReplica>,
        proposer: Arc<Proposer>,
        tasks: tokio::task::JoinHandle<()>,
    }

    impl Drop for Bench {
        fn drop(&mut self) {
            self.tasks.abort();
        }
    }

    impl Bench {
        /// A leader that keeps so many revisions.
        fn keeping(revisions: u64) -> Self {
            let replica = SoloReplica::new();
            let clock = Arc::new(GuardedClock::new(Arc::new(SystemClock::default()), 60_000));
            clock.settled_for(1);
            let proposer = Proposer::new(replica.clone(), clock);
            replica.lead(1);
            let task = HistoryTask::with_intervals(replica.clone(), proposer.clone(), revisions, SOON, SOON);
            let tasks = tokio::spawn(crate::leader::run(replica.clone(), vec![task]));
            Bench { replica, proposer, tasks }
        }

        async fn execute(&self, command: KeyspaceCommand) {
            let reply = self.proposer.propose_internal(1, Command::Keyspace(command)).await.unwrap();
            assert!(!matches!(reply, Reply::Keyspace(KeyspaceReply::Refused(_))), "{reply:?}");
        }

        async fn put(&self, times: usize) {
            for _ in 0..times {
                let request = PutRequest { key: b"a".to_vec(), ..PutRequest::default() };
                self.execute(KeyspaceCommand::Put(request.encode_to_vec())).await;
            }
        }

        /// Waits until the history below `revision` is compacted and its rows are gone.
        async fn reclaimed(&self, revision: i64) {
            let waiting = async {
                loop {
                    let view = self.replica.view().unwrap();
                    let space = KEY_SPACE.get_or_default(view.as_ref(), &()).unwrap();
                    if (space.compacted, space.reclaimed) == (revision, revision) {
                        return;
                    }
                    tokio::time::sleep(SOON).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap();
        }
    }

    #[tokio::test]
    async fn what_clients_compact_is_reclaimed_and_nothing_else() {
        let bench = Bench::keeping(0);
        bench.put(20).await;
        for revision in [5, 21] {
            bench.execute(KeyspaceCommand::Compact { revision }).await;
            bench.reclaimed(revision).await;
        }
        let before = bench.replica.read_barrier(Instant::now()).await.unwrap();
        tokio::time::sleep(20 * SOON).await;
        assert_eq!(bench.replica.read_barrier(Instant::now()).await.unwrap(), before, "it rests when all is done");
    }

    #[tokio::test]
    async fn automatic_compaction_keeps_the_newest_revisions() {
        let bench = Bench::keeping(10);
        bench.put(20).await;
        bench.reclaimed(11).await;
        bench.put(5).await;
        bench.reclaimed(16).await;
    }
}
