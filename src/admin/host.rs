//! `Node` on the real host: its types in the words of the wire.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use roost_raft::Host;
use roost_raft::apply::StateHash;
use roost_raft::error::ChangeError;
use roost_raft::host::{HostStatus, LogLine, MemberStatus, NodeState};
use roost_raft::machine::Machine;
use roost_raft::system::{self, AlarmKind};
use roost_raft::types::Member;

use super::Error;
use super::node::{Node, SnapshotSource};
use crate::leader::tso::{self, Oracle};
use crate::pb::admin;

/// This process's node.
pub struct HostNode<M: Machine> {
    host: Arc<Host<M>>,
    oracle: Arc<Oracle>,
    /// Where it is reached, as configured; the membership's word counts once there is one.
    advertised: Member,
}

impl<M: Machine> HostNode<M> {
    pub fn new(host: Arc<Host<M>>, oracle: Arc<Oracle>, advertised: Member) -> Self {
        HostNode { host, oracle, advertised }
    }
}

#[tonic::async_trait]
impl<M: Machine> Node for HostNode<M> {
    fn status(&self) -> Result<admin::NodeStatus, Error> {
        let status = self.host.status().map_err(unreadable)?;
        let own = status.members.iter().find(|member| member.id == status.node_id);
        let address = own.map_or(&self.advertised, |own| &own.member).clone();
        Ok(node_status(status, address))
    }

    fn stored_bytes(&self) -> u64 {
        self.host.stored_bytes()
    }

    fn recent_hashes(&self) -> Vec<admin::HashPoint> {
        let points = self.host.recent_hashes().into_iter();
        points.map(|(index, hash)| admin::HashPoint { index, hash: hash_bytes(&hash) }).collect()
    }

    async fn initialize(&self, voters: Vec<(u64, admin::Address)>) -> Result<String, Error> {
        let members = voters.into_iter().map(|(id, address)| (id, member(address))).collect();
        Ok(self.host.initialize(members).await?.to_string())
    }

    async fn add_learner(&self, id: u64, address: admin::Address) -> Result<u64, Error> {
        Ok(self.host.add_learner(id, member(address)).await?)
    }

    async fn promote(&self, id: u64) -> Result<u64, Error> {
        Ok(self.host.promote(id).await?)
    }

    async fn swap(&self, old: u64, new: u64) -> Result<u64, Error> {
        Ok(self.host.swap(old, new).await?)
    }

    async fn remove(&self, id: u64) -> Result<u64, Error> {
        Ok(self.host.remove(id).await?)
    }

    async fn start_transfer(&self, to: Option<u64>) -> Result<(), Error> {
        Ok(self.host.start_transfer(to).await.map(drop)?)
    }

    async fn pin_snapshot(&self) -> Result<SnapshotSource, Error> {
        let (header, data) = self.host.pin_snapshot().await.map_err(unreadable)?;
        let begin = admin::SnapshotBegin {
            node_id: header.node_id,
            cluster_id: header.cluster_id.map(|id| id.to_string()).unwrap_or_default(),
            index: header.last_log_id.map_or(0, |id| id.index()),
            term: header.last_log_id.map_or(0, |id| **id.committed_leader_id()),
            state_hash: hash_bytes(&header.hash),
        };
        Ok(SnapshotSource { begin, write: Box::new(move |out: &mut dyn io::Write| data.write_to(out).map(drop)) })
    }

    async fn build_snapshot(&self) -> Result<u64, Error> {
        Ok(self.host.build_snapshot().await?)
    }

    async fn timestamp(&self, deadline: Instant) -> Result<u64, Error> {
        self.oracle.allocate(1, deadline).await.map_err(|error| match error {
            tso::Error::NotLeader => Error::NotLeader(error.to_string()),
            _ => Error::Failed(error.to_string()),
        })
    }

    async fn entries(&self, from: u64, limit: usize) -> Result<Vec<admin::LogEntry>, Error> {
        let host = self.host.clone();
        let reading = tokio::task::spawn_blocking(move || host.log_lines(from, limit));
        let lines = reading.await.map_err(|error| Error::Failed(error.to_string()))?.map_err(unreadable)?;
        Ok(lines.into_iter().map(log_entry).collect())
    }

    async fn disarm(&self, alarms: &[admin::Alarm]) -> Result<(), Error> {
        for alarm in alarms {
            // The alarms come from `status`, so their kinds are known.
            let kind = AlarmKind::ALL.into_iter().find(|kind| kind.to_string() == alarm.kind);
            let Some(kind) = kind else { continue };
            self.host.clear_alarm(system::Alarm { kind, node: alarm.node_id }).await?;
        }
        Ok(())
    }
}

