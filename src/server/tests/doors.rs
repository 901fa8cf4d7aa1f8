//! What each listener lets in, what it says to those who do not belong there, and how it ends.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_peer_listener_wants_the_secret_and_outside_stamps_are_worthless() {
    let nodes = cluster().await;
    let mut client = MilvusServiceClient::new(dial(&nodes[0].peer).await);
    let refused = client.get_version(GetVersionRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let mut known = Request::new(GetVersionRequest {});
    let proof = MetadataValue::try_from(secret_proof(SECRET)).unwrap();
    known.metadata_mut().insert("roost-secret", proof.clone());
    client.get_version(known).await.unwrap();
    // A stamp that names another cluster is not executed.
    let mut foreign = Request::new(new_collection("foreign"));
    foreign.metadata_mut().insert("roost-secret", proof);
    for (key, value) in [("roost-request", "9.9.9.9"), ("roost-principal", ""), ("roost-source", "x")] {
        foreign.metadata_mut().insert(key, MetadataValue::from_static(value));
    }
    assert_eq!(client.create_collection(foreign).await.unwrap_err().code(), Code::Unavailable);
    // The same request id sent twice from outside is two requests.
    let mut client = nodes[1].milvus().await;
    for name in ["first", "second"] {
        let mut request = Request::new(new_collection(name));
        request.metadata_mut().insert("roost-request", MetadataValue::from_static("9.9.9.9"));
        assert_eq!(client.create_collection(request).await.unwrap().into_inner().code, 0);
        let found = client.describe_collection(describe(name)).await.unwrap().into_inner();
        assert_eq!(found.status.unwrap().code, 0, "{name}");
    }
}

/// A follower used to pass any known method on to the leader's peer listener, which serves them all.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_client_listener_does_not_serve_is_not_passed_on_from_there() {
    let nodes = cluster().await;
    for node in &nodes {
        let mut rootcoord = RootCoordClient::new(dial(&node.client).await);
        let refused = rootcoord.alloc_id(AllocIdRequest { count: 1, ..Default::default() }).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented);
        let mut admin = AdminClient::new(dial(&node.client).await);
        let refused = admin.member_remove(crate::pb::admin::MemberRemoveRequest { id: 3 }).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented);
    }
    let served = nodes[1].rootcoord().await.alloc_id(AllocIdRequest { count: 1, ..Default::default() }).await.unwrap();
    assert_eq!(served.into_inner().count, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn random_bytes_close_the_connection_and_nothing_else() {
    let nodes = cluster().await;
    let node = &nodes[0];
    for address in [&node.client, &node.internal, &node.peer, &node.http] {
        for seed in 0..4u8 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let noise: Vec<u8> = (0..2000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 ^ seed).collect();
            // The server may have closed already.
            let _ = stream.write_all(&noise).await;
            let mut rest = Vec::new();
            let ended = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
            assert!(ended.is_ok(), "{address} keeps a connection that makes no sense");
        }
    }
    let health = node.milvus().await.check_health(CheckHealthRequest {}).await.unwrap().into_inner();
    assert!(health.is_healthy, "{:?}", health.reasons);
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_metrics_and_a_graceful_end() {
    let mut nodes = cluster().await;
    let node = nodes.remove(0);
    node.milvus().await.get_version(GetVersionRequest {}).await.unwrap();
    for path in ["/livez", "/readyz", "/healthz"] {
        let text = get(&node.http, path).await;
        assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("OK"), "{path}: {text}");
    }
    let metrics = get(&node.http, "/metrics").await;
    assert!(metrics.contains("roost_calls_total{method=\"milvus.proto.milvus.MilvusService/GetVersion\""), "{metrics}");
    node.replica.follow(2, None);
    assert!(get(&node.http, "/healthz").await.starts_with("HTTP/1.1 503"));
    assert!(get(&node.http, "/livez").await.starts_with("HTTP/1.1 200"));
    node.trigger.fire("test");
    let ended = tokio::time::timeout(Duration::from_secs(10), node.serving).await.unwrap().unwrap();
    assert!(ended.is_ok());
    assert!(TcpStream::connect(&node.client).await.is_err());
}
