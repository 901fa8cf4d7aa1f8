//! The Maintenance service: what an operator of etcd asks of one member.

use std::sync::Arc;

use roost_raft::snapshot::Sealing;
use tokio::sync::Semaphore;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::error::{BAD_TRANSFEREE, NOT_LEADER, TOO_MANY_REQUESTS};
use super::keyspace::{Keyspace, Reach};
use super::operator::{Client, Operator, told};
use crate::admin::{self, Node};
use crate::call::Call;
use crate::limits;
use crate::pb::admin::{AlarmDisarmRequest, LeaderTransferRequest, NodeState, NodeStatus, Role};
use crate::pb::etcd::api::alarm_request::AlarmAction;
use crate::pb::etcd::api::maintenance_server::Maintenance;
use crate::pb::etcd::api::*;
use crate::state::keyspace;

/// The version of etcd whose API this is; clients look at it to know what they may ask for.
const VERSION: &str = "3.5.21";
const STORAGE_VERSION: &str = "3.5";

type Answer<T> = Result<Response<T>, Status>;

/// See the module.
#[derive(Clone)]
pub struct MaintenanceService {
    node: Arc<dyn Node>,
    keyspace: Keyspace,
    operator: Operator,
    saves: Arc<Semaphore>,
}

impl MaintenanceService {
    pub fn new(node: Arc<dyn Node>, keyspace: Keyspace, operator: Operator) -> Self {
        MaintenanceService { node, keyspace, operator, saves: Arc::new(Semaphore::new(limits::SNAPSHOT_SAVES_MAX)) }
    }

    fn node_status(&self) -> Result<NodeStatus, Status> {
        self.node.status().map_err(|error| told(error.into()))
    }

    fn header(&self) -> Option<ResponseHeader> {
        Some(self.keyspace.headers().stamp(0))
    }

    /// Raised alarms of the members and kinds that are asked for.
    fn raised(&self, request: &AlarmRequest) -> Result<Vec<AlarmMember>, Status> {
        let chosen = |alarm: &AlarmMember| {
            (request.member_id == 0 || request.member_id == alarm.member_id)
                && (request.alarm == AlarmType::None as i32 || request.alarm == alarm.alarm)
        };
        Ok(alarms(&self.node_status()?).filter(chosen).collect())
    }
}

#[tonic::async_trait]
impl Maintenance for MaintenanceService {
    async fn status(&self, _: Request<StatusRequest>) -> Answer<StatusResponse> {
        let status = self.node_status()?;
        let stored = i64::try_from(self.node.stored_bytes()).unwrap_or(i64::MAX);
        let errors = alarms(&status).map(|alarm| format!("memberID:{} alarm:{} ", alarm.member_id, kind(alarm.alarm)));
        let own = status.members.iter().find(|member| member.id == status.node_id);
        Ok(Response::new(StatusResponse {
            header: Some(self.keyspace.header()?),
            version: VERSION.to_owned(),
            db_size: stored,
            db_size_in_use: stored,
            leader: status.leader.unwrap_or(0),
            raft_index: status.committed_index,
            raft_term: status.term,
            raft_applied_index: status.applied_index,
            errors: errors.collect(),
            is_learner: own.is_some_and(|member| member.role() == Role::Learner),
            storage_version: STORAGE_VERSION.to_owned(),
            ..StatusResponse::default()
        }))
    }

    /// Alarms are raised by the node that sees the trouble, so nobody else raises one.
    async fn alarm(&self, request: Request<AlarmRequest>) -> Answer<AlarmResponse> {
        let deadline = Call::of(&request)?.deadline;
        let request = request.into_inner();
        if AlarmType::try_from(request.alarm).is_err() {
            return Err(Status::invalid_argument("etcdserver: unknown alarm"));
        }
        let alarms = match AlarmAction::try_from(request.action) {
            Ok(AlarmAction::Get) => self.raised(&request)?,
            Ok(AlarmAction::Activate) => {
                return Err(Status::failed_precondition(
                    "etcdserver: Roost's nodes raise alarms by themselves; they can be disarmed, not activated",
                ));
            }
            Ok(AlarmAction::Deactivate) => {
                let disarm = AlarmDisarmRequest { kind: kind(request.alarm).to_owned(), node_id: request.member_id };
                let rpc = |mut client: Client| {
                    let disarm = disarm.clone();
                    async move { client.alarm_disarm(disarm).await }
                };
                let done = self.operator.ask(deadline, rpc).await.map_err(told)?;
                alarms_of(&done.alarms).collect()
            }
            Err(_) => return Err(Status::invalid_argument("etcdserver: unknown alarm action")),
        };
        Ok(Response::new(AlarmResponse { header: self.header(), alarms }))
    }

