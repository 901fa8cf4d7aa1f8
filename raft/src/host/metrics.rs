//! What a node tells Prometheus about its Raft: mostly read when asked; what is counted is counted for each entry.

use std::sync::Arc;

use openraft::async_runtime::WatchReceiver;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::start::{Host, HostCore};
use crate::machine::Machine;

impl<M: Machine> Host<M> {
    /// Adds this node's metrics to a registry.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.core().batches.register_metrics(registry);
        registry.register_collector(Box::new(RaftCollector(self.core())));
    }
}

struct RaftCollector<M: Machine>(Arc<HostCore<M>>);

impl<M: Machine> std::fmt::Debug for RaftCollector<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RaftCollector(node {})", self.0.node_id())
    }
}

impl<M: Machine> Collector for RaftCollector<M> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let core = &self.0;
        let metrics = core.raft.metrics().borrow_watched().clone();
        let index = |id: Option<crate::types::LogId>| id.map_or(0, |id| id.index());
        let snapshot = index(metrics.snapshot);
        let last = metrics.last_log_index.unwrap_or(0);
        let slowest = metrics.replication.iter().flatten().map(|(_, matched)| index(*matched)).min();
        let gauges = [
            ("raft_term", "Current term", metrics.current_term),
            ("raft_is_leader", "1 on the leader", u64::from(metrics.state.is_leader())),
            ("raft_has_leader", "1 while a leader is known", u64::from(metrics.current_leader.is_some())),
            ("raft_last_log_index", "Last log index held", last),
            ("raft_committed_index", "Last index known to be committed", index(metrics.local_committed)),
            ("raft_applied_index", "Last index executed", index(metrics.last_applied)),
            ("raft_snapshot_index", "Last index in the newest snapshot", snapshot),
            ("raft_purged_index", "Last index that left the log", index(metrics.purged)),
            (
                "raft_slowest_follower_lag",
                "Entries the slowest member lacks; leader only",
                slowest.map_or(0, |at| last - at.min(last)),
            ),
            ("raft_alarms", "Alarms raised in the cluster", core.alarms().len() as u64),
            (
                "raft_diverged",
                "1 once this node's state was found to differ from the leader's",
                u64::from(core.shared.diverged_at().is_some()),
            ),
            ("storage_stalled", "1 while RocksDB delays writes", u64::from(core.shared.engine.stalled())),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let bytes = [
            ("raft_log_since_snapshot", "Log since the newest snapshot", core.log.bytes_after(snapshot)),
            (
                "storage_free",
                "Free space of the data directory's disk",
                core.disk.state().map_or(0, |state| state.free),
            ),
        ];
        for (name, help, value) in bytes {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, Some(&Unit::Bytes), gauge.metric_type())?)?;
        }
        let p99 = ConstGauge::new(core.wal.sync_p99().as_secs_f64());
        let help = "99th percentile of the latest syncs of the write-ahead log";
        p99.encode(encoder.encode_descriptor("wal_sync_p99", help, Some(&Unit::Seconds), p99.metric_type())?)
    }
}
