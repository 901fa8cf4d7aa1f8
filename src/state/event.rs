//! What apply changed, for watches, caches and leader tasks. The host adds the log index as the revision.

use std::sync::Arc;

use super::access::AccessEvent;
use super::keyspace::KeysChanged;
use super::worker;
use crate::pb::etcd::kv;

/// One change. Ids and names only: whoever wants the row reads it at that revision or later.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    DatabaseCreated {
        database_id: i64,
        name: String,
    },
    DatabaseDropped {
        database_id: i64,
        name: String,
    },
    DatabaseAltered {
        database_id: i64,
        name: String,
    },
    CollectionCreated {
        database_id: i64,
        collection_id: i64,
        name: String,
    },
    /// Its name is gone. What belonged to it goes now or soon.
    CollectionDropped {
        database_id: i64,
        collection_id: i64,
        name: String,
    },
    CollectionAltered {
        database_id: i64,
        collection_id: i64,
        name: String,
    },
    /// Its rows do not count any more.
    CollectionTruncated {
        database_id: i64,
        collection_id: i64,
        name: String,
    },
    CollectionRenamed {
        old_database_id: i64,
        old_name: String,
        database_id: i64,
        name: String,
        collection_id: i64,
    },
    /// The alias was created, or moved to this collection, after it was dropped from another.
    AliasSet {
        database_id: i64,
        collection_id: i64,
        name: String,
    },
    AliasDropped {
        database_id: i64,
        collection_id: i64,
        name: String,
    },
    PartitionCreated {
        collection_id: i64,
        partition_id: i64,
        name: String,
    },
    PartitionDropped {
        collection_id: i64,
        partition_id: i64,
        name: String,
    },
    TsoExtended {
        bound_ms: u64,
    },
    /// Keys of the etcd key space.
    KeysChanged(Arc<KeysChanged>),
    /// History below the revision is no longer read.
    HistoryCompacted {
        revision: i64,
    },
    LeaseGranted {
        id: i64,
        generation: u64,
        ttl_s: i64,
    },
    /// Revoked or expired.
    LeaseEnded {
        id: i64,
    },
    IndexCreated {
        collection_id: i64,
        index_id: i64,
    },
    IndexAltered {
        collection_id: i64,
        index_id: i64,
    },
    IndexDropped {
        collection_id: i64,
        index_id: i64,
    },
    /// The collection, or some of its partitions, or how.
    LoadChanged {
        collection_id: i64,
    },
    /// Nothing of the collection is loaded any more.
    LoadEnded {
        collection_id: i64,
    },
    /// Users, roles, grants, privilege groups.
    Access(AccessEvent),
    /// It registered, is another, was drained or frozen, or is gone: one of its roles.
    WorkerChanged {
        id: i64,
    },
    /// PChannels were added, ordered, taken or lost, or how they are balanced; `revision` is that of what is told.
    AssignmentsChanged {
        revision: u64,
        /// A pchannel may need another node now.
        unsettled: bool,
    },
    /// A broadcast was submitted, begun, acknowledged, finished or forgotten.
    BroadcastChanged {
        id: i64,
    },
    /// To which clusters the logs are replicated, or from which one.
    ReplicationChanged,
}

impl Event {
    /// Keys of the etcd key space that are nobody's session.
    pub fn is_of_plain_keys(&self) -> bool {
        let Event::KeysChanged(changed) = self else { return false };
        let plain = |event: &kv::Event| event.kv.as_ref().is_some_and(|row| !worker::is_below_sessions(&row.key));
        changed.events.as_ref().is_some_and(|events| events.iter().all(plain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(keys: &[&str]) -> Event {
        let event = |key: &&str| kv::Event {
            kv: Some(kv::KeyValue { key: key.as_bytes().to_vec(), ..Default::default() }),
            ..Default::default()
        };
        Event::KeysChanged(Arc::new(KeysChanged { revision: 7, events: Some(keys.iter().map(event).collect()) }))
    }

    #[test]
    fn plain_keys_are_those_that_no_session_may_be_among() {
        assert!(changed(&["by-dev/meta/x", "x", "", "by-dev/meta/session"]).is_of_plain_keys());
        for session in ["by-dev/meta/session/proxy-1", "/meta/session/id", "a/b/meta/session/c/d", "a/meta/session/"] {
            assert!(!changed(&["x", session]).is_of_plain_keys(), "{session}");
        }
        let unknown = Event::KeysChanged(Arc::new(KeysChanged { revision: 7, events: None }));
        assert!(!unknown.is_of_plain_keys(), "they must be read to be known");
        assert!(!Event::WorkerChanged { id: 1 }.is_of_plain_keys());
    }
}
