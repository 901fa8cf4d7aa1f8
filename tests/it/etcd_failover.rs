//! What etcd's clients see when the leader is killed with -9: no write that fails, is lost or is done twice, no event
//! that is lost or repeated, no lease that ends early or never.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use roost::pb::etcd::api::compare::{CompareResult, CompareTarget, TargetUnion};
use roost::pb::etcd::api::request_op::Request;
use roost::pb::etcd::api::watch_request::RequestUnion;
use roost::pb::etcd::api::{
    Compare, LeaseGrantRequest, LeaseKeepAliveRequest, LeaseTimeToLiveRequest, PutRequest, RequestOp, TxnRequest,
    WatchCreateRequest, WatchRequest,
};
use tokio::task::JoinSet;
use tonic::Status;

use crate::support::etcd::{EtcdClient, after_prefix, enabled, within};
use crate::support::{Cluster, eventually, soon};

/// Writes that must be acknowledged before the kill, and after it.
const WRITES: u64 = 100;
/// How long a client that meets an election may wait.
const FAILOVER: Duration = Duration::from_secs(10);

async fn start() -> (Cluster, Vec<EtcdClient>) {
    let cluster = Cluster::start_with(3, enabled()).await;
    let clients: Vec<EtcdClient> = (1..=3).map(|id| EtcdClient::new(&cluster.at(id).client)).collect();
    for client in &clients {
        client.serves().await;
    }
    (cluster, clients)
}

/// One step of a counter by compare-and-swap; whether it was taken.
async fn increment(client: &EtcdClient, key: &str) -> Result<bool, Status> {
    let row = client.get(key).await?.expect("the counter was made");
    let count: u64 = String::from_utf8(row.value).unwrap().parse().unwrap();
    let compare = Compare {
        key: key.into(),
        result: CompareResult::Equal.into(),
        target: CompareTarget::Mod.into(),
        target_union: Some(TargetUnion::ModRevision(row.mod_revision)),
        ..Compare::default()
    };
    let put = PutRequest { key: key.into(), value: (count + 1).to_string().into(), ..PutRequest::default() };
    let success = vec![RequestOp { request: Some(Request::RequestPut(put)) }];
    let txn = TxnRequest { compare: vec![compare], success, failure: Vec::new() };
    Ok(within(client.kv.clone().txn(txn)).await?.succeeded)
}

#[derive(Default)]
struct Tally {
    stop: AtomicBool,
    increments: AtomicU64,
    /// Increments whose outcome the client was not told.
    unknown: AtomicU64,
    puts: AtomicU64,
}

/// Increments the counter and puts keys of its own until it is told to stop. Returns the puts that were acknowledged.
async fn work(node: u64, client: EtcdClient, may_lose: bool, tally: Arc<Tally>) -> Vec<(String, i64)> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        if tally.stop.load(Ordering::Relaxed) {
            break;
        }
        match increment(&client, "counter").await {
            Ok(true) => _ = tally.increments.fetch_add(1, Ordering::Relaxed),
            Ok(false) => {}
            Err(status) => {
                assert!(may_lose, "through node {node}, which lives: {status}");
                tally.unknown.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        let key = format!("put/{node}/{number:06}");
        match client.put(&key, "once", 0).await {
            Ok(revision) => {
                tally.puts.fetch_add(1, Ordering::Relaxed);
                acknowledged.push((key, revision));
            }
            Err(status) => assert!(may_lose, "through node {node}, which lives: {status}"),
        }
    }
    acknowledged
}

/// Collects the keys of all events under a prefix, each of which must be newer than the one before.
async fn observe(client: EtcdClient, seen: Arc<Seen>) {
    let create = WatchCreateRequest {
        key: "put/".into(),
        range_end: after_prefix("put/"),
        start_revision: 1,
        ..WatchCreateRequest::default()
    };
    let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    // The client's half stays open.
    let requests = futures::StreamExt::chain(tokio_stream::iter([request]), tokio_stream::pending());
    let mut stream = client.watch.clone().watch(requests).await.unwrap().into_inner();
    let mut last = 0;
    while let Some(message) = stream.message().await.expect("the watch goes on") {
        assert!(!message.canceled, "{message:?}");
        for event in message.events {
            let row = event.kv.unwrap();
            assert!(row.mod_revision > last, "event at revision {} after {last}", row.mod_revision);
            last = row.mod_revision;
            seen.0.lock().unwrap().push((row.key, row.mod_revision));
        }
    }
    panic!("the watch ended");
}

