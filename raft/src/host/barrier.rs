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

/// A transfer of leadership that is about to begin. Without [`Transfer::begun`] no lease is looked at any more.
#[must_use]
pub struct Transfer(Arc<Transfers>);

impl Transfer {
    /// Raft has begun it, in `term` or an earlier one.
    pub fn begun(self, term: u64) {
        self.0.given_up.fetch_max(term, Ordering::SeqCst);
        self.0.beginning.fetch_sub(1, Ordering::SeqCst);
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
        self.transfers.beginning.fetch_add(1, Ordering::SeqCst);
        Transfer(self.transfers.clone())
    }

    /// Whether a quorum has promised this node, as the leader of `term`, to elect nobody else until after a moment in
    /// this call: what the linearizer asks as well, without the way to Raft's task and back.
    pub fn holds_lease(&self, term: u64) -> bool {
        // Looked at first: what is begun after this look takes the lease away at a later moment only.
        let Transfers { beginning, given_up } = self.transfers.as_ref();
        if beginning.load(Ordering::SeqCst) > 0 || given_up.load(Ordering::SeqCst) >= term {
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
