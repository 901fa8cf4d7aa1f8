//! What operators ask about channels and order (`proto/roost/streaming.proto`), and Milvus' call for the balance
//! policy.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::balancer::Balancer;
use super::broadcast::{Board, operate};
use crate::call::Call;
use crate::error::Rejection;
use crate::failure::Failure;
use crate::forward::retry;
use crate::ledger::{Ledger, reply};
use crate::pb::roost_streaming::streaming_server::Streaming;
use crate::pb::roost_streaming::{
    AbandonBroadcastRequest, AbandonBroadcastResponse, BalanceRequest, BalanceResponse, Channel,
    DescribeBroadcastRequest, DescribeBroadcastResponse, DescribeChannelRequest, DescribeChannelResponse,
    ListBroadcastsRequest, ListBroadcastsResponse, ListChannelsRequest, ListChannelsResponse, MoveChannelRequest,
    MoveChannelResponse, PlanRequest, PlanResponse, Term,
};
use crate::pb::store::{self, PChannelState, WorkerRole};
use crate::pb::streaming::{
    PChannelAccessMode, UpdateWalBalancePolicyRequest, UpdateWalBalancePolicyResponse, WalBalancePolicyConfig,
};
use crate::state::limits::MAX_WORKERS;
use crate::state::name::shown;
use crate::state::{Command, PChannelCommand, PChannelReply, PolicyChange, Reply, View};

/// The path by which a mask names the only part of the configuration.
const ALLOW_REBALANCE: &str = "config.allow_rebalance";
/// Other paths that a mask may have: those named are set whatever the mask says.
const KNOWN_PATHS: [&str; 5] = ["config", ALLOW_REBALANCE, "nodes", "nodes.freeze_node_ids", "nodes.defreeze_node_ids"];

/// Sets how channels are balanced; cheap to clone.
#[derive(Clone)]
pub struct PolicyApi {
    pub ledger: Ledger,
}

impl PolicyApi {
    /// On the leader. What the mask does not name of the configuration stays; nodes are frozen and defrosted as named.
    pub async fn update(
        &self,
        call: &Call,
        request: UpdateWalBalancePolicyRequest,
    ) -> Result<UpdateWalBalancePolicyResponse, Failure> {
        let paths = request.update_mask.map(|mask| mask.paths).unwrap_or_default();
        if let Some(path) = paths.iter().find(|path| !KNOWN_PATHS.contains(&path.as_str())) {
            return Err(Rejection::invalid(format!("the update mask names {}, which is not known", shown(path))).into());
        }
        let named = paths.iter().any(|path| path == ALLOW_REBALANCE || path == "config");
        let allow_rebalance = named.then(|| request.config.unwrap_or_default().allow_rebalance);
        let nodes = request.nodes.unwrap_or_default();
        let change = PolicyChange { allow_rebalance, freeze: nodes.freeze_node_ids, defreeze: nodes.defreeze_node_ids };
        let (most, count) = (MAX_WORKERS, change.freeze.len().max(change.defreeze.len()));
        if count > most {
            return Err(Rejection::invalid(format!("{count} nodes are named, at most {most} may be")).into());
        }
        if change != PolicyChange::default() {
            let done = reply!(Reply::PChannel(PChannelReply::PolicySet { .. }) => ());
            self.ledger.propose(call, Command::PChannel(PChannelCommand::SetPolicy(change)), done).await?;
        }
        let view = self.ledger.view(call).await?;
        let view = View::new(view.as_ref());
        let frozen = |worker: &store::Worker| worker.frozen && worker.role() == WorkerRole::StreamingNode;
        Ok(UpdateWalBalancePolicyResponse {
            config: Some(WalBalancePolicyConfig { allow_rebalance: !view.streaming()?.rebalance_off }),
            freeze_node_ids: view.workers()?.iter().filter(|worker| frozen(worker)).map(|worker| worker.id).collect(),
        })
    }
}

/// The operators' service; cheap to clone.
#[derive(Clone)]
pub struct StreamingService {
    pub ledger: Ledger,
    pub balancer: Arc<Balancer>,
    pub board: Arc<Board>,
}

