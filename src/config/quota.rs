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
        }
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
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dml {
    pub enabled: bool,
    /// (insertRate.*)
    pub insert: DataRates,
    /// (deleteRate.*)
    pub delete: DataRates,
    /// (bulkLoadRate.*)
    pub bulk_load: DataRates,
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
