//! One simulated node: its switches, its current life, and the loop that serves its sockets and keeps it registered for
//! as long as it is switched on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tonic::transport::Server;

use super::acks::Acks;
use super::channels::Channels;
use super::component::Component;
use super::handler::Handler;
use super::message;
use super::orders::Orders;
use super::register::{Registrar, role_name};
use super::wal::{Record, Wals};
use super::wire::{self, Current};
use crate::limits;
use crate::pb::data::data_node_server::DataNodeServer;
use crate::pb::query::query_node_server::QueryNodeServer;
use crate::pb::session::Role;
use crate::pb::sim::{self, Knobs, Metrics, Power};
use crate::pb::streaming::streaming_node_handler_service_server::StreamingNodeHandlerServiceServer;
use crate::pb::streaming::streaming_node_manager_service_server::StreamingNodeManagerServiceServer;
use crate::pb::streaming::streaming_node_state_service_server::StreamingNodeStateServiceServer;

/// See the module.
pub struct Node {
    number: u32,
    address: SocketAddr,
    pub wals: Arc<Wals>,
    registrar: Registrar,
    acks: Acks,
    current: watch::Sender<Current>,
    knobs: watch::Sender<Knobs>,
    metrics: Mutex<Metrics>,
    /// The pchannels of this life, of streaming nodes only; none before it is registered.
    life: watch::Sender<Option<Arc<Channels>>>,
    leave: Notify,
    violations: Mutex<Vec<String>>,
}

/// Tells of changes of a node's switches.
pub struct Switched {
    current: watch::Receiver<Current>,
    knobs: watch::Receiver<Knobs>,
}

impl Switched {
    pub async fn changed(&mut self) {
        // The senders live as long as the node.
        tokio::select! {
            _ = self.current.changed() => {}
            _ = self.knobs.changed() => {}
        }
    }
}

impl Node {
    pub fn new(number: u32, address: SocketAddr, wals: Arc<Wals>, registrar: Registrar, acks: Acks) -> Self {
        let current = watch::Sender::new(Current { life: 0, on: true, paused: false });
        let (knobs, life, leave) = (watch::Sender::default(), watch::Sender::default(), Notify::new());
        let (metrics, violations) = (Mutex::default(), Mutex::default());
        Node { number, address, wals, registrar, acks, current, knobs, metrics, life, leave, violations }
    }

    pub fn number(&self) -> u32 {
        self.number
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn role(&self) -> Role {
        self.registrar.registration.role
    }

    /// Milvus' name of its role.
    pub fn role_name(&self) -> &'static str {
        role_name(self.role())
    }

    /// As it registers.
    pub fn memory_bytes(&self) -> u64 {
        self.registrar.registration.capacity.map_or(0, |capacity| capacity.memory_bytes)
    }

    /// What it answers to GetMetrics.
    pub fn metrics(&self) -> Metrics {
        self.metrics.lock().clone()
    }

    pub fn report(&self, metrics: Metrics) {
        *self.metrics.lock() = metrics;
    }

    /// What was done to it that no coordinator may do.
    pub fn violations(&self) -> Vec<String> {
        self.violations.lock().clone()
    }

    /// It was told that it is dead, so much before its time was over.
    pub fn told_dead(&self, server_id: i64, early: Duration) {
        if early < limits::SIM_EARLY_LEAST {
            return;
        }
        let what = format!("node {server_id} was declared dead {early:?} before its time");
        tracing::error!(what, "an invariant was violated");
        let mut violations = self.violations.lock();
        if violations.len() < limits::SIM_VIOLATIONS_MAX {
            violations.push(what);
        }
    }

    /// What is wrong with it.
    pub fn knobs(&self) -> Knobs {
        *self.knobs.borrow()
    }

    pub fn turn(&self, knobs: Knobs) {
        self.knobs.send_replace(knobs);
    }

    pub fn switched(&self) -> Switched {
        Switched { current: self.current.subscribe(), knobs: self.knobs.subscribe() }
    }

    /// The load that it reports, 0.0 to 1.0.
    pub fn load(&self) -> f64 {
        f64::from(self.knobs().load_percent.min(100)) / 100.0
    }

    /// The pchannels of this life, if it is registered.
    pub fn channels(&self) -> Option<Arc<Channels>> {
        self.life.borrow().clone()
    }

    /// Says that it has its part of a broadcast, where that is wanted.
    pub async fn acknowledge(&self, record: &Record) {
        if message::wants_ack(&record.message.properties) {
            self.acks.acknowledge(record.message.clone()).await;
        }
    }

    /// Waits while it is paused, and for as long as it is slow.
    pub async fn awake(&self) {
        let _ = self.current.subscribe().wait_for(|current| !current.paused).await;
        let slow_ms = self.knobs().slow_ms;
        if slow_ms > 0 {
            tokio::time::sleep(Duration::from_millis(slow_ms.into())).await;
        }
    }

    /// Whether the coordinator can reach it, and it the coordinator.
    pub fn is_reachable(&self) -> bool {
        !self.current.borrow().paused && !self.knobs().isolated
    }

    pub async fn reachable(&self) {
        let mut switched = self.switched();
        while !self.is_reachable() {
            switched.changed().await;
        }
    }

