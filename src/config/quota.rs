//! The section `quota`: how much clients may ask for, and what stops them (Milvus' quotaAndLimits; its setting in
//! brackets). The defaults are those of Milvus 2.6: everything is off, and no rate is set but that of flushes.

use serde::{Deserialize, Serialize};

/// A mebibyte, the unit of rates and sizes in the file.
const MIB: f64 = 1_048_576.0;

/// So many a second, or as many as come: -1, as in Milvus. In the unit of what it limits: calls, MiB, vectors.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Deserialize, Serialize)]
#[serde(from = "f64", into = "f64")]
pub struct Rate(f64);

impl Rate {
    pub const UNLIMITED: Rate = Rate(f64::INFINITY);

    /// Infinite for no limit. NaN is refused by the validation.
    pub fn per_second(self) -> f64 {
        self.0
    }

    /// Bytes a second of a rate that is configured in MiB.
    pub fn bytes_per_second(self) -> f64 {
        self.0 * MIB
    }

    pub(super) fn is_valid(self) -> bool {
        self.0 >= 0.0
    }
}

impl From<f64> for Rate {
    fn from(value: f64) -> Self {
        if value < 0.0 { Rate::UNLIMITED } else { Rate(value) }
    }
}

impl From<Rate> for f64 {
    fn from(rate: Rate) -> Self {
        if rate.0.is_finite() { rate.0 } else { -1.0 }
    }
}

impl Default for Rate {
    fn default() -> Self {
        Rate::UNLIMITED
    }
}

/// What clients may ask for.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quota {
    /// Nothing below counts without it (enabled).
    pub enabled: bool,
    /// How often proxies are told their rates (quotaCenterCollectInterval).
    pub collect_interval_ms: u64,
    /// Refuses every DDL call (forceDenyAllDDL).
    pub force_deny_ddl: bool,
    /// Refuses writes; proxies do (limitWriting.forceDeny).
    pub force_deny_writing: bool,
    /// Refuses searches and queries; proxies do (limitReading.forceDeny).
    pub force_deny_reading: bool,
    /// Calls that create, change, drop, load or release collections and partitions (ddl.*).
    pub ddl: Ddl,
    /// Calls that create, change or drop indexes (indexRate.*).
    pub index: DatabaseRates,
    /// (flushRate.*)
    pub flush: Flush,
    /// (compactionRate.*)
    pub compaction: DatabaseRates,
    /// Calls that create, change or drop databases (dbRate.*).
    pub database: ClusterRate,
    /// Rows on their way in or out, in MiB a second (dml.*).
    pub dml: Dml,
    /// Searches in vectors a second, queries in calls a second (dql.*).
    pub dql: Dql,
    /// What lowers the rates of writes, and stops them (limitWriting.*).
    pub protections: Protections,
    /// A rate that would change by a smaller part of itself stays (factorChangeThreshold).
    pub factor_change_threshold: f64,
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            enabled: false,
            collect_interval_ms: 3000,
            force_deny_ddl: false,
            force_deny_writing: false,
            force_deny_reading: false,
            ddl: Ddl::default(),
            index: DatabaseRates::default(),
            flush: Flush::default(),
            compaction: DatabaseRates::default(),
            database: ClusterRate::default(),
            dml: Dml::default(),
            dql: Dql::default(),
            protections: Protections::default(),
            factor_change_threshold: 0.05,
        }
    }
}

impl Quota {
    /// Whether what nodes report lowers any rate.
    pub fn lowers_rates(&self) -> bool {
        let Protections { memory, growing_segments, time_tick, deleted_rows, deleted_bytes } = &self.protections;
        let buffers = deleted_rows.enabled || deleted_bytes.enabled;
        self.enabled && (memory.enabled || growing_segments.enabled || time_tick.enabled || buffers)
    }
}

/// Rates of calls about collections and about partitions.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ddl {
    pub enabled: bool,
    /// (collectionRate, db.collectionRate)
    pub collection: CallRates,
    /// (partitionRate, db.partitionRate)
    pub partition: CallRates,
}

/// Of the whole cluster, and of one database.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallRates {
    pub cluster: Rate,
    pub database: Rate,
}

/// The same with a switch of its own (max, db.max).
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseRates {
    pub enabled: bool,
    pub cluster: Rate,
    pub database: Rate,
}

/// Flushes: as soon as quotas are on, a collection may be flushed once in ten seconds (max, db.max, collection.max).
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Flush {
    pub enabled: bool,
    pub cluster: Rate,
    pub database: Rate,
    pub collection: Rate,
}

impl Default for Flush {
    fn default() -> Self {
        Self { enabled: true, cluster: Rate::UNLIMITED, database: Rate::UNLIMITED, collection: Rate(0.1) }
    }
}

/// Databases are the cluster's (max).
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterRate {
    pub enabled: bool,
    pub cluster: Rate,
}

/// Rates of writes.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dml {
    pub enabled: bool,
    /// What is left of a collection's rate of inserts, however full its nodes are, as long as writing is not denied
    /// (insertRate.collection.min).
    pub insert_min: Rate,
    /// The same of deletes (deleteRate.collection.min).
    pub delete_min: Rate,
    /// (insertRate.*)
    pub insert: DataRates,
    /// (deleteRate.*)
    pub delete: DataRates,
    /// (bulkLoadRate.*)
    pub bulk_load: DataRates,
}

