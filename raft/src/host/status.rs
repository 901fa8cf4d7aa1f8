//! What a node knows about itself and its cluster.

use std::time::Duration;

use openraft::ServerState;
use openraft::async_runtime::WatchReceiver;

use super::start::HostCore;
use crate::apply::StateHash;
use crate::machine::Machine;
use crate::offer;
use crate::storage::marker::ClusterId;
use crate::system::{self, Alarm};
use crate::types::{Member, NodeId};

/// What a node is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// No membership yet: it waits to be initialized or added.
    Uninitialized,
    Learner,
    Follower,
    Candidate,
    Leader,
    Stopped,
}

/// A member, and how far it is (known to the leader only).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    pub id: NodeId,
    pub voter: bool,
    pub member: Member,
    /// The disk it announced.
    pub incarnation: Option<u64>,
    pub matched_index: Option<u64>,
    pub lag_entries: Option<u64>,
}

/// A node's view of itself, at one moment.
#[derive(Clone, Debug)]
pub struct HostStatus {
    pub node_id: NodeId,
    pub incarnation: u64,
    pub cluster_id: Option<ClusterId>,
    pub state: NodeState,
    pub term: u64,
    pub leader: Option<NodeId>,
    pub last_log_index: u64,
    pub committed_index: u64,
    /// Index and hash belong together.
    pub applied_index: u64,
    pub state_hash: StateHash,
    pub snapshot_index: u64,
    pub snapshot_term: u64,
    /// The first log index that is still held.
    pub first_log_index: u64,
    pub apply_version: u32,
    pub apply_version_supported: u32,
    pub members: Vec<MemberStatus>,
    pub alarms: Vec<Alarm>,
    pub wal_sync_p99: Duration,
    pub uptime: Duration,
    /// Bytes of log since the newest snapshot.
    pub log_bytes_since_snapshot: u64,
}

impl<M: Machine> HostCore<M> {
    /// Describes this node. An error is a storage error.
    pub fn status(&self) -> std::io::Result<HostStatus> {
        let view = self.view()?;
        let metrics = self.raft.metrics().borrow_watched().clone();
        let last_log_index = metrics.last_log_index.unwrap_or(0);
        let membership = metrics.membership_config.membership();
        let voters: Vec<NodeId> = membership.voter_ids().collect();
        let member = |(id, member): (&NodeId, &Member)| -> std::io::Result<MemberStatus> {
            let matched = if *id == metrics.id && metrics.state.is_leader() {
                Some(last_log_index)
            } else {
                let replication = metrics.replication.as_ref().and_then(|replication| replication.get(id));
                // Nothing matched is nothing known: a node that never answered is not "0 of few entries behind".
                replication.and_then(|matched| matched.as_ref().map(|id| id.index()))
            };
            Ok(MemberStatus {
                id: *id,
                voter: voters.contains(id),
                member: member.clone(),
                incarnation: system::node_facts(&view, *id)?.map(|facts| facts.incarnation),
                matched_index: matched,
                lag_entries: matched.map(|matched| last_log_index.saturating_sub(matched)),
            })
        };
        let members = membership.nodes().map(member).collect::<std::io::Result<Vec<_>>>()?;
        let snapshot_index = metrics.snapshot.map_or(0, |id| id.index());
        Ok(HostStatus {
            node_id: metrics.id,
            incarnation: self.identity.incarnation,
            cluster_id: self.identity.cluster_id(),
            state: match metrics.state {
                _ if metrics.running_state.is_err() => NodeState::Stopped,
                _ if members.is_empty() => NodeState::Uninitialized,
                ServerState::Learner => NodeState::Learner,
                ServerState::Follower => NodeState::Follower,
                ServerState::Candidate => NodeState::Candidate,
                ServerState::Leader => NodeState::Leader,
                ServerState::Shutdown => NodeState::Stopped,
            },
            term: metrics.current_term,
            leader: metrics.current_leader,
            last_log_index,
            committed_index: metrics.local_committed.map_or(0, |id| id.index()),
            applied_index: view.index(),
            state_hash: view.position.hash,
            snapshot_index,
            snapshot_term: metrics.snapshot.map_or(0, |id| **id.committed_leader_id()),
            first_log_index: metrics.purged.map_or(0, |id| id.index() + 1),
            apply_version: system::apply_version(&view)?,
            apply_version_supported: offer::apply_version::<M>(),
            members,
            alarms: system::alarms(&view)?,
            wal_sync_p99: self.wal.sync_p99(),
            uptime: self.started.elapsed(),
            log_bytes_since_snapshot: self.log.bytes_after(snapshot_index),
        })
    }
}
