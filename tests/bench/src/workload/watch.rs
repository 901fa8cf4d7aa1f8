//! Every change to every watcher.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use roost::pb::etcd::api::kv_client::KvClient;
use roost::pb::etcd::api::watch_client::WatchClient;
use roost::pb::etcd::api::watch_request::RequestUnion;
use roost::pb::etcd::api::{PutRequest, RangeRequest, WatchCreateRequest, WatchRequest, WatchResponse};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use super::puts::VALUE_BYTES;
use crate::cluster::{Cluster, Side};
use crate::connect::connect_all;
use crate::lab::Lab;
use crate::process::own_cpu;
use crate::report::{Goal, Metric, Sample};

const WATCHERS: usize = 1000;
const STREAMS: usize = 10;
const WRITERS: usize = 8;
/// Changes that some watcher has not seen yet: the next one waits, so that watchers set the pace and none falls behind
/// for good.
const CHANGES_AHEAD: usize = 32;
const PREFIX: &str = "bench-watch/";
const ANSWER_IN: Duration = Duration::from_secs(20);

const EVENTS: Metric = Metric {
    workload: "watch: each change to 1,000 watchers on 10 streams",
    clients: WATCHERS as u64,
    unit: "events/s",
    goal: Goal::RatioAtLeast(1.3),
};
const CPU: Metric =
    Metric { workload: "watch: servers' CPU for each event", unit: "us", goal: Goal::RatioAtMost(0.5), ..EVENTS };

pub async fn run(lab: &Lab, side: Side) -> Result<Vec<Sample>> {
    let cluster = Cluster::start(lab, side).await?;
    let channels = connect_all(cluster.endpoints(), STREAMS).await?;
    let seen = Arc::new(Seen { events: AtomicU64::new(0), room: Semaphore::new(CHANGES_AHEAD * WATCHERS) });
    let mut tasks = JoinSet::new();
    for channel in &channels {
        // Linearizable, so that the watchers begin behind what the cluster's start has written.
        KvClient::new(channel.clone()).range(RangeRequest { key: PREFIX.into(), ..Default::default() }).await?;
        let stream = Stream::open(channel).await.context("opening watchers")?;
        tasks.spawn(stream.follow(seen.clone()));
    }
    for writer in 0..WRITERS {
        tasks.spawn(write(channels[writer % STREAMS].clone(), writer, seen.clone()));
    }
    settle(&mut tasks, lab.warm_up()).await?;
    let (events, cpu, load_cpu, started) = (seen.events(), cluster.cpu()?, own_cpu()?, Instant::now());
    settle(&mut tasks, lab.measured()).await?;
    let (seconds, events) = (started.elapsed().as_secs_f64(), (seen.events() - events) as f64);
    let us = |before: Duration, after: Duration| after.saturating_sub(before).as_secs_f64() * 1e6 / events.max(1.0);
    let (cpu_us, load_cpu_us) = (us(cpu, cluster.cpu()?), us(load_cpu, own_cpu()?));
    Ok(vec![
        Sample::new(EVENTS, events / seconds).with_cpu(cpu_us).with_load_cpu(load_cpu_us),
        Sample::new(CPU, cpu_us),
    ])
}

/// Lets time pass, in which nobody may end.
async fn settle(tasks: &mut JoinSet<Result<()>>, time: Duration) -> Result<()> {
    match tokio::time::timeout(time, tasks.join_next()).await {
        Err(_) => Ok(()),
        Ok(Some(ended)) => ended?.and_then(|()| bail!("a stream ended")),
        Ok(None) => bail!("no watchers"),
    }
}

/// What all streams have received.
struct Seen {
    events: AtomicU64,
    /// Events that may be on their way.
    room: Semaphore,
}

impl Seen {
    fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }
}

/// Puts, each of which every watcher sees.
async fn write(channel: Channel, writer: usize, seen: Arc<Seen>) -> Result<()> {
    let mut client = KvClient::new(channel);
    let key = format!("{PREFIX}{writer:03}").into_bytes();
    loop {
        let late = || "watchers do not see what was written";
        let room = seen.room.acquire_many(WATCHERS as u32);
        tokio::time::timeout(ANSWER_IN, room).await.with_context(late)??.forget();
        client.put(PutRequest { key: key.clone(), value: vec![b'v'; VALUE_BYTES], ..Default::default() }).await?;
    }
}

/// One stream with its share of the watchers, all of the same keys.
struct Stream {
    answers: Streaming<WatchResponse>,
    /// The revision that each watcher saw last.
    revisions: HashMap<i64, i64>,
    /// Closing it would end the stream.
    _requests: mpsc::Sender<WatchRequest>,
}

impl Stream {
    async fn open(channel: &Channel) -> Result<Self> {
        let (requests, queue) = mpsc::channel(WATCHERS / STREAMS);
        let mut end = PREFIX.as_bytes().to_vec();
        end.pop();
        end.push(b'0'); // follows '/'
        for _ in 0..WATCHERS / STREAMS {
            let create =
                WatchCreateRequest { key: PREFIX.as_bytes().to_vec(), range_end: end.clone(), ..Default::default() };
            requests.send(WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }).await?;
        }
        let mut answers = WatchClient::new(channel.clone()).watch(ReceiverStream::new(queue)).await?.into_inner();
        let mut revisions = HashMap::new();
        for _ in 0..WATCHERS / STREAMS {
            let answer = answers.message().await?.context("the stream ended")?;
            if !answer.created || answer.canceled {
                bail!("a watcher was not created: {answer:?}");
            }
            revisions.insert(answer.watch_id, answer.header.unwrap_or_default().revision);
        }
        Ok(Stream { answers, revisions, _requests: requests })
    }

    /// Nothing else is written, so every watcher sees every revision, once and in order.
    async fn follow(mut self, seen: Arc<Seen>) -> Result<()> {
        loop {
            let answer = self.answers.message().await?.context("the stream ended")?;
            let last = self.revisions.get_mut(&answer.watch_id).context("a watcher that was not created")?;
            for event in &answer.events {
                let revision = event.kv.as_ref().map_or(0, |pair| pair.mod_revision);
                if revision != *last + 1 {
                    let (last, header) = (*last, answer.header.unwrap_or_default().revision);
                    let others: BTreeSet<i64> = self.revisions.values().copied().collect();
                    bail!(
                        "watcher {} saw revision {revision} of {} after {last}, as of {header}; all are at {others:?}",
                        answer.watch_id,
                        answer.events.len()
                    );
                }
                *last = revision;
            }
            seen.events.fetch_add(answer.events.len() as u64, Ordering::Relaxed);
            seen.room.add_permits(answer.events.len());
        }
    }
}
