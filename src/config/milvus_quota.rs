//! Milvus' names of what it calls quotas and limits (quotaAndLimits), and the settings that stand for them here.

/// What stands before each name.
pub(super) const PREFIX: &str = "quotaAndLimits.";

/// Milvus' name, without the prefix, and the key that holds the same value in the same unit.
pub(super) const SAME: [(&str, &str); 64] = [
    ("enabled", "quota.enabled"),
    ("factorChangeThreshold", "quota.factor_change_threshold"),
    ("forceDenyAllDDL", "quota.force_deny_ddl"),
    ("ddl.enabled", "quota.ddl.enabled"),
    ("ddl.collectionRate", "quota.ddl.collection.cluster"),
    ("ddl.db.collectionRate", "quota.ddl.collection.database"),
    ("ddl.partitionRate", "quota.ddl.partition.cluster"),
    ("ddl.db.partitionRate", "quota.ddl.partition.database"),
    ("indexRate.enabled", "quota.index.enabled"),
    ("indexRate.max", "quota.index.cluster"),
    ("indexRate.db.max", "quota.index.database"),
    ("flushRate.enabled", "quota.flush.enabled"),
    ("flushRate.max", "quota.flush.cluster"),
    ("flushRate.db.max", "quota.flush.database"),
    ("flushRate.collection.max", "quota.flush.collection"),
    ("compactionRate.enabled", "quota.compaction.enabled"),
    ("compactionRate.max", "quota.compaction.cluster"),
    ("compactionRate.db.max", "quota.compaction.database"),
    ("dbRate.enabled", "quota.database.enabled"),
    ("dbRate.max", "quota.database.cluster"),
    ("dml.enabled", "quota.dml.enabled"),
    ("dml.insertRate.max", "quota.dml.insert.cluster"),
    ("dml.insertRate.db.max", "quota.dml.insert.database"),
    ("dml.insertRate.collection.max", "quota.dml.insert.collection"),
    ("dml.insertRate.collection.min", "quota.dml.insert_min"),
    ("dml.insertRate.partition.max", "quota.dml.insert.partition"),
    ("dml.deleteRate.max", "quota.dml.delete.cluster"),
    ("dml.deleteRate.db.max", "quota.dml.delete.database"),
    ("dml.deleteRate.collection.max", "quota.dml.delete.collection"),
    ("dml.deleteRate.collection.min", "quota.dml.delete_min"),
    ("dml.deleteRate.partition.max", "quota.dml.delete.partition"),
    ("dml.bulkLoadRate.max", "quota.dml.bulk_load.cluster"),
    ("dml.bulkLoadRate.db.max", "quota.dml.bulk_load.database"),
    ("dml.bulkLoadRate.collection.max", "quota.dml.bulk_load.collection"),
    ("dml.bulkLoadRate.partition.max", "quota.dml.bulk_load.partition"),
    ("dql.enabled", "quota.dql.enabled"),
    ("dql.searchRate.max", "quota.dql.search.cluster"),
    ("dql.searchRate.db.max", "quota.dql.search.database"),
    ("dql.searchRate.collection.max", "quota.dql.search.collection"),
    ("dql.searchRate.partition.max", "quota.dql.search.partition"),
    ("dql.queryRate.max", "quota.dql.query.cluster"),
    ("dql.queryRate.db.max", "quota.dql.query.database"),
    ("dql.queryRate.collection.max", "quota.dql.query.collection"),
    ("dql.queryRate.partition.max", "quota.dql.query.partition"),
    ("limits.maxCollectionNum", "limits.max_collections"),
    ("limits.maxCollectionNumPerDB", "limits.max_collections_per_database"),
    ("limitWriting.forceDeny", "quota.force_deny_writing"),
    ("limitWriting.ttProtection.enabled", "quota.protections.time_tick.enabled"),
    ("limitWriting.memProtection.enabled", "quota.protections.memory.enabled"),
    ("limitWriting.memProtection.dataNodeMemoryLowWaterLevel", "quota.protections.memory.data_node_low"),
    ("limitWriting.memProtection.dataNodeMemoryHighWaterLevel", "quota.protections.memory.data_node_high"),
    ("limitWriting.memProtection.queryNodeMemoryLowWaterLevel", "quota.protections.memory.query_node_low"),
    ("limitWriting.memProtection.queryNodeMemoryHighWaterLevel", "quota.protections.memory.query_node_high"),
    ("limitWriting.growingSegmentsSizeProtection.enabled", "quota.protections.growing_segments.enabled"),
    ("limitWriting.growingSegmentsSizeProtection.minRateRatio", "quota.protections.growing_segments.min_ratio"),
    ("limitWriting.growingSegmentsSizeProtection.lowWaterLevel", "quota.protections.growing_segments.low"),
    ("limitWriting.growingSegmentsSizeProtection.highWaterLevel", "quota.protections.growing_segments.high"),
    ("limitWriting.deleteBufferRowCountProtection.enabled", "quota.protections.deleted_rows.enabled"),
    ("limitWriting.deleteBufferRowCountProtection.lowWaterLevel", "quota.protections.deleted_rows.low"),
    ("limitWriting.deleteBufferRowCountProtection.highWaterLevel", "quota.protections.deleted_rows.high"),
    ("limitWriting.deleteBufferSizeProtection.enabled", "quota.protections.deleted_bytes.enabled"),
    ("limitWriting.deleteBufferSizeProtection.lowWaterLevel", "quota.protections.deleted_bytes.low"),
    ("limitWriting.deleteBufferSizeProtection.highWaterLevel", "quota.protections.deleted_bytes.high"),
    ("limitReading.forceDeny", "quota.force_deny_reading"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::Config;

    /// There in seconds, here in milliseconds.
    const OTHER_UNIT: [(&str, &str); 2] = [
        ("quotaCenterCollectInterval", "quota.collect_interval_ms"),
        ("limitWriting.ttProtection.maxTimeTickDelay", "quota.protections.time_tick.max_delay_ms"),
    ];

    /// What has no meaning here, and why.
    const WITHOUT: [(&str, &[&str]); 4] = [
        (
            "a factor lowers the rates of one collection, so a minimum counts there alone",
            &[
                "dml.insertRate.min",
                "dml.insertRate.db.min",
                "dml.insertRate.partition.min",
                "dml.deleteRate.min",
                "dml.deleteRate.db.min",
                "dml.deleteRate.partition.min",
                "dml.bulkLoadRate.min",
                "dml.bulkLoadRate.db.min",
                "dml.bulkLoadRate.collection.min",
                "dml.bulkLoadRate.partition.min",
                "dql.searchRate.min",
                "dql.searchRate.db.min",
                "dql.searchRate.collection.min",
                "dql.searchRate.partition.min",
                "dql.queryRate.min",
                "dql.queryRate.db.min",
                "dql.queryRate.collection.min",
                "dql.queryRate.partition.min",
            ],
        ),
        (
            "how much storage is used is the data coordinator's own count, and it has no data yet",
            &[
                "limitWriting.diskProtection.enabled",
                "limitWriting.diskProtection.diskQuota",
                "limitWriting.diskProtection.loadedDiskQuota",
                "limitWriting.diskProtection.diskQuotaPerDB",
                "limitWriting.diskProtection.diskQuotaPerCollection",
                "limitWriting.diskProtection.diskQuotaPerPartition",
            ],
        ),
        (
            "the same: segments of deletions are the data coordinator's",
            &[
                "limitWriting.l0SegmentsRowCountProtection.enabled",
                "limitWriting.l0SegmentsRowCountProtection.lowWaterLevel",
                "limitWriting.l0SegmentsRowCountProtection.highWaterLevel",
            ],
        ),
        (
            "a limit of the data plane, or of proxies, which have it in their own configuration",
            &[
                "limits.topK",
                "limits.largeTopK",
                "limits.nq",
                "limits.maxQueryResultWindow",
                "limits.largeMaxQueryResultWindow",
                "limits.maxOutputSize",
                "limits.maxInsertSize",
                "limits.maxResourceGroupNumOfQueryNode",
                "limits.maxGroupSize",
                "limits.allocRetryTimes",
                "limits.allocWaitInterval",
                "limits.complexDeleteLimitEnable",
            ],
        ),
    ];

    /// Every setting of Milvus 2.6 under the prefix is honoured, or it is said why it is not.
    #[test]
    fn every_quota_of_milvus_has_its_place() {
        let shown = Config::default().shown();
        let without = WITHOUT.iter().flat_map(|(_, names)| names.iter().copied());
        let own = SAME.iter().chain(&OTHER_UNIT);
        let names: Vec<&str> = own.clone().map(|(name, _)| *name).chain(without).collect();
        assert_eq!((names.len(), names.iter().collect::<BTreeSet<_>>().len()), (105, 105), "each once");
        for (name, key) in own.clone() {
            assert!(shown.contains_key(*key), "{name} means {key}, which is no key");
        }
        for (name, key) in SAME {
            assert_eq!(shown.get(&format!("{PREFIX}{name}")), shown.get(key), "{name}");
        }
        for (reason, names) in WITHOUT {
            assert!(!names.iter().any(|name| shown.contains_key(&format!("{PREFIX}{name}"))), "{reason}");
        }
        // And nothing here is without a name there.
        let known: BTreeSet<&str> = own.map(|(_, key)| *key).collect();
        let mut keys = shown.keys().filter(|key| key.starts_with("quota."));
        assert_eq!(keys.find(|key| !known.contains(key.as_str())), None);
    }
}
