//! What Milvus' nodes answer to GetMetrics of the kind `system_info`: JSON of one node, whose part `quota_metrics` has
//! Go's own field names. Fields that are missing count as zero; newer ones are passed over.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Deleted, NodeMetrics};
use crate::limits::NODE_COLLECTIONS_MAX;

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
    #[serde(rename = "DeleteBufferInfo", default)]
    deleted: DeleteBuffers,
}

/// By collection; Go writes `null` for none.
#[derive(Debug, Default, Deserialize)]
struct DeleteBuffers {
    #[serde(rename = "CollectionDeleteBufferNum", default)]
    rows: Option<BTreeMap<i64, i64>>,
    #[serde(rename = "CollectionDeleteBufferSize", default)]
    bytes: Option<BTreeMap<i64, i64>>,
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
    let collections = quota.effect.collections.unwrap_or_default();
    let deleted = deleted(&quota.deleted);
    let most = collections.len().max(deleted.len());
    if most > NODE_COLLECTIONS_MAX {
        return Err(format!("it names {most} collections, at most {NODE_COLLECTIONS_MAX}"));
    }
    let hardware = if quota.hardware.memory > 0 { quota.hardware } else { node.hardware_infos };
    Ok(NodeMetrics {
        memory_used: hardware.memory_usage,
        memory_total: hardware.memory,
        time_tick: if quota.flow.graphs > 0 { quota.flow.time_tick } else { 0 },
        growing_bytes: count(quota.growing),
        collections,
        deleted,
    })
}

/// Nobody has less than nothing.
fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn deleted(buffers: &DeleteBuffers) -> BTreeMap<i64, Deleted> {
    let mut all = BTreeMap::<i64, Deleted>::new();
    for (id, rows) in buffers.rows.iter().flatten() {
        all.entry(*id).or_default().rows = count(*rows);
    }
    for (id, bytes) in buffers.bytes.iter().flatten() {
        all.entry(*id).or_default().bytes = count(*bytes);
    }
    all
}
