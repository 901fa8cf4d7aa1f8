//! Putting commands into the log: bounded, fenced by term, with an honest account of what is unknown.

use bytes::Bytes;
use openraft::errors::ClientWriteError;
use openraft::impls::OneshotResponder;

use super::start::HostCore;
use crate::codec;
use crate::error::ProposeError;
use crate::machine::Machine;
use crate::system::{AlarmKind, SystemCommand, SystemReply};
use crate::types::{Command, CommandKind, CommittedLeaderId, Outcome, TypeConfig};

/// The largest proposal, in bytes. Smaller than a peer message, and large enough for any schema.
pub const PROPOSAL_BYTES_MAX: usize = 16 << 20;
/// Every proposal counts at least this much against what may be in flight.
const PROPOSAL_BYTES_MIN: usize = 1024;

/// One command on its way into the log.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// The encoded command of the state machine.
    pub command: Bytes,
    /// The apply version that the command needs.
    pub min_apply_version: u32,
    /// Passes while the NOSPACE alarm is raised: it frees space, or the cluster cannot run without it.
    pub urgent: bool,
    /// The term in which this node must lead; `None` is whatever term it leads now.
    pub term: Option<u64>,
}

/// What executing a command gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    pub index: u64,
    pub term: u64,
    pub reply: Vec<u8>,
}

impl<M: Machine> HostCore<M> {
    /// Proposes a command of the application and waits until it was executed on this node.
    pub async fn propose(&self, proposal: Proposal) -> Result<Applied, ProposeError> {
        let bytes = proposal.command.len();
        if bytes > PROPOSAL_BYTES_MAX {
            return Err(ProposeError::TooLarge { bytes, limit: PROPOSAL_BYTES_MAX });
        }
        let system = self.shared.system();
        let (needed, current) = (proposal.min_apply_version, system.apply_version);
        if needed > current {
            return Err(ProposeError::Unsupported { needed, current });
        }
        if !proposal.urgent && system.alarms.iter().any(|alarm| alarm.kind == AlarmKind::NoSpace) {
            return Err(ProposeError::NoSpace);
        }
        let cost = u32::try_from(bytes.max(PROPOSAL_BYTES_MIN)).unwrap_or(u32::MAX);
        let room = self.in_flight.clone().try_acquire_many_owned(cost).map_err(|_| ProposeError::Busy)?;
        if current < M::BATCHES_SINCE {
            return self.write(CommandKind::App, proposal.command, proposal.term, room).await;
        }
        match self.batches.flight() {
            Some(flight) => self.write(CommandKind::App, proposal.command, proposal.term, (room, flight)).await,
            None => self.batches.join(proposal.command, proposal.term, room).await,
        }
    }

    /// Proposes a command of the host itself.
    pub(crate) async fn propose_system(&self, command: &SystemCommand) -> Result<SystemReply, ProposeError> {
        let data = codec::encode(command).map_err(|_| ProposeError::Stopped)?;
        let applied = self.write(CommandKind::System, data.into(), None, ()).await?;
        codec::decode(&applied.reply).map_err(|_| ProposeError::Stopped)
    }

    /// Writes one entry of one command. It takes its room until it is done, whether or not the caller still waits.
    async fn write(
        &self,
        kind: CommandKind,
        data: Bytes,
        term: Option<u64>,
        room: impl Send + 'static,
    ) -> Result<Applied, ProposeError> {
        let entry = self.start_write(kind, data, term).await?;
        let done = tokio::spawn(async move {
            let _room = room;
            entry.outcome().await
        });
        match done.await.map_err(|_| ProposeError::Unknown)?? {
            Written { index, term, outcome: Outcome::Reply(reply) } => Ok(Applied { index, term, reply }),
            _ => Err(ProposeError::NotLeader { leader: self.leadership.borrow().leader }),
        }
    }

    /// Hands an entry to Raft, if this node leads (the named term).
    pub(super) async fn start_write(
        &self,
        kind: CommandKind,
        data: Bytes,
        term: Option<u64>,
    ) -> Result<Writing, ProposeError> {
        let leadership = *self.leadership.borrow();
        if !leadership.is_self || term.is_some_and(|term| term != leadership.term) {
            return Err(ProposeError::NotLeader { leader: leadership.leader });
        }
        let term = leadership.term;
        let command = Command { kind, term, proposer: self.identity.node_id, data };
        let (responder, response) = OneshotResponder::new_pair();
        let write = self.raft.write(command).with_leader(CommittedLeaderId::new(term)).responder(responder);
        write.await.map_err(|_| ProposeError::Stopped)?;
        Ok(Writing { term, response })
    }
}

/// An entry that was executed, or that its fence kept from being executed.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub index: u64,
    pub term: u64,
    pub outcome: Outcome,
}

type Response =
    openraft::type_config::alias::OneshotReceiverOf<TypeConfig, openraft::raft::ClientWriteResult<TypeConfig>>;

/// An entry on its way.
pub(super) struct Writing {
    term: u64,
    response: Response,
}

impl Writing {
    pub async fn outcome(self) -> Result<Written, ProposeError> {
        // A dropped responder means that the core stopped with the entry on its way.
        match self.response.await.map_err(|_| ProposeError::Unknown)? {
            Ok(response) => Ok(Written { index: response.log_id.index(), term: self.term, outcome: response.data }),
            Err(ClientWriteError::ForwardToLeader(forward)) => {
                Err(ProposeError::NotLeader { leader: forward.leader_id })
            }
            Err(ClientWriteError::LogEntryDiscarded(_)) => Err(ProposeError::Unknown),
            Err(ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_)) => {
                Err(ProposeError::NotLeader { leader: None })
            }
        }
    }
}
