//! The one way from a service to the log: makes the entry (time, request id, principal, source, command) and turns the
//! reply back into a typed one. How much may be in flight is the host's business, which knows when an entry has landed.

use std::sync::Arc;

use bytes::Bytes;

use crate::call::Call;
use crate::error::Rejection;
use crate::failure::Failure;
use crate::leader::clock::GuardedClock;
use crate::limits;
use crate::replica::{self, Proposal, Replica};
use crate::state::{AliasCommand, Command, Entry, Reply, codec};

/// Makes log entries on behalf of callers and of this node's own tasks.
pub struct Proposer {
    replica: Arc<dyn Replica>,
    /// The same guarded clock as the oracle's: the replicated time must not follow a wrong one either.
    clock: Arc<GuardedClock>,
}

impl Proposer {
    pub fn new(replica: Arc<dyn Replica>, clock: Arc<GuardedClock>) -> Arc<Self> {
        Arc::new(Proposer { replica, clock })
    }

    /// Executes `command` on behalf of `call`, whose request id makes sending it again harmless.
    pub async fn propose(&self, call: &Call, command: Command) -> Result<Reply, Failure> {
        read_reply(&self.execute(call, command).await?)
    }

    /// As [`Proposer::propose`], with the log's answer as it was given: for [`read_reply`].
    pub async fn execute(&self, call: &Call, command: Command) -> Result<Vec<u8>, Failure> {
        let term = self.settled_term().await?;
        let entry = Entry {
            at_ms: self.clock.now_ms(),
            request: Some(call.request),
            principal: call.principal.clone(),
            source: call.source.clone(),
            command,
        };
        let proposal = proposal(&entry, frees_space(&entry.command), Some(term))?;
        match tokio::time::timeout_at(call.deadline.into(), self.replica.propose(proposal)).await {
            Ok(applied) => Ok(applied?.reply),
            Err(_) => Err(replica::Error::Unknown("no answer from the log in time".into()).into()),
        }
    }

    /// The term that this node leads, once its clock is settled for it: the replicated time never goes back, so nothing
    /// may be stamped by a clock that nobody has checked. The stamp is good for that term only.
    async fn settled_term(&self) -> Result<u64, replica::Error> {
        let mut leadership = self.replica.leadership();
        let seen = *leadership.borrow_and_update();
        if !seen.is_self {
            return Err(replica::Error::NotLeader);
        }
        if self.clock.settled_term() == seen.term {
            return Ok(seen.term);
        }
        tokio::select! {
            () = self.clock.settling(seen.term) => Ok(seen.term),
            _ = leadership.changed() => Err(replica::Error::NotLeader),
            () = tokio::time::sleep(limits::CLOCK_SETTLE_WAIT) => Err(replica::Error::NotLeader),
        }
    }

    /// Waits until this node's clock may be believed in `term`. A leader task waits for it once, before it proposes.
    pub async fn clock_settled(&self, term: u64) {
        self.clock.settling(term).await;
    }

    /// Executes an idempotent command of a leader task; it is fenced by the term under which the task runs, and the
    /// task knows whether the clock may be believed.
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
    match command {
        Command::DropCollection(_) | Command::DropPartition(_) | Command::DropDatabase(_) => true,
        Command::Alias(command) => matches!(command, AliasCommand::Drop { .. }),
        Command::Keyspace(command) => command.frees_space(),
        Command::Collection(command) => command.frees_space(),
        Command::Access(command) => command.frees_space(),
        Command::Worker(command) => command.frees_space(),
        Command::Conditional(command) => command.change.frees_space(),
        Command::Broadcast(command) => command.frees_space(),
        _ => false,
    }
}

fn proposal(entry: &Entry, urgent: bool, term: Option<u64>) -> Result<Proposal, Failure> {
    let command = entry.encode().map(Bytes::from).map_err(|error| match error {
        codec::Error::TooLong { .. } => Rejection::ParameterTooLarge { detail: format!("the command is {error}") },
        error => Rejection::Internal { detail: format!("cannot encode: {error}") },
    })?;
    Ok(Proposal { command, min_apply_version: entry.command.min_apply_version(), urgent, term })
}

/// What the log's answer to a call says.
pub fn read_reply(reply: &[u8]) -> Result<Reply, Failure> {
    match decode(reply)? {
        Reply::Expired => Err(Failure::Decided(Rejection::OutcomeUnknown {
            detail: "this request was given up before; whether it took effect is no longer known".into(),
        })),
        Reply::WindowFull => Err(replica::Error::Busy.into()),
        reply => reply.into_result().map_err(Failure::Decided),
    }
}

fn decode(reply: &[u8]) -> Result<Reply, Failure> {
    // The command was executed; only its answer cannot be read. That is a fault of ours, not of this request.
    let unreadable = |error| Rejection::Internal { detail: format!("cannot read a reply: {error}") };
    Reply::decode(reply).map_err(|error| Failure::Decided(unreadable(error)))
}
