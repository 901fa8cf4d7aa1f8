//! Keys that queue under a prefix, oldest first: what Lock and Election are made of. A key lives as long as its lease;
//! its turn has come once no older one is left. Locks, elections and etcd's own recipes keep to the same form, so they
//! may be mixed on one prefix.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Semaphore, SemaphorePermit};
use tonic::{Code, Status};

use super::Keyspace;
use super::error::{STOPPED, TIMEOUT, TOO_MANY_REQUESTS};
use super::watch::{Hub, Lost, Subscription};
use crate::call::Call;
use crate::limits;
use crate::pb::etcd::api::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::pb::etcd::api::range_request::{SortOrder, SortTarget};
use crate::pb::etcd::api::request_op::Request as Op;
use crate::pb::etcd::api::response_op::Response as Answer;
use crate::pb::etcd::api::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RangeResponse, RequestOp, ResponseHeader, TxnRequest,
    TxnResponse,
};
use crate::pb::etcd::kv;
use crate::pb::etcd::kv::event::EventType;
use crate::state::keyspace::KeyspaceCommand;

/// What etcd gives a lock or campaign that names no lease.
const SESSION_TTL_S: i64 = 60;

/// Takes turns on one node's key space. Cheap to clone.
#[derive(Clone)]
pub struct Turns {
    pub keyspace: Keyspace,
    hub: Arc<Hub>,
    waiters: Arc<Semaphore>,
}

/// A key in the queue, and the answer that put it there.
pub struct Place {
    pub key: Vec<u8>,
    /// The revision that created the key.
    pub revision: i64,
    pub header: Option<ResponseHeader>,
    /// What the key held if it was there already.
    pub found: Option<kv::KeyValue>,
}

/// Why a turn does not come.
pub enum Missed {
    /// The key has gone: its lease ended, or somebody deleted it.
    KeyGone,
    Failed(Status),
}

impl From<Status> for Missed {
    fn from(status: Status) -> Self {
        Missed::Failed(status)
    }
}

impl Turns {
    pub fn new(keyspace: Keyspace, hub: Arc<Hub>) -> Self {
        Turns { keyspace, hub, waiters: Arc::new(Semaphore::new(limits::LOCK_WAITERS_MAX)) }
    }

    /// `lease`, or a new one of 60 s for 0.
    pub async fn lease(&self, call: &Call, lease: i64) -> Result<i64, Status> {
        if lease != 0 {
            return Ok(lease);
        }
        let id = rand::random_range(1..=i64::MAX);
        self.keyspace.submit(&step(call), KeyspaceCommand::GrantLease { id, ttl_s: SESSION_TTL_S }).await?;
        Ok(id)
    }

    /// Puts the lease's key at the end of the queue, or finds it where it is.
    pub async fn queue(&self, call: &Call, name: &[u8], lease: i64, value: Vec<u8>) -> Result<Place, Status> {
        // The wire's form of a lease in keys: unsigned, hexadecimal, not padded.
        let key = [prefix(name).as_slice(), format!("{lease:x}").as_bytes()].concat();
        let put = PutRequest { key: key.clone(), value, lease, ..Default::default() };
        let request = TxnRequest {
            compare: vec![created(&key, 0)],
            success: vec![op(Op::RequestPut(put))],
            failure: vec![op(Op::RequestRange(RangeRequest { key: key.clone(), ..Default::default() }))],
        };
        let mut response = self.keyspace.txn(&step(call), request).await.map_err(as_client)?;
        let found = ranges(&mut response).pop().and_then(|mut range| range.kvs.pop());
        let at = response.header.as_ref().map_or(0, |header| header.revision);
        let revision = found.as_ref().map_or(at, |found| found.create_revision);
        Ok(Place { key, revision, header: response.header, found })
    }

    /// Waits until no older key is left under the prefix. Returns the header of the read that showed it, or nothing if
    /// the wait was over before it began, as etcd's answers have it.
    pub async fn wait(&self, call: &Call, name: &[u8], place: &Place) -> Result<Option<ResponseHeader>, Missed> {
        let mut permit: Option<SemaphorePermit<'_>> = None;
        loop {
            let before = RangeRequest {
                key: prefix(name),
                range_end: prefix_end(name),
                max_create_revision: place.revision - 1,
                sort_order: SortOrder::Descend.into(),
                sort_target: SortTarget::Create.into(),
                limit: 1,
                ..Default::default()
            };
            let own = RangeRequest { key: place.key.clone(), ..Default::default() };
            let success = vec![op(Op::RequestRange(before)), op(Op::RequestRange(own))];
            let read = TxnRequest { success, ..Default::default() };
            let mut response = self.keyspace.txn(&step(call), read).await.map_err(as_client)?;
            let (own, before) = {
                let mut ranges = ranges(&mut response);
                (ranges.pop().and_then(|mut range| range.kvs.pop()), ranges.pop())
            };
            if own.is_none_or(|own| own.create_revision != place.revision) {
                return Err(Missed::KeyGone);
            }
            let Some(before) = before.and_then(|mut range| range.kvs.pop()) else {
                return Ok(permit.and(response.header));
            };
            if permit.is_none() {
                permit = Some(self.waiters.try_acquire().map_err(|_| TOO_MANY_REQUESTS.status())?);
            }
            let seen = response.header.map_or(0, |header| header.revision);
            let mut theirs = self.watch(&before.key, seen)?;
            let mut ours = self.watch(&place.key, seen)?;
            // Whichever goes first, the next look tells.
            tokio::select! {
                gone = deleted(&mut theirs) => gone?,
                gone = deleted(&mut ours) => gone?,
                () = tokio::time::sleep_until(call.deadline.into()) => return Err(TIMEOUT.status().into()),
            }
        }
    }

