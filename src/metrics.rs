//! What this server counts about its calls, and the registry that `/metrics` prints.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::machine;

/// One method and how it ended. Only methods that exist are counted, so the number of series is bounded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    method: String,
    /// The gRPC code; refusals in Milvus' words are 0.
    code: i32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    method: String,
}

/// The metrics of the server; those of the Raft host register themselves in the same registry.
pub struct Metrics {
    registry: Mutex<Registry>,
    /// Under the names that every process gives them.
    process: Registry,
    calls: Family<Ended, Counter>,
    seconds: Family<Of, Histogram>,
    forwarded: Counter,
    retried: Counter,
    /// By path: calls that succeeded, and the time of all.
    known: RwLock<HashMap<String, (Counter, Histogram)>>,
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("roost");
        let calls = Family::<Ended, Counter>::default();
        let seconds = Family::<Of, Histogram>::new_with_constructor(latency);
        let (forwarded, retried) = (Counter::default(), Counter::default());
        registry.register("calls", "Calls that ended here, by method and gRPC code", calls.clone());
        registry.register("call_seconds", "Time from the first byte to the answer", seconds.clone());
        registry.register("forwarded", "Attempts sent on to the leader", forwarded.clone());
        registry.register("retried", "Attempts that had to be repeated", retried.clone());
        let mut process = Registry::default();
        process.register_collector(Box::new(ProcessGauges));
        let registry = Mutex::new(registry);
        Metrics { registry, process, calls, seconds, forwarded, retried, known: RwLock::default() }
    }

    /// Lets others register what they count.
    pub fn register(&self, with: impl FnOnce(&mut Registry)) {
        with(&mut self.registry.lock());
    }

    pub fn called(&self, path: &str, code: i32, took: Duration) {
        let known = self.known.read();
        let Some((succeeded, seconds)) = known.get(path) else {
            drop(known);
            self.learn(path);
            return self.called(path, code, took);
        };
        match code {
            0 => succeeded.inc(),
            code => self.calls.get_or_create(&Ended { method: name_of(path), code }).inc(),
        };
        seconds.observe(took.as_secs_f64());
    }

    /// A method's series, which its calls need not look up by names of their own.
    fn learn(&self, path: &str) {
        let succeeded = self.calls.get_or_create_owned(&Ended { method: name_of(path), code: 0 });
        let seconds = self.seconds.get_or_create_owned(&Of { method: name_of(path) });
        self.known.write().insert(path.to_owned(), (succeeded, seconds));
    }

    pub fn forwarded(&self) {
        self.forwarded.inc();
    }

    pub fn retried(&self) {
        self.retried.inc();
    }

    /// The registry in Prometheus' text format.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode_registry(&mut text, &self.registry.lock())?;
        encode_registry(&mut text, &self.process)?;
        encode_eof(&mut text)?;
        Ok(text)
    }
}

fn name_of(path: &str) -> String {
    path.trim_start_matches('/').to_owned()
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// What the kernel counts of this process. `etcdctl check datascale` looks for it.
#[derive(Debug)]
struct ProcessGauges;

impl Collector for ProcessGauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(bytes) = machine::resident_bytes() else { return Ok(()) };
        let gauge = ConstGauge::new(i64::try_from(bytes).unwrap_or(i64::MAX));
        let (name, help) = ("process_resident_memory", "Memory of this process that is not swapped out");
        gauge.encode(encoder.encode_descriptor(name, help, Some(&Unit::Bytes), gauge.metric_type())?)
    }
}

/// 100 microseconds to 13 seconds: from a local read to a call that waited out an election.
fn latency() -> Histogram {
    Histogram::new(exponential_buckets(1e-4, 2.0, 18))
}
