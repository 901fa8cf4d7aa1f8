//! Registers a node in Milvus' own way, by the etcd API: an id from the counter `<root>/meta/session/id`, a lease, and
//! the session's key with Milvus' JSON under that lease.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use super::register::role_name;
use crate::client::{Membership, Registration};
use crate::forward::Peers;
use crate::limits;
use crate::pb::etcd::api::auth_client::AuthClient;
use crate::pb::etcd::api::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::pb::etcd::api::kv_client::KvClient;
use crate::pb::etcd::api::lease_client::LeaseClient;
use crate::pb::etcd::api::{
    AuthenticateRequest, Compare, LeaseGrantRequest, LeaseKeepAliveRequest, LeaseRevokeRequest, PutRequest,
    RangeRequest, RequestOp, TxnRequest, request_op,
};

/// Attempts to move the counter on before others are let through.
const COUNTER_ATTEMPTS: usize = 64;

/// See the module.
pub struct Etcd {
    /// Client listeners.
    endpoints: Vec<String>,
    /// The endpoint that answered last.
    asked: AtomicUsize,
    channels: Peers,
    secret: Option<String>,
    token: Mutex<Option<AsciiMetadataValue>>,
    root: String,
}

/// As Milvus writes it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Session<'a> {
    #[serde(rename = "ServerID")]
    server_id: i64,
    server_name: &'a str,
    address: &'a str,
    exclusive: bool,
    stopping: bool,
    trigger_kill: bool,
    version: &'a str,
    #[serde(rename = "LeaseID")]
    lease_id: i64,
    host_name: &'a str,
    server_labels: &'a BTreeMap<String, String>,
}

impl Etcd {
    pub fn new(endpoints: Vec<String>, secret: Option<String>, root: String) -> Self {
        let (asked, channels, token) = (AtomicUsize::new(0), Peers::new(None), Mutex::default());
        Etcd { endpoints, asked, channels, secret, token, root }
    }

    pub async fn register(&self, registration: &Registration) -> Result<Membership, Status> {
        self.log_in().await?;
        let server_id = self.next_id().await?;
        let grant = LeaseGrantRequest { ttl: registration.ttl_s.into(), id: 0 };
        let lease =
            self.ask(|channel, grant| async move { LeaseClient::new(channel).lease_grant(grant).await }, grant).await?;
        let ttl = Duration::from_secs(lease.ttl.max(1).unsigned_abs());
        let membership = Membership { server_id, lease_id: lease.id, ttl };
        let put = self.session(registration, &membership, false)?;
        let absent = compare(put.key.clone(), CompareTarget::Version, TargetUnion::Version(0));
        if !self.put_if(absent, put).await? {
            return Err(Status::already_exists(format!("a node {server_id} is registered already")));
        }
        Ok(membership)
    }

    /// Says in the session's key that the node is on its way out.
    pub async fn stopping(&self, registration: &Registration, membership: &Membership) -> Result<(), Status> {
        let put = self.session(registration, membership, true)?;
        let there = compare(put.key.clone(), CompareTarget::Lease, TargetUnion::Lease(membership.lease_id));
        self.put_if(there, put).await.map(drop)
    }

    fn session(
        &self,
        registration: &Registration,
        membership: &Membership,
        stopping: bool,
    ) -> Result<PutRequest, Status> {
        let role = role_name(registration.role);
        let Membership { server_id, lease_id, .. } = *membership;
        let session = Session {
            server_id,
            server_name: role,
            address: &registration.address,
            exclusive: false,
            stopping,
            trigger_kill: true,
            version: &registration.version,
            lease_id,
            host_name: &registration.hostname,
            server_labels: &registration.labels,
        };
        let value = serde_json::to_vec(&session).map_err(|error| Status::internal(error.to_string()))?;
        let key = format!("{}/meta/session/{role}-{server_id}", self.root).into_bytes();
        Ok(PutRequest { key, value, lease: lease_id, ..PutRequest::default() })
    }

