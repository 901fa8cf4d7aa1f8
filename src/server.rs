//! One node: puts the services on their listeners, runs the leader's tasks, and ends in good order.
//!
//! | listener | who calls               | guard                      | services                                 |
//! |----------|-------------------------|----------------------------|------------------------------------------|
//! | client   | Milvus clients          | users' passwords, if set so | MilvusService                           |
//! | client   | etcd clients, if set so | secret, if beyond loopback | the etcd v3 API                          |
//! | internal | Milvus nodes, roostctl  | secret, if beyond loopback | RootCoord, StreamingCoord, Timestamp,    |
//! |          |                         |                            | Access, Catalog, Session, Streaming,     |
//! |          |                         |                            | Admin                                    |
//! | peer     | the other nodes         | secret                     | Raft, and all of the above, forwarded    |
//! | http     | monitoring              | none                       | metrics and probes                       |
//!
//! The first two also serve gRPC health and reflection.

mod broadcast;
mod etcd;
mod listener;
mod listings;
mod node;
mod process;
mod services;
mod streaming;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;

use futures::TryStreamExt;
use roost_raft::network::{AppendService, divide};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tonic::service::Routes;
use tonic::transport::Server;
use tower::ServiceBuilder;

use crate::config::Listen;
use crate::forward::{ArrivalLayer, DoorLayer, IngressLayer, Side};
use crate::http;
use crate::leader;
use crate::limits;
use crate::shutdown::{self, Shutdown};

pub use etcd::EtcdSettings;
pub use listener::{Connection, Listener};
pub use node::{Access, Node, OracleSettings};
pub use process::main;

/// Why the node could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {address} (listen.{key}): {source}")]
    Bind { key: &'static str, address: SocketAddr, source: io::Error },
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The replica cannot go on: the disk failed, or this node was told to stop by the cluster.
    #[error("this node has stopped itself: {0}")]
    Fatal(String),
}

/// The sockets of a node, bound before anything else is started.
pub struct Listeners {
    pub client: Listener,
    pub internal: Listener,
    pub peer: Listener,
    pub http: Listener,
}

impl Listeners {
    pub async fn bind(listen: &Listen) -> Result<Self, Error> {
        let bind =
            async |key, address| Listener::bind(address).await.map_err(|source| Error::Bind { key, address, source });
        Ok(Listeners {
            client: bind("client", listen.client).await?,
            internal: bind("internal", listen.internal).await?,
            peer: bind("peer", listen.peer).await?,
            http: bind("http", listen.http).await?,
        })
    }
}

/// Raft's own part of the peer listener.
pub struct RaftServices {
    pub calls: Routes,
    pub appends: AppendService,
}

