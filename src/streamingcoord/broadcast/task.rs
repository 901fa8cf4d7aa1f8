//! The leader's work: takes in pending broadcasts in the order of the log, and drives each one when it has its turn.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

use super::board::Board;
use super::drive::{Shared, drive};
use super::metrics::BroadcastMetrics;
use super::producers::Producers;
use super::turns::Turns;
use crate::config;
use crate::leader::{LeaderTask, Reign};
use crate::limits;
use crate::pb::store::BroadcastState;
use crate::proposer::Proposer;
use crate::replica::{AppliedEvents, Replica};
use crate::state::{Event, View};
use crate::streamingcoord::nodes::Nodes;

/// See the module.
pub struct Broadcaster {
    pub replica: Arc<dyn Replica>,
    pub proposer: Arc<Proposer>,
    pub board: Arc<Board>,
    pub metrics: Arc<BroadcastMetrics>,
    pub settings: Arc<config::Broadcast>,
    /// Connections to streaming nodes.
    pub nodes: Arc<Nodes>,
}

#[tonic::async_trait]
impl LeaderTask for Broadcaster {
    fn name(&self) -> &'static str {
        "broadcaster"
    }

    async fn run(&self, reign: Reign) {
        // Before the tables are read, so that nothing falls between.
        let mut events = self.replica.events();
        self.proposer.clock_settled(reign.term).await;
        let mut reigning = Reigning::new(self, reign);
        loop {
            if let Err(error) = reigning.take_in() {
                tracing::error!(%error, "the pending broadcasts cannot be read");
                tokio::time::sleep(limits::BROADCAST_RETRY_MAX).await;
                continue;
            }
            reigning.start();
            tokio::select! {
                batch = events.recv() => match batch {
                    Ok(batch) => reigning.note(&batch),
                    Err(RecvError::Lagged(_)) => reigning.lost_track(),
                    Err(RecvError::Closed) => return std::future::pending().await,
                },
                Some(ended) = reigning.running.join_next() => match ended {
                    Ok(id) => reigning.ended(id),
                    // Its turn is lost; started again, this task reads everything anew.
                    Err(error) => {
                        tracing::error!(%error, "a broadcast's task panicked");
                        return;
                    }
                },
            }
        }
    }
}

/// What one reign knows. Dropped with it, which stops every broadcast that is on its way.
struct Reigning<'t> {
    task: &'t Broadcaster,
    shared: Arc<Shared>,
    /// The earliest pending broadcasts, as many as fit.
    turns: Turns,
    /// The latest id that was taken in.
    last: Option<i64>,
    /// There may be more pending ones than were taken in.
    more: bool,
    /// Not started, and perhaps not pending any more.
    doubtful: BTreeSet<i64>,
    /// How to wake those that are being driven.
    driven: BTreeMap<i64, Arc<Notify>>,
    running: JoinSet<i64>,
}

impl<'t> Reigning<'t> {
    fn new(task: &'t Broadcaster, reign: Reign) -> Self {
        let (replica, proposer) = (task.replica.clone(), task.proposer.clone());
        let producers = Producers::new(replica.clone(), proposer.clone(), task.nodes.clone(), reign.term);
        let shared = Arc::new(Shared {
            replica,
            proposer,
            producers,
            board: task.board.clone(),
            metrics: task.metrics.clone(),
            settings: task.settings.clone(),
            term: reign.term,
            rounds: Semaphore::new(limits::BROADCASTS_AT_ONCE),
            bytes: Semaphore::new(limits::BROADCAST_COPY_BYTES_AT_ONCE),
        });
        let (turns, driven, doubtful) = (Turns::default(), BTreeMap::new(), BTreeSet::new());
        Reigning { task, shared, turns, last: None, more: true, doubtful, driven, running: JoinSet::new() }
    }

    /// Makes what is in memory what the facts say.
    fn take_in(&mut self) -> io::Result<()> {
        if !self.more && self.doubtful.is_empty() {
            return Ok(());
        }
        let view = self.task.replica.view()?;
        let broadcasts = View::new(view.as_ref()).broadcasts();
        while let Some(id) = self.doubtful.pop_first() {
            let pending = broadcasts.task(id)?.is_some_and(|row| row.is_pending());
            // One that is being driven may have an append on its way: its turn is over when that is.
            if !pending && !self.driven.contains_key(&id) {
                self.turns.remove(id);
            }
        }
        let room = limits::BROADCASTS_IN_MEMORY.saturating_sub(self.turns.len());
        if self.more && room > 0 {
            let ids = broadcasts.ids(BroadcastState::Pending, self.last, room)?;
            self.more = ids.len() == room;
            for id in ids {
                self.last = Some(id);
                if let Some(row) = broadcasts.task(id)? {
                    self.turns.insert(&row);
                }
            }
        }
        self.task.metrics.waiting(self.turns.len().saturating_sub(self.driven.len()));
        Ok(())
    }

    fn start(&mut self) {
        for id in self.turns.take_ready() {
            let (shared, wake) = (self.shared.clone(), Arc::new(Notify::new()));
            self.driven.insert(id, wake.clone());
            self.running.spawn(async move {
                drive(shared, id, wake).await;
                id
            });
        }
    }

    fn ended(&mut self, id: i64) {
        self.driven.remove(&id);
        self.turns.remove(id);
        self.task.board.ended(id);
    }

    fn note(&mut self, batch: &AppliedEvents<Event>) {
        if batch.events.is_empty() {
            // Rows were replaced as a whole.
            return self.lost_track();
        }
        let mut reassigned = false;
        for event in &batch.events {
            match event {
                Event::BroadcastChanged { id } if self.turns.contains(*id) => match self.driven.get(id) {
                    Some(wake) => wake.notify_one(),
                    None => _ = self.doubtful.insert(*id),
                },
                Event::BroadcastChanged { .. } => self.more = true,
                Event::AssignmentsChanged { .. } => reassigned = true,
                _ => {}
            }
        }
        if reassigned {
            self.reassigned();
        }
    }

    fn reassigned(&self) {
        self.shared.producers.recheck();
        self.driven.values().for_each(|wake| wake.notify_one());
    }

    /// Some changes were missed.
    fn lost_track(&mut self) {
        self.more = true;
        self.doubtful = self.turns.ids();
        self.reassigned();
    }
}

impl Drop for Reigning<'_> {
    fn drop(&mut self) {
        self.task.board.clear();
        self.task.metrics.waiting(0);
    }
}