    /// False: the lease is over.
    pub async fn keep_alive(&self, membership: &Membership) -> Result<bool, Status> {
        let renewal = LeaseKeepAliveRequest { id: membership.lease_id };
        let renewed = |channel, renewal: Request<LeaseKeepAliveRequest>| async move {
            let (metadata, extensions, renewal) = renewal.into_parts();
            let requests = Request::from_parts(metadata, extensions, futures::stream::iter([renewal]));
            let answers = LeaseClient::new(channel).lease_keep_alive(requests).await?;
            let answer = answers.into_inner().message().await?;
            answer.map(Response::new).ok_or_else(|| Status::unavailable("the stream ended"))
        };
        Ok(self.ask(renewed, renewal).await?.ttl > 0)
    }

    pub async fn leave(&self, membership: &Membership) -> Result<(), Status> {
        let revoke = LeaseRevokeRequest { id: membership.lease_id };
        self.ask(|channel, revoke| async move { LeaseClient::new(channel).lease_revoke(revoke).await }, revoke).await?;
        Ok(())
    }

    /// Takes the counter's value and moves it on.
    async fn next_id(&self) -> Result<i64, Status> {
        let key = format!("{}/meta/session/id", self.root).into_bytes();
        for _ in 0..COUNTER_ATTEMPTS {
            let range = RangeRequest { key: key.clone(), ..RangeRequest::default() };
            let found =
                self.ask(|channel, range| async move { KvClient::new(channel).range(range).await }, range).await?;
            let (id, unchanged) = match found.kvs.into_iter().next() {
                None => (1, compare(key.clone(), CompareTarget::Version, TargetUnion::Version(0))),
                Some(row) => {
                    let id = std::str::from_utf8(&row.value).ok().and_then(|text| text.parse::<i64>().ok());
                    let id = id.ok_or_else(|| Status::failed_precondition("the counter of server ids is no number"))?;
                    (id, compare(key.clone(), CompareTarget::Value, TargetUnion::Value(row.value)))
                }
            };
            let value = id.saturating_add(1).to_string().into_bytes();
            let put = PutRequest { key: key.clone(), value, ..PutRequest::default() };
            if self.put_if(unchanged, put).await? {
                return Ok(id);
            }
        }
        Err(Status::aborted("others were always faster at taking a server id"))
    }

    async fn put_if(&self, condition: Compare, put: PutRequest) -> Result<bool, Status> {
        let success = vec![RequestOp { request: Some(request_op::Request::RequestPut(put)) }];
        let txn = TxnRequest { compare: vec![condition], success, failure: Vec::new() };
        let done = self.ask(|channel, txn| async move { KvClient::new(channel).txn(txn).await }, txn).await?;
        Ok(done.succeeded)
    }

    /// Gets a token, where the API wants one.
    async fn log_in(&self) -> Result<(), Status> {
        let Some(secret) = &self.secret else { return Ok(()) };
        let request = AuthenticateRequest { name: "root".to_owned(), password: secret.clone() };
        let asked = |channel, request| async move { AuthClient::new(channel).authenticate(request).await };
        match self.ask(asked, request).await {
            Ok(answer) => *self.token.lock() = answer.token.parse().ok(),
            // On loopback nobody asks for a token.
            Err(status) if status.code() == Code::FailedPrecondition => {}
            Err(status) => return Err(status),
        }
        Ok(())
    }

    /// One call at the endpoint that answered last; after an error the next one is asked the next time.
    async fn ask<T, R, F>(&self, call: impl FnOnce(Channel, Request<T>) -> F, message: T) -> Result<R, Status>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let asked = self.asked.load(Ordering::Relaxed);
        let endpoint = self.endpoints.get(asked % self.endpoints.len().max(1));
        let endpoint = endpoint.ok_or_else(|| Status::invalid_argument("no endpoints"))?;
        let channel = self.channels.channel(endpoint).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let mut request = Request::new(message);
        if let Some(token) = self.token.lock().clone() {
            request.metadata_mut().insert("token", token);
        }
        let answer = tokio::time::timeout(limits::SIM_CALL_WAIT, call(channel, request)).await;
        let answer = answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")));
        if answer.is_err() {
            self.asked.store(asked.wrapping_add(1), Ordering::Relaxed);
        }
        answer.map(Response::into_inner)
    }
}

fn compare(key: Vec<u8>, target: CompareTarget, is: TargetUnion) -> Compare {
    Compare {
        result: CompareResult::Equal.into(),
        target: target.into(),
        key,
        target_union: Some(is),
        ..Compare::default()
    }
}
