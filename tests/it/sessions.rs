//! Worker nodes of three real nodes: both ways to register, death and what hides it, watches across a kill of the
//! leader, and `roostctl node`.

use std::time::{Duration, Instant};

use roost::client::{Coordinators, Registration, Standing, WorkerSession};
use roost::pb::etcd::api::{CompactionRequest, LeaseGrantRequest};
use roost::pb::session::session_client::SessionClient;
use roost::pb::session::*;
use serde_json::{Value, json};
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::support::client::channel;
use crate::support::etcd::{EtcdClient, enabled, within};
use crate::support::{Cluster, eventually, soon};

/// Longer than any election, and than any TTL here.
const PATIENCE: Duration = Duration::from_secs(60);

fn sessions(cluster: &Cluster, id: u64) -> SessionClient<Channel> {
    SessionClient::new(channel(&cluster.at(id).internal))
}

fn coordinators(cluster: &Cluster) -> Coordinators {
    Coordinators::new(cluster.endpoints(), None)
}

fn registration(role: Role, ttl_s: u32) -> Registration {
    Registration {
        role,
        address: "10.0.0.1:21123".into(),
        version: "2.6.18".into(),
        hostname: "h".into(),
        labels: [("zone".to_owned(), "a".to_owned())].into(),
        capacity: Some(Resources { cpu_millis: 4000, ..Resources::default() }),
        ttl_s,
    }
}

async fn workers(cluster: &Cluster, id: u64) -> Result<Vec<Worker>, Status> {
    Ok(within(sessions(cluster, id).list(ListRequest::default())).await?.workers)
}

/// Registers without keeping it alive.
async fn register(cluster: &Cluster, id: u64, request: &str, ttl_s: u32) -> RegisterResponse {
    let request = RegisterRequest {
        request_id: request.into(),
        role: Role::QueryNode.into(),
        address: "10.0.0.3:21123".into(),
        ttl_s,
        ..RegisterRequest::default()
    };
    soon("a node registers", async || within(sessions(cluster, id).register(request.clone())).await.ok()).await
}

