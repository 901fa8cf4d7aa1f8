//! The calls of worker nodes and of whoever operates them.

use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status, Streaming};

use super::metrics::Counts;
use super::watch::WorkerHub;
use super::{Loads, wire};
use crate::call::Call;
use crate::failure::{self, Failure};
use crate::ledger::{Ledger, reply};
use crate::limits;
use crate::pb::relay::KeepAlive;
use crate::pb::session::session_server::Session;
use crate::pb::session::*;
use crate::pb::store;
use crate::relay::{Relay, Renewal};
use crate::shutdown::Shutdown;
use crate::state::worker::Capacity;
use crate::state::{Command, RegisterWorker, Reply, View, WorkerCommand, WorkerReply};

type Answer<T> = Result<Response<T>, Status>;

/// See the module.
#[derive(Clone)]
pub struct SessionService {
    ledger: Ledger,
    relay: Arc<Relay>,
    loads: Arc<Loads>,
    hub: Arc<WorkerHub>,
    counts: Counts,
    streams: Arc<Semaphore>,
    /// Ends watches.
    stop: Shutdown,
}

impl SessionService {
    pub fn new(ledger: Ledger, relay: Arc<Relay>, loads: Arc<Loads>, hub: Arc<WorkerHub>, stop: Shutdown) -> Self {
        let streams = Arc::new(Semaphore::new(limits::WORKER_STREAMS_MAX));
        SessionService { ledger, relay, loads, hub, counts: Counts::default(), streams, stop }
    }

    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// On the leader.
    async fn register(&self, call: &Call, request: RegisterRequest) -> Result<RegisterResponse, Failure> {
        let ttl_s = if request.ttl_s == 0 { limits::WORKER_TTL_DEFAULT_S } else { request.ttl_s };
        let command = RegisterWorker {
            request: request.request_id,
            role: request.role,
            address: request.address,
            version: request.version,
            hostname: request.hostname,
            labels: request.labels,
            capacity: request.capacity.map(|has| Capacity {
                cpu_millis: has.cpu_millis,
                memory_bytes: has.memory_bytes,
                disk_bytes: has.disk_bytes,
                network_bytes_per_s: has.network_bytes_per_s,
            }),
            ttl_s: ttl_s.into(),
        };
        command.check()?;
        let expected = reply!(Reply::Worker(WorkerReply::Registered { server_id, lease, ttl_s, revision, existed }) => {
            let ttl_s = u32::try_from(ttl_s).unwrap_or(u32::MAX);
            (RegisterResponse { server_id, lease_id: lease, ttl_s, revision }, existed)
        });
        let command = Command::Worker(WorkerCommand::Register(command));
        let (registered, existed) = self.ledger.propose(call, command, expected).await?;
        if !existed {
            self.counts.registered.inc();
            tracing::info!(server = registered.server_id, source = call.source, "a worker node registered");
        }
        Ok(registered)
    }

    /// On the leader.
    async fn alter(&self, call: &Call, command: WorkerCommand) -> Result<(), Failure> {
        let altered = reply!(Reply::Worker(WorkerReply::Altered { .. }) => ());
        self.ledger.propose(call, Command::Worker(command), altered).await
    }

    /// On the leader.
    async fn leave(&self, call: &Call, id: i64) -> Result<LeaveResponse, Failure> {
        let left = reply!(Reply::Worker(WorkerReply::Left { .. }) => LeaveResponse {});
        self.ledger.propose(call, Command::Worker(WorkerCommand::Leave { id }), left).await
    }

