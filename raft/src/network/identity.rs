//! Who calls whom: the metadata of every call between peers, made here and checked here.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Request, Status};

use crate::kv::Read;
use crate::storage::engine::Engine;
use crate::storage::marker::{ClusterId, Marker, Refused};
use crate::system;
use crate::types::NodeId;

/// Metadata key of the shared secret, on the peer and internal listeners.
pub const SECRET_KEY: &str = "roost-secret";
const CLUSTER_KEY: &str = "roost-cluster";
const FROM_KEY: &str = "roost-from";
const TO_KEY: &str = "roost-to";
const FROM_DISK_KEY: &str = "roost-from-disk";
const TO_DISK_KEY: &str = "roost-to-disk";
const LEASE_KEY: &str = "roost-lease-ms";

/// The cluster's shared secret as it is sent: derived, so that the configured text itself never travels.
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    pub fn derive(text: &str) -> Self {
        let key = blake3::derive_key("roost 2026 shared secret v1", text.as_bytes());
        Secret(blake3::Hash::from_bytes(key).to_hex().as_str().into())
    }

    /// The metadata value.
    pub fn token(&self) -> &str {
        &self.0
    }

    /// Whether `metadata` carries this secret.
    pub fn is_in(&self, metadata: &MetadataMap) -> bool {
        metadata.get(SECRET_KEY).is_some_and(|given| self.is(given.as_bytes()))
    }

    /// Takes the same time for every wrong value.
    fn is(&self, given: &[u8]) -> bool {
        given.ct_eq(self.0.as_bytes()).into()
    }
}

/// What a caller says of itself and of the one it means. What it does not say is empty or `None`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// [`Secret::token`].
    pub secret: String,
    pub cluster: Option<ClusterId>,
    pub lease_ms: Option<u64>,
    pub from: Option<NodeId>,
    pub to: Option<NodeId>,
    /// The caller's own disk.
    pub from_disk: Option<u64>,
    /// The disk under which the caller's cluster knows the called node.
    pub to_disk: Option<u64>,
}

impl Claims {
    /// As they stand in the metadata of a call.
    pub fn of(metadata: &MetadataMap) -> Self {
        let text = |key: &str| metadata.get(key)?.to_str().ok();
        let number = |key: &str| text(key)?.parse().ok();
        let disk = |key: &str| u64::from_str_radix(text(key)?, 16).ok();
        Claims {
            secret: text(SECRET_KEY).unwrap_or_default().to_owned(),
            cluster: text(CLUSTER_KEY).and_then(|id| id.parse().ok()),
            lease_ms: number(LEASE_KEY),
            from: number(FROM_KEY),
            to: number(TO_KEY),
            from_disk: disk(FROM_DISK_KEY),
            to_disk: disk(TO_DISK_KEY),
        }
    }

    fn put_into(self, metadata: &mut MetadataMap) {
        let number = |number: Option<u64>| number.map(|number| number.to_string());
        let disk = |disk: Option<u64>| disk.map(|disk| format!("{disk:016x}"));
        let fields = [
            (SECRET_KEY, Some(self.secret)),
            (CLUSTER_KEY, self.cluster.map(|id| id.to_string())),
            (LEASE_KEY, number(self.lease_ms)),
            (FROM_KEY, number(self.from)),
            (TO_KEY, number(self.to)),
            (FROM_DISK_KEY, disk(self.from_disk)),
            (TO_DISK_KEY, disk(self.to_disk)),
        ];
        for (key, value) in fields {
            if let Some(value) = value.and_then(|value| MetadataValue::try_from(value).ok()) {
                metadata.insert(key, value);
            }
        }
    }
}

/// This node as its peers see it.
pub struct Identity {
    pub node_id: NodeId,
    pub incarnation: u64,
    lease_ms: u64,
    secret: Secret,
    engine: Arc<dyn Engine>,
    marker: RwLock<Marker>,
}

/// A caller that was found to be who it says.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    pub node_id: NodeId,
}

