//! What nodes report, on its way to what proxies admit.

use std::convert::Infallible;
use std::future::Ready;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic_prost::ProstCodec;
use tower::Service;

use super::*;
use crate::quota::load::NodeLine;

/// A query node that says of itself what it is given to say.
#[derive(Clone)]
struct FakeNode(Arc<Mutex<String>>);

impl NamedService for FakeNode {
    const NAME: &'static str = "milvus.proto.query.QueryNode";
}

impl Service<::http::Request<Body>> for FakeNode {
    type Response = ::http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: ::http::Request<Body>) -> Self::Future {
        let node = self.clone();
        Box::pin(async move {
            assert_eq!(request.uri().path(), "/milvus.proto.query.QueryNode/GetMetrics");
            let codec = ProstCodec::<GetMetricsResponse, GetMetricsRequest>::default();
            Ok(Grpc::new(codec).unary(node, request).await)
        })
    }
}

impl UnaryService<GetMetricsRequest> for FakeNode {
    type Response = GetMetricsResponse;
    type Future = Ready<Result<Response<GetMetricsResponse>, Status>>;

    fn call(&mut self, request: Request<GetMetricsRequest>) -> Self::Future {
        assert_eq!(request.metadata().get("serverid").unwrap(), "61");
        assert!(request.get_ref().request.contains("system_info"));
        let (status, response) = (Some(common::Status::default()), self.0.lock().clone());
        std::future::ready(Ok(Response::new(GetMetricsResponse { status, response, ..Default::default() })))
    }
}

async fn report(node: &Running) -> Report {
    let answer = node.rootcoord().await.get_quota_metrics(GetQuotaMetricsRequest::default()).await.unwrap();
    serde_json::from_str(&answer.into_inner().metrics_info).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_node_stops_writes_to_its_collections_and_an_empty_one_lets_them_go_on() {
    let quota: Quota = serde_yaml_ng::from_str("{enabled: true, collect_interval_ms: 20}").unwrap();
    let nodes = cluster_limited(Some(Guard::open()), Security::default(), quota).await;
    let mut client = nodes[1].milvus().await;
    for name in ["full", "other"] {
        done(client.create_collection(new_collection(name))).await;
    }
    let id = client.describe_collection(describe("full")).await.unwrap().into_inner().collection_id;
    let says = |used: u64| {
        format!(
            "{{\"quota_metrics\":{{\"Hms\":{{\"memory\":1000,\"memory_usage\":{used}}},\
             \"Effect\":{{\"NodeID\":61,\"CollectionIDs\":[{id}]}}}}}}"
        )
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let said = Arc::new(Mutex::new(says(990)));
    let incoming = TcpListenerStream::new(listener);
    tokio::spawn(Server::builder().add_service(FakeNode(said.clone())).serve_with_incoming(incoming));
    LeaseClient::new(dial(&nodes[0].client).await).lease_grant(LeaseGrantRequest { id: 61, ttl: 600 }).await.unwrap();
    put(&nodes[0], "querynode-61", &session("querynode", 61, &address), 61).await;
    let (told, proxy) = serving().await;
    register(&nodes[0], 62, &proxy).await;

    let codes = |told: &Told| {
        let rates = told.rates.lock();
        let node = rates.as_ref()?.children.get(&1)?.children.get(&id)?.limiter.clone()?;
        let insert = node.rates.iter().find(|rate| rate.rt() == RateType::DmlInsert)?.r;
        Some((insert, node.codes))
    };
    let denied = (0.0, vec![common::ErrorCode::MemoryQuotaExhausted.into()]);
    soon("a denial", || codes(&told) == Some(denied.clone())).await;
    // Any node tells what the leader knows.
    let shown = report(&nodes[2]).await;
    assert_eq!(shown.factors.iter().map(|line| (line.collection_id, line.factor)).collect::<Vec<_>>(), [(id, 0.0)]);
    let full = |line: &NodeLine| line.id == 61 && line.role == "querynode" && line.memory_ratio == Some(0.99);
    assert!(shown.loads.iter().any(full), "{:?}", shown.loads);
    for node in &nodes {
        let health = node.milvus().await.check_health(CheckHealthRequest {}).await.unwrap().into_inner();
        assert_eq!(health.quota_states, [i32::from(QuotaState::DenyToWrite)]);
        assert!(health.is_healthy && health.reasons.len() == 1, "{:?}", health.reasons);
        assert!(health.reasons[0].starts_with("memory quota exceeded"), "{:?}", health.reasons);
    }

    *said.lock() = says(500);
    let free = (f64::MAX, vec![]);
    soon("writing goes on", || codes(&told) == Some(free.clone())).await;
    assert!(report(&nodes[1]).await.factors.is_empty());
    // What a node said last holds for a while when it says nothing more, and its session's end ends it.
    *said.lock() = says(990);
    soon("a denial again", || codes(&told) == Some(denied.clone())).await;
    leave(&nodes[0], 61).await;
    soon("nobody is full", || codes(&told) == Some(free.clone())).await;
}