impl Default for Dml {
    fn default() -> Self {
        let (nothing, free) = (Rate(0.0), DataRates::default());
        Self { enabled: false, insert_min: nothing, delete_min: nothing, insert: free, delete: free, bulk_load: free }
    }
}

/// Rates of reads.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dql {
    pub enabled: bool,
    /// (searchRate.*)
    pub search: DataRates,
    /// (queryRate.*)
    pub query: DataRates,
}

/// Of the whole cluster, and of one database, collection or partition (max, db.max, collection.max, partition.max).
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataRates {
    pub cluster: Rate,
    pub database: Rate,
    pub collection: Rate,
    pub partition: Rate,
}

impl Quota {
    /// Every rate, by its key.
    pub(super) fn rates(&self) -> Vec<(String, Rate)> {
        let mut rates = vec![
            ("quota.ddl.collection.cluster".to_owned(), self.ddl.collection.cluster),
            ("quota.ddl.collection.database".to_owned(), self.ddl.collection.database),
            ("quota.ddl.partition.cluster".to_owned(), self.ddl.partition.cluster),
            ("quota.ddl.partition.database".to_owned(), self.ddl.partition.database),
            ("quota.index.cluster".to_owned(), self.index.cluster),
            ("quota.index.database".to_owned(), self.index.database),
            ("quota.flush.cluster".to_owned(), self.flush.cluster),
            ("quota.flush.database".to_owned(), self.flush.database),
            ("quota.flush.collection".to_owned(), self.flush.collection),
            ("quota.compaction.cluster".to_owned(), self.compaction.cluster),
            ("quota.compaction.database".to_owned(), self.compaction.database),
            ("quota.database.cluster".to_owned(), self.database.cluster),
            ("quota.dml.insert_min".to_owned(), self.dml.insert_min),
            ("quota.dml.delete_min".to_owned(), self.dml.delete_min),
        ];
        let data = [
            ("quota.dml.insert", self.dml.insert),
            ("quota.dml.delete", self.dml.delete),
            ("quota.dml.bulk_load", self.dml.bulk_load),
            ("quota.dql.search", self.dql.search),
            ("quota.dql.query", self.dql.query),
        ];
        for (key, DataRates { cluster, database, collection, partition }) in data {
            let levels =
                [("cluster", cluster), ("database", database), ("collection", collection), ("partition", partition)];
            rates.extend(levels.map(|(level, rate)| (format!("{key}.{level}"), rate)));
        }
        rates
    }
}

/// What Milvus' nodes report lowers the rates of writes to their collections.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Protections {
    /// (memProtection)
    pub memory: MemoryProtection,
    /// (growingSegmentsSizeProtection)
    pub growing_segments: GrowingProtection,
    /// (ttProtection)
    pub time_tick: TimeTickProtection,
    /// Rows that query nodes hold as deleted (deleteBufferRowCountProtection).
    pub deleted_rows: BufferProtection,
    /// Bytes of the same (deleteBufferSizeProtection).
    pub deleted_bytes: BufferProtection,
}

impl Default for Protections {
    fn default() -> Self {
        let off = |low, high| BufferProtection { enabled: false, low, high };
        Self {
            memory: MemoryProtection::default(),
            growing_segments: GrowingProtection::default(),
            time_tick: TimeTickProtection::default(),
            deleted_rows: off(32_768, 65_536),
            deleted_bytes: off(128 << 20, 256 << 20),
        }
    }
}

/// By how much a collection has in buffers, on all of its nodes together: from the low level on its rates fall, from
/// the high one on nothing is written to it.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BufferProtection {
    pub enabled: bool,
    pub low: u64,
    pub high: u64,
}

/// By the part of a node's memory that is used: from the low level on rates fall, from the high one on nothing is
/// written.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemoryProtection {
    pub enabled: bool,
    pub data_node_low: f64,
    pub data_node_high: f64,
    pub query_node_low: f64,
    pub query_node_high: f64,
}

impl Default for MemoryProtection {
    fn default() -> Self {
        Self { enabled: true, data_node_low: 0.85, data_node_high: 0.95, query_node_low: 0.85, query_node_high: 0.95 }
    }
}

/// By the part of a query node's memory that growing segments take; a rate never falls below `min_ratio` of itself.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrowingProtection {
    pub enabled: bool,
    pub low: f64,
    pub high: f64,
    pub min_ratio: f64,
}

impl Default for GrowingProtection {
    fn default() -> Self {
        Self { enabled: false, low: 0.2, high: 0.4, min_ratio: 0.5 }
    }
}

/// By how far a node's slowest channel is behind.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimeTickProtection {
    pub enabled: bool,
    /// As far behind, nothing is written (maxTimeTickDelay, there in seconds).
    pub max_delay_ms: u64,
}

impl Default for TimeTickProtection {
    fn default() -> Self {
        Self { enabled: false, max_delay_ms: 1_200_000 }
    }
}
