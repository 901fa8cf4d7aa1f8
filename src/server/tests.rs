//! Three whole servers on loopback over replicas in memory, spoken to as clients do.

mod access;
mod conditional;
mod doors;
mod etcd;
mod fuzz;
mod lasting;
mod listings;
mod names;
mod proxies;
mod quota;
mod replication;
mod rootcoord;
mod sessions;
mod streaming;
mod timestamps;
mod turns;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::metadata::MetadataValue;
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::{Code, Request};

use super::*;
use crate::admin::tests::MemoryNode;
use crate::config::{Quota, Security};
use crate::etcd::access::Guard;
use crate::forward::secret_proof;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::pb::admin::admin_client::AdminClient;
use crate::pb::common::KeyValuePair;
use crate::pb::milvus::milvus_service_client::MilvusServiceClient;
use crate::pb::milvus::*;
use crate::pb::rootcoord::root_coord_client::RootCoordClient;
use crate::pb::rootcoord::{AllocIdRequest, AllocTimestampRequest as CountedRequest};
use crate::pb::schema::{CollectionSchema, DataType, FieldSchema};
use crate::pb::{common, schema, tso};
use crate::replica::Peer;
use crate::testing::SoloReplica;

const SECRET: &str = "one for all";

struct Running {
    replica: Arc<SoloReplica>,
    client: String,
    internal: String,
    peer: String,
    http: String,
    admin: Arc<MemoryNode>,
    trigger: shutdown::Trigger,
    serving: JoinHandle<Result<(), Error>>,
}

impl Running {
    async fn milvus(&self) -> MilvusServiceClient<Channel> {
        MilvusServiceClient::new(dial(&self.client).await)
    }

    async fn rootcoord(&self) -> RootCoordClient<Channel> {
        RootCoordClient::new(dial(&self.internal).await)
    }
}

