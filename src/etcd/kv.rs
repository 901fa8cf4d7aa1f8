//! The KV service.

use std::sync::Arc;

use prost::Message;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use super::error::{TIMEOUT, TOO_MANY_REQUESTS};
use super::keyspace::Keyspace;
use crate::call::Call;
use crate::forward::HeldRoom;
use crate::limits;
use crate::pb::etcd::api::kv_server::Kv;
use crate::pb::etcd::api::*;

type Answer<T> = Result<Response<T>, Status>;

/// See the module.
#[derive(Clone)]
pub struct KvService {
    keyspace: Keyspace,
    /// Bytes of large replies that were read and are being sent.
    room: Arc<Semaphore>,
}

impl KvService {
    pub fn new(keyspace: Keyspace) -> Self {
        KvService { keyspace, room: Arc::new(Semaphore::new(limits::ETCD_REPLY_BYTES_IN_FLIGHT_MAX)) }
    }

    /// A large reply takes its room until its last byte was sent: its reader may be as slow as it likes.
    async fn weighed<T: Message>(&self, call: &Call, reply: T) -> Answer<T> {
        let bytes = reply.encoded_len();
        let mut response = Response::new(reply);
        if bytes < limits::ETCD_SMALL_REPLY_BYTES {
            return Ok(response);
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let room = self.room.clone().acquire_many_owned(bytes);
        match tokio::time::timeout_at(call.deadline.into(), room).await {
            Ok(Ok(room)) => response.extensions_mut().insert(HeldRoom::new(room)),
            Ok(Err(_)) => return Err(TOO_MANY_REQUESTS.status()),
            Err(_) => return Err(TIMEOUT.status()),
        };
        Ok(response)
    }
}

#[tonic::async_trait]
impl Kv for KvService {
    async fn range(&self, request: Request<RangeRequest>) -> Answer<RangeResponse> {
        let call = Call::of(&request)?;
        let reply = self.keyspace.range(&call, request.into_inner()).await?;
        self.weighed(&call, reply).await
    }

    async fn put(&self, request: Request<PutRequest>) -> Answer<PutResponse> {
        let call = Call::of(&request)?;
        self.keyspace.put(&call, request.into_inner()).await.map(Response::new)
    }

    async fn delete_range(&self, request: Request<DeleteRangeRequest>) -> Answer<DeleteRangeResponse> {
        let call = Call::of(&request)?;
        let reply = self.keyspace.delete_range(&call, request.into_inner()).await?;
        self.weighed(&call, reply).await
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Answer<TxnResponse> {
        let call = Call::of(&request)?;
        let reply = self.keyspace.txn(&call, request.into_inner()).await?;
        self.weighed(&call, reply).await
    }

    async fn compact(&self, request: Request<CompactionRequest>) -> Answer<CompactionResponse> {
        let call = Call::of(&request)?;
        self.keyspace.compact(&call, request.into_inner()).await.map(Response::new)
    }
}
