//! Changing who belongs to the cluster, and who leads it. Each operation is one step that may be asked for again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, InitializeError, RaftError};
use openraft::{ChangeMembers, Instant as _};
use tokio::time::Instant;

use super::start::HostCore;
use crate::error::ChangeError;
use crate::machine::Machine;
use crate::storage::marker::ClusterId;
use crate::system::{self, Alarm, SystemCommand};
use crate::types::{Member, NodeId, TypeConfig};

/// How long a change may wait for this node to know what it builds upon.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a transfer waits for a voter that can take over.
const TRANSFER_WAIT: Duration = Duration::from_secs(2);
/// Entries that a voter may lack: less than it receives in a heartbeat's time.
const TRANSFER_LAG: u64 = 256;

type Change = ChangeMembers<NodeId, Member>;

impl<M: Machine> HostCore<M> {
    /// Gives a node without a membership its first one. All voters of it must be running and empty.
    pub async fn initialize(&self, members: BTreeMap<NodeId, Member>) -> Result<ClusterId, ChangeError> {
        if !members.contains_key(&self.identity.node_id) {
            return Err(ChangeError::Invalid(format!("the members must include this node, {}", self.identity.node_id)));
        }
        if self.raft.is_initialized().await.map_err(|_| ChangeError::Stopped)? {
            let cluster = self.identity.cluster_id().map_or("its own".into(), |id| id.to_string());
            return Err(ChangeError::Invalid(format!("this node belongs to cluster {cluster} already")));
        }
        let cluster_id = self.identity.cluster_id().unwrap_or_else(ClusterId::draw);
        self.identity.join(cluster_id).map_err(|error| ChangeError::Invalid(error.to_string()))?;
        match self.raft.initialize(members).await {
            Ok(()) => Ok(cluster_id),
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {
                Err(ChangeError::Invalid(format!("this node belongs to cluster {cluster_id} already")))
            }
            Err(RaftError::APIError(error)) => Err(ChangeError::Invalid(error.to_string())),
            Err(RaftError::Fatal(_)) => Err(ChangeError::Stopped),
        }
    }

    /// Adds a node that receives the log and does not vote. Returns the entry's index. Repeating it changes nothing.
    pub async fn add_learner(&self, id: NodeId, member: Member) -> Result<u64, ChangeError> {
        let _one = self.changing.lock().await;
        // A new leader may not have applied the removal of an id yet.
        let deadline = Instant::now() + CHANGE_TIMEOUT;
        self.read_barrier(deadline).await.map_err(|error| ChangeError::TimedOut(error.to_string()))?;
        let facts = system::node_facts(self.shared.engine.as_ref(), id).map_err(|_| ChangeError::Stopped)?;
        if id == 0 || facts.is_some_and(|facts| facts.retired) {
            return Err(ChangeError::Invalid(format!("node id {id} was used before or is 0; ids are never reused")));
        }
        for (other, known) in self.members() {
            if other == id && known != member {
                return Err(ChangeError::Invalid(format!("node {id} is a member already, at {known}")));
            }
        }
        written(self.raft.add_learner(id, member, false).await)
    }

    /// Makes learners voters.
    pub async fn promote(&self, id: NodeId) -> Result<u64, ChangeError> {
        self.known(id)?;
        self.change(Change::AddVoterIds(BTreeSet::from([id])), true).await
    }

    /// Makes the learner `new` a voter and the voter `old` a learner, in one change.
    pub async fn swap(&self, old: NodeId, new: NodeId) -> Result<u64, ChangeError> {
        self.known(new)?;
        let _one = self.changing.lock().await;
        let mut voters = self.voters();
        if !voters.remove(&old) {
            return Err(ChangeError::Invalid(format!("node {old} is not a voter")));
        }
        voters.insert(new);
        written(self.raft.change_membership(Change::ReplaceAllVoters(voters), true).await)
    }

    /// Takes a node out; the membership entry closes its id when it is applied. The leader must hand over first.
    pub async fn remove(&self, id: NodeId) -> Result<u64, ChangeError> {
        self.known(id)?;
        if id == self.identity.node_id {
            return Err(ChangeError::Invalid(format!("node {id} leads; transfer leadership first")));
        }
        let voters = self.voters();
        if voters.contains(&id) && voters.len() == 1 {
            return Err(ChangeError::Invalid("the last voter cannot be removed".into()));
        }
        if voters.contains(&id) {
            self.change(Change::RemoveVoters(BTreeSet::from([id])), false).await
        } else {
            self.change(Change::RemoveNodes(BTreeSet::from([id])), false).await
        }
    }

