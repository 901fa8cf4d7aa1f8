//! How a simulated node becomes known to the coordinator and stays it: by Roost's own session API, or in Milvus' own
//! way. A node that was declared dead begins a new life under a new server id.

use std::sync::Arc;
use std::time::Duration;

use super::etcd::Etcd;
use super::node::Node;
use crate::client::{Coordinators, Membership, Registration, Standing, WorkerSession};
use crate::limits;
use crate::pb::session::LoadReport;

#[derive(Clone)]
pub struct Registrar {
    /// What every node says of itself but for its address.
    pub registration: Registration,
    pub way: Way,
}

/// See the module.
#[derive(Clone)]
pub enum Way {
    Sessions(Coordinators),
    Etcd(Arc<Etcd>),
}

impl Registrar {
    /// Keeps a node registered until it leaves, and then does nothing, without end.
    pub async fn keep(&self, node: &Node) {
        let registration = Registration { address: node.address().to_string(), ..self.registration.clone() };
        match &self.way {
            Way::Sessions(coordinators) => by_sessions(coordinators, registration, node).await,
            Way::Etcd(etcd) => by_etcd(etcd, &registration, node).await,
        }
        node.end_life();
        std::future::pending().await
    }
}

async fn by_sessions(coordinators: &Coordinators, registration: Registration, node: &Node) {
    let session = WorkerSession::start(coordinators, registration);
    let mut standing = session.watch();
    let mut switched = node.switched();
    loop {
        match &*standing.borrow_and_update() {
            Standing::Live(membership) => node.begin_life(membership.server_id),
            // Nobody has told it that it is dead.
            Standing::Lost(_) => {}
            Standing::Joining { .. } | Standing::Left => node.end_life(),
        }
        session.pause(!node.is_reachable());
        session.report(LoadReport { used: None, load: Some(node.load()) });
        tokio::select! {
            _ = standing.changed() => {}
            () = switched.changed() => {}
            () = node.leaving() => {
                // Whoever is not heard is declared dead later.
                let left = session.leave(limits::SIM_CALL_WAIT).await;
                tracing::debug!(node = node.number(), ?left, "left");
                return;
            }
        }
    }
}

async fn by_etcd(etcd: &Etcd, registration: &Registration, node: &Node) {
    let mut pause = limits::SIM_RETRY_MIN;
    loop {
        node.reachable().await;
        match etcd.register(registration).await {
            Ok(membership) => {
                pause = limits::SIM_RETRY_MIN;
                node.begin_life(membership.server_id);
                tokio::select! {
                    () = keep_alive(etcd, &membership, node) => node.end_life(),
                    () = node.leaving() => {
                        let left = etcd.leave(&membership).await;
                        tracing::debug!(node = node.number(), ?left, "left");
                        return;
                    }
                }
            }
            Err(error) => {
                tracing::debug!(node = node.number(), %error, "cannot register");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(limits::SIM_RETRY_MAX);
            }
        }
    }
}

/// Returns when the node was told that it is dead.
async fn keep_alive(etcd: &Etcd, membership: &Membership, node: &Node) {
    let mut wait: Duration = membership.ttl / 3;
    loop {
        tokio::time::sleep(wait).await;
        node.reachable().await;
        wait = match etcd.keep_alive(membership).await {
            Ok(true) => membership.ttl / 3,
            Ok(false) => return,
            Err(error) => {
                tracing::debug!(node = node.number(), %error, "cannot show that it lives");
                limits::SIM_RETRY_MIN
            }
        };
    }
}
