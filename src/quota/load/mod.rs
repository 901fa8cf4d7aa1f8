//! How full and how late Milvus' own nodes are, and how much less may be written therefore.
//!
//! - here: factors, a pure function of what nodes report (Milvus' quota center); `milvus`: their reports;
//! - `collector`: the leader asks every registered node; `board`: what it last heard.

mod board;
mod collector;
mod milvus;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use board::{LoadBoard, NodeLine, Picture};
pub use collector::Collector;

use super::deny::{Denial, Denied};
use crate::config::{BufferProtection, Protections};
use crate::pb::common::ErrorCode;
use crate::pb::store::WorkerRole;
use crate::state::physical_ms;

/// Above it a delay of time ticks lowers nothing.
const HARDLY_LATE: f64 = 0.95;

/// What one node said of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeMetrics {
    pub memory_used: u64,
    /// 0: it did not say.
    pub memory_total: u64,
    /// Hybrid timestamp up to which its slowest channel is; 0: it has none.
    pub time_tick: u64,
    /// Bytes of segments that still grow.
    pub growing_bytes: u64,
    /// Whose rows it takes.
    pub collections: Vec<i64>,
    /// What it holds as deleted and has not put into segments, by collection.
    pub deleted: BTreeMap<i64, Deleted>,
}

/// What is held as deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    pub rows: u64,
    pub bytes: u64,
}

/// How much of a collection's rate of writes is left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Factor {
    /// From 0, which denies writing, to below 1.
    pub value: f64,
    /// What brought it there, in the words of a denial.
    pub why: ErrorCode,
}

/// By collection id; those that are not here have their full rate.
pub type Factors = BTreeMap<i64, Factor>;

impl Factor {
    /// The denial that a factor of 0 is.
    pub fn denial(&self) -> Option<Denial> {
        (self.value <= 0.0).then_some(Denial { what: Denied::Writing, code: self.why })
    }
}

/// Each collection has the lowest factor that any of its nodes gives.
pub fn factors<'n>(
    nodes: impl IntoIterator<Item = (WorkerRole, &'n NodeMetrics)>,
    settings: &Protections,
    now_ms: u64,
) -> Factors {
    let (mut all, mut deleted) = (Factors::new(), BTreeMap::<i64, Deleted>::new());
    for (role, node) in nodes {
        if let Some(lowest) = of_node(role, node, settings, now_ms) {
            node.collections.iter().for_each(|id| lower(&mut all, *id, lowest));
        }
        for (id, more) in &node.deleted {
            let sum = deleted.entry(*id).or_default();
            sum.rows = sum.rows.saturating_add(more.rows);
            sum.bytes = sum.bytes.saturating_add(more.bytes);
        }
    }
    for (id, deleted) in deleted {
        let found = [buffer(deleted.rows, &settings.deleted_rows), buffer(deleted.bytes, &settings.deleted_bytes)];
        found.into_iter().flatten().for_each(|factor| lower(&mut all, id, factor));
    }
    all
}

fn lower(all: &mut Factors, id: i64, factor: Factor) {
    let known = all.entry(id).or_insert(factor);
    if factor.value < known.value {
        *known = factor;
    }
}

/// Milvus has no words of its own for it.
fn buffer(level: u64, protection: &BufferProtection) -> Option<Factor> {
    let BufferProtection { enabled, low, high } = *protection;
    let value = between(level as f64, low as f64, high as f64).filter(|_| enabled)?;
    Some(Factor { value, why: ErrorCode::ForceDeny })
}

/// A change of a factor that is too small to be told leaves it as it was, but for its reason.
pub fn steady(before: &Factors, now: Factors, threshold: f64) -> Factors {
    let settle = |(id, factor): (i64, Factor)| match before.get(&id) {
        Some(old)
            if old.value > 0.0 && factor.value > 0.0 && (factor.value - old.value).abs() < threshold * old.value =>
        {
            (id, Factor { value: old.value, ..factor })
        }
        _ => (id, factor),
    };
    now.into_iter().map(settle).collect()
}

/// The lowest of a node's factors below 1.
fn of_node(role: WorkerRole, node: &NodeMetrics, settings: &Protections, now_ms: u64) -> Option<Factor> {
    let found = [memory(role, node, settings), growing(role, node, settings), lateness(node, settings, now_ms)];
    found.into_iter().flatten().min_by(|one, other| one.value.total_cmp(&other.value))
}

fn memory(role: WorkerRole, node: &NodeMetrics, settings: &Protections) -> Option<Factor> {
    let protection = &settings.memory;
    let (low, high) = match role {
        WorkerRole::DataNode => (protection.data_node_low, protection.data_node_high),
        WorkerRole::QueryNode | WorkerRole::StreamingNode => (protection.query_node_low, protection.query_node_high),
        WorkerRole::Proxy | WorkerRole::Unspecified => return None,
    };
    if !protection.enabled || node.memory_total == 0 {
        return None;
    }
    let value = between(node.memory_used as f64 / node.memory_total as f64, low, high)?;
    Some(Factor { value, why: ErrorCode::MemoryQuotaExhausted })
}

fn growing(role: WorkerRole, node: &NodeMetrics, settings: &Protections) -> Option<Factor> {
    let protection = &settings.growing_segments;
    if !protection.enabled
        || node.memory_total == 0
        || !matches!(role, WorkerRole::QueryNode | WorkerRole::StreamingNode)
    {
        return None;
    }
    let value = between(node.growing_bytes as f64 / node.memory_total as f64, protection.low, protection.high)?;
    Some(Factor { value: value.max(protection.min_ratio), why: ErrorCode::MemoryQuotaExhausted })
}

fn lateness(node: &NodeMetrics, settings: &Protections, now_ms: u64) -> Option<Factor> {
    let protection = &settings.time_tick;
    if !protection.enabled || node.time_tick == 0 {
        return None;
    }
    let late_ms = now_ms.saturating_sub(physical_ms(node.time_tick)) as f64;
    let most_ms = protection.max_delay_ms as f64;
    let value = ((most_ms - late_ms) / most_ms).max(0.0);
    (value <= HARDLY_LATE).then_some(Factor { value, why: ErrorCode::TimeTickLongDelay })
}

/// 1 up to the low water level (then there is no factor), 0 from the high one on, and straight in between.
fn between(level: f64, low: f64, high: f64) -> Option<f64> {
    (level > low).then(|| if level >= high { 0.0 } else { (high - level) / (high - low) })
}
