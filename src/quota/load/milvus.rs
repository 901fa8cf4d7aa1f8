//! What Milvus' nodes answer to GetMetrics of the kind `system_info`: JSON of one node, whose part `quota_metrics` has
//! Go's own field names. Fields that are missing count as zero; newer ones are passed over.

use serde::Deserialize;

use super::NodeMetrics;

/// The request that is answered so.
pub const REQUEST: &str = "{\"metric_type\":\"system_info\"}";

#[derive(Debug, Deserialize)]
struct Node {
    #[serde(default)]
    has_error: bool,
    #[serde(default)]
    error_reason: String,
    #[serde(default)]
    hardware_infos: Hardware,
    #[serde(default)]
    quota_metrics: Option<Quota>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct Hardware {
    #[serde(default)]
    memory: u64,
    #[serde(default)]
    memory_usage: u64,
}

#[derive(Debug, Default, Deserialize)]
struct Quota {
    #[serde(rename = "Hms", default)]
    hardware: Hardware,
    #[serde(rename = "Fgm", default)]
    flow: Flow,
    #[serde(rename = "GrowingSegmentsSize", default)]
    growing: i64,
    #[serde(rename = "Effect", default)]
    effect: Effect,
}

#[derive(Debug, Default, Deserialize)]
struct Flow {
    #[serde(rename = "MinFlowGraphTt", default)]
    time_tick: u64,
    /// Without one, the time tick is the largest number, or none.
    #[serde(rename = "NumFlowGraph", default)]
    graphs: i64,
}

#[derive(Debug, Default, Deserialize)]
struct Effect {
    /// Go writes `null` for an empty list.
    #[serde(rename = "CollectionIDs", default)]
    collections: Option<Vec<i64>>,
}

/// Reads one answer; the error says what is wrong with it.
pub fn parse(response: &str) -> Result<NodeMetrics, String> {
    let node: Node = serde_json::from_str(response).map_err(|error| format!("its metrics do not decode: {error}"))?;
    if node.has_error {
        return Err(format!("it reports an error: {}", node.error_reason));
    }
    let quota = node.quota_metrics.unwrap_or_default();
    let hardware = if quota.hardware.memory > 0 { quota.hardware } else { node.hardware_infos };
    Ok(NodeMetrics {
        memory_used: hardware.memory_usage,
        memory_total: hardware.memory,
        time_tick: if quota.flow.graphs > 0 { quota.flow.time_tick } else { 0 },
        growing_bytes: u64::try_from(quota.growing).unwrap_or(0),
        collections: quota.effect.collections.unwrap_or_default(),
    })
}
