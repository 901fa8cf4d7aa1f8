//! The one way from a service to the log: makes the entry (time, request id, principal, source, command), bounds what
//! is in flight, and turns the reply back into a typed one.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::call::Call;
use crate::error::Rejection;
use crate::failure::Failure;
use crate::leader::clock::GuardedClock;
use crate::limits;
use crate::replica::{self, Proposal, Replica};
use crate::state::{Command, Entry, Reply};

/// Makes log entries on behalf of callers and of this node's own tasks.
pub struct Proposer {
    replica: Arc<dyn Replica>,
    /// The same guarded clock as the oracle's: the replicated time must not follow a wrong one either.
    clock: Arc<GuardedClock>,
    in_flight: Semaphore,
}

impl Proposer {
    pub fn new(replica: Arc<dyn Replica>, clock: Arc<GuardedClock>) -> Arc<Self> {
        Arc::new(Proposer { replica, clock, in_flight: Semaphore::new(limits::PROPOSALS_IN_FLIGHT_MAX) })
    }

    /// Executes `command` on behalf of `call`, whose request id makes sending it again harmless.
    pub async fn propose(&self, call: &Call, command: Command) -> Result<Reply, Failure> {
        let _permit = self.in_flight.try_acquire().map_err(|_| replica::Error::Busy)?;
        let entry = Entry {
            at_ms: self.clock.now_ms(),
            request: Some(call.request),
            principal: call.principal.clone(),
            source: call.source.clone(),
            command,
        };
        let proposal = proposal(&entry, frees_space(&entry.command), None)?;
        let applied = match tokio::time::timeout_at(call.deadline.into(), self.replica.propose(proposal)).await {
            Ok(applied) => applied?,
            Err(_) => return Err(replica::Error::Unknown("no answer from the log in time".into()).into()),
        };
        match decode(&applied.reply)? {
            Reply::Expired => Err(Failure::Rejected(Rejection::OutcomeUnknown {
                detail: "this request was given up before; whether it took effect is no longer known".into(),
            })),
            Reply::WindowFull => Err(replica::Error::Busy.into()),
            reply => Ok(reply.into_result()?),
        }
    }

    /// Executes an idempotent command of a leader task; it is fenced by the term under which the task runs.
    pub async fn propose_internal(&self, term: u64, command: Command) -> Result<Reply, Failure> {
        let at_ms = self.clock.now_ms();
        let source = format!("node {}", self.replica.node_id());
        let entry = Entry { at_ms, request: None, principal: String::new(), source, command };
        let proposal = proposal(&entry, true, Some(term))?;
        let sent = self.replica.propose(proposal);
        let applied = match tokio::time::timeout(limits::CALL_TIME_DEFAULT, sent).await {
            Ok(applied) => applied?,
            Err(_) => return Err(replica::Error::Unknown("no answer from the log in time".into()).into()),
        };
        Ok(decode(&applied.reply)?.into_result()?)
    }
}

/// What must pass while the disks are full, or they stay full.
fn frees_space(command: &Command) -> bool {
    matches!(command, Command::DropCollection(_) | Command::DropPartition(_) | Command::DropDatabase(_))
}

fn proposal(entry: &Entry, urgent: bool, term: Option<u64>) -> Result<Proposal, Failure> {
    let internal = |error: &dyn std::fmt::Display| Rejection::Internal { detail: format!("cannot encode: {error}") };
    let command = Bytes::from(entry.encode().map_err(|error| internal(&error))?);
    Ok(Proposal { command, min_apply_version: entry.command.min_apply_version(), urgent, term })
}

fn decode(reply: &[u8]) -> Result<Reply, Failure> {
    // The command was executed; only its answer cannot be read. That is a fault of ours, not of this request.
    Reply::decode(reply).map_err(|error| Rejection::Internal { detail: format!("cannot read a reply: {error}") }.into())
}
