//! A node killed under load and started again; and what a large key space takes of memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use roost::pb::etcd::api::kv_client::KvClient;
use roost::pb::etcd::api::{PutRequest, RangeRequest};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use super::puts::{self, VALUE_BYTES};
use crate::cluster::{Cluster, Side};
use crate::connect::{connect, connect_all};
use crate::lab::{Lab, Size};
use crate::report::{Goal, Metric, Sample};

/// Both sides get the same load, well below what either can do: a faster side must not have more to catch up with.
const PUTS_PER_SECOND: u32 = 1000;
const WRITERS: u32 = 20;
/// What is written meanwhile, beside the key space.
const MARKS: &str = "bench-mark/";
/// How long the node is away.
const AWAY_FULL: Duration = Duration::from_secs(10);
const AWAY_QUICK: Duration = Duration::from_secs(3);
const BACK_IN: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// After the keys were written, until memory is measured.
const SETTLES_IN: Duration = Duration::from_secs(5);

const RESTART: Metric = Metric {
    workload: "restart: kill -9 under load, to caught up",
    clients: WRITERS as u64,
    unit: "s",
    goal: Goal::RatioAtMost(1.0),
};
const RESTART_BOUND: Metric = Metric { workload: "restart: the same, at most", goal: Goal::OursAtMost(5.0), ..RESTART };
const MEMORY: Metric = Metric {
    workload: "memory: RSS of three nodes with many keys of 256 B",
    clients: 0,
    unit: "MiB",
    goal: Goal::RatioAtMost(0.5),
};

pub async fn run(lab: &Lab, side: Side) -> Result<Vec<Sample>> {
    let mut cluster = Cluster::start(lab, side).await?;
    puts::fill(&cluster, 0, lab.many_keys()).await?;
    tokio::time::sleep(SETTLES_IN).await;
    let resident_mib = cluster.resident_bytes()? as f64 / f64::from(1 << 20);

    // A follower: what the other case costs is the fail-over's business.
    let node = (cluster.leader().await? + 1) % cluster.endpoints().len();
    let mut others = cluster.endpoints().to_vec();
    let asked = others.remove(node);
    let mut load = Load::start(&others).await?;
    load.runs_for(Duration::from_secs(1)).await?;
    cluster.server(node).kill()?;
    load.runs_for(if lab.size == Size::Quick { AWAY_QUICK } else { AWAY_FULL }).await?;
    cluster.server(node).start_again()?;
    let (started, acknowledged) = (Instant::now(), load.acknowledged.clone());
    tokio::select! {
        ended = load.ended() => bail!("the load ended: {ended:#}"),
        caught_up = tokio::time::timeout(BACK_IN, caught_up(&asked, &acknowledged)) => {
            caught_up.with_context(|| format!("the node is not back after {BACK_IN:?}"))??;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let note = format!("{} keys", lab.many_keys());
    Ok(vec![
        Sample::new(RESTART, seconds).with_note(&note),
        Sample::new(RESTART_BOUND, seconds),
        Sample::new(MEMORY, resident_mib).with_note(&note),
    ])
}

/// Puts at a steady pace, each the next number under its writer's own key.
struct Load {
    writers: JoinSet<Result<()>>,
    /// The last acknowledged number of each writer.
    acknowledged: Arc<Vec<AtomicU64>>,
}

fn mark(writer: usize) -> Vec<u8> {
    format!("{MARKS}{writer:04}").into_bytes()
}

/// As long as the values of the key space.
fn numbered(number: u64) -> Vec<u8> {
    format!("{number:0VALUE_BYTES$}").into_bytes()
}

impl Load {
    async fn start(endpoints: &[String]) -> Result<Self> {
        let channels = connect_all(endpoints, WRITERS as usize).await?;
        let acknowledged: Arc<Vec<AtomicU64>> = Arc::new((0..WRITERS).map(|_| AtomicU64::new(0)).collect());
        let mut writers = JoinSet::new();
        for (writer, channel) in channels.into_iter().enumerate() {
            let acknowledged = acknowledged.clone();
            writers.spawn(async move {
                let mut client = KvClient::new(channel);
                let mut beat = tokio::time::interval(Duration::from_secs(1) * WRITERS / PUTS_PER_SECOND);
                for number in 1.. {
                    beat.tick().await;
                    let request = PutRequest { key: mark(writer), value: numbered(number), ..Default::default() };
                    client.put(request).await?;
                    acknowledged[writer].store(number, Ordering::Release);
                }
                Ok(())
            });
        }
        Ok(Load { writers, acknowledged })
    }

    /// Lets time pass, in which no write may fail.
    async fn runs_for(&mut self, time: Duration) -> Result<()> {
        match tokio::time::timeout(time, self.ended()).await {
            Err(_) => Ok(()),
            Ok(error) => Err(error.context("a write failed while one of three nodes was away")),
        }
    }

    async fn ended(&mut self) -> anyhow::Error {
        match self.writers.join_next().await {
            Some(Ok(Err(error))) => error,
            other => anyhow::anyhow!("a writer ended: {other:?}"),
        }
    }
}

/// Until the node at `endpoint` answers a linearizable read, for which it must have applied everything that was
/// acknowledged before; and has it.
async fn caught_up(endpoint: &str, acknowledged: &[AtomicU64]) -> Result<()> {
    loop {
        let before: Vec<u64> = acknowledged.iter().map(|number| number.load(Ordering::Acquire)).collect();
        let Ok(found) = marks(endpoint).await else {
            tokio::time::sleep(LOOK_EVERY).await;
            continue;
        };
        for (writer, number) in before.into_iter().enumerate() {
            if number > 0 && found.get(writer).is_none_or(|found| *found < number) {
                bail!("a linearizable read lacks write {number} of writer {writer}: {found:?}");
            }
        }
        return Ok(());
    }
}

/// The number under each writer's key.
async fn marks(endpoint: &str) -> Result<Vec<u64>> {
    let channel: Channel = connect(endpoint).await?;
    let mut end = MARKS.as_bytes().to_vec();
    end.pop();
    end.push(b'0'); // follows '/'
    let request = RangeRequest { key: MARKS.as_bytes().to_vec(), range_end: end, ..Default::default() };
    let reply = KvClient::new(channel).range(request).await?.into_inner();
    let number = |value: &[u8]| Ok(std::str::from_utf8(value)?.parse()?);
    reply.kvs.iter().map(|pair| number(&pair.value)).collect()
}