/// What is wrong with a call.
pub enum Denied {
    /// Refuse the call.
    Call(Status),
    /// Refuse it, and stop: the cluster knows this node on another disk.
    Replaced(String),
}

impl From<io::Error> for Denied {
    fn from(error: io::Error) -> Self {
        Denied::Call(Status::internal(error.to_string()))
    }
}

impl Identity {
    pub fn new(marker: Marker, secret: Secret, lease: Duration, engine: Arc<dyn Engine>) -> Self {
        let (node_id, incarnation) = (marker.node_id, marker.incarnation);
        let lease_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
        Identity { node_id, incarnation, lease_ms, secret, engine, marker: RwLock::new(marker) }
    }

    pub fn cluster_id(&self) -> Option<ClusterId> {
        self.marker.read().cluster_id
    }

    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Binds this disk to a cluster, durably.
    pub fn join(&self, cluster_id: ClusterId) -> Result<(), Refused> {
        self.marker.write().join(self.engine.as_ref(), cluster_id)
    }

    /// The disk that the cluster knows a node on.
    pub fn disk_of(&self, node: NodeId) -> Option<u64> {
        system::node_facts(self.engine.as_ref(), node).ok().flatten().map(|facts| facts.incarnation)
    }

    /// What this node says to `target`.
    pub fn claims(&self, target: NodeId) -> Claims {
        Claims {
            secret: self.secret.token().to_owned(),
            cluster: self.cluster_id(),
            lease_ms: Some(self.lease_ms),
            from: Some(self.node_id),
            to: Some(target),
            from_disk: Some(self.incarnation),
            to_disk: self.disk_of(target),
        }
    }

    /// Signs a call to `target`.
    pub fn sign<T>(&self, target: NodeId, message: T) -> Request<T> {
        let mut request = Request::new(message);
        self.claims(target).put_into(request.metadata_mut());
        request
    }

    /// Checks a caller. `joins`: the call may bind a disk that belongs to no cluster yet.
    pub fn check(&self, claims: &Claims, joins: bool) -> Result<Caller, Denied> {
        if !self.secret.is(claims.secret.as_bytes()) {
            return Err(Denied::Call(Status::unauthenticated("the cluster's shared secret is missing or wrong")));
        }
        let refuse = |why: String| Err(Denied::Call(Status::failed_precondition(why)));
        let Some(from) = claims.from else {
            return refuse("the call does not name its caller".into());
        };
        if claims.to != Some(self.node_id) {
            let meant = claims.to.map_or("nobody".into(), |id| id.to_string());
            return refuse(format!("the call is meant for node {meant}; this is node {}", self.node_id));
        }
        if claims.lease_ms != Some(self.lease_ms) {
            // A leader relies on the lease that it believes its followers grant.
            return refuse(format!(
                "node {from} runs with raft.election_max_ms {:?}, this node with {}: it must be equal on all nodes",
                claims.lease_ms, self.lease_ms
            ));
        }
        match (claims.cluster, self.cluster_id()) {
            (Some(theirs), Some(ours)) if theirs != ours => {
                return refuse(format!("node {from} belongs to cluster {theirs}, this node to {ours}"));
            }
            (Some(theirs), None) if joins => {
                self.join(theirs).map_err(|e| Denied::Call(Status::internal(e.to_string())))?
            }
            _ => {}
        }
        if let Some(expected) = claims.to_disk
            && expected != self.incarnation
        {
            return Err(Denied::Replaced(format!(
                "the cluster knows node {} on disk {expected:016x}, but this disk is {:016x}: the data directory was \
                 wiped or swapped. Start a node under a new id and run `roostctl member replace`",
                self.node_id, self.incarnation
            )));
        }
        self.check_caller(from, claims.from_disk)?;
        Ok(Caller { node_id: from })
    }

