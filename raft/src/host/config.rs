//! What a node is told when it starts, and what openraft makes of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use openraft::StepDownPolicy;
use openraft::{Config, SnapshotPolicy};

use super::batch::BatchLimits;
use crate::error::StartError;
use crate::storage::marker::ClusterId;
use crate::storage::rocks::RocksBudget;
use crate::types::{Member, NodeId};

/// Log entries that stay for followers, whatever their size.
pub(super) const KEEP_LOG_ENTRIES: u64 = 1_000_000;

/// Settings of one node. Times in milliseconds, sizes in bytes.
#[derive(Clone, Debug)]
pub struct HostConfig {
    pub node_id: NodeId,
    pub data_dir: PathBuf,
    /// The members of a new cluster. A node that is not among them waits to be added.
    pub initial_members: BTreeMap<NodeId, Member>,
    /// The cluster's shared secret, as configured.
    pub secret: String,
    pub heartbeat_ms: u64,
    pub election_min_ms: u64,
    pub election_max_ms: u64,
    pub quorum_loss_probe_ms: u64,
    /// A snapshot is taken when the log has grown this much since the last.
    pub snapshot_log_bytes: u64,
    /// Log that stays after a snapshot, so that a restarted follower need not receive one.
    pub keep_log_bytes: u64,
    pub max_proposal_bytes_in_flight: usize,
    /// How proposals share entries.
    pub batches: BatchLimits,
    pub min_free_bytes: u64,
    pub ballast_bytes: u64,
    pub budget: RocksBudget,
}

impl HostConfig {
    /// A node with the default settings of a production cluster.
    pub fn new(node_id: NodeId, data_dir: PathBuf, initial_members: BTreeMap<NodeId, Member>, secret: &str) -> Self {
        HostConfig {
            node_id,
            data_dir,
            initial_members,
            secret: secret.to_string(),
            heartbeat_ms: 100,
            election_min_ms: 300,
            election_max_ms: 500,
            quorum_loss_probe_ms: 1000,
            snapshot_log_bytes: 256 << 20,
            keep_log_bytes: 1 << 30,
            max_proposal_bytes_in_flight: 64 << 20,
            batches: BatchLimits::default(),
            min_free_bytes: 512 << 20,
            ballast_bytes: 64 << 20,
            budget: RocksBudget::default(),
        }
    }

    /// The lease that a follower grants and that the leader may rely on.
    pub fn lease(&self) -> Duration {
        Duration::from_millis(self.election_max_ms)
    }

    /// Equal on every node that is configured with the same first members and secret.
    pub(super) fn cluster_id(&self) -> Option<ClusterId> {
        if !self.initial_members.contains_key(&self.node_id) {
            return None;
        }
        let mut hasher = blake3::Hasher::new_derive_key("roost 2026 cluster id v1");
        hasher.update(self.secret.as_bytes());
        for (id, member) in &self.initial_members {
            hasher.update(&id.to_be_bytes());
            hasher.update(member.peer.as_bytes());
        }
        let mut id = [0; 16];
        hasher.finalize_xof().fill(&mut id);
        Some(ClusterId(u128::from_be_bytes(id)))
    }

    /// `may_elect`: whether the node may campaign from the start; a restarted one waits out the lease it may have
    /// granted.
    pub(super) fn openraft(&self, may_elect: bool) -> Result<Config, StartError> {
        let config = Config {
            cluster_name: "roost".into(),
            heartbeat_interval: self.heartbeat_ms,
            election_timeout_min: self.election_min_ms,
            election_timeout_max: self.election_max_ms,
            quorum_loss_probe_interval: Some(self.quorum_loss_probe_ms),
            enable_elect: may_elect,
            enable_pre_vote: Some(true),
            // Unsound with unsynced apply: a restarted leader must learn the commit index from an election.
            enable_leader_restore: Some(false),
            // A removed leader is drained by our own transfer, which waits for a successor that has everything.
            removed_leader_step_down: StepDownPolicy::Never,
            // Snapshots and purges are triggered by bytes, by the housekeeping task.
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: u64::MAX,
            replication_lag_threshold: KEEP_LOG_ENTRIES * 2,
            max_payload_entries: 4096,
            broadcast_submitted_on_append: Some(true),
            ..Config::default()
        };
        config.validate().map_err(|error| StartError::Config(error.to_string()))
    }
}
