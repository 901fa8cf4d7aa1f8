//! What the balancer counts.

use std::collections::BTreeSet;
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

/// Why the balancer plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// It begins to lead, or lost track of changes.
    Begin,
    /// A node joined, left, or was drained or frozen.
    Nodes,
    /// Channels were added or lost, or an operator ordered something.
    Channels,
    /// Collections came or went.
    VChannels,
    /// Whatever was on its way has arrived.
    Settled,
    /// Something that failed may be tried again.
    Retry,
    /// An operator says so.
    Operator,
    /// Nothing happened for a while.
    Timer,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Triggered {
    cause: &'static str,
}

/// How an assignment ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    outcome: &'static str,
}

/// See the module.
pub struct BalancerMetrics {
    /// Streaming nodes that answered the last question after their health, or did not.
    pub(super) nodes_silent: prometheus_client::metrics::gauge::Gauge,
    triggers: Family<Triggered, Counter>,
    plan_seconds: Histogram,
    rebalances: Counter,
    rebalance_seconds: Histogram,
    vetoed: Counter,
    assignments: Family<Ended, Counter>,
    assignment_seconds: Histogram,
}

impl Default for BalancerMetrics {
    fn default() -> Self {
        BalancerMetrics {
            nodes_silent: Default::default(),
            triggers: Family::default(),
            plan_seconds: seconds(),
            rebalances: Counter::default(),
            rebalance_seconds: seconds(),
            vetoed: Counter::default(),
            assignments: Family::default(),
            assignment_seconds: seconds(),
        }
    }
}

impl Cause {
    fn name(self) -> &'static str {
        match self {
            Cause::Begin => "begin",
            Cause::Nodes => "nodes",
            Cause::Channels => "channels",
            Cause::VChannels => "vchannels",
            Cause::Settled => "settled",
            Cause::Retry => "retry",
            Cause::Operator => "operator",
            Cause::Timer => "timer",
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
        let took = self.rebalance_seconds.clone();
        registry.register("streaming_rebalance_seconds", "From a plan to the last of its channels that arrived", took);
        registry.register("streaming_balancer_triggers", "Plans by what they were made for", self.triggers.clone());
        registry.register("streaming_vetoed", "Assignments that an interceptor refused", self.vetoed.clone());
        registry.register("streaming_assignments", "Assignments that ended, by outcome", self.assignments.clone());
        let took = self.assignment_seconds.clone();
        registry.register("streaming_assignment_seconds", "From an order to the node's answer", took);
        let silent = self.nodes_silent.clone();
        registry.register("streaming_nodes_silent", "Streaming nodes that do not say how they are", silent);
    }

    pub(super) fn triggered(&self, causes: &BTreeSet<Cause>) {
        for cause in causes {
            self.triggers.get_or_create(&Triggered { cause: cause.name() }).inc();
        }
    }

    /// What a plan moved, or several that came one after the other, has arrived.
    pub(super) fn rebalanced(&self, took: Duration) {
        self.rebalance_seconds.observe(took.as_secs_f64());
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
