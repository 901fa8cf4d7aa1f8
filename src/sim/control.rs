//! The API by which tests, scripts and fault injection drive the simulation.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::node::Node;
use super::wal::Wals;
use crate::limits;
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
        let violations = self.nodes.iter().flat_map(|node| node.violations()).collect();
        Ok(Response::new(NodesResponse { nodes, violations }))
    }

    async fn switch(&self, request: Request<SwitchRequest>) -> Result<Response<SwitchResponse>, Status> {
        let request = request.into_inner();
        let power = Power::try_from(request.power).map_err(|_| Status::invalid_argument("no such power"))?;
        let node = self.nodes.iter().find(|node| node.number() == request.number);
        let node = node.ok_or_else(|| Status::not_found(format!("there is no node {}", request.number)))?;
        if let Some(metrics) = request.metrics {
            if metrics.collections.len() > limits::SIM_COLLECTIONS_MAX {
                return Err(Status::invalid_argument("too many collections"));
            }
            node.report(metrics);
        }
        if let Some(knobs) = request.knobs {
            node.turn(knobs);
        }
        node.power(power).await;
        tracing::info!(node = node.number(), ?power, knobs = ?request.knobs, "switched");
        Ok(Response::new(SwitchResponse {}))
    }

    async fn wals(&self, request: Request<WalsRequest>) -> Result<Response<WalsResponse>, Status> {
        let WalsRequest { pchannel, after_broadcast } = request.into_inner();
        let wals = self.wals.describe(&pchannel, after_broadcast);
        Ok(Response::new(WalsResponse { wals, violations: self.wals.violations() }))
    }
}