    fn check_caller(&self, from: NodeId, disk: Option<u64>) -> Result<(), Denied> {
        let Some(known) = system::node_facts(self.engine.as_ref() as &dyn Read, from)? else {
            return Ok(());
        };
        if known.retired {
            let why = format!("node {from} was removed from this cluster");
            return Err(Denied::Call(Status::permission_denied(why)));
        }
        if disk != Some(known.incarnation) {
            let why =
                format!("node {from} is known on disk {:016x}; a call from another disk is refused", known.incarnation);
            return Err(Denied::Call(Status::permission_denied(why)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::Batch;
    use crate::storage::mem::MemEngine;
    use crate::system::{SystemCommand, apply};

    fn identity(node_id: NodeId, cluster: Option<u128>, secret: &str) -> (Identity, MemEngine) {
        let engine = MemEngine::default();
        let mut marker = Marker::open(&engine, node_id).unwrap();
        if let Some(id) = cluster {
            marker.join(&engine, ClusterId(id)).unwrap();
        }
        (Identity::new(marker, Secret::derive(secret), Duration::from_millis(500), Arc::new(engine.clone())), engine)
    }

    fn record(engine: &MemEngine, node: NodeId, incarnation: u64) {
        let view = engine.pin();
        let mut txn = crate::kv::Txn::new(view.as_ref());
        apply(&SystemCommand::Announce { node, incarnation, apply_version: 1 }, &mut txn).unwrap();
        let ops = txn.into_rows().into_iter().map(|((space, key), value)| (space, key, value)).collect();
        engine.write(Batch { ops, cleared: Vec::new() }).unwrap();
    }

    fn refusal(result: Result<Caller, Denied>) -> String {
        match result {
            Ok(_) => "accepted".into(),
            Err(Denied::Call(status)) => status.message().to_string(),
            Err(Denied::Replaced(why)) => why,
        }
    }

    #[test]
    fn only_calls_of_the_same_cluster_to_this_node_pass() {
        let (one, _) = identity(1, Some(7), "secret");
        let (two, _) = identity(2, Some(7), "secret");
        let (stranger, _) = identity(3, Some(8), "secret");
        let (spy, _) = identity(3, Some(7), "guess");
        assert_eq!(two.check(&one.claims(2), false).ok().map(|caller| caller.node_id), Some(1));
        assert!(refusal(two.check(&one.claims(3), false)).contains("meant for node 3"));
        assert!(refusal(two.check(&stranger.claims(2), false)).contains("belongs to cluster"));
        assert!(refusal(two.check(&spy.claims(2), false)).contains("secret"));
        assert!(refusal(two.check(&Claims::of(&MetadataMap::new()), false)).contains("secret"));
    }

    #[test]
    fn claims_travel_as_metadata() {
        let (one, engine) = identity(1, Some(7), "secret");
        record(&engine, 2, 0x2b);
        let claims = one.claims(2);
        assert_eq!(claims.to_disk, Some(0x2b));
        assert!(Claims::of(one.sign(2, ()).metadata()) == claims);
        let (fresh, _) = identity(4, None, "secret");
        assert!(Claims::of(fresh.sign(2, ()).metadata()) == fresh.claims(2));
    }

    #[test]
    fn a_fresh_node_joins_the_first_cluster_that_appends_to_it() {
        let (one, _) = identity(1, Some(7), "secret");
        let (fresh, _) = identity(4, None, "secret");
        fresh.check(&one.claims(4), false).ok().unwrap();
        assert_eq!(fresh.cluster_id(), None);
        fresh.check(&one.claims(4), true).ok().unwrap();
        assert_eq!(fresh.cluster_id(), Some(ClusterId(7)));
    }

    #[test]
    fn a_wiped_disk_is_refused_in_both_directions() {
        let (one, engine) = identity(1, Some(7), "secret");
        let (wiped, _) = identity(2, Some(7), "secret");
        record(&engine, 2, wiped.incarnation.wrapping_add(1));
        assert!(matches!(wiped.check(&one.claims(2), false), Err(Denied::Replaced(_))));
        assert!(refusal(one.check(&wiped.claims(1), false)).contains("another disk"));
    }
}