/// What a watcher has seen until now.
#[derive(Default)]
struct Seen(Mutex<Vec<(Vec<u8>, i64)>>);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_write_and_no_event_is_lost_or_doubled_when_the_leader_is_killed() {
    let (mut cluster, clients) = start().await;
    clients[0].put("counter", "0", 0).await.unwrap();
    let leader = cluster.leader().await;
    let survivors: Vec<usize> = (1..=3).filter(|id| *id != leader).map(|id| id as usize - 1).collect();
    let seen: Vec<Arc<Seen>> = survivors.iter().map(|_| Arc::default()).collect();
    let mut observers = JoinSet::new();
    for (place, survivor) in survivors.iter().enumerate() {
        observers.spawn(observe(clients[*survivor].clone(), seen[place].clone()));
    }
    let tally = Arc::new(Tally::default());
    let mut workers = JoinSet::new();
    for node in 1..=3 {
        for _ in 0..2 {
            let number = workers.len() as u64 * 10 + node;
            let client = clients[node as usize - 1].clone();
            workers.spawn(work(number, client, node == leader, tally.clone()));
        }
    }
    let puts = |tally: &Tally| tally.puts.load(Ordering::Relaxed);
    soon("writes before the kill", async || (puts(&tally) >= WRITES).then_some(())).await;
    cluster.node(leader).kill();
    let before = puts(&tally);
    eventually("writes after the kill", FAILOVER, async || (puts(&tally) >= before + WRITES).then_some(())).await;
    cluster.node(leader).start();
    cluster.ready().await;
    tally.stop.store(true, Ordering::Relaxed);
    let mut acknowledged = Vec::new();
    while let Some(keys) = workers.join_next().await {
        acknowledged.extend(keys.unwrap());
    }

    for client in &clients {
        client.serves().await;
        let rows = client.get_prefix("put/").await.unwrap();
        let there: BTreeSet<(String, i64)> =
            rows.iter().map(|row| (String::from_utf8(row.key.clone()).unwrap(), row.mod_revision)).collect();
        let lost: Vec<_> = acknowledged.iter().filter(|put| !there.contains(*put)).collect();
        assert!(lost.is_empty(), "acknowledged and not there: {lost:?}");
        let doubled: Vec<_> = rows.iter().filter(|row| row.version != 1).collect();
        assert!(doubled.is_empty(), "put once and done more often: {doubled:?}");
        let counter = client.get("counter").await.unwrap().unwrap();
        let count: u64 = String::from_utf8(counter.value).unwrap().parse().unwrap();
        let (least, unknown) = (tally.increments.load(Ordering::Relaxed), tally.unknown.load(Ordering::Relaxed));
        assert!((least..=least + unknown).contains(&count), "{count} is not {least} and up to {unknown} more");
        assert_eq!(counter.version as u64, count + 1, "one version for each increment");
    }
    let mut expected: Vec<(Vec<u8>, i64)> =
        clients[0].get_prefix("put/").await.unwrap().into_iter().map(|row| (row.key, row.mod_revision)).collect();
    expected.sort_by_key(|(_, revision)| *revision);
    for seen in &seen {
        soon("the watcher saw every write once, in order", async || {
            (*seen.0.lock().unwrap() == expected).then_some(())
        })
        .await;
    }
    assert!(observers.try_join_next().is_none(), "watches go on");
    eprintln!("{} writes acknowledged, {before} of them before the kill", acknowledged.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_outlive_their_leader_and_end_after_it() {
    const TTL_S: i64 = 5;
    let (mut cluster, clients) = start().await;
    let leader = cluster.leader().await;
    let client = clients[(leader % 3) as usize].clone();
    for (id, key) in [(1, "left"), (2, "kept")] {
        let granted = within(client.lease.clone().lease_grant(LeaseGrantRequest { id, ttl: TTL_S })).await.unwrap();
        assert_eq!(granted.ttl, TTL_S);
        client.put(key, "x", id).await.unwrap();
    }
    // The one that is kept is renewed through a stream that goes on through the kill.
    let (renewals, receiver) = tokio::sync::mpsc::channel(1);
    let mut answers = client
        .lease
        .clone()
        .lease_keep_alive(tokio_stream::wrappers::ReceiverStream::new(receiver))
        .await
        .unwrap()
        .into_inner();
    let keeper = tokio::spawn(async move {
        loop {
            renewals.send(LeaseKeepAliveRequest { id: 2 }).await.unwrap();
            let answer = answers.message().await.unwrap().expect("the stream goes on");
            assert_eq!(answer.ttl, TTL_S, "renewed");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    cluster.node(leader).kill();
    let killed = Instant::now();
    let remaining = async || {
        let request = LeaseTimeToLiveRequest { id: 1, keys: true };
        within(client.lease.clone().lease_time_to_live(request)).await.ok()
    };
    let left = soon("the new leader tells what is left of a lease", remaining).await;
    assert!(left.ttl >= TTL_S - 1 || killed.elapsed() > Duration::from_secs(1), "{left:?}: all begin anew");
    assert_eq!((left.granted_ttl, left.keys.clone()), (TTL_S, vec![b"left".to_vec()]));
    let gone = async || client.get("left").await.ok()?.is_none().then_some(Instant::now());
    let ended = eventually("the lease ends", Duration::from_secs(60), gone).await;
    let lived = ended - killed;
    assert!(lived >= Duration::from_secs(TTL_S as u64 - 1), "after {lived:?} the lease was over");
    assert!(client.get("kept").await.unwrap().is_some(), "what is renewed stays");
    assert!(!keeper.is_finished(), "every renewal was answered");
    keeper.abort();
    let gone = async || client.get("kept").await.ok()?.is_none().then_some(());
    eventually("what is renewed no longer ends too", Duration::from_secs(60), gone).await;
    eprintln!("a lease of {TTL_S} s ended {lived:.1?} after its leader was killed");
}
