//! Streams without an end: what they are counted as, and how they end with their node.

use futures::StreamExt;
use tonic::Streaming;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::etcd::kv;
use super::*;
use crate::pb::etcd::api::lease_client::LeaseClient;
use crate::pb::etcd::api::watch_client::WatchClient;
use crate::pb::etcd::api::watch_request::RequestUnion;
use crate::pb::etcd::api::*;
use crate::pb::etcd::election::LeaderRequest;
use crate::pb::etcd::election::election_client::ElectionClient;
use crate::pb::tso::timestamp_client::TimestampClient;

/// Longer than anything takes here unless it hangs.
const HANGS: Duration = Duration::from_secs(30);

/// These, and then the client's half stays open.
fn then_nothing<T: Send + 'static>(asked: Vec<T>) -> impl futures::Stream<Item = T> + Send + 'static {
    futures::stream::iter(asked).chain(futures::stream::pending())
}

async fn message<T>(stream: &mut Streaming<T>) -> Result<T, tonic::Status> {
    let next = tokio::time::timeout(HANGS, stream.message()).await.expect("nothing came");
    next.map(|message| message.expect("it ends with an error"))
}

fn watcher(key: &str, watch_id: i64, start_revision: i64) -> WatchRequest {
    let create = WatchCreateRequest { key: key.into(), watch_id, start_revision, ..Default::default() };
    WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
}

async fn watch(node: &Running, keys: &[&str]) -> Streaming<WatchResponse> {
    let asked = (1..).zip(keys).map(|(id, key)| watcher(key, id, 1)).collect();
    let mut stream = WatchClient::new(dial(&node.client).await).watch(then_nothing(asked)).await.unwrap().into_inner();
    for _ in keys {
        assert!(message(&mut stream).await.unwrap().created);
    }
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_without_an_end_do_not_hold_up_a_stop() {
    let mut nodes = cluster().await;
    kv(&nodes[0]).await.put(PutRequest { key: "a".into(), ..Default::default() }).await.unwrap();
    let node = nodes.remove(1);
    let channel = dial(&node.client).await;
    let mut watch = watch(&node, &["a"]).await;
    assert_eq!(message(&mut watch).await.unwrap().events.len(), 1);
    let mut leases = LeaseClient::new(channel.clone());
    leases.lease_grant(LeaseGrantRequest { id: 7, ttl: 300 }).await.unwrap();
    let renewals = then_nothing(vec![LeaseKeepAliveRequest { id: 7 }]);
    let mut kept = leases.lease_keep_alive(renewals).await.unwrap().into_inner();
    assert_eq!(message(&mut kept).await.unwrap().ttl, 300);
    let chair = LeaderRequest { name: "chair".into() };
    let mut observed = ElectionClient::new(channel.clone()).observe(chair).await.unwrap().into_inner();
    let asked = HealthCheckRequest { service: String::new() };
    let mut health = HealthClient::new(channel).watch(asked).await.unwrap().into_inner();
    message(&mut health).await.unwrap();
    // The leader's, through this node.
    let asked = then_nothing(vec![tso::AllocateRequest { id: 1, count: 1 }]);
    let mut timestamps = TimestampClient::new(dial(&node.internal).await).allocate(asked).await.unwrap().into_inner();
    assert_eq!(message(&mut timestamps).await.unwrap().error, "");

    let asked = Instant::now();
    node.trigger.fire("test");
    let stopped = (Code::Unavailable, "etcdserver: server stopped".to_owned());
    let told = |status: tonic::Status| (status.code(), status.message().to_owned());
    assert_eq!(told(message(&mut watch).await.unwrap_err()), stopped);
    assert_eq!(told(message(&mut kept).await.unwrap_err()), stopped);
    assert_eq!(told(message(&mut observed).await.unwrap_err()), stopped);
    let ended = message(&mut timestamps).await.unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable, "{ended}");
    let ended = loop {
        // It may say first that the node no longer serves.
        if let Err(status) = message(&mut health).await {
            break status;
        }
    };
    assert_eq!(told(ended), (Code::Unavailable, "this node stops".to_owned()));
    tokio::time::timeout(HANGS, node.serving).await.unwrap().unwrap().unwrap();
    let took = asked.elapsed();
    assert!(took < limits::DRAIN_WAIT / 2, "it waited {took:?} for idle streams");
    // Others go on.
    kv(&nodes[1]).await.put(PutRequest { key: "a".into(), ..Default::default() }).await.unwrap();
}

/// The value of a series without labels.
async fn metric(address: &str, name: &str) -> i64 {
    let text = get(address, "/metrics").await;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name}:\n{text}")).parse().unwrap()
}

