//! What a coordinator's handlers do with the replicated state: propose a command and read behind a barrier.

use std::sync::Arc;
use std::time::Instant;

use roost_raft::kv::Read;

use crate::call::Call;
use crate::error::Rejection;
use crate::failure::Failure;
use crate::leader::tso::Oracle;
use crate::limits::{self, Limits};
use crate::proposer::{Proposer, read_reply};
use crate::replica::Replica;
use crate::state::{Command, Reply, View};

/// Cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    replica: Arc<dyn Replica>,
    proposer: Arc<Proposer>,
    oracle: Arc<Oracle>,
    pub limits: Arc<Limits>,
}

impl Ledger {
    pub fn new(replica: Arc<dyn Replica>, proposer: Arc<Proposer>, oracle: Arc<Oracle>, limits: Limits) -> Self {
        Ledger { replica, proposer, oracle, limits: Arc::new(limits) }
    }

    /// On the leader. `expected` picks the command's own reply; any other is Roost's error.
    pub async fn propose<T>(
        &self,
        call: &Call,
        command: Command,
        expected: impl FnOnce(Reply) -> Result<T, Reply>,
    ) -> Result<T, Failure> {
        picked(self.execute(call, command).await?, expected)
    }

    /// On the leader. Says no before the log does, because of what the state is now: unless that is the doing of an
    /// earlier copy of this very call, for then the log's answer to it counts.
    pub async fn refuse<T>(
        &self,
        call: &Call,
        why: Rejection,
        expected: impl FnOnce(Reply) -> Result<T, Reply>,
    ) -> Result<T, Failure> {
        let answered = {
            let view = self.view(call).await?;
            View::new(view.as_ref()).answered(call.request)?
        };
        match answered {
            Some(reply) => picked(read_reply(&reply)?, expected),
            None => Err(why.into()),
        }
    }

    /// A cluster that was founded a moment ago, or is being upgraded, learns a newer command once all members know it:
    /// it is given some time.
    async fn execute(&self, call: &Call, command: Command) -> Result<Reply, Failure> {
        const ALWAYS_KNOWN: u32 = 1;
        if command.min_apply_version() == ALWAYS_KNOWN {
            return self.proposer.propose(call, command).await;
        }
        let given_up = call.deadline.min(Instant::now() + limits::UPGRADE_WAIT_MAX);
        let mut pause = limits::LEADER_RETRY_MIN;
        loop {
            match self.proposer.propose(call, command.clone()).await {
                Err(Failure::Rejected(Rejection::NotSupported { .. })) if Instant::now() + pause < given_up => {}
                answered => return answered,
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(limits::LEADER_RETRY_MAX);
        }
    }

    /// On the leader. A new hybrid timestamp.
    pub async fn timestamp(&self, call: &Call) -> Result<u64, Failure> {
        Ok(self.oracle.allocate(1, call.deadline).await?)
    }

    /// Everything that was acknowledged before the call, in one consistent view. For a few rows.
    pub async fn view(&self, call: &Call) -> Result<Box<dyn Read + '_>, Failure> {
        self.barrier(call).await?;
        self.now()
    }

    /// Waits until this node shows everything that was acknowledged before the call.
    pub async fn barrier(&self, call: &Call) -> Result<(), Failure> {
        self.replica.read_barrier(call.deadline).await?;
        Ok(())
    }

    /// What this node shows now.
    pub fn now(&self) -> Result<Box<dyn Read + '_>, Failure> {
        Ok(self.replica.view()?)
    }

    /// The same for many rows, on a thread that may block: a long listing must not hold up the calls beside it.
    pub async fn list<T: Send + 'static>(
        &self,
        call: &Call,
        read: impl FnOnce(&View<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        self.replica.read_barrier(call.deadline).await?;
        let replica = self.replica.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let view = replica.view()?;
            read(&View::new(view.as_ref()))
        });
        match reading.await {
            Ok(result) => result,
            Err(error) => Err(Rejection::Internal { detail: format!("a listing was cut off: {error}") }.into()),
        }
    }
}

fn picked<T>(reply: Reply, expected: impl FnOnce(Reply) -> Result<T, Reply>) -> Result<T, Failure> {
    expected(reply).map_err(|reply| {
        tracing::error!(?reply, "a command was answered with another command's reply");
        Rejection::Internal { detail: "unexpected reply of the state machine".into() }.into()
    })
}

/// Picks one kind of reply for [`Ledger::propose`]: `reply!(Reply::IdsAllocated { first, .. } => first)`.
macro_rules! reply {
    ($pattern:pat => $value:expr) => {
        |reply| match reply {
            $pattern => Ok($value),
            other => Err(other),
        }
    };
}

pub(crate) use reply;