impl From<ChangeError> for Error {
    fn from(error: ChangeError) -> Self {
        let text = error.to_string();
        match error {
            ChangeError::NotLeader { leader: Some(leader) } => Error::NotLeader(format!("node {leader} leads")),
            ChangeError::NotLeader { leader: None } => Error::NoLeader,
            ChangeError::Invalid(_) => Error::Invalid(text),
            ChangeError::InProgress => Error::Busy(text),
            ChangeError::Lagging(_) => Error::Lagging(text),
            ChangeError::TimedOut(_) => Error::Unknown(text),
            ChangeError::Stopped => Error::Failed(text),
        }
    }
}

fn unreadable(error: io::Error) -> Error {
    Error::Failed(format!("storage: {error}"))
}

fn member(address: admin::Address) -> Member {
    Member { peer: address.peer, client: address.client, internal: address.internal }
}

fn address(member: Member) -> admin::Address {
    admin::Address { peer: member.peer, client: member.client, internal: member.internal }
}

fn node_status(status: HostStatus, own: Member) -> admin::NodeStatus {
    admin::NodeStatus {
        node_id: status.node_id,
        cluster_id: status.cluster_id.map(|id| id.to_string()).unwrap_or_default(),
        state: node_state(status.state).into(),
        term: status.term,
        leader: status.leader,
        last_log_index: status.last_log_index,
        committed_index: status.committed_index,
        applied_index: status.applied_index,
        snapshot_index: status.snapshot_index,
        snapshot_term: status.snapshot_term,
        first_log_index: status.first_log_index,
        state_hash_index: status.applied_index,
        state_hash: hash_bytes(&status.state_hash),
        apply_version: status.apply_version,
        apply_version_supported: status.apply_version_supported,
        members: status.members.into_iter().map(member_status).collect(),
        alarms: status.alarms.into_iter().map(alarm).collect(),
        wal_sync_p99_us: u64::try_from(status.wal_sync_p99.as_micros()).unwrap_or(u64::MAX),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_ms: u64::try_from(status.uptime.as_millis()).unwrap_or(u64::MAX),
        address: Some(address(own)),
        incarnation: disk(status.incarnation),
    }
}

fn node_state(state: NodeState) -> admin::NodeState {
    match state {
        NodeState::Uninitialized => admin::NodeState::Uninitialized,
        NodeState::Learner => admin::NodeState::Learner,
        NodeState::Follower => admin::NodeState::Follower,
        NodeState::Candidate => admin::NodeState::Candidate,
        NodeState::Leader => admin::NodeState::Leader,
        NodeState::Stopped => admin::NodeState::Shutdown,
    }
}

fn member_status(status: MemberStatus) -> admin::Member {
    let role = if status.voter { admin::Role::Voter } else { admin::Role::Learner };
    admin::Member {
        id: status.id,
        role: role.into(),
        address: Some(address(status.member)),
        incarnation: status.incarnation.map(disk).unwrap_or_default(),
        matched_index: status.matched_index,
        lag_entries: status.lag_entries,
    }
}

fn disk(incarnation: u64) -> String {
    format!("{incarnation:016x}")
}

fn alarm(alarm: system::Alarm) -> admin::Alarm {
    let message = match alarm.kind {
        AlarmKind::NoSpace => "its disk is nearly full; only what the cluster cannot run without is written",
        AlarmKind::Corrupt => "its state differs from the others' at an equal applied index",
    };
    admin::Alarm { kind: alarm.kind.to_string(), node_id: alarm.node, message: message.to_owned() }
}

fn log_entry(line: LogLine) -> admin::LogEntry {
    admin::LogEntry { index: line.index, term: line.term, kind: line.kind.to_owned(), text: line.text }
}

/// The digits that the hash is displayed with, as bytes.
fn hash_bytes(hash: &StateHash) -> Vec<u8> {
    let digits = hash.to_string();
    let pairs = digits.as_bytes().chunks_exact(2).filter_map(|pair| std::str::from_utf8(pair).ok());
    pairs.filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use roost_raft::kv::Space;

    #[test]
    fn a_hash_looks_the_same_everywhere() {
        let mut hash = StateHash::default();
        hash.add(Space::STATE, b"key", b"value");
        let bytes = hash_bytes(&hash);
        assert_eq!(bytes.len(), 32);
        let shown: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(shown, hash.to_string());
    }

    #[test]
    fn a_host_without_a_leader_says_so() {
        assert_eq!(Error::from(ChangeError::NotLeader { leader: None }), Error::NoLeader);
        assert!(matches!(Error::from(ChangeError::NotLeader { leader: Some(2) }), Error::NotLeader(_)));
    }
}
