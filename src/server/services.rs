//! Which services each listener has, with their message limits.

use tokio::task::JoinHandle;
use tonic::service::Routes;
use tonic_health::pb::health_server::{Health as HealthApi, HealthServer};
use tonic_reflection::server::Error as ReflectionError;

use super::listings::WithListings;
use super::node::Node;
use super::{broadcast, etcd, streaming};
use crate::http;
use crate::limits;
use crate::pb::FILE_DESCRIPTOR_SET;
use crate::pb::access::access_server::AccessServer;
use crate::pb::catalog::catalog_server::CatalogServer;
use crate::pb::milvus::milvus_service_server::MilvusServiceServer;
use crate::pb::relay::relay_server::RelayServer;
use crate::pb::rootcoord::root_coord_server::RootCoordServer;
use crate::pb::session::session_server::SessionServer;
use crate::pb::tso::timestamp_server::TimestampServer;

const MILVUS: &str = "milvus.proto.milvus.MilvusService";
const ROOT_COORD: &str = "milvus.proto.rootcoord.RootCoord";
const TIMESTAMP: &str = "roost.tso.v1.Timestamp";
const ADMIN: &str = "roost.admin.v1.Admin";
const ACCESS: &str = "roost.access.v1.Access";
const CATALOG: &str = "roost.catalog.v1.Catalog";
const SESSION: &str = "roost.session.v1.Session";
const HEALTH: &str = "grpc.health.v1.Health";

/// With the usual message limits.
macro_rules! limited {
    ($server:ty, $service:expr) => {
        <$server>::new($service)
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::REPLY_BYTES_MAX)
    };
}

pub(super) use limited;

pub(super) fn client(node: &Node, health: HealthServer<impl HealthApi>) -> Result<Routes, ReflectionError> {
    let milvus = limited!(MilvusServiceServer<_>, node.gateway.clone());
    let mut routes = Routes::new(WithListings::new(milvus, node.gateway.clone())).add_service(health);
    if node.shows_metrics_to_clients() {
        let router = routes.axum_router_mut();
        *router = std::mem::take(router).merge(http::metrics(node.metrics.clone()));
    }
    match &node.etcd {
        Some(etcd) => reflecting(etcd.add_to(routes), &[&[MILVUS, HEALTH], etcd::NAMES].concat()),
        None => reflecting(routes, &[MILVUS, HEALTH]),
    }
}

pub(super) fn internal(node: &Node, health: HealthServer<impl HealthApi>) -> Result<Routes, ReflectionError> {
    let rootcoord = limited!(RootCoordServer<_>, node.rootcoord.clone());
    let routes = Routes::new(WithListings::new(rootcoord, node.rootcoord.clone()))
        .add_service(limited!(TimestampServer<_>, node.timestamps.clone()))
        .add_service(limited!(AccessServer<_>, node.grants.clone()))
        .add_service(limited!(CatalogServer<_>, node.changes.clone()))
        .add_service(limited!(SessionServer<_>, node.sessions.clone()))
        .add_service(health);
    let routes = match &node.admin {
        Some(admin) => routes.add_service(admin.clone()),
        None => routes,
    };
    let own = [ROOT_COORD, TIMESTAMP, ACCESS, CATALOG, SESSION, ADMIN, HEALTH, broadcast::NAME];
    let routes = node.broadcast.add_to(node.streaming.add_to(routes));
    reflecting(routes, &[&own[..], &streaming::NAMES].concat())
}

/// Raft's services and everything that may be forwarded.
pub(super) fn peer(node: &Node, raft: Routes) -> Routes {
    let relay = RelayServer::new(node.relay.service())
        .max_decoding_message_size(limits::RELAY_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(limits::RELAY_MESSAGE_BYTES_MAX);
    let routes = raft
        .add_service(relay)
        .add_service(limited!(MilvusServiceServer<_>, node.gateway.clone()))
        .add_service(limited!(RootCoordServer<_>, node.rootcoord.clone()))
        .add_service(limited!(TimestampServer<_>, node.timestamps.clone()))
        .add_service(limited!(AccessServer<_>, node.grants.clone()))
        .add_service(limited!(CatalogServer<_>, node.changes.clone()))
        .add_service(limited!(SessionServer<_>, node.sessions.clone()));
    let routes = node.broadcast.add_to(node.streaming.add_to(routes));
    match &node.admin {
        Some(admin) => routes.add_service(admin.clone()),
        None => routes,
    }
}

/// Adds reflection, in the version that tools have moved to and in the one that many still ask for.
fn reflecting(routes: Routes, names: &[&str]) -> Result<Routes, ReflectionError> {
    let builder = || {
        let all = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
        names.iter().fold(all, |builder, name| builder.with_service_name(*name))
    };
    Ok(routes.add_service(builder().build_v1()?).add_service(builder().build_v1alpha()?))
}

/// gRPC health, and the task that keeps it true.
pub(super) fn health(node: &Node) -> (HealthServer<impl HealthApi + use<>>, JoinHandle<()>) {
    let (reporter, server) = tonic_health::server::health_reporter();
    let (health, mut leadership) = (node.health.clone(), node.replica.leadership());
    // The empty name is the node as a whole.
    let mut names = vec!["", MILVUS, ROOT_COORD, TIMESTAMP, ACCESS, CATALOG, SESSION, ADMIN];
    names.extend(streaming::NAMES);
    names.push(broadcast::NAME);
    names.extend(node.etcd.iter().flat_map(|_| etcd::NAMES));
    let task = tokio::spawn(async move {
        loop {
            let status = match health.not_ready().is_empty() {
                true => tonic_health::ServingStatus::Serving,
                false => tonic_health::ServingStatus::NotServing,
            };
            for name in &names {
                reporter.set_service_status(*name, status).await;
            }
            // Elections tell themselves; a stop and a lost quorum are found by looking.
            let _ = tokio::time::timeout(limits::HEALTH_INTERVAL, leadership.changed()).await;
            health.probe().await;
        }
    });
    (server, task)
}
