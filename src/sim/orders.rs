//! What the coordinator asks of a simulated streaming node: take a pchannel, give it up, say what you have.

use std::sync::Arc;

use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use super::channels::Channels;
use super::node::Node;
use super::wal::{LOGICAL_BITS, Refused};
use crate::pb::streaming::streaming_node_manager_service_server::StreamingNodeManagerService;
use crate::pb::streaming::{
    PChannelAccessMode, PChannelInfo, StreamingCode, StreamingNodeManagerAssignRequest,
    StreamingNodeManagerAssignResponse, StreamingNodeManagerCollectStatusRequest,
    StreamingNodeManagerCollectStatusResponse, StreamingNodeManagerRemoveRequest, StreamingNodeManagerRemoveResponse,
    StreamingNodeMetrics, StreamingNodeRowalMetrics, StreamingNodeRwwalMetrics, StreamingNodeWalMetrics,
    streaming_node_wal_metrics,
};
use crate::streamingcoord::status::refusal;

/// See the module.
pub struct Orders {
    node: Arc<Node>,
}

impl Orders {
    pub fn new(node: Arc<Node>) -> Self {
        Orders { node }
    }

    /// This life's pchannels, if it is the one that is meant.
    async fn meant(&self, metadata: &MetadataMap) -> Result<Arc<Channels>, Status> {
        self.node.reachable().await;
        self.node.awake().await;
        meant(&self.node, metadata)
    }
}

/// Milvus' processes name the server id that they mean; a process that is another one refuses.
pub fn meant(node: &Node, metadata: &MetadataMap) -> Result<Arc<Channels>, Status> {
    let channels = node.channels().ok_or_else(|| refusal(StreamingCode::OnShutdown, "the node is not registered"))?;
    let meant = metadata.get("serverid").and_then(|value| value.to_str().ok()?.parse::<i64>().ok());
    match meant {
        Some(id) if id != channels.server_id() => {
            Err(Status::unknown(format!("node not match[expectedNodeID={id}][actualNodeID={}]", channels.server_id())))
        }
        _ => Ok(channels),
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        refusal(refused.code, refused.cause)
    }
}

/// What a node that was told to reject says.
pub fn rejected(node: &Node) -> Result<(), Status> {
    match node.knobs().reject() {
        StreamingCode::Ok => Ok(()),
        code => Err(refusal(code, "the simulated node was told to reject")),
    }
}

fn named(pchannel: Option<PChannelInfo>) -> Result<PChannelInfo, Status> {
    pchannel.ok_or_else(|| refusal(StreamingCode::InvaildArgument, "no pchannel"))
}

#[tonic::async_trait]
impl StreamingNodeManagerService for Orders {
    async fn assign(
        &self,
        request: Request<StreamingNodeManagerAssignRequest>,
    ) -> Result<Response<StreamingNodeManagerAssignResponse>, Status> {
        let channels = self.meant(request.metadata()).await?;
        rejected(&self.node)?;
        let info = named(request.into_inner().pchannel)?;
        channels.assign(&self.node.wals, &info)?;
        tracing::debug!(node = self.node.number(), pchannel = info.name, term = info.term, "assigned");
        Ok(Response::new(StreamingNodeManagerAssignResponse {}))
    }

    async fn remove(
        &self,
        request: Request<StreamingNodeManagerRemoveRequest>,
    ) -> Result<Response<StreamingNodeManagerRemoveResponse>, Status> {
        let channels = self.meant(request.metadata()).await?;
        let info = named(request.into_inner().pchannel)?;
        channels.remove(&info)?;
        tracing::debug!(node = self.node.number(), pchannel = info.name, term = info.term, "removed");
        Ok(Response::new(StreamingNodeManagerRemoveResponse {}))
    }

    async fn collect_status(
        &self,
        request: Request<StreamingNodeManagerCollectStatusRequest>,
    ) -> Result<Response<StreamingNodeManagerCollectStatusResponse>, Status> {
        let channels = self.meant(request.metadata()).await?;
        let mvcc_time_tick = self.node.wals.tick();
        let behind = u64::from(self.node.knobs().lag_ms) << LOGICAL_BITS;
        let recovery_time_tick = mvcc_time_tick.saturating_sub(behind);
        let metrics = |info: PChannelInfo| {
            let metrics = if info.access_mode == PChannelAccessMode::PchannelAccessReadonly as i32 {
                streaming_node_wal_metrics::Metrics::Ro(StreamingNodeRowalMetrics {})
            } else {
                let rw = StreamingNodeRwwalMetrics { mvcc_time_tick, recovery_time_tick };
                streaming_node_wal_metrics::Metrics::Rw(rw)
            };
            StreamingNodeWalMetrics { info: Some(info), metrics: Some(metrics) }
        };
        let wals = channels.served().into_iter().map(metrics).collect();
        let metrics = Some(StreamingNodeMetrics { wals });
        Ok(Response::new(StreamingNodeManagerCollectStatusResponse { metrics }))
    }
}