async fn until_metric(address: &str, name: &str, expected: i64) {
    let waiting = async {
        while metric(address, name).await != expected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(HANGS, waiting).await.unwrap_or_else(|_| panic!("{name} is not {expected}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_leases_and_revisions_are_counted() {
    let nodes = cluster().await;
    let (leader, node) = (&nodes[0].http, &nodes[1]);
    let mut client = kv(node).await;
    for number in 0..10 {
        client.put(PutRequest { key: "a".into(), value: vec![number], ..Default::default() }).await.unwrap();
    }
    client.compact(CompactionRequest { revision: 4, physical: true }).await.unwrap();
    for (name, expected) in [("key_space_revision", 11), ("key_space_compacted_revision", 4), ("watch_revision", 11)] {
        until_metric(&node.http, &format!("roost_{name}"), expected).await;
    }
    let mut watches = WatchClient::new(dial(&node.client).await);
    let all = vec![watcher("a", 1, 5), watcher("a", 2, 5), watcher("b", 3, 5)];
    // The client's half ends, so that a stream is over as soon as its replies are dropped.
    let mut first = watches.watch(futures::stream::iter(all)).await.unwrap().into_inner();
    let mut seen = 0;
    while seen < 14 {
        seen += message(&mut first).await.unwrap().events.len();
    }
    let second = watches.watch(futures::stream::iter(vec![watcher("c", 1, 0)])).await.unwrap();
    until_metric(&node.http, "roost_watch_streams", 2).await;
    until_metric(&node.http, "roost_watchers", 4).await;
    until_metric(&node.http, "roost_watch_ranges_behind", 0).await;
    assert_eq!(metric(&node.http, "roost_watch_events_total").await, 14, "seven revisions, two watchers");
    client.put(PutRequest { key: "a".into(), ..Default::default() }).await.unwrap();
    until_metric(&node.http, "roost_watch_events_total", 16).await;
    until_metric(&node.http, "roost_watch_queued_bytes", 0).await;
    drop(second);
    until_metric(&node.http, "roost_watch_streams", 1).await;
    drop(first);
    until_metric(&node.http, "roost_watch_streams", 0).await;
    assert_eq!(metric(&node.http, "roost_watchers").await, 0);

    let mut leases = LeaseClient::new(dial(&node.client).await);
    for id in 1..=3 {
        leases.lease_grant(LeaseGrantRequest { id, ttl: 300 }).await.unwrap();
    }
    until_metric(leader, "roost_leases", 3).await;
    assert_eq!(metric(&node.http, "roost_leases").await, 0, "only the leader watches them");
    let renewals = then_nothing([1, 2, 9].map(|id| LeaseKeepAliveRequest { id }).into());
    let mut kept = leases.lease_keep_alive(renewals).await.unwrap().into_inner();
    for _ in 0..3 {
        message(&mut kept).await.unwrap();
    }
    assert_eq!(metric(&node.http, "roost_lease_keep_alives_total").await, 2, "one of them is not there");
    leases.lease_revoke(LeaseRevokeRequest { id: 3 }).await.unwrap();
    until_metric(leader, "roost_leases", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_reads_history_is_counted_as_behind() {
    let nodes = cluster().await;
    let mut client = kv(&nodes[0]).await;
    for _ in 0..40 {
        let value = vec![0; 1 << 20];
        client.put(PutRequest { key: "a".into(), value, ..Default::default() }).await.unwrap();
    }
    // Nothing is read of it: what is on its way fills the connection, and the rest waits in the tables.
    let mut stalled = watch(&nodes[0], &["a"]).await;
    until_metric(&nodes[0].http, "roost_watch_ranges_behind", 1).await;
    let mut seen = 0;
    while seen < 40 {
        seen += message(&mut stalled).await.unwrap().events.len();
    }
    until_metric(&nodes[0].http, "roost_watch_ranges_behind", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_at_the_client_port_too_where_nobody_needs_the_secret() {
    let nodes = cluster().await;
    let text = get(&nodes[1].client, "/metrics").await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert!(metric(&nodes[1].client, "process_resident_memory_bytes").await > 1 << 20);
    assert!(get(&nodes[1].client, "/readyz").await.contains("grpc-status: 12"), "that is the HTTP listener's");
    assert!(get(&nodes[1].client, "/etcdserverpb.KV/Range").await.starts_with("HTTP/1.1 505"));
    for guard in [None, Some(Guard::with_secret(SECRET))] {
        let guarded = cluster_with(guard).await;
        let mut stream = TcpStream::connect(&guarded[0].client).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        // It may be cut off.
        let _ = tokio::time::timeout(HANGS, stream.read_to_end(&mut answer)).await.unwrap();
        assert!(!String::from_utf8_lossy(&answer).contains("roost_"), "no metrics without HTTP/2 and the secret");
    }
}