async fn dial(address: &str) -> Channel {
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

/// Three nodes, of which the first leads term 1.
async fn cluster() -> Vec<Running> {
    cluster_with(Some(Guard::open())).await
}

/// Three nodes whose etcd API is guarded like that.
async fn cluster_with(guard: Option<Guard>) -> Vec<Running> {
    cluster_secured(guard, Security { bcrypt_cost: 4, ..Security::default() }).await
}

/// The same whose clients are checked like that.
async fn cluster_secured(guard: Option<Guard>, security: Security) -> Vec<Running> {
    cluster_limited(guard, security, Quota::default()).await
}

/// The same whose clients may ask for so much.
async fn cluster_limited(guard: Option<Guard>, security: Security, quota: Quota) -> Vec<Running> {
    cluster_balanced(guard, security, quota, crate::config::Streaming::default()).await
}

/// The same that gives channels to streaming nodes like that.
async fn cluster_balanced(
    guard: Option<Guard>,
    security: Security,
    quota: Quota,
    streaming: crate::config::Streaming,
) -> Vec<Running> {
    let (security, quota) = (Arc::new(security), Arc::new(quota));
    let tables = Arc::default();
    let admin = MemoryNode::leading();
    let mut nodes = Vec::new();
    for id in 1..=3 {
        let replica = SoloReplica::sharing(id, Arc::clone(&tables));
        let any = "127.0.0.1:0".parse().unwrap();
        let listeners = Listeners::bind(&Listen { client: any, internal: any, peer: any, http: any }).await.unwrap();
        let name = |listener: &Listener| listener.address().unwrap().to_string();
        let (client, internal) = (name(&listeners.client), name(&listeners.internal));
        let (peer, http) = (name(&listeners.peer), name(&listeners.http));
        let access = Access {
            secret: Some(SECRET.into()),
            internal_secret: None,
            security: security.clone(),
            quota: quota.clone(),
        };
        let settings = OracleSettings { window_ms: 3000, max_clock_ahead_ms: 60_000 };
        let etcd = EtcdSettings {
            guard: guard.clone(),
            auto_compaction_revisions: 0,
            root_path: "by-dev".into(),
            publish_coordinators: false,
        };
        let metrics = Arc::new(Metrics::new());
        let (limits, caching) = (Limits::default(), crate::config::Cache::default());
        let streaming = streaming.clone();
        let broadcast = crate::config::Broadcast::default();
        let node =
            Node::new(replica.clone(), access, settings, etcd, limits, caching, streaming, broadcast, id, metrics)
                .unwrap();
        let shown = [("raft.heartbeat_ms", "100"), ("rootCoord.maxPartitionNum", "1024")];
        let shown = shown.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let node = node.with_admin(admin.clone()).with_settings(shown.into());
        let (trigger, shutdown) = shutdown::channel();
        let raft = RaftServices { calls: Routes::default(), appends: Arc::new(|_| Box::pin(async {})) };
        let serving = tokio::spawn(async move { run(node, listeners, raft, &Handle::current(), &shutdown).await });
        let admin = admin.clone();
        nodes.push(Running { replica, client, internal, peer, http, admin, trigger, serving });
    }
    let members: Vec<Peer> = nodes
        .iter()
        .map(|node| Peer {
            id: node.replica.id,
            voter: true,
            peer: node.peer.clone(),
            client: node.client.clone(),
            internal: node.internal.clone(),
        })
        .collect();
    for node in &nodes {
        *node.replica.members.lock() = members.clone();
    }
    elect(&nodes, 1, 1);
    nodes
}

fn elect(nodes: &[Running], term: u64, leader: u64) {
    for node in nodes {
        match node.replica.id == leader {
            true => node.replica.lead(term),
            false => node.replica.follow(term, Some(leader)),
        }
    }
}

fn new_collection(name: &str) -> CreateCollectionRequest {
    let dim = common::KeyValuePair { key: "dim".into(), value: "8".into() };
    let id = FieldSchema {
        name: "id".into(),
        is_primary_key: true,
        data_type: DataType::Int64.into(),
        ..FieldSchema::default()
    };
    let vector = FieldSchema {
        name: "vector".into(),
        data_type: DataType::FloatVector.into(),
        type_params: vec![dim],
        ..FieldSchema::default()
    };
    let schema =
        CollectionSchema { name: name.into(), fields: vec![id, vector], ..schema::CollectionSchema::default() };
    CreateCollectionRequest {
        collection_name: name.into(),
        schema: schema.encode_to_vec(),
        ..CreateCollectionRequest::default()
    }
}

fn describe(name: &str) -> DescribeCollectionRequest {
    DescribeCollectionRequest { collection_name: name.into(), ..DescribeCollectionRequest::default() }
}

async fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn any_node_takes_any_call() {
    let nodes = cluster().await;
    for node in &nodes {
        let name = format!("by_{}", node.replica.id);
        let mut client = node.milvus().await;
        let connected = client.connect(ConnectRequest::default()).await.unwrap().into_inner();
        assert_eq!(connected.status.unwrap().code, 0);
        assert!(connected.identifier > 0);
        assert!(connected.server_info.unwrap().build_tags.starts_with("2.6"));
        let created = client.create_collection(new_collection(&name)).await.unwrap();
        assert_eq!(created.metadata().get("roost-leader").unwrap(), &nodes[0].client);
        assert!(created.metadata().get("roost-retry").is_none());
        assert_eq!(created.into_inner(), common::Status::default());
        for other in &nodes {
            let mut client = other.milvus().await;
            let found = client.describe_collection(describe(&name)).await.unwrap().into_inner();
            assert_eq!((found.status.unwrap().code, found.collection_name.as_str()), (0, name.as_str()));
            let fields: Vec<String> = found.schema.unwrap().fields.into_iter().map(|field| field.name).collect();
            assert_eq!(fields, ["id", "vector"], "clients do not see system fields");
        }
    }
    let mut client = nodes[2].milvus().await;
    let shown = client.show_collections(ShowCollectionsRequest::default()).await.unwrap().into_inner();
    assert_eq!(shown.collection_names, ["by_1", "by_2", "by_3"]);
    assert_eq!((shown.collection_ids.len(), shown.shards_num), (3, vec![1, 1, 1]));
    let internal = nodes[1].rootcoord().await.describe_collection(describe("by_1")).await.unwrap().into_inner();
    assert_eq!(internal.schema.unwrap().fields.len(), 4, "nodes see RowID and Timestamp");
    let gone = DropCollectionRequest { collection_name: "by_1".into(), ..DropCollectionRequest::default() };
    assert_eq!(client.drop_collection(gone).await.unwrap().into_inner().code, 0);
    let missing = client.describe_collection(describe("by_1")).await.unwrap().into_inner().status.unwrap();
    assert_eq!(missing.code, 100);
    assert_eq!(missing.reason, "collection not found[database=default][collection=by_1]");
}

#[tokio::test(flavor = "multi_thread")]
async fn properties_are_set_and_deleted_through_any_node() {
    let nodes = cluster().await;
    assert_eq!(nodes[0].milvus().await.create_collection(new_collection("c")).await.unwrap().into_inner().code, 0);
    let mut client = nodes[1].milvus().await;
    let alter = |set: &[(&str, &str)], delete: &[&str]| AlterCollectionRequest {
        collection_name: "c".into(),
        properties: set
            .iter()
            .map(|(key, value)| KeyValuePair { key: (*key).into(), value: (*value).into() })
            .collect(),
        delete_keys: delete.iter().map(|key| (*key).into()).collect(),
        ..AlterCollectionRequest::default()
    };
    // One of them is the time zone, which every collection has.
    for (set, delete, code, properties) in [
        (&[("collection.ttl.seconds", "60"), ("owner", "me")][..], &[][..], 0, 3),
        (&[], &["owner"], 0, 2),
        (&[("collection.ttl.seconds", "soon")], &[], 1100, 2),
        (&[("owner", "me")], &["owner"], 1100, 2),
        (&[], &[], 1100, 2),
        (&[("partitionkey.isolation", "true")], &[], 105, 2),
    ] {
        let status = client.alter_collection(alter(set, delete)).await.unwrap().into_inner();
        assert_eq!(status.code, code, "{set:?} {delete:?}: {}", status.reason);
        let found = nodes[2].milvus().await.describe_collection(describe("c")).await.unwrap().into_inner();
        assert_eq!(found.properties.len(), properties, "{set:?} {delete:?}");
    }
    let missing = AlterCollectionRequest { collection_name: "none".into(), ..alter(&[("owner", "me")], &[]) };
    assert_eq!(client.alter_collection(missing).await.unwrap().into_inner().code, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_outlives_its_leader_and_takes_effect_once() {
    let nodes = cluster().await;
    let mut client = nodes[2].milvus().await;
    client.create_collection(new_collection("warm")).await.unwrap();
    // The leader executes, and its answer is lost; then another one leads.
    nodes[0].replica.lose_answers.store(true, Ordering::Relaxed);
    let call = tokio::spawn({
        let mut client = client.clone();
        async move { client.create_collection(new_collection("once")).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    for node in &nodes {
        node.replica.follow(2, None);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!call.is_finished(), "it waits for a leader");
    elect(&nodes, 3, 2);
    assert_eq!(call.await.unwrap().unwrap().into_inner().code, 0);
    let shown = client.show_collections(ShowCollectionsRequest::default()).await.unwrap().into_inner();
    assert_eq!(shown.collection_names, ["once", "warm"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_leader_a_call_ends_in_time_and_in_milvus_words() {
    let nodes = cluster().await;
    let mut client = nodes[1].milvus().await;
    for node in &nodes {
        node.replica.follow(2, None);
    }
    for _ in 0..2 {
        let mut request = Request::new(new_collection("never"));
        request.set_timeout(Duration::from_millis(600));
        let started = Instant::now();
        let status = client.create_collection(request).await.unwrap().into_inner();
        assert!(status.code == 2 && status.retriable, "{status:?}");
        assert!(started.elapsed() < Duration::from_millis(600));
    }
    let mut read = Request::new(describe("never"));
    read.set_timeout(Duration::from_millis(300));
    let status = client.describe_collection(read).await.unwrap().into_inner().status.unwrap();
    assert_eq!(status.code, 2);
    let health = client.check_health(CheckHealthRequest {}).await.unwrap().into_inner();
    assert!(!health.is_healthy && health.reasons[0].contains("no leader"));
}

/// Clients ask what segments there are before and after they write.
#[tokio::test(flavor = "multi_thread")]
async fn a_collection_without_rows_has_no_segments_and_nothing_to_flush() {
    let nodes = cluster().await;
    let mut client = nodes[1].milvus().await;
    assert_eq!(client.create_collection(new_collection("c")).await.unwrap().into_inner().code, 0);
    let named = |name: &str| GetPersistentSegmentInfoRequest { collection_name: name.into(), ..Default::default() };
    let loaded = |name: &str| GetQuerySegmentInfoRequest { collection_name: name.into(), ..Default::default() };
    for (name, code) in [("c", 0), ("none", 100), ("", 1100)] {
        let stored = client.get_persistent_segment_info(named(name)).await.unwrap().into_inner();
        let held = client.get_query_segment_info(loaded(name)).await.unwrap().into_inner();
        assert_eq!((stored.status.unwrap().code, held.status.unwrap().code), (code, code), "{name}");
    }
    let created = client.describe_collection(describe("c")).await.unwrap().into_inner().created_timestamp;
    let flushed = client.flush_all(FlushAllRequest::default()).await.unwrap().into_inner();
    assert!(flushed.status.unwrap().code == 0 && flushed.flush_all_ts > created);
    let asked = GetFlushAllStateRequest { flush_all_ts: flushed.flush_all_ts, ..Default::default() };
    assert!(client.get_flush_all_state(asked).await.unwrap().into_inner().flushed);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_the_ones_that_clients_understand() {
    let nodes = cluster().await;
    let mut client = nodes[0].milvus().await;
    assert_eq!(client.create_collection(new_collection("rows")).await.unwrap().into_inner().code, 0);
    for (name, written, read) in [("rows", 10, 101), ("none", 100, 100), ("", 1100, 1100)] {
        let insert = InsertRequest { collection_name: name.into(), ..Default::default() };
        assert_eq!(client.insert(insert).await.unwrap().into_inner().status.unwrap().code, written, "{name}");
        let search = SearchRequest { collection_name: name.into(), ..Default::default() };
        assert_eq!(client.search(search).await.unwrap().into_inner().status.unwrap().code, read, "{name}");
    }
    let group = client.create_resource_group(CreateResourceGroupRequest::default()).await.unwrap().into_inner();
    let text = "CreateResourceGroup is not served by Roost yet: service unimplemented";
    assert_eq!((group.code, group.reason.as_str()), (10, text));
    let compaction = client.manual_compaction(ManualCompactionRequest::default()).await.unwrap().into_inner();
    assert_eq!(compaction.status.unwrap().code, 10);
    let mut grpc = tonic::client::Grpc::new(dial(&nodes[0].client).await);
    grpc.ready().await.unwrap();
    let path = ::http::uri::PathAndQuery::from_static("/milvus.proto.milvus.MilvusService/Unheard");
    let codec = tonic_prost::ProstCodec::<CheckHealthRequest, CheckHealthResponse>::default();
    let refused = grpc.unary(Request::new(CheckHealthRequest {}), path, codec).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    let mut elsewhere = Request::new(describe("x"));
    elsewhere.metadata_mut().insert("dbname", MetadataValue::from_static("nowhere"));
    let status = client.describe_collection(elsewhere).await.unwrap().into_inner().status.unwrap();
    assert_eq!((status.code, status.reason.as_str()), (800, "database not found[database=nowhere]"));
    let mut huge = new_collection("huge");
    huge.schema = vec![0; limits::MESSAGE_BYTES_MAX];
    let refused = client.create_collection(huge).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
}
