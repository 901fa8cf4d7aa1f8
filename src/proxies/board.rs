//! What this node, as the leader, knows of the proxies.

use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::link::Link;

/// One proxy, for operators.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProxyLine {
    pub id: i64,
    pub address: String,
    pub version: String,
    /// Things that it has yet to be told to forget.
    pub stale: usize,
    /// Whether it has taken rates since this leader leads.
    pub rates_set: bool,
    /// Why it could not be told the last time; `None`: it could.
    pub error: Option<String>,
}

/// The links of the reign. Empty on a node that does not lead.
#[derive(Default)]
pub struct ProxyBoard {
    links: Mutex<Vec<Arc<Link>>>,
}

impl ProxyBoard {
    pub fn lines(&self) -> Vec<ProxyLine> {
        self.links.lock().iter().map(|link| link.line()).collect()
    }

    pub(super) fn show(&self, links: Vec<Arc<Link>>) {
        *self.links.lock() = links;
    }
}
