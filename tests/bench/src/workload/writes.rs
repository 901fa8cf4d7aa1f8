//! Replicated writes: puts, and Roost's own changes of a collection beside etcd's puts of the same size.

use anyhow::Result;
use roost::pb::common::KeyValuePair;
use roost::pb::milvus::AlterCollectionRequest;
use roost::pb::milvus::milvus_service_client::MilvusServiceClient;
use tonic::Status;
use tonic::transport::Channel;

use super::collections;
use super::puts::{Putter, VALUE_BYTES};
use crate::cluster::{Cluster, Side};
use crate::connect::{Share, connect_all};
use crate::lab::Lab;
use crate::load::{self, Amount, Client};
use crate::milvus::accepted;
use crate::report::{Goal, Metric, Sample};

const CONNECTIONS: usize = 8;
const KEYS: u64 = 10_000;
/// Whose properties are changed.
const COLLECTIONS: usize = 1000;

const PUT: &str = "put of 256 B";
const PUT_P99: &str = "put of 256 B: p99";
/// What is asked of each number of clients.
const PUTS: [(usize, Goal); 3] = [(1, Goal::RatioAtLeast(1.5)), (64, Goal::None), (256, Goal::RatioAtLeast(2.0))];
const NATIVE: Metric = Metric {
    workload: "AlterCollection of a 256 B property over put",
    clients: 256,
    unit: "calls/s",
    goal: Goal::RatioAtLeast(2.0),
};

pub async fn run(lab: &Lab, side: Side) -> Result<Vec<Sample>> {
    let cluster = Cluster::start(lab, side).await?;
    let channels = connect_all(cluster.endpoints(), CONNECTIONS).await?;
    let amount = Amount::For { warm_up: lab.warm_up(), measured: lab.measured() };
    let mut samples = Vec::new();
    for (clients, goal) in PUTS {
        let outcome = load::run(Putter::many(clients, &channels, KEYS), amount, || cluster.cpu()).await?;
        let speed = Metric { workload: PUT, clients: clients as u64, unit: "puts/s", goal };
        let p99 = Metric { workload: PUT_P99, unit: "ms", goal: Goal::RatioAtMost(1.0), ..speed };
        samples.push(Sample::speed(speed, &outcome));
        samples.push(Sample::new(p99, outcome.latency_ms(0.99)));
        if side == Side::Etcd && clients as u64 == NATIVE.clients {
            samples.push(Sample::speed(NATIVE, &outcome));
        }
    }
    if side == Side::Roost {
        collections::create(&channels, COLLECTIONS).await?;
        let clients = NATIVE.clients as usize;
        let outcome = load::run(Alterer::many(clients, &channels), amount, || cluster.cpu()).await?;
        samples.push(Sample::speed(NATIVE, &outcome));
    }
    Ok(samples)
}

/// Sets a property of one collection after the other, to a value that it did not have.
struct Alterer {
    clients: Share<MilvusServiceClient<Channel>>,
    index: usize,
    callers: usize,
    calls: usize,
}

impl Alterer {
    fn many(count: usize, channels: &[Channel]) -> Vec<Self> {
        let alterer = |index| Alterer {
            clients: Share::of(channels, index, count, MilvusServiceClient::new),
            index,
            callers: count,
            calls: 0,
        };
        (0..count).map(alterer).collect()
    }
}

impl Client for Alterer {
    async fn call(&mut self) -> Result<(), Status> {
        self.calls += 1;
        // No two callers change the same collection at the same time.
        let collection = (self.index + self.calls * self.callers) % COLLECTIONS;
        let value = format!("{:0VALUE_BYTES$}", self.calls);
        let request = AlterCollectionRequest {
            collection_name: collections::name(collection),
            properties: vec![KeyValuePair { key: "bench".to_owned(), value }],
            ..Default::default()
        };
        accepted(&self.clients.next().alter_collection(request).await?.into_inner())
    }
}
