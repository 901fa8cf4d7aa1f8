//! The header of every reply: which cluster and member answered, at which revision and in which term.

use std::sync::{Arc, OnceLock};

use tokio::sync::watch;

use roost_raft::types::Leadership;

use crate::pb::etcd::api;
use crate::replica::Replica;

/// Makes headers. Cheap to clone.
#[derive(Clone)]
pub struct Headers {
    inner: Arc<Inner>,
}

struct Inner {
    replica: Arc<dyn Replica>,
    leadership: watch::Receiver<Leadership>,
    /// Known once this node belongs to a cluster; it never changes then.
    cluster_id: OnceLock<u64>,
}

impl Headers {
    pub fn new(replica: Arc<dyn Replica>) -> Self {
        let leadership = replica.leadership();
        Headers { inner: Arc::new(Inner { replica, leadership, cluster_id: OnceLock::new() }) }
    }

    /// The header of a reply that shows the key space at `revision`; 0 for one that does not show it.
    pub fn stamp(&self, revision: i64) -> api::ResponseHeader {
        let raft_term = self.inner.leadership.borrow().term;
        api::ResponseHeader { cluster_id: self.cluster_id(), member_id: self.member_id(), revision, raft_term }
    }

    /// What members are called: the ids of the nodes.
    pub fn member_id(&self) -> u64 {
        self.inner.replica.node_id()
    }

    /// 0 as long as this node belongs to no cluster.
    fn cluster_id(&self) -> u64 {
        if let Some(id) = self.inner.cluster_id.get() {
            return *id;
        }
        match self.inner.replica.cluster_id() {
            name if name.is_empty() => 0,
            name => *self.inner.cluster_id.get_or_init(|| number(&name)),
        }
    }
}

/// The cluster's name as the number that etcd's wire wants: equal on every node, and never 0.
fn number(name: &str) -> u64 {
    let hash = blake3::derive_key("roost 2026 etcd cluster id v1", name.as_bytes());
    let mut bytes = [0; 8];
    bytes.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    u64::from_be_bytes(bytes).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SoloReplica;

    #[test]
    fn a_header_names_cluster_member_and_term() {
        let replica = SoloReplica::sharing(7, Arc::default());
        let headers = Headers::new(replica.clone());
        replica.lead(3);
        let first = headers.stamp(12);
        assert_eq!((first.member_id, first.revision, first.raft_term), (7, 12, 3));
        replica.follow(4, Some(2));
        let second = headers.clone().stamp(0);
        assert_eq!((second.cluster_id, second.revision, second.raft_term), (first.cluster_id, 0, 4));
        let other = Headers::new(SoloReplica::sharing(8, Arc::default()));
        assert_eq!(other.stamp(1).cluster_id, first.cluster_id, "equal on every node");
        assert!(first.cluster_id > 0 && number("another") != first.cluster_id);
    }
}
