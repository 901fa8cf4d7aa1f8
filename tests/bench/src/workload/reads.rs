//! Linearizable reads through any node: gets, and descriptions of collections beside etcd's gets.

use anyhow::Result;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use roost::pb::etcd::api::RangeRequest;
use roost::pb::etcd::api::kv_client::KvClient;
use roost::pb::milvus::DescribeCollectionRequest;
use roost::pb::milvus::milvus_service_client::MilvusServiceClient;
use tonic::Status;
use tonic::transport::Channel;

use super::collections;
use super::puts::{self, VALUE_BYTES};
use crate::cluster::{Cluster, Side};
use crate::connect::{Share, connect_all};
use crate::lab::Lab;
use crate::load::{self, Amount, Client};
use crate::milvus::accepted;
use crate::report::{Goal, Metric, Sample};

const CLIENTS: usize = 256;
const CONNECTIONS: usize = 8;
const KEYS: u64 = 10_000;
const COLLECTIONS: usize = 1000;

const GET: Metric = metric("linearizable get of 256 B", Goal::RatioAtLeast(3.0));
const GET_ONE: Metric = Metric { clients: 1, goal: Goal::None, ..GET };
const DESCRIBE: Metric = metric("DescribeCollection, 16 fields, over get", Goal::RatioAtLeast(1.5));

const fn metric(workload: &'static str, goal: Goal) -> Metric {
    Metric { workload, clients: CLIENTS as u64, unit: "reads/s", goal }
}

pub async fn run(lab: &Lab, side: Side) -> Result<Vec<Sample>> {
    let cluster = Cluster::start(lab, side).await?;
    let channels = connect_all(cluster.endpoints(), CONNECTIONS).await?;
    let amount = Amount::For { warm_up: lab.warm_up(), measured: lab.measured() };
    puts::fill(&cluster, 0, KEYS).await?;
    let one = load::run(Getter::many(1, &channels), amount, || cluster.cpu()).await?;
    let get = load::run(Getter::many(CLIENTS, &channels), amount, || cluster.cpu()).await?;
    let describe = match side {
        Side::Etcd => Sample::speed(DESCRIBE, &get),
        Side::Roost => {
            collections::create(&channels, COLLECTIONS).await?;
            let outcome = load::run(Describer::many(CLIENTS, &channels), amount, || cluster.cpu()).await?;
            Sample::speed(DESCRIBE, &outcome)
        }
    };
    Ok(vec![Sample::speed(GET_ONE, &one), Sample::speed(GET, &get), describe])
}

struct Getter {
    clients: Share<KvClient<Channel>>,
    random: SmallRng,
}

impl Getter {
    fn many(count: usize, channels: &[Channel]) -> Vec<Self> {
        let getter = |index| Getter {
            clients: Share::of(channels, index, count, KvClient::new),
            random: SmallRng::seed_from_u64(index as u64),
        };
        (0..count).map(getter).collect()
    }
}

impl Client for Getter {
    async fn call(&mut self) -> Result<(), Status> {
        let key = puts::key(self.random.random_range(0..KEYS));
        let reply = self.clients.next().range(RangeRequest { key, ..Default::default() }).await?.into_inner();
        match reply.kvs.as_slice() {
            [found] if found.value.len() == VALUE_BYTES => Ok(()),
            other => Err(Status::data_loss(format!("a key has {} values", other.len()))),
        }
    }
}

struct Describer {
    clients: Share<MilvusServiceClient<Channel>>,
    random: SmallRng,
}

impl Describer {
    fn many(count: usize, channels: &[Channel]) -> Vec<Self> {
        let describer = |index| Describer {
            clients: Share::of(channels, index, count, MilvusServiceClient::new),
            random: SmallRng::seed_from_u64(index as u64),
        };
        (0..count).map(describer).collect()
    }
}

impl Client for Describer {
    async fn call(&mut self) -> Result<(), Status> {
        let collection_name = collections::name(self.random.random_range(0..COLLECTIONS));
        let request = DescribeCollectionRequest { collection_name, ..Default::default() };
        let reply = self.clients.next().describe_collection(request).await?.into_inner();
        accepted(&reply.status.unwrap_or_default())
    }
}
