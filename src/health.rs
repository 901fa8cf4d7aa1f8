//! Whether this node can serve: for Milvus' CheckHealth and GetComponentStates, gRPC health, and the HTTP probes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tonic::Request;

use crate::config::Quota;
use crate::forward::Peers;
use crate::limits;
use crate::pb::common::{self, StateCode};
use crate::pb::milvus::{CheckHealthRequest, CheckHealthResponse, ComponentInfo, ComponentStates};
use crate::pb::rootcoord::root_coord_client::RootCoordClient;
use crate::quota::{self, load::LoadBoard};
use crate::replica::Replica;

/// Metadata of a node that asks the leader, which is not to ask on.
const OWN_ONLY: &str = "roost-own-health";

/// The verdict of this node over itself.
pub struct Health {
    replica: Arc<dyn Replica>,
    peers: Arc<Peers>,
    quota: Arc<Quota>,
    /// What nodes said of their load: on the leader.
    loads: Arc<LoadBoard>,
    stopping: AtomicBool,
    /// The last probe found nobody who confirms reads.
    unconfirmed: AtomicBool,
}

impl Health {
    pub fn new(replica: Arc<dyn Replica>, peers: Arc<Peers>, quota: Arc<Quota>, loads: Arc<LoadBoard>) -> Arc<Self> {
        let (stopping, unconfirmed) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Health { replica, peers, quota, loads, stopping, unconfirmed })
    }

    /// From now on this node says that it goes away, so that load balancers stop sending before it stops listening.
    pub fn stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Tries a linearizable read. Who led last is known for ever, so only this shows that nobody leads any more, or
    /// that this node is cut off.
    pub async fn probe(&self) {
        let deadline = Instant::now() + limits::HEALTH_CONFIRM_WAIT;
        let confirmed = self.replica.read_barrier(deadline).await.is_ok();
        self.unconfirmed.store(!confirmed, Ordering::Release);
    }

    /// Why this node should get no calls; empty if it should.
    pub fn not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.stopping.load(Ordering::Acquire) {
            reasons.push("this node is stopping".to_owned());
        }
        if self.replica.leadership().borrow().leader.is_none() {
            reasons.push("no leader is known".to_owned());
        } else if self.unconfirmed.load(Ordering::Acquire) {
            reasons.push("no leader confirms reads: there is no quorum, or this node is cut off".to_owned());
        }
        reasons
    }

    /// Everything that needs attention, alarms of the cluster included.
    pub fn reasons(&self) -> Vec<String> {
        let mut reasons = self.not_ready();
        reasons.extend(self.replica.alarms());
        reasons
    }

    /// Answers CheckHealth: this node's verdict, and what the leader denies because of what Milvus' nodes report.
    pub async fn check(&self, request: &Request<CheckHealthRequest>) -> CheckHealthResponse {
        let mut reply = self.check_reply();
        if self.quota.lowers_rates()
            && !request.metadata().contains_key(OWN_ONLY)
            && let Some(leaders) = self.leaders_reply().await
        {
            add_denials(&mut reply, leaders);
        }
        reply
    }

    /// `None`: this node leads, or the leader does not answer, which other reasons tell.
    async fn leaders_reply(&self) -> Option<CheckHealthResponse> {
        let leader = self.replica.leadership().borrow().leader?;
        let known = self.replica.members().into_iter().find(|member| member.id == leader);
        let address = known.filter(|_| leader != self.replica.node_id())?.peer;
        let channel = self.peers.channel(&address).ok()?;
        let mut client = RootCoordClient::new(self.peers.authenticated(channel));
        let mut request = Request::new(CheckHealthRequest {});
        request.metadata_mut().insert(OWN_ONLY, tonic::metadata::AsciiMetadataValue::from_static("1"));
        let asked = tokio::time::timeout(limits::HEALTH_CONFIRM_WAIT, client.check_health(request)).await;
        Some(asked.ok()?.ok()?.into_inner())
    }

    fn check_reply(&self) -> CheckHealthResponse {
        let mut reasons = self.reasons();
        let is_healthy = reasons.is_empty();
        // As in Milvus, a cluster that denies something on purpose is healthy.
        let mut denials = quota::in_cluster(&self.quota, self.replica.disk_full());
        denials.extend(self.loads.denials());
        reasons.extend(denials.iter().map(|denial| denial.reason().to_owned()));
        CheckHealthResponse {
            status: Some(common::Status::default()),
            is_healthy,
            reasons,
            quota_states: denials.iter().map(|denial| denial.what.state().into()).collect(),
        }
    }

    pub fn component_states(&self, role: &str) -> ComponentStates {
        let state_code = if self.stopping.load(Ordering::Acquire) {
            StateCode::Stopping
        } else if self.not_ready().is_empty() {
            StateCode::Healthy
        } else {
            StateCode::Abnormal
        };
        let state = ComponentInfo {
            node_id: i64::try_from(self.replica.node_id()).unwrap_or(i64::MAX),
            role: role.to_owned(),
            state_code: state_code.into(),
            extra_info: Vec::new(),
        };
        ComponentStates {
            state: Some(state.clone()),
            subcomponent_states: vec![state],
            status: Some(common::Status::default()),
        }
    }
}

/// Adds what another node denies and this one does not know of. The reasons of its denials are the last ones.
fn add_denials(reply: &mut CheckHealthResponse, theirs: CheckHealthResponse) {
    let first = theirs.reasons.len().saturating_sub(theirs.quota_states.len());
    let denials = theirs.quota_states.into_iter().zip(theirs.reasons.into_iter().skip(first));
    for (state, reason) in denials {
        if !(reply.quota_states.contains(&state) && reply.reasons.contains(&reason)) {
            reply.quota_states.push(state);
            reply.reasons.push(reason);
        }
    }
}
