//! The configuration as text, for whoever asks a running node what it was told: our own keys, and Milvus' names of
//! those settings that it has too.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Config, milvus_quota};
use crate::limits::MAX_NAME_BYTES;

/// Milvus' name of a setting, and the key that holds it here.
const MILVUS: [(&str, &str); 36] = [
    ("common.security.authorizationEnabled", "security.authorization_enabled"),
    ("common.security.enablePublicPrivilege", "security.public_privileges_enabled"),
    ("common.security.rootShouldBindRole", "security.root_should_bind_role"),
    ("common.security.superUsers", "security.super_users"),
    ("common.security.defaultRootPassword", "security.default_root_password"),
    ("log.level", "log.level"),
    ("log.format", "log.format"),
    ("proxy.maxDimension", "limits.max_dimension"),
    ("proxy.maxFieldNum", "limits.max_fields"),
    ("proxy.maxPasswordLength", "limits.max_password_bytes"),
    ("proxy.maxRoleNum", "limits.max_roles"),
    ("proxy.maxShardNum", "limits.max_shards"),
    ("proxy.maxTextLength", "limits.max_text_length"),
    ("proxy.maxUserNum", "limits.max_users"),
    ("proxy.maxUsernameLength", "limits.max_username_bytes"),
    ("proxy.maxVarCharLength", "limits.max_varchar_length"),
    ("proxy.maxVectorFieldNum", "limits.max_vector_fields"),
    ("proxy.minPasswordLength", "limits.min_password_bytes"),
    ("rootCoord.dmlChannelNum", "streaming.pchannels"),
    ("streaming.walBalancer.balancePolicy.name", "streaming.balancer_policy"),
    ("streaming.walBalancer.balancePolicy.vchannelFair.rebalanceMaxStep", "streaming.balancer_max_step"),
    ("streaming.walBalancer.balancePolicy.vchannelFair.rebalanceTolerance", "streaming.balancer_rebalance_threshold"),
    ("streaming.walBalancer.balancePolicy.vchannelFair.pchannelWeight", "streaming.balancer_weights.pchannels"),
    ("streaming.walBalancer.balancePolicy.vchannelFair.vchannelWeight", "streaming.balancer_weights.vchannels"),
    ("streaming.walBalancer.balancePolicy.vchannelFair.antiAffinityWeight", "streaming.balancer_weights.affinity"),
    ("streaming.walBalancer.balancePolicy.minRebalanceIntervalThreshold", "streaming.balancer_min_interval_ms"),
    (
        "streaming.walBalancer.balancePolicy.allowRebalanceRecoveryLagThreshold",
        "streaming.balancer_max_recovery_lag_ms",
    ),
    ("streaming.walBalancer.operationTimeout", "streaming.balancer_operation_timeout_ms"),
    ("streaming.walBalancer.triggerInterval", "streaming.balancer_check_interval_ms"),
    ("balancer.checkInterval", "streaming.balancer_check_interval_ms"),
    ("balancer.rebalanceThreshold", "streaming.balancer_rebalance_threshold"),
    ("rootCoord.defaultPartitionNum", "limits.default_key_partitions"),
    ("rootCoord.maxDatabaseNum", "limits.max_databases"),
    ("rootCoord.maxGeneralCapacity", "limits.max_general_capacity"),
    ("rootCoord.maxPartitionNum", "limits.max_partitions"),
    ("streaming.walBroadcaster.tombstone.maxCount", "broadcast.tombstone_max_count"),
];

impl Config {
    /// Every setting in effect by its name; lists as JSON, secrets hidden, what is not set as an empty text.
    pub fn shown(&self) -> BTreeMap<String, String> {
        let mut shown = BTreeMap::new();
        // Plain data always has a JSON form.
        let sections = serde_json::to_value(self).unwrap_or_default();
        for (section, keys) in sections.as_object().into_iter().flatten() {
            flatten(section, keys, &mut shown);
        }
        let quota = milvus_quota::SAME.map(|(name, own)| (format!("{}{name}", milvus_quota::PREFIX), own));
        for (milvus, own) in MILVUS.map(|(name, own)| (name.to_owned(), own)).into_iter().chain(quota) {
            if let Some(value) = shown.get(own).cloned() {
                shown.insert(milvus, value);
            }
        }
        shown.insert("proxy.maxNameLength".to_owned(), MAX_NAME_BYTES.to_string());
        shown
    }
}

fn flatten(name: &str, value: &Value, shown: &mut BTreeMap<String, String>) {
    match value.as_object() {
        Some(keys) => keys.iter().for_each(|(key, value)| flatten(&format!("{name}.{key}"), value, shown)),
        None => _ = shown.insert(name.to_owned(), text(value)),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Secret;
    use super::*;

    #[test]
    fn every_setting_is_shown_and_no_secret_is() {
        let mut config = Config::default();
        config.cluster.secret = Some(Secret::new("0123456789abcdef"));
        config.limits.max_partitions = 77;
        config.security.super_users = vec!["a".into()];
        let shown = config.shown();
        for (key, value) in [
            ("raft.heartbeat_ms", "100"),
            ("listen.client", "0.0.0.0:19530"),
            ("advertise.client", ""),
            ("cluster.secret", "(secret)"),
            ("common.security.defaultRootPassword", "(secret)"),
            ("limits.max_partitions", "77"),
            ("rootCoord.maxPartitionNum", "77"),
            ("rootCoord.dmlChannelNum", "16"),
            ("common.security.superUsers", "[\"a\"]"),
            ("log.format", "text"),
            ("quota.flush.collection", "0.1"),
            ("quota.ddl.collection.cluster", "-1.0"),
            ("quotaAndLimits.enabled", "false"),
        ] {
            assert_eq!(shown.get(key).map(String::as_str), Some(value), "{key}");
        }
        assert!(!shown.values().any(|value| value.contains("0123456789abcdef") || value == "Milvus"));
        for (milvus, own) in MILVUS {
            assert!(shown.contains_key(milvus), "{milvus} means {own}, which is no key");
        }
    }
}
