//! Work that only the leader does. Each task runs under one reign (a term that this node leads) and is cut off when the
//! reign ends; its proposals name the term, so one that is still on its way is not executed under another leader.

pub mod clock;
pub mod tso;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinSet};

use crate::replica::Replica;

/// Pause before a task that ended or panicked is started again within the same reign.
const RESTART_DELAY: Duration = Duration::from_millis(500);

/// A term that this node leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reign {
    pub term: u64,
}

/// Work for as long as this node leads.
#[tonic::async_trait]
pub trait LeaderTask: Send + Sync + 'static {
    fn name(&self) -> &'static str;

    /// Runs until it is cut off at an await point. If it returns or panics it is started again.
    async fn run(&self, reign: Reign);
}

/// Starts and stops `tasks` with this node's leadership, until the replica is gone.
pub async fn run(replica: Arc<dyn Replica>, tasks: Vec<Arc<dyn LeaderTask>>) {
    let mut leadership = replica.leadership();
    loop {
        let seen = *leadership.borrow_and_update();
        if !seen.is_self {
            if leadership.changed().await.is_err() {
                return;
            }
            continue;
        }
        let reign = Reign { term: seen.term };
        tracing::info!(term = reign.term, "this node leads; starting its tasks");
        let mut running = Running::default();
        for task in &tasks {
            running.start(task.clone(), reign, Duration::ZERO);
        }
        loop {
            tokio::select! {
                changed = leadership.changed() => {
                    if changed.is_err() {
                        return running.stop().await;
                    }
                    let now = *leadership.borrow_and_update();
                    if !now.is_self || now.term != reign.term {
                        tracing::info!(term = reign.term, now = now.term, leader = now.leader, "this reign is over");
                        break;
                    }
                }
                () = running.restart_ended(reign) => {}
            }
        }
        running.stop().await;
        leadership.mark_changed();
    }
}

#[derive(Default)]
struct Running {
    set: JoinSet<()>,
    tasks: HashMap<Id, Arc<dyn LeaderTask>>,
}

impl Running {
    fn start(&mut self, task: Arc<dyn LeaderTask>, reign: Reign, delay: Duration) {
        let body = task.clone();
        let handle = self.set.spawn(async move {
            tokio::time::sleep(delay).await;
            body.run(reign).await;
        });
        self.tasks.insert(handle.id(), task);
    }

    /// Waits for one task to end and starts it again. Pends for ever while none runs.
    async fn restart_ended(&mut self, reign: Reign) {
        let Some(ended) = self.set.join_next_with_id().await else {
            return std::future::pending().await;
        };
        let (id, outcome) = match ended {
            Ok((id, ())) => (id, "returned"),
            Err(error) => (error.id(), "panicked"),
        };
        if let Some(task) = self.tasks.remove(&id) {
            tracing::error!(task = task.name(), term = reign.term, outcome, "a leader task ended; starting it again");
            self.start(task, reign, RESTART_DELAY);
        }
    }

    async fn stop(&mut self) {
        self.set.shutdown().await;
        self.tasks.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::testing::SoloReplica;

    struct Recorder(parking_lot::Mutex<Vec<String>>, AtomicU64);

    struct Ended<'a>(&'a Recorder, u64);

    impl Drop for Ended<'_> {
        fn drop(&mut self) {
            self.0.0.lock().push(format!("end {}", self.1));
        }
    }

    #[tonic::async_trait]
    impl LeaderTask for Recorder {
        fn name(&self) -> &'static str {
            "recorder"
        }

        async fn run(&self, reign: Reign) {
            self.0.lock().push(format!("start {}", reign.term));
            let _ended = Ended(self, reign.term);
            if self.1.fetch_add(1, Ordering::Relaxed) == 0 {
                panic!("the first run fails");
            }
            std::future::pending::<()>().await;
        }
    }

    #[tokio::test]
    async fn a_task_lives_as_long_as_its_reign_and_survives_its_own_panic() {
        let replica = SoloReplica::new();
        let recorder = Arc::new(Recorder(parking_lot::Mutex::default(), AtomicU64::new(0)));
        let running = tokio::spawn(run(replica.clone(), vec![recorder.clone()]));
        let lines = async |count| {
            let within = Duration::from_secs(20);
            let written = async {
                while recorder.0.lock().len() < count {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(within, written).await.unwrap();
        };
        replica.lead(4);
        lines(3).await;
        replica.follow(5, Some(2));
        lines(4).await;
        replica.lead(6);
        lines(5).await;
        replica.lead(7);
        lines(7).await;
        let log = recorder.0.lock().clone();
        let expected =
            ["start 4", "end 4", "start 4", "end 4", "start 6", "end 6", "start 7"].map(str::to_owned).to_vec();
        assert_eq!(log, expected);
        running.abort();
    }
}