    /// Waits until it is to leave in good order.
    pub async fn leaving(&self) {
        self.leave.notified().await;
    }

    /// Waits until its channels were taken from it, though not for long.
    pub async fn emptied(&self) {
        let emptied = async {
            while self.channels().is_some_and(|channels| !channels.served().is_empty()) {
                tokio::time::sleep(limits::SIM_DRAIN_LOOK).await;
            }
        };
        if tokio::time::timeout(limits::SIM_DRAIN_WAIT, emptied).await.is_err() {
            tracing::warn!(node = self.number, "leaves with channels");
        }
    }

    pub async fn power(&self, power: Power) {
        if power == Power::Stopped && self.channels().is_some() {
            self.leave.notify_one();
            let mut life = self.life.subscribe();
            let left = life.wait_for(Option::is_none);
            // A node that cannot leave in good order leaves in bad order.
            let _ = tokio::time::timeout(limits::SIM_DRAIN_WAIT + limits::SIM_CALL_WAIT * 2, left).await;
        }
        self.current.send_if_modified(|current| {
            let before = *current;
            match power {
                Power::Unspecified => {}
                Power::Running => (current.on, current.paused) = (true, false),
                Power::Paused => current.paused = current.on,
                Power::Crashed | Power::Stopped => {
                    current.life += u64::from(current.on);
                    (current.on, current.paused) = (false, false);
                }
            }
            *current != before
        });
        if matches!(power, Power::Crashed | Power::Stopped) {
            self.end_life();
        }
    }

    pub fn describe(&self) -> sim::Node {
        let (current, channels) = (*self.current.borrow(), self.channels());
        let power = match current {
            Current { on: false, .. } => Power::Crashed,
            Current { paused: true, .. } => Power::Paused,
            _ => Power::Running,
        };
        sim::Node {
            number: self.number,
            server_id: channels.as_ref().map_or(0, |channels| channels.server_id()),
            address: self.address.to_string(),
            power: power.into(),
            knobs: Some(self.knobs()),
            channels: channels.map(|channels| channels.served()).unwrap_or_default(),
            role: self.role_name().to_owned(),
            metrics: Some(self.metrics()),
        }
    }

    /// Serves `listener` and what takes its place after a crash, without end.
    pub async fn run(self: Arc<Self>, listener: TcpListener) {
        let mut listener = Some(listener);
        let mut current = self.current.subscribe();
        loop {
            let life = match current.wait_for(|current| current.on).await {
                Ok(current) => current.life,
                // The sender lives as long as the node.
                Err(_) => return,
            };
            let bound = match listener.take() {
                Some(listener) => Ok(listener),
                None => TcpListener::bind(self.address).await,
            };
            match bound {
                Ok(bound) => self.clone().live(bound, &mut current, life).await,
                Err(error) => {
                    tracing::warn!(node = self.number, address = %self.address, %error, "cannot listen");
                    tokio::time::sleep(limits::SIM_RETRY_MIN).await;
                }
            }
        }
    }

    /// Until it crashes.
    async fn live(self: Arc<Self>, listener: TcpListener, current: &mut watch::Receiver<Current>, life: u64) {
        // Of an earlier life that was not there to hear it.
        let _ = tokio::time::timeout(Duration::ZERO, self.leave.notified()).await;
        tokio::select! {
            served = self.clone().serve(listener) => {
                tracing::warn!(node = self.number, ?served, "a simulated node's server ended");
            }
            () = self.registrar.keep(&self) => {}
            _ = current.wait_for(|current| !current.on || current.life != life) => {}
        }
        self.end_life();
    }

    /// Answers calls; whether they are answered with anything depends on its life.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) -> Result<(), tonic::transport::Error> {
        let component = Component::new(self.clone());
        let mut server = Server::builder();
        let serving = match self.role() {
            Role::DataNode => server.add_service(DataNodeServer::new(component)),
            Role::StreamingNode => {
                let handler = StreamingNodeHandlerServiceServer::new(Handler::new(self.clone()));
                server
                    .add_service(StreamingNodeManagerServiceServer::new(Orders::new(self.clone())))
                    .add_service(StreamingNodeStateServiceServer::new(component.clone()))
                    .add_service(handler.max_decoding_message_size(limits::SIM_MESSAGE_BYTES_MAX))
                    // It serves reads too, and reports as a query node.
                    .add_service(QueryNodeServer::new(component))
            }
            _ => server.add_service(QueryNodeServer::new(component)),
        };
        serving.serve_with_incoming(wire::incoming(listener, self.current.subscribe())).await
    }

    /// It is known to the coordinator under this id.
    pub fn begin_life(&self, server_id: i64) {
        if self.channels().is_some_and(|channels| channels.server_id() == server_id) {
            return;
        }
        self.end_life();
        tracing::info!(node = self.number, server_id, address = %self.address, "registered");
        self.life.send_replace(Some(Arc::new(Channels::new(server_id))));
    }

    /// It crashed, left, or knows that it was declared dead: whatever it had is others'.
    pub fn end_life(&self) {
        if let Some(channels) = self.life.send_replace(None) {
            channels.end();
        }
    }
}