async fn node_list(cluster: &Cluster) -> Value {
    cluster.ctl(&["-o", "json", "node", "list"]).await.json()["nodes"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ways_to_register_make_the_same_node_and_roostctl_operates_it() {
    let mut cluster = Cluster::start_with(3, enabled()).await;
    let followers = cluster.followers().await;
    let etcd = EtcdClient::new(&cluster.at(followers[0]).client);
    etcd.serves().await;
    let ours = WorkerSession::start(&coordinators(&cluster), registration(Role::StreamingNode, 10));
    let first = ours.live(PATIENCE).await.unwrap();
    assert_eq!(first.server_id, 1);
    assert_eq!(etcd.get("by-dev/meta/session/id").await.unwrap().unwrap().value, b"2");
    // What Milvus' processes read of it.
    let key = etcd.get("by-dev/meta/session/streamingnode-1").await.unwrap().unwrap();
    let said: Value = serde_json::from_slice(&key.value).unwrap();
    assert_eq!((&said["ServerID"], &said["Address"]), (&json!(1), &json!("10.0.0.1:21123")));
    assert_eq!(key.lease, first.lease_id);
    // A process of Milvus registers: the counter by compare-and-swap, a lease, a key.
    etcd.put("by-dev/meta/session/id", "3", 0).await.unwrap();
    let grant = LeaseGrantRequest { id: 0, ttl: 30 };
    let lease = within(etcd.lease.clone().lease_grant(grant)).await.unwrap().id;
    let milvus = json!({
        "ServerID": 2, "ServerName": "querynode", "Address": "10.0.0.2:21123", "TriggerKill": true,
        "Version": "2.6.18", "IndexEngineVersion": {"MinimalIndexVersion": 1}, "LeaseID": lease, "HostName": "m",
    });
    etcd.put("by-dev/meta/session/querynode-2", milvus.to_string(), lease).await.unwrap();
    ours.report(LoadReport { used: None, load: Some(0.25) });
    let nodes = soon("both are listed, with the load", async || {
        let nodes = node_list(&cluster).await;
        (nodes[0]["load"] == 0.25 && nodes[1]["id"] == 2).then_some(nodes)
    })
    .await;
    assert_eq!((&nodes[0]["role"], &nodes[1]["role"]), (&json!("streamingnode"), &json!("querynode")));
    assert_eq!((&nodes[1]["address"], &nodes[1]["load"]), (&json!("10.0.0.2:21123"), &Value::Null));
    assert_eq!(nodes[0]["capacity"]["cpu_millis"], 4000);

    let done = cluster.ctl(&["-o", "json", "node", "drain", "2"]).await.json();
    assert_eq!(done, json!({ "kind": "node", "name": "2", "done": "draining" }));
    cluster.ctl(&["node", "freeze", "1", "2"]).await.ok();
    let nodes = node_list(&cluster).await;
    assert_eq!((&nodes[0]["frozen"], &nodes[0]["draining"]), (&json!(true), &json!(false)));
    assert_eq!((&nodes[1]["frozen"], &nodes[1]["draining"]), (&json!(true), &json!(true)));
    cluster.ctl(&["node", "freeze", "1", "--undo"]).await.ok();
    let table = cluster.ctl(&["node", "list", "--role", "streamingnode"]).await.ok().stdout;
    assert!(table.contains("streamingnode") && table.contains("serving") && table.contains("25%"), "{table}");
    assert!(!table.contains("querynode"), "{table}");
    let text = cluster.ctl(&["node", "describe", "2"]).await.ok().stdout;
    assert!(text.contains("state:      draining") && text.contains("10.0.0.2:21123"), "{text}");
    cluster.ctl(&["node", "describe", "77"]).await.refused(1, "there is no worker node 77");
    cluster.ctl(&["node", "freeze", "77"]).await.refused(1, "node not found[node=77]");

    ours.leave(PATIENCE).await.unwrap();
    etcd.delete_prefix("by-dev/meta/session/querynode-2").await.unwrap();
    assert_eq!(node_list(&cluster).await, json!([]));
    assert_eq!(cluster.ctl(&["node", "list"]).await.ok().stdout, "no worker nodes\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_hangs_is_declared_dead_and_learns_it() {
    let cluster = Cluster::start_with(3, enabled()).await;
    let session = WorkerSession::start(&coordinators(&cluster), registration(Role::DataNode, 2));
    let first = session.live(PATIENCE).await.unwrap();
    session.pause(true);
    soon("it is dead", async || workers(&cluster, 1).await.ok()?.is_empty().then_some(())).await;
    assert_eq!(session.standing(), Standing::Live(first));
    session.pause(false);
    let mut standing = session.watch();
    let anew = standing.wait_for(|now| matches!(now, Standing::Live(now) if *now != first));
    let anew = tokio::time::timeout(PATIENCE, anew).await.unwrap().unwrap().clone();
    let Standing::Live(second) = anew else { panic!("{anew:?}") };
    assert_eq!(second.server_id, first.server_id + 1);
    // A node that says nothing at all, as after kill -9.
    drop(session);
    soon("it runs out", async || workers(&cluster, 2).await.ok()?.is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_leader_gives_every_node_its_whole_time_again() {
    const TTL: Duration = Duration::from_secs(6);
    let mut cluster = Cluster::start_with(3, enabled()).await;
    let leader = cluster.leader().await;
    let survivor = cluster.followers().await[0];
    let kept = WorkerSession::start(&coordinators(&cluster), registration(Role::StreamingNode, 6));
    let kept_id = kept.live(PATIENCE).await.unwrap().server_id;
    let silent = register(&cluster, survivor, "silent", 6).await;
    // Within the first half: later the leader would have noted how little is left.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let killed = Instant::now();
    cluster.node(leader).kill();
    let there = async |id| {
        let workers = workers(&cluster, survivor).await.ok()?;
        Some(workers.iter().any(|worker| worker.server_id == id))
    };
    eventually("the silent one is dead", PATIENCE, async || (!there(silent.server_id).await?).then_some(())).await;
    assert!(killed.elapsed() >= TTL - Duration::from_millis(500), "after {:?}", killed.elapsed());
    assert_eq!(there(kept_id).await, Some(true), "one that is kept alive did not notice");
    assert_eq!(kept.standing(), Standing::Live(kept.live(PATIENCE).await.unwrap()));
    assert_eq!(kept.live(PATIENCE).await.unwrap().server_id, kept_id);
}

async fn watch(cluster: &Cluster, id: u64, after_revision: u64) -> Result<Streaming<WatchResponse>, Status> {
    within(sessions(cluster, id).watch(WatchRequest { after_revision })).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_goes_on_across_a_kill_of_the_leader_and_misses_nothing() {
    let mut cluster = Cluster::start_with(3, enabled()).await;
    let leader = cluster.leader().await;
    let survivors = cluster.followers().await;
    let first = register(&cluster, leader, "a", 600).await;
    let second = register(&cluster, leader, "b", 600).await;
    let mut stream = watch(&cluster, leader, first.revision).await.unwrap();
    let told = within_stream(&mut stream).await.unwrap();
    assert_eq!((told.reset, told.changed[0].server_id, told.changed.len()), (false, second.server_id, 1));
    cluster.node(leader).kill();
    assert!(within_stream(&mut stream).await.is_err(), "it ends with its node");
    let leave = LeaveRequest { server_id: first.server_id };
    soon("one leaves", async || within(sessions(&cluster, survivors[0]).leave(leave)).await.ok()).await;
    let third = register(&cluster, survivors[0], "c", 600).await;
    assert!(third.revision > told.revision, "revisions rise across leaders");
    // The key space's history is not the workers'.
    let etcd = EtcdClient::new(&cluster.at(survivors[1]).client);
    let revision = soon("the etcd API takes writes", async || etcd.put("x", "y", 0).await.ok()).await;
    within(etcd.kv.clone().compact(CompactionRequest { revision, physical: true })).await.unwrap();
    let mut stream = watch(&cluster, survivors[1], told.revision).await.unwrap();
    let (mut gone, mut changed) = (Vec::new(), Vec::new());
    while changed.is_empty() {
        let told = within_stream(&mut stream).await.unwrap();
        assert!(!told.reset);
        gone.extend(told.gone.iter().map(|gone| gone.server_id));
        changed.extend(told.changed.iter().map(|worker| worker.server_id));
    }
    assert_eq!((gone, changed), (vec![first.server_id], vec![third.server_id]));
}

/// The next message, or why there is none.
async fn within_stream(stream: &mut Streaming<WatchResponse>) -> Result<WatchResponse, Status> {
    let next = tokio::time::timeout(PATIENCE, stream.message()).await.expect("something is told");
    next.and_then(|told| told.ok_or_else(|| Status::unavailable("the stream ended")))
}

/// The greatest index of any log.
async fn last_log_index(cluster: &Cluster) -> u64 {
    let status = cluster.ctl(&["-o", "json", "cluster", "status"]).await.json();
    let nodes = status["nodes"].as_array().unwrap().clone();
    nodes.iter().filter_map(|node| node["status"]["last_log_index"].as_u64()).max().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_keep_alives_leave_the_log_alone() {
    const COUNT: u64 = 50_000;
    let mut cluster = Cluster::start_with(3, enabled()).await;
    let follower = cluster.followers().await[0];
    let RegisterResponse { server_id, lease_id, .. } = register(&cluster, follower, "a", 600).await;
    let before = last_log_index(&cluster).await;
    let load = Some(LoadReport { used: None, load: Some(0.5) });
    let asked = futures::stream::iter((0..COUNT).map(move |_| KeepAliveRequest { server_id, lease_id, load }));
    let mut answers = within(sessions(&cluster, follower).keep_alive(asked)).await.unwrap();
    let mut alive = 0;
    while let Some(answer) = answers.message().await.unwrap() {
        alive += u64::from(answer.alive);
    }
    assert_eq!(alive, COUNT);
    // The oracle's bound moves on by itself, less than once a second.
    let entries = last_log_index(&cluster).await - before;
    assert!(entries < COUNT / 100, "{entries} entries");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_coordinators_sessions_follow_the_leader() {
    let mut settings = enabled();
    settings.push(("ROOST_ETCD_PUBLISH_COORDINATORS", "true".to_owned()));
    let mut cluster = Cluster::start_with(3, settings).await;
    let leader = cluster.leader().await;
    let survivor = cluster.followers().await[0];
    let etcd = EtcdClient::new(&cluster.at(survivor).client);
    let published = async |role: &str| {
        let row = etcd.get(&format!("by-dev/meta/session/{role}")).await.ok()??;
        let said: Value = serde_json::from_slice(&row.value).unwrap();
        Some((said["Address"].as_str()?.to_owned(), said["ServerID"].as_i64()?))
    };
    for role in ["rootcoord", "mixcoord"] {
        let own = cluster.at(leader).internal;
        soon("it is published", async || (published(role).await? == (own.clone(), 1)).then_some(())).await;
    }
    cluster.node(leader).kill();
    let next = cluster.leader().await;
    let own = cluster.at(next).internal;
    soon("the next leader is", async || (published("rootcoord").await? == (own.clone(), 1)).then_some(())).await;
    let worker = register(&cluster, survivor, "a", 600).await;
    assert_eq!(worker.server_id, 2, "the coordinator took the first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_roost_that_hangs_costs_no_worker_its_session() {
    let mut cluster = Cluster::start_with(3, enabled()).await;
    let ours: Vec<WorkerSession> =
        (0..4).map(|_| WorkerSession::start(&coordinators(&cluster), registration(Role::QueryNode, 6))).collect();
    let mut before = Vec::new();
    for session in &ours {
        before.push(session.live(PATIENCE).await.unwrap());
    }
    // Keep-alives go by the node that answered last, the leader here.
    let hung = cluster.leader().await;
    cluster.node(hung).pause();
    let next = cluster.leader().await;
    assert_ne!(next, hung);
    // One that says nothing from now on dies: by then the others would have, too.
    let silent = register(&cluster, next, "silent", 12).await;
    eventually("the silent one is dead", PATIENCE, async || {
        let workers = workers(&cluster, next).await.ok()?;
        workers.iter().all(|worker| worker.server_id != silent.server_id).then_some(())
    })
    .await;
    let after: Vec<Standing> = ours.iter().map(WorkerSession::standing).collect();
    assert_eq!(after, before.into_iter().map(Standing::Live).collect::<Vec<_>>());
    cluster.node(hung).resume();
}
