//! The gRPC service: one line a call. Which calls go to the leader is decided before they arrive here (`forward`); a
//! call that needs the leader and finds none here is refused with the reason.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{AskMember, Error, Node, health, leader, log, member, replace, snapshot, status};
use crate::limits;
use crate::pb::admin::admin_server::{Admin, AdminServer};
use crate::pb::admin::*;

type Answer<T> = Result<Response<T>, Status>;
type Stream<T> = ReceiverStream<Result<T, Status>>;

/// The admin API of one node.
#[derive(Clone)]
pub struct AdminService {
    node: Arc<dyn Node>,
    others: Arc<dyn AskMember>,
    saves: Arc<Semaphore>,
    tails: Arc<Semaphore>,
    replacing: Arc<Semaphore>,
}

impl AdminService {
    pub fn new(node: Arc<dyn Node>, others: Arc<dyn AskMember>) -> Self {
        AdminService {
            node,
            others,
            saves: Arc::new(Semaphore::new(limits::SNAPSHOT_SAVES_MAX)),
            tails: Arc::new(Semaphore::new(limits::LOG_TAILS_MAX)),
            // Two replacements at once could take away the majority that both count on.
            replacing: Arc::new(Semaphore::new(1)),
        }
    }

    /// As a service for a tonic router, with its limits.
    pub fn into_server(self) -> AdminServer<Self> {
        AdminServer::new(self)
            .max_decoding_message_size(limits::ADMIN_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::ADMIN_MESSAGE_BYTES_MAX)
    }

    async fn cluster(&self) -> Result<ClusterStatusResponse, Error> {
        status::of_cluster(self.node.as_ref(), self.others.as_ref()).await
    }

    async fn disarmed(&self, request: AlarmDisarmRequest) -> Result<AlarmDisarmResponse, Error> {
        let status = self.node.status()?;
        leader::require(&status)?;
        let chosen = |alarm: &Alarm| {
            (request.kind.is_empty() || request.kind == alarm.kind)
                && (request.node_id == 0 || request.node_id == alarm.node_id)
        };
        let alarms: Vec<Alarm> = status.alarms.into_iter().filter(chosen).collect();
        self.node.disarm(&alarms).await?;
        Ok(AlarmDisarmResponse { alarms })
    }
}

fn answer<T>(outcome: Result<T, Error>) -> Answer<T> {
    outcome.map(Response::new).map_err(Status::from)
}

fn permit(of: &Arc<Semaphore>, what: &str) -> Result<OwnedSemaphorePermit, Error> {
    of.clone().try_acquire_owned().map_err(|_| Error::Busy(format!("too many {what} on this node at the moment")))
}

/// The caller's deadline, within the server's bounds.
fn deadline<T>(request: &Request<T>) -> Instant {
    let allowed: Duration = crate::call::time_allowed(request.metadata().as_ref());
    Instant::now() + allowed
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn status(&self, _: Request<StatusRequest>) -> Answer<NodeStatus> {
        answer(self.node.status())
    }

    async fn cluster_status(&self, _: Request<ClusterStatusRequest>) -> Answer<ClusterStatusResponse> {
        answer(self.cluster().await)
    }

    async fn health(&self, _: Request<HealthRequest>) -> Answer<HealthResponse> {
        answer(self.cluster().await.map(|cluster| health::judge(&cluster)))
    }

    async fn init(&self, request: Request<InitRequest>) -> Answer<InitResponse> {
        answer(member::initialize(self.node.as_ref(), request.into_inner()).await)
    }

    async fn member_list(&self, _: Request<MemberListRequest>) -> Answer<MemberListResponse> {
        answer(self.node.status().map(member::list))
    }

    async fn member_add(&self, request: Request<MemberAddRequest>) -> Answer<MemberChangeResponse> {
        answer(member::add(self.node.as_ref(), request.into_inner()).await)
    }

    async fn member_promote(&self, request: Request<MemberPromoteRequest>) -> Answer<MemberChangeResponse> {
        answer(member::promote(self.node.as_ref(), request.into_inner().id).await)
    }

    async fn member_remove(&self, request: Request<MemberRemoveRequest>) -> Answer<MemberChangeResponse> {
        answer(member::remove(self.node.as_ref(), request.into_inner().id).await)
    }

    type MemberReplaceStream = Stream<MemberReplaceProgress>;

    async fn member_replace(&self, request: Request<MemberReplaceRequest>) -> Answer<Self::MemberReplaceStream> {
        let request = request.into_inner();
        leader::require(&self.node.status()?)?;
        let permit = permit(&self.replacing, "replacements")?;
        let (reports, received) = mpsc::channel(limits::ADMIN_STREAM_BUFFER);
        let node = self.node.clone();
        tokio::spawn(async move {
            let _permit = permit;
            if let Err(error) = replace::run(node.as_ref(), request, &reports).await {
                // A caller that is gone asks again if it still wants the replacement.
                let _ = reports.send(Err(error.into())).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(received)))
    }

    async fn leader_show(&self, _: Request<LeaderShowRequest>) -> Answer<LeaderShowResponse> {
        answer(self.node.status().map(|status| leader::show(&status)))
    }

    async fn leader_transfer(&self, request: Request<LeaderTransferRequest>) -> Answer<LeaderTransferResponse> {
        answer(leader::transfer(self.node.as_ref(), request.into_inner()).await)
    }

    type SnapshotSaveStream = Stream<SnapshotSaveChunk>;

    async fn snapshot_save(&self, _: Request<SnapshotSaveRequest>) -> Answer<Self::SnapshotSaveStream> {
        let permit = permit(&self.saves, "snapshots being saved")?;
        let source = self.node.pin_snapshot().await?;
        Ok(Response::new(ReceiverStream::new(snapshot::save(source, permit))))
    }

    async fn snapshot_status(&self, _: Request<SnapshotStatusRequest>) -> Answer<SnapshotStatusResponse> {
        answer(self.node.status().map(|status| snapshot::status(&status)))
    }

    async fn snapshot_trigger(&self, _: Request<SnapshotTriggerRequest>) -> Answer<SnapshotTriggerResponse> {
        answer(snapshot::trigger(self.node.as_ref()).await)
    }

    async fn tso_now(&self, request: Request<TsoNowRequest>) -> Answer<TsoNowResponse> {
        let timestamp = self.node.timestamp(deadline(&request)).await;
        answer(timestamp.map(|timestamp| TsoNowResponse { timestamp }))
    }

    async fn state_hash(&self, request: Request<StateHashRequest>) -> Answer<StateHashResponse> {
        let deadline = deadline(&request);
        answer(log::state_hash(self.node.as_ref(), request.into_inner(), deadline).await)
    }

    type LogTailStream = Stream<LogEntry>;

    async fn log_tail(&self, request: Request<LogTailRequest>) -> Answer<Self::LogTailStream> {
        let permit = permit(&self.tails, "log tails")?;
        let entries = log::tail(self.node.clone(), request.into_inner(), permit)?;
        Ok(Response::new(ReceiverStream::new(entries)))
    }

    async fn alarm_list(&self, _: Request<AlarmListRequest>) -> Answer<AlarmListResponse> {
        answer(self.node.status().map(|status| AlarmListResponse { alarms: status.alarms }))
    }

    async fn alarm_disarm(&self, request: Request<AlarmDisarmRequest>) -> Answer<AlarmDisarmResponse> {
        answer(self.disarmed(request.into_inner()).await)
    }
}
