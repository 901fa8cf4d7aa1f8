//! Changes of the workers, from one revision on. A watcher takes from the tables what happened since the revision that
//! it has, as often as it can be told, so a slow one misses states in between and nothing else, and holds no memory.

use std::io;
use std::sync::Arc;

use futures::Stream;
use futures::stream::try_unfold;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tonic::Status;

use super::wire;
use crate::limits;
use crate::pb::session::{Gone, WatchResponse};
use crate::replica::Replica;
use crate::shutdown::Shutdown;
use crate::state::{Event, View};

/// Wakes this node's watchers when a worker changed.
pub struct WorkerHub {
    replica: Arc<dyn Replica>,
    /// How often something changed.
    changed: watch::Sender<u64>,
    watchers: Arc<Semaphore>,
}

/// One watcher.
struct Watcher {
    replica: Arc<dyn Replica>,
    changed: watch::Receiver<u64>,
    /// The revision that it has.
    after: u64,
    /// It was told something, if only that there is nothing new.
    begun: bool,
    stop: Shutdown,
    _permit: OwnedSemaphorePermit,
}

impl WorkerHub {
    pub fn new(replica: Arc<dyn Replica>) -> Arc<Self> {
        let watchers = Arc::new(Semaphore::new(limits::WORKER_WATCHES_MAX));
        Arc::new(WorkerHub { replica, changed: watch::Sender::new(0), watchers })
    }

    /// Listens, from this call on, until `shutdown` is asked for or the replica is gone.
    pub fn follow(self: Arc<Self>, shutdown: Shutdown) -> impl Future<Output = ()> + Send {
        // Before anybody watches: not when the future is first polled.
        let mut events = self.replica.events();
        async move {
            loop {
                let batch = tokio::select! {
                    _ = shutdown.requested() => return,
                    batch = events.recv() => batch,
                };
                let changed = match batch {
                    // Without events rows were replaced as a whole.
                    Ok(batch) => batch.events.is_empty() || batch.events.iter().any(is_of_workers),
                    Err(RecvError::Lagged(_)) => true,
                    Err(RecvError::Closed) => return,
                };
                if changed {
                    self.changed.send_modify(|times| *times += 1);
                }
            }
        }
    }

    /// How many watches this node serves.
    pub fn watching(&self) -> usize {
        limits::WORKER_WATCHES_MAX.saturating_sub(self.watchers.available_permits())
    }

    /// What changed after a revision (0: all workers first), and then each change, until `stop` is asked for.
    pub fn watch(
        &self,
        after: u64,
        stop: Shutdown,
    ) -> Result<impl Stream<Item = Result<WatchResponse, Status>> + Send + use<>, Status> {
        let crowded = |_| Status::resource_exhausted("too many watches of workers on this node");
        let permit = self.watchers.clone().try_acquire_owned().map_err(crowded)?;
        let (replica, changed) = (self.replica.clone(), self.changed.subscribe());
        let watcher = Watcher { replica, changed, after, begun: false, stop, _permit: permit };
        Ok(try_unfold(watcher, |mut watcher| async move {
            let told = watcher.next().await?;
            Ok(told.map(|told| (told, watcher)))
        }))
    }
}

fn is_of_workers(event: &Event) -> bool {
    matches!(event, Event::WorkerChanged { .. })
}

impl Watcher {
    /// Waits for something new. `None`: the replica is gone.
    async fn next(&mut self) -> Result<Option<WatchResponse>, Status> {
        loop {
            // Before the tables are read, so that no change falls between.
            self.changed.mark_unchanged();
            let (replica, after) = (self.replica.clone(), self.after);
            // It may be all workers, thousands of rows.
            let reading = tokio::task::spawn_blocking(move || {
                let view = replica.view()?;
                View::new(view.as_ref()).worker_changes(after)
            });
            let changes = reading.await.map_err(|error| unread(io::Error::other(error)))?.map_err(unread)?;
            if !self.begun || changes.revision != self.after {
                (self.begun, self.after) = (true, changes.revision);
                let gone = |(server_id, role): (i64, _)| Gone { server_id, role: i32::from(role) };
                return Ok(Some(WatchResponse {
                    revision: changes.revision,
                    reset: changes.reset,
                    changed: changes.changed.into_iter().map(wire::worker).collect(),
                    gone: changes.gone.into_iter().map(gone).collect(),
                }));
            }
            tokio::select! {
                changed = self.changed.changed() => if changed.is_err() { return Ok(None) },
                _ = self.stop.requested() => return Err(Status::unavailable("this node stops")),
            }
        }
    }
}

fn unread(error: io::Error) -> Status {
    tracing::error!(%error, "cannot read the workers");
    Status::internal(format!("cannot read the workers: {error}"))
}
