//! What many watchers and leases cost when nothing happens but their keep-alives.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use roost::pb::etcd::api::kv_client::KvClient;
use roost::pb::etcd::api::lease_client::LeaseClient;
use roost::pb::etcd::api::watch_client::WatchClient;
use roost::pb::etcd::api::watch_request::RequestUnion;
use roost::pb::etcd::api::{
    LeaseGrantRequest, LeaseKeepAliveRequest, PutRequest, WatchCreateRequest, WatchRequest, WatchResponse,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::cluster::{Cluster, Side};
use crate::connect::connect_all;
use crate::lab::{Lab, Size};
use crate::report::{Goal, Metric, Sample};

const WATCHERS: usize = 10_000;
const LEASES: usize = 10_000;
const LEASE_TTL_S: i64 = 60;
/// etcd's clients renew when a third of the time has gone.
const RENEW_EVERY: Duration = Duration::from_secs(LEASE_TTL_S as u64 / 3);
const STREAMS: usize = 10;
/// One answer must come within so long.
const ANSWER_IN: Duration = Duration::from_secs(20);

const CPU: Metric = Metric {
    workload: "idle: 10,000 watchers, 10,000 leases of 60 s",
    clients: STREAMS as u64,
    unit: "% of a core",
    goal: Goal::OursAtMost(20.0),
};

pub async fn run(lab: &Lab, side: Side) -> Result<Vec<Sample>> {
    let cluster = Cluster::start(lab, side).await?;
    let channels = connect_all(cluster.endpoints(), STREAMS).await?;
    let mut watches = Vec::new();
    for (stream, channel) in channels.iter().enumerate() {
        watches.push(Watches::open(channel, stream).await.context("opening watchers")?);
    }
    let mut renewals = JoinSet::new();
    for channel in &channels {
        let leases = grant(channel).await.context("granting leases")?;
        renewals.spawn(keep_alive(channel.clone(), leases));
    }
    // A whole turn of keep-alives, so that what opening them cost is over.
    settle(&mut renewals, RENEW_EVERY).await?;
    let (cpu_before, started) = (cluster.cpu()?, Instant::now());
    let measured = if lab.size == Size::Quick { RENEW_EVERY } else { RENEW_EVERY * 3 };
    settle(&mut renewals, measured).await?;
    let cpu = cluster.cpu()?.saturating_sub(cpu_before);
    let percent = cpu.as_secs_f64() / started.elapsed().as_secs_f64() * 100.0;
    for (stream, watch) in watches.iter_mut().enumerate() {
        watch.prove(&channels[(stream + 1) % channels.len()], stream).await.context("after the measurement")?;
    }
    Ok(vec![Sample::new(CPU, percent)])
}

/// Lets time pass, in which no renewal may fail.
async fn settle(renewals: &mut JoinSet<Result<()>>, time: Duration) -> Result<()> {
    match tokio::time::timeout(time, renewals.join_next()).await {
        Err(_) => Ok(()),
        Ok(Some(ended)) => ended?.and_then(|()| bail!("keep-alives ended")),
        Ok(None) => bail!("no keep-alives"),
    }
}

/// One stream with its share of the watchers, each on a key of its own.
struct Watches {
    answers: Streaming<WatchResponse>,
    /// Closing it would end the stream.
    _requests: mpsc::Sender<WatchRequest>,
}

fn key(stream: usize, watcher: usize) -> Vec<u8> {
    format!("idle/{stream:03}/{watcher:06}").into_bytes()
}

impl Watches {
    async fn open(channel: &Channel, stream: usize) -> Result<Self> {
        let (requests, queue) = mpsc::channel(64);
        let create = move |watcher| {
            let create = WatchCreateRequest { key: key(stream, watcher), ..Default::default() };
            WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
        };
        let sender = requests.clone();
        tokio::spawn(async move {
            for watcher in 0..WATCHERS / STREAMS {
                if sender.send(create(watcher)).await.is_err() {
                    return;
                }
            }
        });
        let mut answers = WatchClient::new(channel.clone()).watch(ReceiverStream::new(queue)).await?.into_inner();
        for _ in 0..WATCHERS / STREAMS {
            let answer = next(&mut answers).await?;
            if !answer.created || answer.canceled {
                bail!("a watcher was not created: {answer:?}");
            }
        }
        Ok(Watches { answers, _requests: requests })
    }

    /// That it still watches: a key changes, through another node, and the event comes.
    async fn prove(&mut self, channel: &Channel, stream: usize) -> Result<()> {
        let request = PutRequest { key: key(stream, 0), ..Default::default() };
        KvClient::new(channel.clone()).put(request).await?;
        let answer = next(&mut self.answers).await?;
        if answer.events.len() != 1 {
            bail!("not one event: {answer:?}");
        }
        Ok(())
    }
}

async fn next<T>(answers: &mut Streaming<T>) -> Result<T> {
    tokio::time::timeout(ANSWER_IN, answers.message()).await.context("no answer")??.context("the stream ended")
}

async fn grant(channel: &Channel) -> Result<Vec<i64>> {
    let mut client = LeaseClient::new(channel.clone());
    let mut leases = Vec::new();
    for _ in 0..LEASES / STREAMS {
        let request = LeaseGrantRequest { ttl: LEASE_TTL_S, ..Default::default() };
        leases.push(client.lease_grant(request).await?.into_inner().id);
    }
    Ok(leases)
}

/// Renews each lease once in every turn, evenly over its time. Ends only when something is wrong.
async fn keep_alive(channel: Channel, leases: Vec<i64>) -> Result<()> {
    let (requests, queue) = mpsc::channel(64);
    let mut answers = LeaseClient::new(channel).lease_keep_alive(ReceiverStream::new(queue)).await?.into_inner();
    let mut beat = tokio::time::interval(RENEW_EVERY / leases.len() as u32);
    for lease in leases.iter().cycle() {
        beat.tick().await;
        requests.send(LeaseKeepAliveRequest { id: *lease }).await?;
        let answer = next(&mut answers).await?;
        if answer.id != *lease || answer.ttl <= 0 {
            bail!("lease {lease} was not renewed: {answer:?}");
        }
    }
    bail!("no leases")
}
