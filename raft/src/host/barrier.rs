//! Confirming leadership, once for everybody who waits: calls that arrive while one confirmation runs share the next.
//!
//! The leader's lease is good for a read or a timestamp only within 3/4 of what followers granted, and never across a
//! suspension of the machine; otherwise a quorum is asked. The linearizer refuses during a leadership transfer, which a
//! look at the last acknowledgement would not: [`LeaderChecks::holds_lease`] looks no more once one was begun.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{LinearizableReadError, RaftError};
use openraft::raft::ReadPolicy;
use openraft::raft::linearizable_read::LinearizerOption;
use openraft::type_config::alias::WatchReceiverOf;
use openraft::{Instant as _, RaftMetrics};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::clock::SuspendDetector;
use crate::apply::StateStore;
use crate::error::ReadError;
use crate::machine::Machine;
use crate::types::TypeConfig;

type Raft<M> = openraft::Raft<TypeConfig, StateStore<M>>;

/// This node led at a moment after the question was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmed {
    pub term: u64,
    /// Everything acknowledged before that moment lies at or below this index.
    pub index: u64,
}

type Answer = Result<Confirmed, ReadError>;

type Metrics = WatchReceiverOf<TypeConfig, RaftMetrics<TypeConfig>>;

/// Collects waiters and confirms for all of them at once.
pub struct LeaderChecks {
    waiting: Arc<Waiting>,
    metrics: Metrics,
    lease: Duration,
    suspensions: Arc<SuspendDetector>,
    transfers: Arc<Transfers>,
}

#[derive(Default)]
struct Transfers {
    /// Those that Raft may not have begun yet.
    beginning: AtomicUsize,
    /// The last term in which this node began one: its lease may be given up.
    given_up: AtomicU64,
}

impl Transfers {
    fn about_to_begin(self: &Arc<Self>) -> Transfer {
        self.beginning.fetch_add(1, Ordering::SeqCst);
        Transfer(self.clone())
    }

    /// Whether the lease of a term may be looked at.
    fn leave_the_lease_of(&self, term: u64) -> bool {
        self.beginning.load(Ordering::SeqCst) == 0 && self.given_up.load(Ordering::SeqCst) < term
    }
}

/// A transfer of leadership that is about to begin. Until it has, no lease is looked at.
#[must_use]
pub struct Transfer(Arc<Transfers>);

impl Transfer {
    /// Has Raft begin it by `begin`, which tells the term of that or a later one. To its end, whether or not the caller
    /// still waits: a transfer that never counts as begun would take the lease away for good. `None`: the runtime
    /// stops.
    pub async fn begin<E: Send + 'static>(
        self,
        begin: impl Future<Output = Result<u64, E>> + Send + 'static,
    ) -> Option<Result<(), E>> {
        let Transfer(transfers) = self;
        let beginning = tokio::spawn(async move {
            transfers.given_up.fetch_max(begin.await?, Ordering::SeqCst);
            transfers.beginning.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        });
        beginning.await.ok()
    }
}

struct Waiting {
    /// `None` once nobody will answer any more.
    queue: Mutex<Option<Vec<oneshot::Sender<Answer>>>>,
    arrived: Notify,
}

/// Ends the waiting when the confirming task ends, for whatever reason.
struct Closing(Arc<Waiting>);

impl Drop for Closing {
    fn drop(&mut self) {
        *self.0.queue.lock() = None;
    }
}

impl LeaderChecks {
    /// Starts the confirming task on the current runtime.
    pub fn start<M: Machine>(raft: Raft<M>, lease: Duration, suspensions: SuspendDetector) -> Self {
        let waiting = Arc::new(Waiting { queue: Mutex::new(Some(Vec::new())), arrived: Notify::new() });
        let (metrics, suspensions) = (raft.metrics(), Arc::new(suspensions));
        tokio::spawn(run(raft, lease, waiting.clone(), suspensions.clone()));
        LeaderChecks { waiting, metrics, lease, suspensions, transfers: Arc::default() }
    }

    /// Must be called before Raft is asked to hand the leadership over.
    pub fn transfer(&self) -> Transfer {
        self.transfers.about_to_begin()
    }

    /// Whether a quorum has promised this node, as the leader of `term`, to elect nobody else until after a moment in
    /// this call: what the linearizer asks as well, without the way to Raft's task and back.
    pub fn holds_lease(&self, term: u64) -> bool {
        // Looked at first: what is begun after this look takes the lease away at a later moment only.
        if !self.transfers.leave_the_lease_of(term) {
            return false;
        }
        let promised = {
            let metrics = self.metrics.borrow_watched();
            let leads = metrics.state.is_leader() && metrics.current_term == term;
            // An older value than Raft's own is the stricter one.
            let acked = metrics.last_quorum_acked.filter(|_| leads);
            acked.is_some_and(|acked| acked.into_inner().elapsed() < self.lease * 3 / 4)
        };
        // Looked at last: a suspension until here may have stopped the clock of the lease.
        promised && !self.suspensions.distrusts()
    }

