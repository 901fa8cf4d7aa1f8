//! The API by which tests, scripts and fault injection drive the simulation.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::node::Node;
use super::wal::Wals;
use crate::pb::sim::sim_server::Sim;
use crate::pb::sim::{NodesRequest, NodesResponse, Power, SwitchRequest, SwitchResponse, WalsRequest, WalsResponse};

/// See the module.
pub struct Control {
    /// By number, from 1.
    pub nodes: Vec<Arc<Node>>,
    pub wals: Arc<Wals>,
}

#[tonic::async_trait]
impl Sim for Control {
    async fn nodes(&self, _: Request<NodesRequest>) -> Result<Response<NodesResponse>, Status> {
        let nodes = self.nodes.iter().map(|node| node.describe()).collect();
        Ok(Response::new(NodesResponse { nodes }))
    }

    async fn switch(&self, request: Request<SwitchRequest>) -> Result<Response<SwitchResponse>, Status> {
        let request = request.into_inner();
        let power = Power::try_from(request.power).map_err(|_| Status::invalid_argument("no such power"))?;
        let node = self.nodes.iter().find(|node| node.number() == request.number);
        let node = node.ok_or_else(|| Status::not_found(format!("there is no node {}", request.number)))?;
        if let Some(knobs) = request.knobs {
            node.turn(knobs);
        }
        node.power(power).await;
        tracing::info!(node = node.number(), ?power, knobs = ?request.knobs, "switched");
        Ok(Response::new(SwitchResponse {}))
    }

    async fn wals(&self, request: Request<WalsRequest>) -> Result<Response<WalsResponse>, Status> {
        let wals = self.wals.describe(&request.into_inner().pchannel);
        Ok(Response::new(WalsResponse { wals, violations: self.wals.violations() }))
    }
}
