//! A node registers by our own API: a server id from Milvus' counter, a lease, and the session key that both make.

use std::collections::BTreeMap;
use std::io;

use serde::{Deserialize, Serialize};

use super::command::WorkerReply;
use super::session::{SessionValue, key, role_name};
use super::{find, number, of_server};
use crate::error::Rejection;
use crate::pb::etcd::api::PutRequest;
use crate::pb::store::{self, WorkerRole};
use crate::state::Reply;
use crate::state::keyspace::{self, QueryError};
use crate::state::limits::{
    MAX_SESSION_BYTES, MAX_WORKER_REQUEST_BYTES, MAX_WORKER_TTL_S, MAX_WORKERS, MIN_WORKER_TTL_S,
};
use crate::state::step::{Outcome, Refusal, Step};
use crate::state::tables::{LEASES, WORKER_BOOK, WORKER_REQUESTS, WORKERS};

/// Milvus' name of the counter of server ids, beside the sessions.
const COUNTER: &str = "id";
/// The first server id. The counter holds the one that is given next.
const FIRST: i64 = 1;

/// What a node has; 0: not said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Capacity {
    pub cpu_millis: u64,
    pub memory_bytes: u64,
    pub disk_bytes: u64,
    pub network_bytes_per_s: u64,
}

impl From<Capacity> for store::WorkerCapacity {
    fn from(capacity: Capacity) -> Self {
        let Capacity { cpu_millis, memory_bytes, disk_bytes, network_bytes_per_s } = capacity;
        store::WorkerCapacity { cpu_millis, memory_bytes, disk_bytes, network_bytes_per_s }
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterWorker {
    /// The node's own name of this registration, 1 to 64 bytes: repeated, it gets the same answer as long as the worker
    /// lives, whatever else it says.
    #[serde(with = "serde_bytes")]
    pub request: Vec<u8>,
    /// A `store::WorkerRole`.
    pub role: i32,
    pub address: String,
    pub version: String,
    pub hostname: String,
    pub labels: BTreeMap<String, String>,
    pub capacity: Option<Capacity>,
    /// Seconds, 2 to 3600.
    pub ttl_s: i64,
}

impl RegisterWorker {
    /// What no coordinator accepts, whatever the state is.
    pub fn check(&self) -> Result<WorkerRole, Rejection> {
        let role = WorkerRole::try_from(self.role).unwrap_or_default();
        if role == WorkerRole::Unspecified {
            return Err(Rejection::invalid(format!("there is no role of number {}", self.role)));
        }
        if self.request.is_empty() || self.request.len() > MAX_WORKER_REQUEST_BYTES {
            let length = self.request.len();
            let detail = format!("the request id has {length} bytes, expected 1 to {MAX_WORKER_REQUEST_BYTES}");
            return Err(Rejection::invalid(detail));
        }
        if !(MIN_WORKER_TTL_S..=MAX_WORKER_TTL_S).contains(&self.ttl_s) {
            let detail = format!("the TTL of {} s must be from {MIN_WORKER_TTL_S} to {MAX_WORKER_TTL_S}", self.ttl_s);
            return Err(Rejection::invalid(detail));
        }
        let value = self.value(role, i64::MAX, i64::MAX);
        if let Some(problem) = value.problem() {
            return Err(Rejection::invalid(problem));
        }
        let bytes = value.encode().len();
        if bytes > MAX_SESSION_BYTES {
            let detail = format!("the session takes {bytes} bytes, at most {MAX_SESSION_BYTES} are allowed");
            return Err(Rejection::ParameterTooLarge { detail });
        }
        Ok(role)
    }

    fn value(&self, role: WorkerRole, server_id: i64, lease_id: i64) -> SessionValue {
        SessionValue {
            server_id,
            server_name: role_name(role).to_owned(),
            address: self.address.clone(),
            trigger_kill: true,
            version: self.version.clone(),
            lease_id,
            host_name: self.hostname.clone(),
            server_labels: self.labels.clone(),
            capacity: self.capacity.clone(),
            ..SessionValue::default()
        }
    }

    pub(super) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        let role = self.check()?;
        let Some(known) = WORKER_BOOK.get(step.txn, &())? else {
            return Err(Rejection::NotReady { detail: "the leader has yet to say where sessions are".into() }.into());
        };
        if let Some(name) = WORKER_REQUESTS.get(step.txn, &self.request)?
            && let Some(worker) = find(step.txn, name.id, name.role())?
        {
            let lease = LEASES.get(step.txn, &worker.lease)?.ok_or_else(|| LEASES.missing(&worker.lease))?;
            return Ok(registered(&worker, lease.granted_ttl_s, true));
        }
        if known.workers >= MAX_WORKERS as u64 {
            let detail = format!("there are {MAX_WORKERS} worker nodes, as many as there may be");
            return Err(Rejection::QuotaExceeded { detail }.into());
        }
        let counter = counter_key(&known.session_prefix);
        let (id, next) = next_id(step, &counter)?;
        let lease = keyspace::grant_new(step.txn, step.events, self.ttl_s).map_err(refused)?;
        let key = key(&known.session_prefix, role, id);
        let value = self.value(role, id, lease).encode();
        let counted = PutRequest { key: counter, value: next.to_string().into_bytes(), ..PutRequest::default() };
        let session = PutRequest { key, value, lease, ..PutRequest::default() };
        keyspace::put_all(step.txn, step.events, step.now_ms, vec![counted, session]).map_err(refused)?;
        let worker = find(step.txn, id, role)?;
        let mut worker = worker.ok_or_else(|| io::Error::other("a session that was just written is none"))?;
        worker.request = self.request.clone();
        let name = store::WorkerName { id, role: role.into() };
        WORKER_REQUESTS.put(step.txn, &self.request, &name);
        WORKERS.put(step.txn, &(id, number(role)), &worker);
        Ok(registered(&worker, self.ttl_s, false))
    }
}

fn registered(worker: &store::Worker, ttl_s: i64, existed: bool) -> Reply {
    let (server_id, lease, revision) = (worker.id, worker.lease, worker.revision);
    Reply::Worker(WorkerReply::Registered { server_id, lease, ttl_s, revision, existed })
}

/// The key of the counter of server ids in a folder of sessions.
pub fn counter_key(folder: &str) -> Vec<u8> {
    format!("{folder}{COUNTER}").into_bytes()
}

/// What a counter says: the id that is given next, in decimal digits.
pub fn counted(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.parse().ok().filter(|id| *id >= FIRST)
}

/// The server id to give, and what the counter says afterwards. Ids that somebody took past the counter are left out.
fn next_id(step: &Step<'_, '_>, counter: &[u8]) -> Result<(i64, i64), Refusal> {
    let unreadable = || Rejection::Internal { detail: "the counter of server ids holds no number".into() };
    let mut id = match keyspace::current(step.txn, counter)? {
        Some(row) => counted(&row.value).ok_or_else(unreadable)?,
        None => FIRST,
    };
    while !of_server(step.txn, id)?.is_empty() {
        id = id.checked_add(1).ok_or_else(unreadable)?;
    }
    Ok((id, id.checked_add(1).ok_or_else(unreadable)?))
}

pub(super) fn refused(error: QueryError) -> Refusal {
    match error {
        QueryError::Storage(error) => error.into(),
        QueryError::Refused(why) => Rejection::invalid(format!("the key space refuses: {why}")).into(),
    }
}
