//! What a coordinator's handlers do with the replicated state: propose a command and read behind a barrier.

use std::sync::Arc;

use roost_raft::kv::Read;

use crate::call::Call;
use crate::error::Rejection;
use crate::failure::Failure;
use crate::leader::tso::Oracle;
use crate::limits::Limits;
use crate::proposer::Proposer;
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
        expected(self.proposer.propose(call, command).await?).map_err(|reply| {
            tracing::error!(?reply, "a command was answered with another command's reply");
            Rejection::Internal { detail: "unexpected reply of the state machine".into() }.into()
        })
    }

    /// On the leader. A new hybrid timestamp.
    pub async fn timestamp(&self, call: &Call) -> Result<u64, Failure> {
        Ok(self.oracle.allocate(1, call.deadline).await?)
    }

    /// Everything that was acknowledged before the call, in one consistent view. For a few rows.
    pub async fn view(&self, call: &Call) -> Result<Box<dyn Read + '_>, Failure> {
        self.replica.read_barrier(call.deadline).await?;
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