/// Serves until `shutdown` is asked for or the replica fails. The peer listener is served on `raft_runtime`, apart from
/// client load.
pub async fn run(
    node: Node,
    listeners: Listeners,
    raft: RaftServices,
    raft_runtime: &Handle,
    shutdown: &Shutdown,
) -> Result<(), Error> {
    let replica = node.replica.clone();
    let (stop_calls, calls_stop) = (node.stop_calls.clone(), node.calls_stop.clone());
    let (stop_peers, peers_stop) = shutdown::channel();
    let ingress = |side| IngressLayer { ingress: node.ingress.clone(), side };
    let (health, health_task) = services::health(&node);
    let hub = node.etcd.as_ref().map(|etcd| tokio::spawn(etcd.hub().run(calls_stop.clone())));
    // Calls take changes in by themselves; this keeps them from finding many at once.
    let policy = node.access.security.authorization_enabled.then(|| node.policy.clone().follow(calls_stop.clone()));
    let policy = policy.map(tokio::spawn);
    let departed = node.departed.clone().follow(replica.clone(), calls_stop.clone());
    let departed = node.etcd.is_some().then(|| tokio::spawn(departed));
    let workers = tokio::spawn(node.workers.clone().follow(calls_stop.clone()));
    let streaming = tokio::spawn(node.streaming.serve(calls_stop.clone()));
    let cache = tokio::spawn(node.cache.clone().follow(calls_stop.clone()));

    let client = services::client(&node, health.clone())?;
    // HTTP/1 only where etcd's tools look for metrics; the ingress refuses it for everything else.
    let serving = builder().accept_http1(node.shows_metrics_to_clients());
    let serving = serving.layer(ingress(Side::Client)).add_routes(client);
    let client = tokio::spawn(serving.serve_with_incoming_shutdown(listeners.client.incoming(), stopped(&calls_stop)));

    let internal = services::internal(&node, health)?;
    let door = DoorLayer::new(node.access.internal_secret.as_deref());
    let internal_layers = ServiceBuilder::new().layer(door).layer(ingress(Side::Internal)).into_inner();
    let serving = builder().layer(internal_layers).add_routes(internal);
    let internal =
        tokio::spawn(serving.serve_with_incoming_shutdown(listeners.internal.incoming(), stopped(&calls_stop)));

    let door = DoorLayer::new(node.access.secret.as_deref());
    let arrival = ArrivalLayer::new(replica.clone(), Handle::current());
    let serving = builder()
        .http2_keepalive_interval(Some(limits::PEER_KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(limits::PEER_KEEPALIVE_TIMEOUT))
        .layer(ServiceBuilder::new().layer(door).layer(arrival).into_inner())
        .add_routes(services::peer(&node, raft.calls));
    let connections = listeners.peer.incoming().inspect_ok(Connection::break_when_dead);
    // It is dropped, and what serves appends with it, when the peers are to stop.
    let calls = divide(connections, raft.appends);
    let peer = raft_runtime.spawn(serving.serve_with_incoming_shutdown(calls, stopped(&peers_stop)));

    let router = http::router(node.health.clone(), node.metrics.clone());
    let probes = axum::serve(listeners.http, router).with_graceful_shutdown(stopped(&peers_stop));
    let http = tokio::spawn(probes.into_future());
    let tasks = tokio::spawn(leader::run(replica.clone(), node.leader_tasks()));

    let outcome = tokio::select! {
        reason = shutdown.requested() => {
            tracing::info!(reason, "shutting down");
            Ok(())
        }
        why = replica.failed() => Err(Error::Fatal(why)),
    };
    node.health.stopping();
    if outcome.is_ok() {
        // Leadership first: callers that are still here are sent on to the next leader.
        let _ = tokio::time::timeout(limits::TRANSFER_WAIT, replica.hand_over()).await;
        stop_calls.fire("shutdown");
        tokio::join!(drain("client", client), drain("internal", internal));
        replica.close().await;
    }
    // Peers keep their connections open for ever; there is nothing to wait for.
    stop_calls.fire("stopped");
    stop_peers.fire("stopped");
    for task in [hub, policy, departed, Some(workers), Some(streaming), Some(cache)].into_iter().flatten() {
        task.abort();
    }
    for task in [tasks.abort_handle(), health_task.abort_handle(), http.abort_handle(), peer.abort_handle()] {
        task.abort();
    }
    outcome
}

/// What every gRPC listener has in common.
fn builder() -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(limits::KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(limits::KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(limits::STREAMS_PER_CONNECTION_MAX)
        .http2_max_header_list_size(limits::HEADER_BYTES_MAX)
}

fn stopped(shutdown: &Shutdown) -> impl Future<Output = ()> + Send + 'static {
    let shutdown = shutdown.clone();
    async move {
        shutdown.requested().await;
    }
}

/// Lets open calls finish, for a while.
async fn drain<E: std::fmt::Display>(listener: &'static str, mut serving: JoinHandle<Result<(), E>>) {
    match tokio::time::timeout(limits::DRAIN_WAIT, &mut serving).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => tracing::warn!(listener, %error, "a listener ended badly"),
        Ok(Err(error)) => tracing::error!(listener, %error, "a listener was cut off"),
        Err(_) => {
            tracing::info!(listener, "some calls did not finish in time");
            serving.abort();
        }
    }
}
