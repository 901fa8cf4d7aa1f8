//! Whether writes stay as fast when the key space has grown.

use anyhow::Result;

use super::puts::{self, Putter};
use crate::cluster::{Cluster, Side};
use crate::connect::connect_all;
use crate::lab::Lab;
use crate::load::{self, Amount, Outcome};
use crate::report::{Goal, Metric, Sample};

const CLIENTS: usize = 256;
const CONNECTIONS: usize = 9;
const FEW_KEYS: u64 = 1000;

const SMALL: Metric = metric("puts of 256 B, 1,000 keys", "puts/s", Goal::None);
const LARGE: Metric = metric("puts of 256 B, many keys", "puts/s", Goal::None);
const LARGE_P99: Metric = metric("puts of 256 B, many keys: p99", "ms", Goal::None);
const GROWTH: Metric = metric("growth: puts at many keys over puts at 1,000", "x", Goal::OursAtLeast(0.8));

const fn metric(workload: &'static str, unit: &'static str, goal: Goal) -> Metric {
    Metric { workload, clients: CLIENTS as u64, unit, goal }
}

pub async fn run(lab: &Lab, side: Side) -> Result<Vec<Sample>> {
    let cluster = Cluster::start(lab, side).await?;
    puts::fill(&cluster, 0, FEW_KEYS).await?;
    let small = measure(lab, &cluster, FEW_KEYS).await?;
    puts::fill(&cluster, FEW_KEYS, lab.many_keys()).await?;
    let large = measure(lab, &cluster, lab.many_keys()).await?;
    let note = format!("{} keys", lab.many_keys());
    Ok(vec![
        Sample::speed(SMALL, &small),
        Sample::speed(LARGE, &large).with_note(&note),
        Sample::new(LARGE_P99, large.latency_ms(0.99)),
        Sample::new(GROWTH, large.per_second() / small.per_second()).with_note(&note),
    ])
}

async fn measure(lab: &Lab, cluster: &Cluster, keys: u64) -> Result<Outcome> {
    let channels = connect_all(cluster.endpoints(), CONNECTIONS).await?;
    let amount = Amount::For { warm_up: lab.warm_up(), measured: lab.measured() };
    load::run(Putter::many(CLIENTS, &channels, keys), amount, || cluster.cpu()).await
}