impl StreamingService {
    async fn list(&self, call: &Call) -> Result<ListChannelsResponse, Failure> {
        let read = |view: &View<'_>| {
            let (rows, common) = (view.pchannels()?, view.streaming()?);
            Ok(ListChannelsResponse {
                channels: rows.into_iter().map(|row| channel(view, row)).collect::<Result<_, _>>()?,
                version: view.assignment_version()?,
                control_channel: common.control_channel,
                allow_rebalance: !common.rebalance_off,
            })
        };
        self.ledger.list(call, read).await
    }

    async fn describe(&self, call: &Call, name: &str) -> Result<DescribeChannelResponse, Failure> {
        let view = self.ledger.view(call).await?;
        let view = View::new(view.as_ref());
        let unknown = || Rejection::invalid(format!("there is no pchannel {}", shown(name)));
        let row = view.pchannel(name)?.ok_or_else(unknown)?;
        let terms = view.pchannel_terms(name)?.into_iter().map(term).collect();
        Ok(DescribeChannelResponse { channel: Some(channel(&view, row)?), terms })
    }

    async fn move_channel(&self, call: &Call, request: MoveChannelRequest) -> Result<MoveChannelResponse, Failure> {
        let node = Some(request.server_id).filter(|id| *id != 0);
        let command = PChannelCommand::Pin { name: request.channel, node };
        let done = reply!(Reply::PChannel(PChannelReply::Pinned { changed }) => changed);
        let changed = self.ledger.propose(call, Command::PChannel(command), done).await?;
        Ok(MoveChannelResponse { changed })
    }
}

fn channel(view: &View<'_>, row: store::PChannel) -> Result<Channel, Failure> {
    let state = match row.state() {
        PChannelState::Unspecified => "unknown",
        PChannelState::Uninitialized => "uninitialized",
        PChannelState::Assigning => "assigning",
        PChannelState::Assigned => "assigned",
        PChannelState::Unavailable => "unavailable",
    };
    let access_mode = match PChannelAccessMode::try_from(row.access_mode) {
        Ok(PChannelAccessMode::PchannelAccessReadonly) => "READONLY",
        _ => "READWRITE",
    };
    let node = row.node.unwrap_or_default();
    Ok(Channel {
        vchannels: view.vchannels_on(&row.name)?,
        name: row.name,
        term: row.term,
        state: state.to_owned(),
        server_id: node.server_id,
        address: node.address,
        access_mode: access_mode.to_owned(),
        last_assigned_ms: row.last_assigned_ms,
        changed_ms: row.changed_ms,
        pinned: row.pinned,
        removing: row.histories.into_iter().map(term).collect(),
    })
}

fn term(row: store::PChannelTerm) -> Term {
    let node = row.node.unwrap_or_default();
    Term {
        term: row.term,
        server_id: node.server_id,
        address: node.address,
        ordered_ms: row.ordered_ms,
        assigned_ms: row.assigned_ms,
    }
}

#[tonic::async_trait]
impl Streaming for StreamingService {
    async fn list_channels(
        &self,
        request: Request<ListChannelsRequest>,
    ) -> Result<Response<ListChannelsResponse>, Status> {
        answer(self.list(&Call::of(&request)?).await)
    }

    async fn describe_channel(
        &self,
        request: Request<DescribeChannelRequest>,
    ) -> Result<Response<DescribeChannelResponse>, Status> {
        answer(self.describe(&Call::of(&request)?, &request.get_ref().name).await)
    }

    async fn plan(&self, request: Request<PlanRequest>) -> Result<Response<PlanResponse>, Status> {
        answer(self.balancer.plan(&Call::of(&request)?, request.get_ref().force).await)
    }

    async fn balance(&self, request: Request<BalanceRequest>) -> Result<Response<BalanceResponse>, Status> {
        let call = Call::of(&request)?;
        if request.get_ref().no_wait {
            return answer(self.balancer.trigger().map(|()| BalanceResponse { plan: None }));
        }
        answer(self.balancer.balance(&call).await.map(|plan| BalanceResponse { plan: Some(plan) }))
    }

    async fn move_channel(
        &self,
        request: Request<MoveChannelRequest>,
    ) -> Result<Response<MoveChannelResponse>, Status> {
        answer(self.move_channel(&Call::of(&request)?, request.into_inner()).await)
    }

    async fn list_broadcasts(
        &self,
        request: Request<ListBroadcastsRequest>,
    ) -> Result<Response<ListBroadcastsResponse>, Status> {
        answer(operate::list(&self.ledger, &Call::of(&request)?, request.into_inner()).await)
    }

    async fn describe_broadcast(
        &self,
        request: Request<DescribeBroadcastRequest>,
    ) -> Result<Response<DescribeBroadcastResponse>, Status> {
        answer(operate::describe(&self.ledger, &self.board, &Call::of(&request)?, request.into_inner()).await)
    }

    async fn abandon_broadcast(
        &self,
        request: Request<AbandonBroadcastRequest>,
    ) -> Result<Response<AbandonBroadcastResponse>, Status> {
        answer(operate::abandon(&self.ledger, &self.board, &Call::of(&request)?, request.into_inner()).await)
    }
}

/// These replies have no status of Milvus': a refusal is gRPC's.
pub fn refused(failure: Failure) -> Status {
    match failure {
        Failure::Rejected(rejection) | Failure::Decided(rejection) => rejection.to_tonic(),
        Failure::Again(error) => retry::status(&error),
    }
}

fn answer<T>(result: Result<T, Failure>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(refused)
}
