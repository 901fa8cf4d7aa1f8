//! Linearizable reads on any node: learn from the leader how far to be, then be there.

use tokio::time::{Instant, timeout_at};
use tonic::Code;

use super::barrier::Confirmed;
use super::start::HostCore;
use crate::apply::StateView;
use crate::error::ReadError;
use crate::machine::Machine;
use crate::mutation;
use crate::network::proto::ReadIndexRequest;

/// One asynchronous flight of read-index requests of a follower; waiters of the same flight share its answer.
pub(super) type Flight = tokio::sync::Mutex<()>;

impl<M: Machine> HostCore<M> {
    /// Returns, with the applied index, once [`HostCore::view`] shows everything that was acknowledged before this
    /// call.
    pub async fn read_barrier(&self, deadline: Instant) -> Result<u64, ReadError> {
        if mutation::active("read-without-barrier") {
            return Ok(self.shared.applied.borrow().map_or(0, |id| id.index()));
        }
        let index = timeout_at(deadline, self.read_index()).await.map_err(|_| ReadError::NoQuorum)??;
        let mut applied = self.shared.applied.subscribe();
        let reached = applied.wait_for(|applied| applied.is_some_and(|id| id.index() >= index));
        let reached = timeout_at(deadline, reached).await.map_err(|_| ReadError::Behind)?;
        reached.map(|applied| applied.map_or(0, |id| id.index())).map_err(|_| ReadError::Stopped)
    }

    /// Confirms that this node still leads `term`, at a moment after this call began.
    pub async fn confirm_leader(&self, term: u64) -> Result<(), ReadError> {
        if self.leader_checks.holds_lease(term) {
            return Ok(());
        }
        let confirmed = self.leader_checks.confirm().await?;
        if confirmed.term == term { Ok(()) } else { Err(ReadError::NotLeader) }
    }

    /// A consistent view of everything applied so far.
    pub fn view(&self) -> std::io::Result<StateView> {
        self.shared.view()
    }

    /// As the leader: how far a node must be to show everything that was acknowledged before this call.
    pub(crate) async fn confirm_read(&self) -> Result<Confirmed, ReadError> {
        let term = self.leadership.borrow().term;
        match self.index_by_lease(term) {
            Some(index) => Ok(Confirmed { term, index }),
            None => self.leader_checks.confirm().await,
        }
    }

    /// The same for a peer, which is also told at once how far it may apply. Readers on this node may have seen rows
    /// that are written and do not count as applied yet: whoever reads elsewhere after them must see them too.
    pub(crate) async fn confirm_peer_read(&self) -> Result<Confirmed, ReadError> {
        let confirmed = self.confirm_read().await?;
        let index = confirmed.index.max(self.shared.shown());
        self.transport.commits().wait_for(index);
        Ok(Confirmed { index, ..confirmed })
    }

    /// As [`HostCore::confirm_read`], without the way to Raft's task and back, if the lease allows it. What this leader
    /// acknowledged it had applied before; what a peer can show it had told the peer before; and what earlier leaders
    /// acknowledged lies below the first entry of its own term. As nobody else led until after this look, there is
    /// nothing more.
    fn index_by_lease(&self, term: u64) -> Option<u64> {
        let applied = (*self.shared.applied.borrow())?;
        if **applied.committed_leader_id() != term {
            return None;
        }
        let index = applied.index().max(self.transport.commits().told());
        self.leader_checks.holds_lease(term).then_some(index)
    }

    async fn read_index(&self) -> Result<u64, ReadError> {
        let mut changes = self.leadership.clone();
        loop {
            // Marked as seen, or the wait for the next change would be over at once.
            let leadership = *changes.borrow_and_update();
            let attempt = match leadership.leader {
                None => Err(ReadError::NoLeader),
                Some(_) if leadership.is_self => self.confirm_read().await.map(|confirmed| confirmed.index),
                Some(leader) => self.follower_checks.ask(|| self.ask_leader(leader)).await,
            };
            match attempt {
                Err(ReadError::NotLeader | ReadError::NoLeader | ReadError::NoQuorum) => {
                    // Leadership is changing, or the lease ran out: wait for news or a moment. The caller's deadline
                    // bounds it.
                    if let Ok(Err(_)) = tokio::time::timeout(self.retry_pause, changes.changed()).await {
                        // Nobody tells any more who leads, and waiting for it would be over at once.
                        return Err(ReadError::Stopped);
                    }
                }
                other => return other,
            }
        }
    }

    async fn ask_leader(&self, leader: u64) -> Result<u64, ReadError> {
        let member = self.member(leader).ok_or(ReadError::NoLeader)?;
        let client = self.transport.client(leader, &member);
        let mut rpc = client.rpc().map_err(|_| ReadError::NoLeader)?;
        match rpc.read_index(client.sign_bounded(ReadIndexRequest {})).await {
            Ok(reply) => Ok(reply.into_inner().index),
            Err(status) if status.code() == Code::Unavailable => Err(ReadError::NotLeader),
            Err(_) => Err(ReadError::NoQuorum),
        }
    }
}

/// Coalesces a follower's read-index requests: one is in flight, everybody who came before it left shares the answer.
#[derive(Default)]
pub struct FollowerChecks {
    flight: Flight,
    queue: parking_lot::Mutex<Vec<tokio::sync::oneshot::Sender<Result<u64, ReadError>>>>,
}

impl FollowerChecks {
    /// Waits for the answer of a request that starts after this call.
    pub async fn ask<F: Future<Output = Result<u64, ReadError>>>(
        &self,
        request: impl Fn() -> F,
    ) -> Result<u64, ReadError> {
        let (sender, mut answer) = tokio::sync::oneshot::channel();
        self.queue.lock().push(sender);
        tokio::select! {
            biased;
            shared = &mut answer => return shared.unwrap_or(Err(ReadError::NoQuorum)),
            _turn = self.flight.lock() => {
                let batch = std::mem::take(&mut *self.queue.lock());
                if !batch.is_empty() {
                    let result = request().await;
                    for waiter in batch {
                        // A waiter that timed out does not need the answer.
                        let _ = waiter.send(result.clone());
                    }
                }
            }
        }
        answer.await.unwrap_or(Err(ReadError::NoQuorum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[tokio::test]
    async fn many_readers_share_few_requests_and_never_an_older_one() {
        let checks = FollowerChecks::default();
        let started = AtomicU64::new(0);
        let ask = || {
            let started = &started;
            async move {
                let number = started.fetch_add(1, Ordering::SeqCst) + 1;
                tokio::task::yield_now().await;
                Ok(number)
            }
        };
        let answers = futures::future::join_all((0..100).map(|_| checks.ask(ask))).await;
        assert!(started.load(Ordering::SeqCst) <= 2, "100 concurrent readers need two requests at most");
        let before = started.load(Ordering::SeqCst);
        assert!(answers.iter().all(|answer| answer.clone().is_ok()));
        assert_eq!(checks.ask(ask).await, Ok(before + 1), "a later reader gets a later request");
    }
}