    /// On the leader, which knows the loads.
    async fn list(&self, call: &Call, request: ListRequest) -> Result<ListResponse, Failure> {
        let ListRequest { role, server_id } = request;
        let loads = self.loads.clone();
        let read = move |view: &View<'_>| {
            let revision = view.worker_book()?.revision;
            let wanted =
                |row: &store::Worker| (role == 0 || row.role == role) && (server_id == 0 || row.id == server_id);
            let rows = view.workers()?.into_iter().filter(wanted);
            let workers = rows.map(|row| wire::loaded_worker(row, &loads)).collect();
            Ok(ListResponse { revision, workers })
        };
        self.ledger.list(call, read).await
    }

    /// One answer of a keep-alive stream.
    async fn renew(self, mut call: Call, asked: KeepAliveRequest) -> Result<KeepAliveResponse, Status> {
        let KeepAliveRequest { server_id, lease_id, load } = asked;
        // The stream lives as long as its worker; a renewal that takes so long is better asked for at another node.
        call.deadline = Instant::now() + limits::WORKER_RENEWAL_WAIT;
        let renewal = self.relay.keep_alive(&call, KeepAlive { server_id, lease_id, load }).await;
        let (alive, ttl_s) = match renewal.map_err(unrenewed)? {
            Renewal::Renewed { ttl_s } => {
                self.counts.renewed.inc();
                (true, u32::try_from(ttl_s).unwrap_or(u32::MAX))
            }
            Renewal::NotFound => {
                self.counts.told_dead.inc();
                (false, 0)
            }
        };
        Ok(KeepAliveResponse { server_id, lease_id, alive, ttl_s })
    }
}

#[tonic::async_trait]
impl Session for SessionService {
    async fn register(&self, request: Request<RegisterRequest>) -> Answer<RegisterResponse> {
        failure::grpc(self.register(&Call::of(&request)?, request.into_inner()).await)
    }

    type KeepAliveStream = BoxStream<'static, Result<KeepAliveResponse, Status>>;

    async fn keep_alive(&self, request: Request<Streaming<KeepAliveRequest>>) -> Answer<Self::KeepAliveStream> {
        let call = Call::of(&request)?;
        let crowded = |_| Status::resource_exhausted("too many streams of worker nodes on this node");
        let permit = self.streams.clone().try_acquire_owned().map_err(crowded)?;
        let service = self.clone();
        let renewals = request.into_inner().map(move |asked| {
            let (service, call) = (service.clone(), call.clone());
            async move { service.renew(call, asked?).await }
        });
        // Held as long as the stream is.
        let renewals = renewals.buffer_unordered(limits::WORKER_RENEWALS_PER_STREAM).map(move |answer| {
            let _held = &permit;
            answer
        });
        Ok(Response::new(renewals.boxed()))
    }

    async fn leave(&self, request: Request<LeaveRequest>) -> Answer<LeaveResponse> {
        failure::grpc(self.leave(&Call::of(&request)?, request.into_inner().server_id).await)
    }

    async fn drain(&self, request: Request<DrainRequest>) -> Answer<DrainResponse> {
        let call = Call::of(&request)?;
        let DrainRequest { server_id: id, draining } = request.into_inner();
        let altered = self.alter(&call, WorkerCommand::Drain { id, draining }).await;
        failure::grpc(altered.map(|()| DrainResponse {}))
    }

    async fn freeze(&self, request: Request<FreezeRequest>) -> Answer<FreezeResponse> {
        let call = Call::of(&request)?;
        let FreezeRequest { server_ids: ids, frozen } = request.into_inner();
        let altered = self.alter(&call, WorkerCommand::Freeze { ids, frozen }).await;
        failure::grpc(altered.map(|()| FreezeResponse {}))
    }

    async fn list(&self, request: Request<ListRequest>) -> Answer<ListResponse> {
        failure::grpc(self.list(&Call::of(&request)?, request.into_inner()).await)
    }

    type WatchStream = BoxStream<'static, Result<WatchResponse, Status>>;

    async fn watch(&self, request: Request<WatchRequest>) -> Answer<Self::WatchStream> {
        let call = Call::of(&request)?;
        // A revision that another node has told of is known here as well.
        if let Err(behind) = self.ledger.barrier(&call).await {
            return failure::grpc(Err(behind));
        }
        let watched = self.hub.watch(request.into_inner().after_revision, self.stop.clone())?;
        Ok(Response::new(watched.boxed()))
    }
}

/// Ends the stream: its worker goes to another node. A mark for the ingress means nothing here.
fn unrenewed(failure: Failure) -> Status {
    match failure {
        Failure::Rejected(rejection) | Failure::Decided(rejection) => rejection.to_tonic(),
        Failure::Again(error) => Status::unavailable(error.to_string()),
    }
}
