//! What this node, as the leader, last heard of Milvus' nodes, and what follows of it.

use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::Factors;
use crate::quota::Denial;

/// One node, for operators.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeLine {
    pub id: i64,
    /// As in session keys, such as `querynode`.
    pub role: String,
    pub address: String,
    /// Used memory over all of it; `None`: it did not say.
    pub memory_ratio: Option<f64>,
    /// How far its slowest channel is behind; `None`: it has none.
    pub time_tick_delay_ms: Option<u64>,
    /// Collections whose rows it takes.
    pub collections: usize,
    /// Why it did not answer the last time; `None`: it did. What it said before holds for a while.
    pub error: Option<String>,
}

/// What was heard in one round.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    pub factors: Factors,
    pub nodes: Vec<NodeLine>,
}

/// `None` on a node that does not lead, and before its first round.
#[derive(Debug, Default)]
pub struct LoadBoard {
    picture: Mutex<Option<Arc<Picture>>>,
}

impl LoadBoard {
    pub fn latest(&self) -> Option<Arc<Picture>> {
        self.picture.lock().clone()
    }

    pub(super) fn show(&self, picture: Option<Picture>) {
        *self.picture.lock() = picture.map(Arc::new);
    }

    /// What is denied for some collections, each thing once.
    pub fn denials(&self) -> Vec<Denial> {
        let latest = self.latest();
        let factors = latest.iter().flat_map(|picture| picture.factors.values());
        let mut found: Vec<Denial> = factors.filter_map(|factor| factor.denial()).collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}
