//! What the coordinator asks of a node of any role, as Milvus' nodes answer it: how it is, and its metrics.

use std::sync::Arc;

use serde_json::{Value, json};
use tonic::{Request, Response, Status};

use super::node::Node;
use super::orders::meant;
use super::wal::LOGICAL_BITS;
use crate::error::ok_status;
use crate::pb::common::StateCode;
use crate::pb::data::data_node_server::DataNode;
use crate::pb::milvus::{
    ComponentInfo, ComponentStates, GetComponentStatesRequest, GetMetricsRequest, GetMetricsResponse,
};
use crate::pb::query::query_node_server::QueryNode;
use crate::pb::sim::Metrics;
use crate::pb::streaming::streaming_node_state_service_server::StreamingNodeStateService;
use crate::rootcoord::check_metric;

type Answer<T> = Result<Response<T>, Status>;

/// See the module.
#[derive(Clone)]
pub struct Component {
    node: Arc<Node>,
}

impl Component {
    pub fn new(node: Arc<Node>) -> Self {
        Component { node }
    }

    async fn states(&self) -> Answer<ComponentStates> {
        self.node.awake().await;
        let id = self.node.channels().map(|channels| channels.server_id());
        let code = if id.is_some() { StateCode::Healthy } else { StateCode::Initializing };
        let state = ComponentInfo {
            node_id: id.unwrap_or_default(),
            role: self.node.role_name().to_owned(),
            state_code: code.into(),
            ..ComponentInfo::default()
        };
        let status = Some(ok_status());
        Ok(Response::new(ComponentStates { state: Some(state), subcomponent_states: Vec::new(), status }))
    }

    async fn metrics(&self, request: Request<GetMetricsRequest>) -> Answer<GetMetricsResponse> {
        self.node.reachable().await;
        self.node.awake().await;
        let server_id = meant(&self.node, request.metadata())?.server_id();
        let component_name = format!("{}{server_id}", self.node.role_name());
        let (status, response) = match check_metric(&request.get_ref().request) {
            Ok(()) => (ok_status(), report(&self.node, server_id).to_string()),
            Err(rejection) => (rejection.to_status(), String::new()),
        };
        Ok(Response::new(GetMetricsResponse { status: Some(status), response, component_name }))
    }
}

/// Of the metric type `system_info`; `quota_metrics` has Go's own names.
fn report(node: &Node, server_id: i64) -> Value {
    let Metrics { memory_percent, growing_percent, late_ms, collections, error } = node.metrics();
    let (role, memory) = (node.role_name(), node.memory_bytes());
    let part = |percent: u32| memory / 100 * u64::from(percent.min(100));
    let address = node.address().to_string();
    let hardware = json!({ "ip": address, "memory": memory, "memory_usage": part(memory_percent) });
    // Without a channel the least time tick is Go's largest number.
    let time_tick = match collections.is_empty() {
        true => u64::MAX,
        false => node.wals.tick().saturating_sub(u64::from(late_ms) << LOGICAL_BITS),
    };
    json!({
        "has_error": !error.is_empty(),
        "error_reason": error,
        "name": format!("{role}{server_id}"),
        "type": role,
        "id": server_id,
        "hardware_infos": hardware.clone(),
        "quota_metrics": {
            "Hms": hardware,
            "Fgm": { "MinFlowGraphChannel": "", "MinFlowGraphTt": time_tick, "NumFlowGraph": collections.len() },
            "GrowingSegmentsSize": part(growing_percent),
            "Effect": { "NodeID": server_id, "CollectionIDs": collections },
        },
    })
}

#[tonic::async_trait]
impl QueryNode for Component {
    async fn get_component_states(&self, _: Request<GetComponentStatesRequest>) -> Answer<ComponentStates> {
        self.states().await
    }

    async fn get_metrics(&self, request: Request<GetMetricsRequest>) -> Answer<GetMetricsResponse> {
        self.metrics(request).await
    }
}

#[tonic::async_trait]
impl DataNode for Component {
    async fn get_component_states(&self, _: Request<GetComponentStatesRequest>) -> Answer<ComponentStates> {
        self.states().await
    }

    async fn get_metrics(&self, request: Request<GetMetricsRequest>) -> Answer<GetMetricsResponse> {
        self.metrics(request).await
    }
}

#[tonic::async_trait]
impl StreamingNodeStateService for Component {
    async fn get_component_states(&self, _: Request<GetComponentStatesRequest>) -> Answer<ComponentStates> {
        self.states().await
    }
}
