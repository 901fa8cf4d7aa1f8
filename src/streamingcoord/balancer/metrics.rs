//! What the balancer counts.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::pb::store::PChannelState;
use crate::replica::Replica;
use crate::state::View;

/// How an assignment ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    outcome: &'static str,
}

/// See the module.
pub struct BalancerMetrics {
    /// Streaming nodes that answered the last question after their health, or did not.
    pub(super) nodes_silent: prometheus_client::metrics::gauge::Gauge,
    plan_seconds: Histogram,
    rebalances: Counter,
    vetoed: Counter,
    assignments: Family<Ended, Counter>,
    assignment_seconds: Histogram,
}

impl Default for BalancerMetrics {
    fn default() -> Self {
        BalancerMetrics {
            nodes_silent: Default::default(),
            plan_seconds: seconds(),
            rebalances: Counter::default(),
            vetoed: Counter::default(),
            assignments: Family::default(),
            assignment_seconds: seconds(),
        }
    }
}

/// A tenth of a millisecond to a hundred seconds.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(1e-4, 4.0, 11))
}

impl BalancerMetrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register("streaming_balancer_seconds", "Time that a plan took", self.plan_seconds.clone());
        registry.register("streaming_rebalances", "Plans that moved or placed channels", self.rebalances.clone());
        registry.register("streaming_vetoed", "Assignments that an interceptor refused", self.vetoed.clone());
        registry.register("streaming_assignments", "Assignments that ended, by outcome", self.assignments.clone());
        let took = self.assignment_seconds.clone();
        registry.register("streaming_assignment_seconds", "From an order to the node's answer", took);
        let silent = self.nodes_silent.clone();
        registry.register("streaming_nodes_silent", "Streaming nodes that do not say how they are", silent);
    }

    pub(super) fn planned(&self, took: Duration, vetoed: usize, ordered: bool) {
        self.plan_seconds.observe(took.as_secs_f64());
        self.vetoed.inc_by(vetoed as u64);
        if ordered {
            self.rebalances.inc();
        }
    }

    pub(super) fn ended(&self, outcome: &'static str, took: Duration) {
        self.assignments.get_or_create(&Ended { outcome }).inc();
        self.assignment_seconds.observe(took.as_secs_f64());
    }
}

/// How many channels are in each state, as this node knows.
pub struct ChannelGauges(pub Arc<dyn Replica>);

impl fmt::Debug for ChannelGauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChannelGauges")
    }
}

impl Collector for ChannelGauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        const STATES: [(PChannelState, &str); 4] = [
            (PChannelState::Uninitialized, "uninitialized"),
            (PChannelState::Assigning, "assigning"),
            (PChannelState::Assigned, "assigned"),
            (PChannelState::Unavailable, "unavailable"),
        ];
        let rows = self.0.view().and_then(|view| View::new(view.as_ref()).pchannels());
        let Ok(rows) = rows else { return Ok(()) };
        let (name, help) = ("streaming_channels", "Physical channels by state");
        let counted = |state| rows.iter().filter(|row| row.state() == state).count();
        let sample = ConstGauge::new(0_i64);
        let mut family = encoder.encode_descriptor(name, help, None, sample.metric_type())?;
        for (state, name) in STATES {
            let gauge = ConstGauge::new(i64::try_from(counted(state)).unwrap_or(i64::MAX));
            gauge.encode(family.encode_family(&[("state", name)])?)?;
        }
        Ok(())
    }
}
