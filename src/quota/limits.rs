//! The rates that the configuration sets, by kind and level.

use crate::config::{CallRates, DataRates, Quota, Rate};
use crate::pb::internal::RateType;

/// Where a rate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Cluster,
    Database,
    Collection,
    Partition,
}

impl Level {
    pub const ALL: [Level; 4] = [Level::Cluster, Level::Database, Level::Collection, Level::Partition];
}

/// All kinds, in the order of their numbers but for upserts, which count as inserts.
pub const KINDS: [RateType; 11] = [
    RateType::DdlCollection,
    RateType::DdlPartition,
    RateType::DdlIndex,
    RateType::DdlFlush,
    RateType::DdlCompaction,
    RateType::DmlInsert,
    RateType::DmlDelete,
    RateType::DmlBulkLoad,
    RateType::DqlSearch,
    RateType::DqlQuery,
    RateType::Ddldb,
];

/// So many a second over the whole cluster, in the unit of the wire: calls, bytes, vectors. `None`: no such limit.
pub fn limit(quota: &Quota, kind: RateType, level: Level) -> Option<f64> {
    let rate = match kind {
        RateType::DdlCollection => calls(quota.ddl.enabled, quota.ddl.collection, level),
        RateType::DdlPartition => calls(quota.ddl.enabled, quota.ddl.partition, level),
        RateType::DdlIndex => {
            let rates = quota.index;
            calls(rates.enabled, CallRates { cluster: rates.cluster, database: rates.database }, level)
        }
        RateType::DdlFlush if quota.flush.enabled => match level {
            Level::Cluster => quota.flush.cluster,
            Level::Database => quota.flush.database,
            Level::Collection => quota.flush.collection,
            Level::Partition => Rate::UNLIMITED,
        },
        RateType::DdlFlush => Rate::UNLIMITED,
        RateType::DdlCompaction => {
            let rates = quota.compaction;
            calls(rates.enabled, CallRates { cluster: rates.cluster, database: rates.database }, level)
        }
        RateType::Ddldb => {
            let cluster = CallRates { cluster: quota.database.cluster, database: Rate::UNLIMITED };
            calls(quota.database.enabled, cluster, level)
        }
        RateType::DmlInsert | RateType::DmlUpsert => return bytes(data(quota.dml.enabled, quota.dml.insert, level)),
        RateType::DmlDelete => return bytes(data(quota.dml.enabled, quota.dml.delete, level)),
        RateType::DmlBulkLoad => return bytes(data(quota.dml.enabled, quota.dml.bulk_load, level)),
        RateType::DqlSearch => data(quota.dql.enabled, quota.dql.search, level),
        RateType::DqlQuery => data(quota.dql.enabled, quota.dql.query, level),
    };
    finite(rate.per_second())
}

fn calls(enabled: bool, rates: CallRates, level: Level) -> Rate {
    match level {
        Level::Cluster if enabled => rates.cluster,
        Level::Database if enabled => rates.database,
        _ => Rate::UNLIMITED,
    }
}

fn data(enabled: bool, rates: DataRates, level: Level) -> Rate {
    match level {
        _ if !enabled => Rate::UNLIMITED,
        Level::Cluster => rates.cluster,
        Level::Database => rates.database,
        Level::Collection => rates.collection,
        Level::Partition => rates.partition,
    }
}

fn bytes(rate: Rate) -> Option<f64> {
    finite(rate.bytes_per_second())
}

fn finite(per_second: f64) -> Option<f64> {
    per_second.is_finite().then_some(per_second)
}
