//! The server's replica: `roost_raft::Host`, with its errors in this crate's words.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use roost_raft::Host;
use roost_raft::error::{ProposeError, ReadError};
use roost_raft::kv::Read;
use roost_raft::system::AlarmKind;
use roost_raft::types::{Leadership, Member};
use tokio::sync::watch;

use super::{Applied, Error, Events, Peer, Proposal, Replica};
use crate::state::Roost;

/// One node of the real cluster.
#[derive(Clone)]
pub struct HostReplica {
    host: Arc<Host<Roost>>,
}

impl HostReplica {
    pub fn new(host: Arc<Host<Roost>>) -> Self {
        HostReplica { host }
    }
}

#[tonic::async_trait]
impl Replica for HostReplica {
    fn node_id(&self) -> u64 {
        self.host.node_id()
    }

    async fn propose(&self, proposal: Proposal) -> Result<Applied, Error> {
        Ok(self.host.propose(proposal).await?)
    }

    async fn read_barrier(&self, deadline: Instant) -> Result<u64, Error> {
        Ok(self.host.read_barrier(deadline.into()).await?)
    }

    fn view(&self) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(self.host.view()?))
    }

    fn events(&self) -> Events {
        self.host.events()
    }

    fn all_events(&self) -> Events {
        self.host.all_events()
    }

    fn leadership(&self) -> watch::Receiver<Leadership> {
        self.host.leadership()
    }

    async fn confirm_leader(&self, term: u64) -> Result<(), Error> {
        Ok(self.host.confirm_leader(term).await?)
    }

    fn members(&self) -> Vec<Peer> {
        let voters = self.host.voters();
        let peer =
            |(id, Member { peer, client, internal })| Peer { id, voter: voters.contains(&id), peer, client, internal };
        self.host.members().into_iter().map(peer).collect()
    }

    fn alarms(&self) -> Vec<String> {
        self.host.alarms().iter().map(|alarm| format!("{} raised by node {}", alarm.kind, alarm.node)).collect()
    }

    fn disk_full(&self) -> bool {
        self.host.alarms().iter().any(|alarm| alarm.kind == AlarmKind::NoSpace)
    }

    fn cluster_id(&self) -> String {
        self.host.cluster_id().map(|id| id.to_string()).unwrap_or_default()
    }

    async fn hand_over(&self) {
        let mut leadership = self.host.leadership();
        if !leadership.borrow().is_self {
            return;
        }
        match self.host.start_transfer(None).await {
            Ok(target) => {
                tracing::info!(target_node = target, "handing leadership over");
                let another = |seen: &Leadership| seen.leader.is_some() && !seen.is_self;
                // A closed channel: the replica is gone, and with it the leadership.
                let _ = leadership.wait_for(another).await;
            }
            // The last node of a cluster has nobody to hand over to.
            Err(error) => tracing::info!(%error, "leadership is not handed over"),
        }
    }

    async fn failed(&self) -> String {
        let mut failure = self.host.failure();
        match failure.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            Err(_) => "the replica is gone".into(),
        }
    }

    async fn close(&self) {
        self.host.stop().await;
    }
}

impl From<ProposeError> for Error {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::NotLeader { .. } => Error::NotLeader,
            ProposeError::Unknown => Error::Unknown(error.to_string()),
            ProposeError::Busy => Error::Busy,
            ProposeError::TooLarge { .. } => Error::TooLarge(error.to_string()),
            ProposeError::NoSpace => Error::DiskFull(error.to_string()),
            ProposeError::Unsupported { .. } => Error::Refused(error.to_string()),
            // It may have stopped with the entry already sent to the others.
            ProposeError::Stopped => Error::Unknown(error.to_string()),
        }
    }
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::NotLeader => Error::NotLeader,
            ReadError::NoLeader | ReadError::NoQuorum | ReadError::Behind => Error::NoQuorum(error.to_string()),
            ReadError::Stopped => Error::Stopped(error.to_string()),
        }
    }
}