    /// Asks a voter to take over: `to`, or the one that holds most of the log. Success shows in
    /// [`HostCore::leadership`].
    pub async fn start_transfer(&self, to: Option<NodeId>) -> Result<NodeId, ChangeError> {
        self.require_leader()?;
        let voters = self.voters();
        if to == Some(self.identity.node_id) {
            return Ok(self.identity.node_id);
        }
        if let Some(target) = to.filter(|target| !voters.contains(target)) {
            return Err(ChangeError::Invalid(format!("node {target} is not a voter")));
        }
        if voters.len() < 2 {
            return Err(ChangeError::Invalid("there is no other voter".into()));
        }
        // From the trigger on, this node takes no proposals and sends no heartbeats, so the target must be ready for
        // it.
        let deadline = Instant::now() + TRANSFER_WAIT;
        let target = loop {
            if let Some(target) = self.ready_to_lead(to) {
                break target;
            }
            if Instant::now() >= deadline {
                return Err(ChangeError::Lagging("no voter to hand over to answers and has caught up".into()));
            }
            tokio::time::sleep(self.retry_pause).await;
        };
        let (raft, transfer) = (self.raft.clone(), self.leader_checks.transfer());
        let begin = async move {
            raft.trigger().transfer_leader(target).await?;
            // Answered after the trigger was taken, thus in its term or a later one.
            raft.with_raft_state(|state| state.vote_ref().leader_id.term).await
        };
        match transfer.begin(begin).await {
            Some(Ok(())) => Ok(target),
            Some(Err(_)) | None => Err(ChangeError::Stopped),
        }
    }

    /// Withdraws an alarm; it comes back when its cause lasts.
    pub async fn clear_alarm(&self, alarm: Alarm) -> Result<(), ChangeError> {
        self.require_leader()?;
        let cleared = self.propose_system(&SystemCommand::ClearAlarm(alarm)).await;
        cleared.map(drop).map_err(|error| ChangeError::TimedOut(error.to_string()))
    }

    /// A voter (the wanted one, or the one with most of the log) that answered within the lease and lacks next to
    /// nothing.
    fn ready_to_lead(&self, wanted: Option<NodeId>) -> Option<NodeId> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let last = metrics.last_log_index.unwrap_or(0);
        let answered = |id: &NodeId| {
            let acked = metrics.heartbeat.as_ref()?.get(id)?.as_ref()?;
            Some(acked.elapsed() < self.config.lease())
        };
        let voters: BTreeSet<NodeId> = metrics.membership_config.voter_ids().collect();
        let candidates =
            metrics.replication.iter().flatten().filter(|(id, _)| {
                voters.contains(id) && **id != metrics.id && wanted.is_none_or(|wanted| wanted == **id)
            });
        let matched = candidates.map(|(id, matched)| (matched.as_ref().map_or(0, |id| id.index()), *id));
        let ready = matched.filter(|(index, id)| index + TRANSFER_LAG >= last && answered(id) == Some(true));
        ready.max().map(|(_, id)| id)
    }

    fn known(&self, id: NodeId) -> Result<(), ChangeError> {
        self.require_leader()?;
        match self.member(id) {
            Some(_) => Ok(()),
            None => Err(ChangeError::Invalid(format!("node {id} is not a member"))),
        }
    }

    fn require_leader(&self) -> Result<(), ChangeError> {
        let leadership = *self.leadership.borrow();
        if leadership.is_self { Ok(()) } else { Err(ChangeError::NotLeader { leader: leadership.leader }) }
    }

    async fn change(&self, change: Change, retain: bool) -> Result<u64, ChangeError> {
        let _one = self.changing.lock().await;
        written(self.raft.change_membership(change, retain).await)
    }
}

type Written =
    Result<openraft::raft::ClientWriteResponse<TypeConfig>, RaftError<TypeConfig, ClientWriteError<TypeConfig>>>;

fn written(result: Written) -> Result<u64, ChangeError> {
    match result {
        Ok(response) => Ok(response.log_id.index()),
        Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
            Err(ChangeError::NotLeader { leader: forward.leader_id })
        }
        Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(ChangeMembershipError::InProgress(_)))) => {
            Err(ChangeError::InProgress)
        }
        Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error))) => {
            Err(ChangeError::Invalid(error.to_string()))
        }
        Err(RaftError::APIError(error)) => Err(ChangeError::TimedOut(error.to_string())),
        Err(RaftError::Fatal(_)) => Err(ChangeError::Stopped),
    }
}
