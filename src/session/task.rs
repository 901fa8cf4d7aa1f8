//! What the leader does for worker nodes: says where their sessions are, forgets the loads of those that are gone, and
//! publishes its own sessions if it is so configured.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::broadcast::error::RecvError;
use tokio::time::{MissedTickBehavior, interval};

use super::Loads;
use super::publish::Publisher;
use crate::etcd::lessor::Lessor;
use crate::failure::Failure;
use crate::leader::{LeaderTask, Reign};
use crate::limits;
use crate::proposer::Proposer;
use crate::replica::Replica;
use crate::state::{Command, Event, View, WorkerCommand, worker};

/// See the module.
pub struct SessionTask {
    replica: Arc<dyn Replica>,
    proposer: Arc<Proposer>,
    loads: Arc<Loads>,
    /// Milvus' etcd.rootPath.
    root: String,
    publisher: Option<Publisher>,
}

/// Forgets what was reported to this leader, however its reign ends.
struct Closing<'a>(&'a Loads);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.clear();
    }
}

impl SessionTask {
    /// With `publish` the coordinator's own sessions are written too.
    pub fn new(
        replica: Arc<dyn Replica>,
        proposer: Arc<Proposer>,
        lessor: Arc<Lessor>,
        loads: Arc<Loads>,
        root: &str,
        publish: bool,
    ) -> Arc<Self> {
        let publisher = publish.then(|| Publisher::new(replica.clone(), proposer.clone(), lessor, root));
        Arc::new(SessionTask { replica, proposer, loads, root: root.to_owned(), publisher })
    }

    /// Nothing where the tables say so already.
    async fn found(&self, reign: Reign) -> Result<(), Failure> {
        let known = View::new(self.replica.view()?.as_ref()).worker_book()?.session_prefix;
        if known == worker::folder(&self.root) {
            return Ok(());
        }
        let command = Command::Worker(WorkerCommand::Found { root: self.root.clone() });
        self.proposer.propose_internal(reign.term, command).await?;
        Ok(())
    }

    /// Forgets the loads of workers whose end was not told, or came before their last word.
    fn sweep(&self) {
        if self.loads.is_empty() {
            return;
        }
        let found = self.replica.view().and_then(|view| View::new(view.as_ref()).workers());
        // Tables that cannot be read stop the node.
        if let Ok(workers) = found {
            let ids: BTreeSet<i64> = workers.into_iter().map(|worker| worker.id).collect();
            self.loads.retain(|id| ids.contains(&id));
        }
    }

    /// Forgets the load of a worker of which nothing is left.
    fn note(&self, event: &Event) {
        let Event::WorkerChanged { id } = event else { return };
        let found = self.replica.view().and_then(|view| View::new(view.as_ref()).worker(*id));
        if matches!(found, Ok(None)) {
            self.loads.forget(*id);
        }
    }
}

#[tonic::async_trait]
impl LeaderTask for SessionTask {
    fn name(&self) -> &'static str {
        "sessions"
    }

    async fn run(&self, reign: Reign) {
        let _closing = Closing(&self.loads);
        self.loads.clear();
        let mut events = self.replica.events();
        self.proposer.clock_settled(reign.term).await;
        while let Err(error) = self.found(reign).await {
            // A cluster that is being upgraded refuses until its last member was replaced.
            tracing::debug!(term = reign.term, %error, "the place of sessions is not said yet; trying again");
            tokio::time::sleep(limits::SESSION_RETRY_DELAY).await;
        }
        let mut published = None;
        let mut due = interval(limits::SESSIONS_INTERVAL);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                batch = events.recv() => match batch {
                    Ok(batch) => batch.events.iter().for_each(|event| self.note(event)),
                    Err(RecvError::Lagged(_)) => self.sweep(),
                    Err(RecvError::Closed) => return std::future::pending().await,
                },
                _ = due.tick() => {
                    self.sweep();
                    if let Some(publisher) = &self.publisher {
                        publisher.keep(reign, &mut published).await;
                    }
                }
            }
        }
    }
}
