//! What `/metrics` tells of the key space, its watches and its leases: read when asked.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::lessor::Lessor;
use super::watch::Hub;
use crate::replica::Replica;

/// The gauges of one node.
pub struct EtcdGauges {
    pub hub: Arc<Hub>,
    pub replica: Arc<dyn Replica>,
    pub lessor: Arc<Lessor>,
}

impl fmt::Debug for EtcdGauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EtcdGauges(node {})", self.replica.node_id())
    }
}

impl Collector for EtcdGauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut gauge = |name: &str, help: &str, unit: Option<&Unit>, value: i64| {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, unit, gauge.metric_type())?)
        };
        // Tables that cannot be read stop the node; their gauges are left out.
        if let Ok(revisions) = self.hub.revisions() {
            gauge("key_space_revision", "Newest revision of the key space here", None, revisions.current)?;
            let compacted = revisions.compacted;
            gauge("key_space_compacted_revision", "Revision below which history is gone", None, compacted)?;
        }
        let (handed_over, queued) = (self.hub.handed_over(), self.hub.queued_bytes());
        gauge("watch_revision", "Revision up to which watchers were given their events", None, handed_over)?;
        let help = "Events that wait for streams, counted at each of them";
        gauge("watch_queued", help, Some(&Unit::Bytes), i64::try_from(queued).unwrap_or(i64::MAX))?;
        let leases = i64::try_from(self.lessor.leases()).unwrap_or(i64::MAX);
        gauge("leases", "Leases whose ends this node watches: all of them on the leader", None, leases)
    }
}
