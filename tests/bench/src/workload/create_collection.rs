//! CreateCollection of a stock Milvus: its metadata goes to the cluster, in seven proposals a collection. And
//! Roost's own, of the same collections.

use anyhow::Result;

use crate::cluster::{Cluster, Side};
use crate::lab::{Lab, Size};
use crate::load::{self, Amount, Outcome};
use crate::milvus::{Milvus, creators};
use crate::report::{Goal, Metric, Sample};

const CLIENTS: [usize; 2] = [1, 16];
/// Few: with every collection Milvus itself gets slower, whatever its etcd is.
const COLLECTIONS_FULL: u64 = 400;
const COLLECTIONS_QUICK: u64 = 150;
const WARM_UP: u64 = 30;

/// Roost's own beside that of Milvus on etcd.
const NATIVE: Metric = Metric {
    workload: "CreateCollection, natively over Milvus on etcd",
    clients: 16,
    unit: "/s",
    goal: Goal::RatioAtLeast(50.0),
};
const NATIVE_P99: Metric = Metric { workload: "the same: p99", unit: "ms", goal: Goal::RatioAtMost(0.1), ..NATIVE };
/// It does not get slower with them.
const NATIVE_CALLS: u64 = 10_000;

pub async fn run(lab: &Lab, side: Side) -> Result<Vec<Sample>> {
    let cluster = Cluster::start(lab, side).await?;
    let milvus = Milvus::start(lab, &cluster).await?;
    load::run(milvus.creators(4, "warm").await?, Amount::Calls(WARM_UP), || cluster.cpu()).await?;
    let calls = if lab.size == Size::Quick { COLLECTIONS_QUICK } else { COLLECTIONS_FULL };
    let mut samples = Vec::new();
    for clients in CLIENTS {
        let creators = milvus.creators(clients, &format!("c{clients}")).await?;
        let seen = load::run(creators, Amount::Calls(calls), || cluster.cpu()).await?;
        let metric = Metric {
            workload: "Milvus CreateCollection",
            clients: clients as u64,
            unit: "/s",
            goal: Goal::RatioAtLeast(1.3),
        };
        samples.push(Sample::speed(metric, &seen));
        if side == Side::Etcd && clients as u64 == NATIVE.clients {
            samples.extend(native(&seen));
        }
    }
    drop((milvus, cluster));
    if side == Side::Roost {
        let cluster = Cluster::start(lab, side).await?;
        let creators = creators(cluster.endpoints(), NATIVE.clients as usize, "native").await?;
        samples.extend(native(&load::run(creators, Amount::Calls(NATIVE_CALLS), || cluster.cpu()).await?));
    }
    Ok(samples)
}

fn native(seen: &Outcome) -> [Sample; 2] {
    [Sample::speed(NATIVE, seen), Sample::new(NATIVE_P99, seen.latency_ms(0.99))]
}
