//! Timestamps and ids while the leader is killed, paused for longer than its lease, and moved: always unique, and
//! timestamps in the order of real time, whichever node was asked and by which call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use roost::client::Timestamps;
use roost::pb::tso::AllocateRequest;
use roost::pb::tso::timestamp_client::TimestampClient;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;

use crate::support::client::channel;
use crate::support::intervals::{Given, History};
use crate::support::{Client, Cluster, soon};

const PAUSE: Duration = Duration::from_millis(10);
/// A stream whose node hangs is opened anew.
const STREAM_ANSWER: Duration = Duration::from_secs(2);

/// Askers of every kind, through every node.
struct Askers {
    timestamps: History,
    ids: History,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Askers {
    fn start(cluster: &Cluster) -> Self {
        let mut askers = Askers {
            timestamps: History::default(),
            ids: History::default(),
            stop: Arc::default(),
            tasks: JoinSet::new(),
        };
        let shared = Timestamps::new(cluster.endpoints(), None);
        for number in 0..2 {
            let shared = shared.clone();
            askers.ask(&askers.timestamps.clone(), format!("shared {number}"), 7, move |count| {
                let shared = shared.clone();
                async move { shared.allocate(count, Duration::from_secs(15)).await.ok() }
            });
        }
        for node in cluster.ids() {
            let client = cluster.client(node);
            let through = client.clone();
            askers.ask(&askers.timestamps.clone(), format!("{node} milvus"), 1, move |_| {
                let client = through.clone();
                async move { client.timestamp().await.ok() }
            });
            let through = client.clone();
            askers.ask(&askers.timestamps.clone(), format!("{node} rootcoord"), 1000, move |count| {
                let client = through.clone();
                async move { client.timestamps(count).await.ok() }
            });
            askers.ask(&askers.ids.clone(), format!("{node} ids"), 50, move |count| {
                let client = client.clone();
                async move { client.ids(count).await.ok().map(i64::cast_unsigned) }
            });
            let streaming = stream(
                cluster.at(node).internal,
                format!("{node} stream"),
                askers.timestamps.clone(),
                askers.stop.clone(),
            );
            askers.tasks.spawn(streaming);
        }
        askers
    }

    /// Repeats `call` with a count of 1 to `most`, and notes what it gave.
    fn ask<F>(&mut self, history: &History, by: String, most: u32, call: impl Fn(u32) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Option<u64>> + Send,
    {
        let (history, stop) = (history.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let (asked, count) = (Instant::now(), rand::random_range(1..=most));
                match call(count).await {
                    Some(first) => history.add(Given { asked, came: Instant::now(), first, count, by: by.clone() }),
                    None => tokio::time::sleep(PAUSE).await,
                }
            }
        });
    }

    /// Waits until every kind of asker through each of these nodes has new answers to new questions.
    async fn all_served(&self, nodes: &[u64]) {
        let since = Instant::now();
        for node in nodes {
            for kind in ["milvus", "rootcoord", "stream"] {
                let by = format!("{node} {kind}");
                let served = async || (self.timestamps.since(since, &by) >= 20).then_some(());
                soon(&format!("{by} is served"), served).await;
            }
            let by = format!("{node} ids");
            soon("ids are served", async || (self.ids.since(since, &by) >= 5).then_some(())).await;
        }
        soon("the shared stream is served", async || (self.timestamps.since(since, "shared") >= 20).then_some(()))
            .await;
    }

    /// Stops asking and checks everything that was given.
    async fn check(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(done) = self.tasks.join_next().await {
            done.unwrap();
        }
        println!("{} timestamp calls and {} id calls answered", self.timestamps.len(), self.ids.len());
        self.timestamps.assert_unique();
        self.timestamps.assert_ordered();
        self.ids.assert_unique();
    }
}

/// A long-lived stream through one node, one request at a time.
async fn stream(internal: String, by: String, history: History, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        let (requests, sent) = mpsc::channel(1);
        let mut client = TimestampClient::new(channel(&internal));
        let opening = tokio::time::timeout(STREAM_ANSWER, client.allocate(ReceiverStream::new(sent)));
        if let Ok(Ok(opened)) = opening.await {
            let mut answers = opened.into_inner();
            for id in 1.. {
                let (asked, count) = (Instant::now(), rand::random_range(1..=100));
                if stop.load(Ordering::Relaxed) || requests.send(AllocateRequest { id, count }).await.is_err() {
                    break;
                }
                let answer = tokio::time::timeout(STREAM_ANSWER, answers.message()).await;
                let Ok(Ok(Some(answer))) = answer else { break };
                assert_eq!(answer.id, id);
                if answer.error.is_empty() {
                    assert_eq!(answer.count, count);
                    history.add(Given { asked, came: Instant::now(), first: answer.first, count, by: by.clone() });
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_and_uniqueness_across_killed_leaders() {
    let mut cluster = Cluster::start(3).await;
    let nodes = cluster.ids();
    let askers = Askers::start(&cluster);
    askers.all_served(&nodes).await;
    for _ in 0..2 {
        let leader = cluster.leader().await;
        cluster.node(leader).kill();
        let alive = cluster.answering();
        askers.all_served(&alive).await;
        cluster.node(leader).start();
        askers.all_served(&nodes).await;
    }
    askers.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_and_uniqueness_across_a_leader_paused_beyond_its_lease() {
    let mut cluster = Cluster::start(3).await;
    let nodes = cluster.ids();
    let askers = Askers::start(&cluster);
    for _ in 0..2 {
        askers.all_served(&nodes).await;
        let leader = cluster.leader().await;
        cluster.node(leader).pause();
        // The others have elected one of them, so the lease is over; the old leader wakes up believing in it.
        let next = cluster.leader().await;
        assert_ne!(next, leader);
        let alive = cluster.answering();
        askers.all_served(&alive).await;
        cluster.node(leader).resume();
    }
    askers.all_served(&nodes).await;
    askers.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_and_uniqueness_across_leader_transfers() {
    let mut cluster = Cluster::start(3).await;
    let nodes = cluster.ids();
    let askers = Askers::start(&cluster);
    askers.all_served(&nodes).await;
    for _ in 0..4 {
        let to = cluster.followers().await[0];
        let moved = cluster.ctl(&["-o", "json", "leader", "transfer", &to.to_string()]).await.json();
        assert_eq!(moved["to"], to);
        askers.all_served(&nodes).await;
    }
    askers.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn impossible_counts_are_refused_and_move_nothing() {
    let cluster = Cluster::start(3).await;
    let client: Client = cluster.client(1);
    let before = client.timestamp().await.unwrap();
    for count in [0, 262_145, u32::MAX] {
        assert_eq!(client.timestamps(count).await.unwrap_err().code(), 1100, "{count} timestamps");
    }
    for count in [0, u32::MAX] {
        assert_eq!(client.ids(count).await.unwrap_err().code(), 1100, "{count} ids");
    }
    let after = cluster.client(2).timestamp().await.unwrap();
    assert!(before < after);
    // A day: the bound was not poisoned.
    assert!((after - before) >> 18 < 86_400_000);
}
