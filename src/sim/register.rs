//! How a simulated node becomes known to the coordinator and stays it: by Roost's own session API, or in Milvus' own
//! way. A node that was declared dead begins a new life under a new server id.

use std::sync::Arc;

use tokio::time::Instant;

use super::etcd::Etcd;
use super::node::Node;
use crate::client::{Coordinators, Membership, Registration, Standing, WorkerSession};
use crate::limits;
use crate::pb::session::{LoadReport, Role};
use crate::pb::store::WorkerRole;
use crate::state::worker;

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

/// Milvus' name of a role.
pub fn role_name(role: Role) -> &'static str {
    worker::role_name(WorkerRole::try_from(i32::from(role)).unwrap_or_default())
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
        if let Some(death) = session.take_death() {
            node.told_dead(death.server_id, death.early);
        }
        session.pause(!node.is_reachable());
        session.report(LoadReport { used: None, load: Some(node.load()) });
        tokio::select! {
            _ = standing.changed() => {}
            () = switched.changed() => {}
            () = node.leaving() => {
                // Whoever is not heard is declared dead later.
                let drained = session.drain(limits::SIM_CALL_WAIT).await;
                node.emptied().await;
                let left = session.leave(limits::SIM_CALL_WAIT).await;
                tracing::debug!(node = node.number(), ?drained, ?left, "left");
                return;
            }
        }
    }
}

async fn by_etcd(etcd: &Etcd, registration: &Registration, node: &Node) {
    let mut pause = limits::SIM_RETRY_MIN;
    loop {
        node.reachable().await;
        let began = Instant::now();
        match etcd.register(registration).await {
            Ok(membership) => {
                pause = limits::SIM_RETRY_MIN;
                node.begin_life(membership.server_id);
                let leaving = async {
                    node.leaving().await;
                    let said = etcd.stopping(registration, &membership).await;
                    node.emptied().await;
                    let left = etcd.leave(&membership).await;
                    tracing::debug!(node = node.number(), ?said, ?left, "left");
                };
                tokio::select! {
                    () = keep_alive(etcd, &membership, began, node) => node.end_life(),
                    () = leaving => return,
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
async fn keep_alive(etcd: &Etcd, membership: &Membership, began: Instant, node: &Node) {
    let (mut wait, mut renewed) = (membership.ttl / 3, began);
    loop {
        tokio::time::sleep(wait).await;
        node.reachable().await;
        let asked = Instant::now();
        wait = match etcd.keep_alive(membership).await {
            Ok(true) => {
                renewed = asked;
                membership.ttl / 3
            }
            Ok(false) => {
                let early = (renewed + membership.ttl).saturating_duration_since(Instant::now());
                return node.told_dead(membership.server_id, early);
            }
            Err(error) => {
                tracing::debug!(node = node.number(), %error, "cannot show that it lives");
                limits::SIM_RETRY_MIN
            }
        };
    }
}