    /// Confirms that this node leads, at a moment after this call began.
    pub async fn confirm(&self) -> Answer {
        let (sender, answer) = oneshot::channel();
        match self.waiting.queue.lock().as_mut() {
            Some(queue) => queue.push(sender),
            None => return Err(ReadError::Stopped),
        }
        self.waiting.arrived.notify_one();
        answer.await.unwrap_or(Err(ReadError::Stopped))
    }
}

async fn run<M: Machine>(raft: Raft<M>, lease: Duration, waiting: Arc<Waiting>, suspensions: Arc<SuspendDetector>) {
    let _closing = Closing(waiting.clone());
    loop {
        waiting.arrived.notified().await;
        let batch = waiting.queue.lock().as_mut().map(std::mem::take).unwrap_or_default();
        if batch.is_empty() {
            continue;
        }
        let answer = confirm(&raft, lease, &suspensions).await;
        for waiter in batch {
            // A waiter that timed out does not need the answer.
            let _ = waiter.send(answer.clone());
        }
        if answer == Err(ReadError::Stopped) {
            return;
        }
    }
}

async fn confirm<M: Machine>(raft: &Raft<M>, lease: Duration, suspensions: &SuspendDetector) -> Answer {
    let by_quorum = suspensions.distrusts();
    let option = if by_quorum {
        LinearizerOption::from(ReadPolicy::ReadIndex)
    } else {
        LinearizerOption::new(Some(lease * 3 / 4), true)
    };
    let answer = match raft.get_read_linearizer(option.with_wait_timeout(lease)).await {
        Ok(linearizer) => {
            let read = linearizer.read_log_id();
            Ok(Confirmed { term: **read.committed_leader_id(), index: read.index() })
        }
        Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(_))) => Err(ReadError::NotLeader),
        Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => Err(ReadError::NoQuorum),
        Err(RaftError::Fatal(_)) => Err(ReadError::Stopped),
    };
    answer.and_then(|confirmed| if by_quorum { Ok(confirmed) } else { undisturbed(confirmed, suspensions) })
}

/// An answer by the lease may have been interrupted by a suspension, and is then older than it looks, whoever noticed
/// that. A quorum's rests on no clock.
fn undisturbed(confirmed: Confirmed, suspensions: &SuspendDetector) -> Answer {
    if suspensions.distrusts() { Err(ReadError::NoQuorum) } else { Ok(confirmed) }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicI64;

    use super::*;
    use crate::host::clock::Gaps;

    static GAP_NS: AtomicI64 = AtomicI64::new(0);

    fn gaps() -> Gaps {
        [i128::from(GAP_NS.load(Ordering::SeqCst)); 2]
    }

    /// Regression: nobody was left to count it as begun, and no read went by the lease any more, in any later term.
    #[tokio::test]
    async fn a_transfer_whose_caller_went_away_takes_the_lease_of_its_own_term_only() {
        let transfers = Arc::new(Transfers::default());
        assert!(transfers.leave_the_lease_of(1));
        let (taken, trigger) = oneshot::channel();
        let transfer = transfers.about_to_begin();
        let mut asked = Box::pin(transfer.begin(async { trigger.await.map_err(|_| ()) }));
        assert!(futures::poll!(&mut asked).is_pending());
        drop(asked);
        assert!(!transfers.leave_the_lease_of(9), "Raft may begin it at any moment");
        taken.send(7_u64).unwrap();
        let begun = async {
            while transfers.beginning.load(Ordering::SeqCst) > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), begun).await.unwrap();
        assert!(!transfers.leave_the_lease_of(7) && transfers.leave_the_lease_of(8));
    }

    #[test]
    fn a_suspension_that_somebody_else_noticed_counts() {
        let suspensions = SuspendDetector::new(Duration::from_secs(3600), gaps);
        let confirmed = Confirmed { term: 1, index: 7 };
        assert_eq!(undisturbed(confirmed, &suspensions), Ok(confirmed));
        GAP_NS.store(10_000_000_000, Ordering::SeqCst);
        assert!(suspensions.distrusts(), "somebody else looks first");
        assert_eq!(undisturbed(confirmed, &suspensions), Err(ReadError::NoQuorum));
    }
}
