//! What watch streams count for `/metrics`.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Of all streams of one node. Clones count the same.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub(super) streams: Gauge,
    pub(super) watchers: Gauge,
    pub(super) behind: Gauge,
    pub(super) events: Counter,
}

impl Counts {
    pub fn register(&self, registry: &mut Registry) {
        let Counts { streams, watchers, behind, events } = self.clone();
        registry.register("watch_streams", "Open watch streams", streams);
        registry.register("watchers", "Watchers on all streams", watchers);
        registry.register("watch_ranges_behind", "Watched ranges that read history to catch up", behind);
        registry.register("watch_events", "Events sent, counted for each watcher", events);
    }
}

/// What one stream has added to the gauges, which it takes away again when it ends.
pub(super) struct Counted {
    counts: Counts,
    watchers: i64,
    behind: i64,
}

impl Counted {
    pub fn new(counts: &Counts) -> Self {
        counts.streams.inc();
        Counted { counts: counts.clone(), watchers: 0, behind: 0 }
    }

    /// How many watchers the stream has now, and how many of its ranges read history.
    pub fn now(&mut self, watchers: usize, behind: usize) {
        let number = |count| i64::try_from(count).unwrap_or(i64::MAX);
        let (watchers, behind) = (number(watchers), number(behind));
        if (watchers, behind) != (self.watchers, self.behind) {
            self.counts.watchers.inc_by(watchers - self.watchers);
            self.counts.behind.inc_by(behind - self.behind);
            (self.watchers, self.behind) = (watchers, behind);
        }
    }

    pub fn sent(&self, events: u64) {
        self.counts.events.inc_by(events);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.now(0, 0);
        self.counts.streams.dec();
    }
}
