//! What this node, as the leader, knows of the proxies.

use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::link::Link;
use super::stale::{Stale, StaleMeta};
use crate::error::Rejection;
use crate::limits;
use crate::pb::common::MsgType;
use crate::pb::proxy::InvalidateCollMetaCacheRequest;

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

    /// Has every proxy forget it, each in its own time. On a node that does not lead, and before a new leader knows the
    /// proxies, there is none, and each begins with everything.
    pub fn forget(&self, request: InvalidateCollMetaCacheRequest) -> Result<(), Rejection> {
        let why = request.base.as_ref().map_or(MsgType::Undefined, |base| base.msg_type());
        let InvalidateCollMetaCacheRequest { db_name, collection_name, collection_id, partition_name, .. } = request;
        if [&db_name, &collection_name, &partition_name].into_iter().any(|name| name.len() > limits::MAX_NAME_BYTES) {
            let detail = format!("a name of more than {} bytes", limits::MAX_NAME_BYTES);
            return Err(Rejection::ParameterTooLarge { detail });
        }
        let (database, collection, partition) = (db_name, collection_name, partition_name);
        let thing = Stale::Meta(StaleMeta { why, database, collection, collection_id, partition });
        self.links.lock().iter().for_each(|link| link.forget(std::slice::from_ref(&thing)));
        Ok(())
    }

    pub(super) fn show(&self, links: Vec<Arc<Link>>) {
        *self.links.lock() = links;
    }
}
