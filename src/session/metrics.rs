//! What `/metrics` tells of worker nodes.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

use super::watch::WorkerHub;
use crate::replica::Replica;
use crate::state::{View, worker};

/// What this node did.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub registered: Counter,
    pub renewed: Counter,
    pub told_dead: Counter,
}

impl Counts {
    pub fn register(&self, registry: &mut Registry) {
        let Counts { registered, renewed, told_dead } = self.clone();
        registry.register("worker_registrations", "Worker nodes that registered at this leader", registered);
        registry.register("worker_keep_alives", "Renewals of sessions answered by this node", renewed);
        let help = "Keep-alives answered with the news that the worker was declared dead";
        registry.register("worker_keep_alives_of_dead", help, told_dead);
    }
}

/// The gauges of one node: read when asked.
pub struct WorkerGauges {
    pub replica: Arc<dyn Replica>,
    pub hub: Arc<WorkerHub>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Standing {
    role: &'static str,
    standing: &'static str,
}

impl fmt::Debug for WorkerGauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WorkerGauges(node {})", self.replica.node_id())
    }
}

impl Collector for WorkerGauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        // Tables that cannot be read stop the node; their gauges are left out.
        if let Ok(workers) = self.replica.view().and_then(|view| View::new(view.as_ref()).workers()) {
            let family = Family::<Standing, Gauge>::default();
            for worker in workers {
                let standing = match (worker.draining, worker.frozen) {
                    (true, _) => "draining",
                    (false, true) => "frozen",
                    (false, false) => "serving",
                };
                family.get_or_create(&Standing { role: worker::role_name(worker.role()), standing }).inc();
            }
            let help = "Worker nodes that live, as this node knows them";
            family.encode(encoder.encode_descriptor("workers", help, None, family.metric_type())?)?;
        }
        let gauge = ConstGauge::new(i64::try_from(self.hub.watching()).unwrap_or(i64::MAX));
        let help = "Watches of worker nodes at this node";
        gauge.encode(encoder.encode_descriptor("worker_watches", help, None, gauge.metric_type())?)
    }
}
