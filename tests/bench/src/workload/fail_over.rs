//! From kill -9 of the leader to the next write that is acknowledged, on both sides' defaults.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use roost::pb::etcd::api::PutRequest;
use roost::pb::etcd::api::kv_client::KvClient;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::cluster::{Cluster, Side};
use crate::connect::connect_all;
use crate::lab::{Lab, Size};
use crate::report::{Goal, Metric, Sample};

const KILLS_FULL: usize = 10;
const KILLS_QUICK: usize = 3;
/// Between writes to one node: about the precision of what is measured.
const WRITE_EVERY: Duration = Duration::from_millis(5);
/// The slowest fail-over that is waited for.
const WITHIN: Duration = Duration::from_secs(30);
/// A leader is left alone for so long, plus up to a second, so that it is killed at any moment of its heartbeats.
const SETTLED: Duration = Duration::from_millis(1500);

const MEDIAN: Metric = metric("fail-over: kill -9 leader to next write, median", Goal::RatioAtMost(0.8));
const WORST: Metric = metric("fail-over: kill -9 leader to next write, worst", Goal::RatioAtMost(1.2));

const fn metric(workload: &'static str, goal: Goal) -> Metric {
    Metric { workload, clients: 2, unit: "ms", goal }
}

pub async fn run(lab: &Lab, side: Side) -> Result<Vec<Sample>> {
    let mut cluster = Cluster::start(lab, side).await?;
    let kills = if lab.size == Size::Quick { KILLS_QUICK } else { KILLS_FULL };
    let mut random = SmallRng::seed_from_u64(7);
    let mut seen_ms = Vec::new();
    for kill in 0..kills {
        tokio::time::sleep(SETTLED + Duration::from_millis(random.random_range(0..1000))).await;
        let leader = cluster.leader().await?;
        let mut endpoints = cluster.endpoints().to_vec();
        endpoints.remove(leader);
        let channels = connect_all(&endpoints, endpoints.len()).await?;
        cluster.server(leader).kill()?;
        let killed = Instant::now();
        let acknowledged = tokio::time::timeout(WITHIN, first_write(&channels));
        acknowledged.await.with_context(|| format!("no write within {WITHIN:?} after kill {}", kill + 1))??;
        seen_ms.push(killed.elapsed().as_secs_f64() * 1000.0);
        cluster.server(leader).start_again()?;
        cluster.wait_ready(leader).await?;
    }
    seen_ms.sort_by(f64::total_cmp);
    let all: Vec<String> = seen_ms.iter().map(|ms| format!("{ms:.0}")).collect();
    let worst = seen_ms.last().copied().unwrap_or_default();
    Ok(vec![Sample::new(MEDIAN, seen_ms[kills.div_ceil(2) - 1]).with_note(&all.join(" ")), Sample::new(WORST, worst)])
}

/// Sends new writes to every node that is left, none waiting for an earlier one, until one is acknowledged. A write
/// that a node has taken and cannot pass on would only be answered after that side's own patience.
async fn first_write(channels: &[Channel]) -> Result<()> {
    let (acknowledged, mut first) = mpsc::channel(1);
    let mut writes = JoinSet::new();
    let mut beat = tokio::time::interval(WRITE_EVERY);
    loop {
        tokio::select! {
            _ = first.recv() => return Ok(()),
            _ = beat.tick() => {
                for channel in channels {
                    let (mut client, acknowledged) = (KvClient::new(channel.clone()), acknowledged.clone());
                    writes.spawn(async move {
                        let request = PutRequest { key: b"bench/fail-over".to_vec(), ..Default::default() };
                        // Until somebody leads, errors are what is expected.
                        if client.put(request).await.is_ok() {
                            let _ = acknowledged.try_send(());
                        }
                    });
                }
            }
        }
        while writes.try_join_next().is_some() {}
    }
}
