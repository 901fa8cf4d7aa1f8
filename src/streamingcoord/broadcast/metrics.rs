//! What is counted about broadcasts.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use crate::metrics::Metrics;
use crate::replica::Replica;
use crate::state::View;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// See the module.
pub struct BroadcastMetrics {
    appends: Family<Outcome, Counter>,
    append_seconds: Histogram,
    seconds: Histogram,
    waiting: Gauge,
}

impl BroadcastMetrics {
    pub fn new(metrics: &Metrics, replica: Arc<dyn Replica>) -> Arc<Self> {
        let histogram = || Histogram::new(exponential_buckets(1e-3, 2.0, 18));
        let own = BroadcastMetrics {
            appends: Family::default(),
            append_seconds: histogram(),
            seconds: histogram(),
            waiting: Gauge::default(),
        };
        metrics.register(|registry| {
            let appends = "Appends of broadcasts to a vchannel, by outcome";
            registry.register("broadcast_appends", appends, own.appends.clone());
            let append = "Time of one append of a broadcast";
            registry.register("broadcast_append_seconds", append, own.append_seconds.clone());
            let whole = "Time from a broadcast's turn to its end";
            registry.register("broadcast_seconds", whole, own.seconds.clone());
            let waiting = "Broadcasts that wait for an earlier one, on the leader";
            registry.register("broadcasts_waiting", waiting, own.waiting.clone());
            registry.register_collector(Box::new(Counts(replica)));
        });
        Arc::new(own)
    }

    pub(super) fn appended(&self, succeeded: bool, took: Duration) {
        let outcome = if succeeded { "ok" } else { "failed" };
        self.appends.get_or_create(&Outcome { outcome }).inc();
        self.append_seconds.observe(took.as_secs_f64());
    }

    pub(super) fn finished(&self, took: Duration) {
        self.seconds.observe(took.as_secs_f64());
    }

    pub(super) fn waiting(&self, count: usize) {
        self.waiting.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

/// What the facts count, the same on every node.
struct Counts(Arc<dyn Replica>);

impl std::fmt::Debug for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Counts")
    }
}

impl Collector for Counts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Ok(totals) = self.0.view().and_then(|view| View::new(view.as_ref()).broadcasts().totals()) else {
            return Ok(());
        };
        let counts = [
            ("broadcasts_pending", "Broadcasts that some vchannel has not acknowledged", totals.pending),
            ("broadcasts_pending_bytes", "Bytes of their messages", totals.pending_bytes),
            ("broadcasts_finished", "Broadcasts that are over and remembered", totals.tombstones),
        ];
        for (name, help, count) in counts {
            let gauge = ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}
