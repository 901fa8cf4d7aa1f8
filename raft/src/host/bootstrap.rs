//! From an empty disk to a member: static bootstrap of a configured set, and announcing the disk to the cluster.

use std::sync::Arc;
use std::time::Duration;

use openraft::errors::{InitializeError, RaftError};

use super::start::HostCore;
use crate::codec;
use crate::error::ProposeError;
use crate::machine::Machine;
use crate::network::proto::{HelloRequest, Record};
use crate::offer;
use crate::system::{self, NodeFacts, SystemCommand, SystemReply};

const ANNOUNCE_PAUSE: Duration = Duration::from_millis(300);

/// Initializes the node when it is one of a new cluster's first members, then announces its disk and binary.
pub(super) async fn run<M: Machine>(core: Arc<HostCore<M>>) {
    if core.config.initial_members.contains_key(&core.identity.node_id) && core.log.is_pristine() {
        if let Some(why) = core.known_on_another_disk().await {
            return core.fail(&why);
        }
        // Every first member writes the same first entry, so it does not matter who does it, or how many.
        match core.raft.initialize(core.config.initial_members.clone()).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
            Err(error) => return core.fail(&format!("cannot initialize: {error}")),
        }
    }
    core.announce().await;
}

impl<M: Machine> HostCore<M> {
    /// Asks the other first members whether they know this node id under another disk: then this disk was wiped.
    async fn known_on_another_disk(&self) -> Option<String> {
        let own = format!("{:016x}", self.identity.incarnation);
        for (id, member) in &self.config.initial_members {
            if *id == self.identity.node_id {
                continue;
            }
            let client = self.transport.client(*id, member);
            let Ok(mut rpc) = client.rpc() else { continue };
            let Ok(reply) = rpc.hello(client.sign_bounded(HelloRequest {})).await else { continue };
            let known = reply.into_inner().your_incarnation;
            if !known.is_empty() && known != own {
                return Some(format!(
                    "node {} is a member already, on disk {known}, but this disk is new ({own}): its data directory \
                     was wiped or swapped. Start a node under a new id and run `roostctl member replace`",
                    self.identity.node_id
                ));
            }
        }
        None
    }

    /// Tells the cluster which disk and binary this node runs on, until the cluster has it on record.
    async fn announce(&self) {
        let apply_version = offer::apply_version::<M>();
        let facts = NodeFacts { incarnation: self.identity.incarnation, apply_version, retired: false };
        let node = self.identity.node_id;
        loop {
            let known = system::node_facts(self.shared.engine.as_ref(), node).ok().flatten();
            if known == Some(facts) {
                return;
            }
            let command =
                SystemCommand::Announce { node, incarnation: facts.incarnation, apply_version: facts.apply_version };
            if let Ok(SystemReply::Refused(why)) = self.submit_system(&command).await {
                return self.fail(&why);
            }
            tokio::time::sleep(ANNOUNCE_PAUSE).await;
        }
    }

    /// Has a command of the host proposed by whoever leads.
    pub(crate) async fn submit_system(&self, command: &SystemCommand) -> Result<SystemReply, ProposeError> {
        let leadership = *self.leadership.borrow();
        let nobody = ProposeError::NotLeader { leader: leadership.leader };
        if leadership.is_self {
            return self.propose_system(command).await;
        }
        let leader = leadership.leader.ok_or(nobody.clone())?;
        let member = self.member(leader).ok_or(nobody.clone())?;
        let client = self.transport.client(leader, &member);
        let mut rpc = client.rpc().map_err(|_| nobody.clone())?;
        let record = codec::encode(command).map_err(|_| ProposeError::Stopped)?.into();
        let reply = rpc.propose_system(client.sign_bounded(Record { record })).await.map_err(|_| nobody)?;
        codec::decode(&reply.into_inner().record).map_err(|_| ProposeError::Unknown)
    }
}
