//! The Lock service: a lock is had by the oldest key under its name, as long as that key's lease lives.

use tonic::{Request, Response, Status};

use super::turn::{Missed, Turns, as_client, step};
use crate::call::Call;
use crate::pb::etcd::api::DeleteRangeRequest;
use crate::pb::etcd::lock::lock_server::Lock;
use crate::pb::etcd::lock::{LockRequest, LockResponse, UnlockRequest, UnlockResponse};

/// Said to a waiter whose own key has gone: its lease ended.
const EXPIRED: &str = "mutex: session is expired";

/// See the module.
#[derive(Clone)]
pub struct LockService {
    turns: Turns,
}

impl LockService {
    pub fn new(turns: Turns) -> Self {
        LockService { turns }
    }
}

#[tonic::async_trait]
impl Lock for LockService {
    async fn lock(&self, request: Request<LockRequest>) -> Result<Response<LockResponse>, Status> {
        let call = Call::of(&request)?;
        let LockRequest { name, lease } = request.into_inner();
        let lease = self.turns.lease(&call, lease).await?;
        let place = self.turns.queue(&call, &name, lease, Vec::new()).await?;
        let held = self.turns.hold(&call, &place);
        let missed = match self.turns.wait(&call, &name, &place).await {
            Ok(waited) => {
                held.keep();
                return Ok(Response::new(LockResponse { header: waited.or(place.header), key: place.key }));
            }
            Err(missed) => missed,
        };
        held.give_up().await;
        Err(match missed {
            Missed::KeyGone => Status::unknown(EXPIRED),
            Missed::Failed(status) => status,
        })
    }

    async fn unlock(&self, request: Request<UnlockRequest>) -> Result<Response<UnlockResponse>, Status> {
        let call = step(&Call::of(&request)?);
        let delete = DeleteRangeRequest { key: request.into_inner().key, ..Default::default() };
        let deleted = self.turns.keyspace.delete_range(&call, delete).await.map_err(as_client)?;
        Ok(Response::new(UnlockResponse { header: deleted.header }))
    }
}
