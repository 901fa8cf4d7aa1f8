//! Worker nodes of three whole servers, by Roost's own API and by Milvus' keys.

use futures::stream;
use tonic::Streaming;

use super::etcd::kv;
use super::*;
use crate::client::{Coordinators, Registration, Standing, WorkerSession};
use crate::pb::etcd::api::lease_client::LeaseClient;
use crate::pb::etcd::api::{LeaseGrantRequest, PutRequest};
use crate::pb::session::session_client::SessionClient;
use crate::pb::session::*;

async fn sessions(node: &Running) -> SessionClient<Channel> {
    SessionClient::new(dial(&node.internal).await)
}

fn registration(request: &str, role: Role) -> RegisterRequest {
    RegisterRequest {
        request_id: request.into(),
        role: role.into(),
        address: "10.0.0.1:21123".into(),
        version: "2.6.18".into(),
        hostname: "h".into(),
        labels: [("zone".to_owned(), "a".to_owned())].into(),
        capacity: Some(Resources { cpu_millis: 1000, ..Resources::default() }),
        ttl_s: 60,
    }
}

/// Registers, as soon as the leader has said where sessions are.
async fn register(node: &Running, request: RegisterRequest) -> RegisterResponse {
    let mut client = sessions(node).await;
    let registering = async {
        loop {
            match client.register(request.clone()).await {
                Ok(registered) => return registered.into_inner(),
                Err(status) if status.code() == Code::Unavailable => {}
                Err(status) => panic!("{status}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), registering).await.unwrap()
}

/// By server id, whose load, if it is there.
async fn list(node: &Running) -> Vec<Worker> {
    sessions(node).await.list(ListRequest::default()).await.unwrap().into_inner().workers
}

async fn next(watch: &mut Streaming<WatchResponse>) -> WatchResponse {
    let next = tokio::time::timeout(Duration::from_secs(30), watch.message());
    next.await.expect("a change").unwrap().expect("the watch goes on")
}

fn ids(workers: &[Worker]) -> Vec<i64> {
    workers.iter().map(|worker| worker.server_id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn any_node_takes_any_worker() {
    let nodes = cluster().await;
    let registered = register(&nodes[2], registration("a", Role::StreamingNode)).await;
    assert_eq!((registered.server_id, registered.ttl_s), (1, 60));
    let again = register(&nodes[1], registration("a", Role::StreamingNode)).await;
    assert_eq!(again, registered, "the same request at another node");
    // In Milvus' own way.
    LeaseClient::new(dial(&nodes[1].client).await).lease_grant(LeaseGrantRequest { id: 7, ttl: 600 }).await.unwrap();
    let value = r#"{"ServerID":5,"ServerName":"querynode","Address":"10.0.0.2:21123","Version":"2.6.18"}"#;
    let key = "by-dev/meta/session/querynode-5".into();
    let put = PutRequest { key, value: value.into(), lease: 7, ..PutRequest::default() };
    kv(&nodes[1]).await.put(put).await.unwrap();
    for node in &nodes {
        let load = LoadReport { used: Some(Resources { cpu_millis: 250, ..Resources::default() }), load: None };
        let RegisterResponse { server_id, lease_id, .. } = registered;
        let asked = [
            KeepAliveRequest { server_id, lease_id, load: Some(load) },
            KeepAliveRequest { server_id: 5, lease_id: 7, load: None },
            KeepAliveRequest { server_id: 99, lease_id: 7, load: None },
            KeepAliveRequest { server_id: 99, lease_id: 99, load: None },
        ];
        let mut answers = sessions(node).await.keep_alive(stream::iter(asked)).await.unwrap().into_inner();
        let mut told = Vec::new();
        while let Some(answer) = answers.message().await.unwrap() {
            told.push((answer.server_id, answer.lease_id, answer.alive, answer.ttl_s));
        }
        told.sort_unstable();
        assert_eq!(told, [(1, lease_id, true, 60), (5, 7, true, 600), (99, 7, false, 0), (99, 99, false, 0)]);
        let workers = list(node).await;
        assert_eq!(ids(&workers), [1, 5]);
        assert_eq!(workers[0].load, Some(LoadReport { load: Some(0.25), ..load }), "a quarter of its CPU");
        assert_eq!(workers[1].load, None);
    }
    let only = ListRequest { role: Role::QueryNode.into(), server_id: 0 };
    let found = sessions(&nodes[0]).await.list(only).await.unwrap().into_inner();
    assert_eq!((ids(&found.workers), found.workers[0].role()), (vec![5], Role::QueryNode));
    let metrics = get(&nodes[1].http, "/metrics").await;
    assert!(metrics.contains("roost_workers{role=\"streamingnode\",standing=\"serving\"} 1"), "{metrics}");
    sessions(&nodes[1]).await.leave(LeaveRequest { server_id: 1 }).await.unwrap();
    sessions(&nodes[1]).await.leave(LeaveRequest { server_id: 1 }).await.unwrap();
    assert_eq!(ids(&list(&nodes[2]).await), [5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_are_drained_and_frozen_and_bad_requests_refused() {
    let nodes = cluster().await;
    let mut client = sessions(&nodes[1]).await;
    for request in ["a", "b"] {
        register(&nodes[0], registration(request, Role::DataNode)).await;
    }
    client.freeze(FreezeRequest { server_ids: vec![1, 2], frozen: true }).await.unwrap();
    client.drain(DrainRequest { server_id: 2, draining: true }).await.unwrap();
    let shown = |workers: Vec<Worker>| workers.iter().map(|one| (one.frozen, one.draining)).collect::<Vec<_>>();
    assert_eq!(shown(list(&nodes[2]).await), [(true, false), (true, true)]);
    client.freeze(FreezeRequest { server_ids: vec![1], frozen: false }).await.unwrap();
    client.drain(DrainRequest { server_id: 2, draining: false }).await.unwrap();
    assert_eq!(shown(list(&nodes[2]).await), [(false, false), (true, false)]);
    let missing = client.drain(DrainRequest { server_id: 9, draining: true }).await.unwrap_err();
    assert_eq!((missing.code(), missing.message()), (Code::FailedPrecondition, "node not found[node=9]"));
    let none = client.freeze(FreezeRequest { server_ids: vec![], frozen: true }).await.unwrap_err();
    assert_eq!(none.code(), Code::InvalidArgument);
    for bad in [
        RegisterRequest::default(),
        RegisterRequest { request_id: vec![0; 65], ..registration("", Role::Proxy) },
        registration("c", Role::Unspecified),
        RegisterRequest { role: 77, ..registration("c", Role::Proxy) },
        RegisterRequest { address: "nowhere".into(), ..registration("c", Role::Proxy) },
        RegisterRequest { ttl_s: 1, ..registration("c", Role::Proxy) },
    ] {
        let refused = client.register(bad.clone()).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{bad:?}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_each_change_and_goes_on_at_another_node() {
    let mut nodes = cluster().await;
    register(&nodes[0], registration("a", Role::DataNode)).await;
    let watch = async |node: &Running, after_revision| {
        sessions(node).await.watch(WatchRequest { after_revision }).await.unwrap().into_inner()
    };
    let mut first = watch(&nodes[1], 0).await;
    let all = next(&mut first).await;
    assert_eq!((all.reset, ids(&all.changed)), (true, vec![1]));
    register(&nodes[0], registration("b", Role::QueryNode)).await;
    let told = next(&mut first).await;
    assert_eq!((told.reset, ids(&told.changed), told.gone.len()), (false, vec![2], 0));
    assert!(told.revision > all.revision);
    // The node stops: the watcher is sent on, and misses nothing.
    let stopping = nodes.remove(1);
    stopping.trigger.fire("test");
    let ended = tokio::time::timeout(Duration::from_secs(30), first.message()).await.unwrap().unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable);
    sessions(&nodes[0]).await.leave(LeaveRequest { server_id: 1 }).await.unwrap();
    let mut second = watch(&nodes[1], told.revision).await;
    let told = next(&mut second).await;
    assert_eq!((told.reset, ids(&told.changed)), (false, vec![]));
    assert_eq!(told.gone, [Gone { server_id: 1, role: Role::DataNode.into() }]);
    let mut third = watch(&nodes[0], told.revision).await;
    let nothing = next(&mut third).await;
    assert_eq!((nothing.reset, nothing.revision, nothing.changed.len()), (false, told.revision, 0), "it has begun");
    let unsaid = RegisterRequest { ttl_s: 0, ..registration("c", Role::Proxy) };
    assert_eq!(register(&nodes[0], unsaid).await.ttl_s, 10, "the default");
    stopping.serving.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn keep_alives_outlive_their_leader_and_end_with_their_node() {
    let mut nodes = cluster().await;
    let RegisterResponse { server_id, lease_id, .. } = register(&nodes[0], registration("a", Role::DataNode)).await;
    let (requests, sent) = tokio::sync::mpsc::channel(1);
    let sent = tokio_stream::wrappers::ReceiverStream::new(sent);
    let mut answers = sessions(&nodes[1]).await.keep_alive(sent).await.unwrap().into_inner();
    let ask = async || requests.send(KeepAliveRequest { server_id, lease_id, load: None }).await.unwrap();
    ask().await;
    assert!(answers.message().await.unwrap().unwrap().alive);
    elect(&nodes, 2, 3);
    ask().await;
    assert!(answers.message().await.unwrap().unwrap().alive, "by the next leader");
    let node = nodes.remove(1);
    node.trigger.fire("test");
    let ended = tokio::time::timeout(Duration::from_secs(30), answers.message()).await.unwrap().unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable);
    node.serving.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workers_client_registers_stays_and_registers_anew() {
    let mut nodes = cluster().await;
    let within = Duration::from_secs(30);
    let mut endpoints: Vec<String> = nodes.iter().map(|node| node.internal.clone()).collect();
    endpoints.insert(0, "127.0.0.1:1".into());
    let coordinators = Coordinators::new(endpoints, None);
    let registration = Registration {
        role: Role::StreamingNode,
        address: "10.0.0.1:21123".into(),
        version: "2.6.18".into(),
        ttl_s: 2,
        ..Registration::default()
    };
    let session = WorkerSession::start(&coordinators, registration.clone());
    let first = session.live(within).await.unwrap();
    assert_eq!((first.server_id, first.ttl), (1, Duration::from_secs(2)));
    session.report(LoadReport { used: None, load: Some(0.5) });
    let reported = async {
        while list(&nodes[0]).await[0].load.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(within, reported).await.unwrap();
    session.drain(within).await.unwrap();
    assert!(list(&nodes[0]).await[0].draining);
    // Its node goes; it stays by way of another.
    let node = nodes.remove(1);
    node.trigger.fire("test");
    node.serving.await.unwrap().unwrap();
    let mut standing = session.watch();
    session.pause(true);
    let dead = async {
        while !list(&nodes[0]).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(within, dead).await.expect("a paused node is declared dead");
    assert_eq!(session.standing(), Standing::Live(first), "which it does not know");
    standing.mark_unchanged();
    session.pause(false);
    let told = standing.wait_for(|now| *now != Standing::Live(first));
    let told = tokio::time::timeout(within, told).await.unwrap().unwrap().clone();
    // It may have registered anew by the time that this is looked at.
    assert!(matches!(told, Standing::Joining { .. } | Standing::Live(_)), "{told:?}");
    let second = session.live(within).await.unwrap();
    assert_eq!(second.server_id, 2);
    session.leave(within).await.unwrap();
    assert_eq!(list(&nodes[0]).await, []);
    let refused = WorkerSession::start(&coordinators, Registration { address: "here".into(), ..registration });
    let refused = refused.live(Duration::from_secs(2)).await.unwrap_err();
    assert!(refused.to_string().contains("the address `here` is not host:port"), "{refused}");
}