    /// The changes of one key after a revision.
    pub fn watch(&self, key: &[u8], after: i64) -> Result<Subscription, Status> {
        self.hub.subscribe(key, b"", after + 1).map_err(lost)
    }

    /// The changes under a prefix after a revision.
    pub fn watch_all(&self, name: &[u8], after: i64) -> Result<Subscription, Status> {
        self.hub.subscribe(&prefix(name), &prefix_end(name), after + 1).map_err(lost)
    }

    /// The oldest key under the prefix.
    pub async fn first(&self, call: &Call, name: &[u8]) -> Result<RangeResponse, Status> {
        let request = RangeRequest {
            key: prefix(name),
            range_end: prefix_end(name),
            sort_target: SortTarget::Create.into(),
            limit: 1,
            ..Default::default()
        };
        self.keyspace.range(&step(call), request).await.map_err(as_client)
    }

    /// Does `then` if the key is still the one that `revision` created.
    pub async fn if_created(&self, call: &Call, key: &[u8], revision: i64, then: Op) -> Result<TxnResponse, Status> {
        let request =
            TxnRequest { compare: vec![created(key, revision)], success: vec![op(then)], ..Default::default() };
        self.keyspace.txn(&step(call), request).await.map_err(as_client)
    }

    /// Deletes the key when it is dropped, unless it was kept: whoever asked may go away at any time.
    pub fn hold(&self, call: &Call, place: &Place) -> Held {
        let held = (self.clone(), call.clone(), place.key.clone(), place.revision);
        Held { held: Some(held) }
    }
}

/// See [`Turns::hold`].
pub struct Held {
    held: Option<(Turns, Call, Vec<u8>, i64)>,
}

impl Held {
    pub fn keep(mut self) {
        self.held = None;
    }

    /// Deletes the key and then returns, so that a caller who is told of a failure and asks again is not taken for the
    /// call that failed.
    pub async fn give_up(mut self) {
        if let Some(deletion) = self.deletion() {
            // It goes on if the caller goes away. It fails only with the runtime.
            let _ = tokio::spawn(deletion).await;
        }
    }

    fn deletion(&mut self) -> Option<impl Future<Output = ()> + Send + use<>> {
        let (turns, mut call, key, revision) = self.held.take()?;
        Some(async move {
            call.deadline = Instant::now() + limits::CALL_TIME_DEFAULT;
            let delete = Op::RequestDeleteRange(DeleteRangeRequest { key: key.clone(), ..Default::default() });
            if let Err(error) = turns.if_created(&call, &key, revision, delete).await {
                tracing::info!(%error, "a key in a queue stays until its lease ends");
            }
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(deletion) = self.deletion() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(deletion);
        }
    }
}

/// Waits until the subscription's key is deleted.
async fn deleted(subscription: &mut Subscription) -> Result<(), Status> {
    loop {
        match subscription.next().await {
            Ok((_, events)) if events.iter().any(|event| event.r#type == EventType::Delete as i32) => return Ok(()),
            Ok(_) => {}
            // Too long ago to be told; the next look at the queue tells.
            Err(Lost::Compacted) => return Ok(()),
            Err(error) => return Err(lost(error)),
        }
    }
}

pub fn lost(error: Lost) -> Status {
    match error {
        Lost::Closed => STOPPED.status(),
        Lost::EmptyRange | Lost::Compacted => Status::unknown(format!("etcdserver: {error}")),
    }
}

/// Each step has the time of an ordinary call, and no more than the whole has.
pub fn step(call: &Call) -> Call {
    let usual = Instant::now() + limits::CALL_TIME_DEFAULT;
    Call { deadline: call.deadline.min(usual), ..call.clone() }
}

/// etcd's Lock and Election are clients of its own key space; refusals reach their callers without a code.
pub fn as_client(status: Status) -> Status {
    match status.code() {
        Code::InvalidArgument | Code::NotFound | Code::FailedPrecondition => Status::unknown(status.message()),
        _ => status,
    }
}

fn prefix(name: &[u8]) -> Vec<u8> {
    [name, b"/"].concat()
}

/// The first key after all that begin with the prefix.
fn prefix_end(name: &[u8]) -> Vec<u8> {
    [name, b"0"].concat()
}

fn op(request: Op) -> RequestOp {
    RequestOp { request: Some(request) }
}

/// Whether the key was created by `revision`; 0: whether it is not there.
fn created(key: &[u8], revision: i64) -> Compare {
    Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Create.into(),
        key: key.to_vec(),
        target_union: Some(TargetUnion::CreateRevision(revision)),
        ..Default::default()
    }
}

fn ranges(response: &mut TxnResponse) -> Vec<RangeResponse> {
    let range = |answer| match answer {
        Some(Answer::ResponseRange(range)) => Some(range),
        _ => None,
    };
    response.responses.drain(..).filter_map(|answer| range(answer.response)).collect()
}