    async fn defragment(&self, _: Request<DefragmentRequest>) -> Answer<DefragmentResponse> {
        tracing::info!("Defragment does nothing: RocksDB gives space back in its own compactions, without a pause");
        Ok(Response::new(DefragmentResponse { header: self.header() }))
    }

    /// Of everything that is replicated, history aside; equal on members that have applied the same.
    async fn hash(&self, _: Request<HashRequest>) -> Answer<HashResponse> {
        let status = self.node_status()?;
        let hash = status.state_hash.first_chunk().map_or(0, |first| u32::from_be_bytes(*first));
        Ok(Response::new(HashResponse { header: Some(self.keyspace.header()?), hash }))
    }

    /// Of the key space's history at a revision, as this member holds it: no barrier.
    async fn hash_kv(&self, request: Request<HashKvRequest>) -> Answer<HashKvResponse> {
        let call = Call::of(&request)?;
        let revision = request.get_ref().revision;
        let query = move |read: &dyn roost_raft::kv::Read| keyspace::hash(read, revision);
        let hashed = self.keyspace.read(&call, false, Reach::History, query).await?;
        Ok(Response::new(HashKvResponse {
            header: Some(self.keyspace.headers().stamp(hashed.current_revision)),
            hash: hashed.hash,
            compact_revision: hashed.compact_revision,
            hash_revision: if revision > 0 { revision } else { hashed.current_revision },
        }))
    }

    type SnapshotStream = ReceiverStream<Result<SnapshotResponse, Status>>;

    /// This member's state as a sealed snapshot file of Roost.
    async fn snapshot(&self, _: Request<SnapshotRequest>) -> Answer<Self::SnapshotStream> {
        let permit = self.saves.clone().try_acquire_owned().map_err(|_| TOO_MANY_REQUESTS.status())?;
        let source = self.node.pin_snapshot().await.map_err(|error| told(error.into()))?;
        let header = self.header();
        let message =
            move |blob| SnapshotResponse { header, blob, version: VERSION.to_owned(), ..SnapshotResponse::default() };
        let blobs = admin::stream(permit, message, move |chunks| {
            let mut sealing = Sealing::new(chunks);
            (source.write)(&mut sealing)?;
            sealing.finish()
        });
        Ok(Response::new(ReceiverStream::new(blobs)))
    }

    /// As in etcd, only the leader itself can be asked.
    async fn move_leader(&self, request: Request<MoveLeaderRequest>) -> Answer<MoveLeaderResponse> {
        let (deadline, target) = (Call::of(&request)?.deadline, request.get_ref().target_id);
        let status = self.node_status()?;
        if status.state() != NodeState::Leader {
            return Err(NOT_LEADER.into());
        }
        if !status.members.iter().any(|member| member.id == target && member.role() == Role::Voter) {
            return Err(BAD_TRANSFEREE.into());
        }
        let rpc = |mut client: Client| async move {
            client.leader_transfer(LeaderTransferRequest { to: Some(target), timeout_ms: 0 }).await
        };
        self.operator.ask(deadline, rpc).await.map_err(told)?;
        Ok(Response::new(MoveLeaderResponse { header: self.header() }))
    }

    async fn downgrade(&self, _: Request<DowngradeRequest>) -> Answer<DowngradeResponse> {
        Err(Status::failed_precondition(
            "etcdserver: Roost is not downgraded by this call: a cluster's members are replaced one by one",
        ))
    }
}

/// The alarms that etcd knows by name.
fn alarms(status: &NodeStatus) -> impl Iterator<Item = AlarmMember> {
    alarms_of(&status.alarms)
}

fn alarms_of(raised: &[crate::pb::admin::Alarm]) -> impl Iterator<Item = AlarmMember> {
    raised.iter().filter_map(|alarm| {
        let kind = AlarmType::from_str_name(&alarm.kind)?;
        Some(AlarmMember { member_id: alarm.node_id, alarm: kind.into() })
    })
}

/// The name that our alarms and etcd's share; empty for every kind.
fn kind(alarm: i32) -> &'static str {
    match AlarmType::try_from(alarm) {
        Ok(AlarmType::None) | Err(_) => "",
        Ok(known) => known.as_str_name(),
    }
}
