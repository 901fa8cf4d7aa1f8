//! What the cache counts, for `/metrics`.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::MetadataCache;

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) hits: Counter,
    pub(super) misses: Counter,
    pub(super) sets: Counter,
    pub(super) invalidations: Counter,
    pub(super) listing_hits: Counter,
    pub(super) listing_misses: Counter,
    /// Descriptions that warming up put in, and how long that took.
    pub(super) warmed: Counter,
    pub(super) warm_up_ms: Counter,
}

/// Reads the counts when it is asked.
pub struct CacheGauges(pub Arc<MetadataCache>);

impl fmt::Debug for CacheGauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CacheGauges")
    }
}

impl Collector for CacheGauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let MetadataCache { counts, collections, .. } = self.0.as_ref();
        for (name, help, counter) in [
            ("cache_hits", "Descriptions of collections that were in memory", &counts.hits),
            ("cache_misses", "Descriptions that were read from the tables", &counts.misses),
            ("cache_sets", "Descriptions that were kept", &counts.sets),
            (
                "cache_invalidations",
                "Descriptions that a change took out, and times that all were",
                &counts.invalidations,
            ),
            ("cache_listing_hits", "Listings of databases that were in memory", &counts.listing_hits),
            ("cache_listing_misses", "Listings that were read from the tables", &counts.listing_misses),
            ("cache_warmed", "Descriptions that were kept when the node started", &counts.warmed),
        ] {
            let counter = ConstCounter::new(counter.get());
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        let bytes = ConstGauge::new(i64::try_from(collections.weighted_size()).unwrap_or(i64::MAX));
        let help = "Estimated memory of the descriptions that are kept";
        bytes.encode(encoder.encode_descriptor("cache_size", help, Some(&Unit::Bytes), bytes.metric_type())?)?;
        let bytes = ConstGauge::new(i64::try_from(self.0.listing_bytes()).unwrap_or(i64::MAX));
        let help = "Memory of the listings that are kept";
        bytes.encode(encoder.encode_descriptor("cache_listings", help, Some(&Unit::Bytes), bytes.metric_type())?)?;
        let took = ConstGauge::new(counts.warm_up_ms.get() as f64 / 1000.0);
        let help = "Time that filling the cache took when the node started";
        took.encode(encoder.encode_descriptor("cache_warm_up", help, Some(&Unit::Seconds), took.metric_type())?)
    }
}
