//! CreateCollection of a stock Milvus: its metadata goes to the cluster, in seven proposals a collection.

use anyhow::Result;

use crate::cluster::{Cluster, Side};
use crate::lab::{Lab, Size};
use crate::load::{self, Amount};
use crate::milvus::Milvus;
use crate::report::{Goal, Metric, Sample};

const CLIENTS: [usize; 2] = [1, 16];
/// Few: with every collection Milvus itself gets slower, whatever its etcd is.
const COLLECTIONS_FULL: u64 = 400;
const COLLECTIONS_QUICK: u64 = 150;
const WARM_UP: u64 = 30;

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
    }
    Ok(samples)
}
