//! RootCoord, asked as Milvus' own nodes ask it, which is the one coordinator whose session key is published: Roost's
//! leader of three nodes beside a stock Milvus' on its embedded etcd, which replicates nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use prost::Message;
use roost::pb::common::{MsgBase, MsgType, Status as Answer};
use roost::pb::milvus::{
    CreateCollectionRequest, DescribeCollectionRequest, HasCollectionRequest, ShowCollectionsRequest,
};
use roost::pb::rootcoord::AllocTimestampRequest;
use roost::pb::rootcoord::root_coord_client::RootCoordClient;
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::machine::Pinger;
use crate::cluster::{Cluster, Side};
use crate::connect::{Share, connect_all};
use crate::lab::{Lab, Size};
use crate::load::{self, Amount, Client, Outcome};
use crate::milvus::{Milvus, accepted, schema};
use crate::report::{Goal, Metric, Sample};

pub const CLIENTS: usize = 16;
const CONNECTIONS: usize = 8;
/// There when calls other than CreateCollection and ShowCollections are measured.
const EXIST: u64 = 100;
/// Created to be measured: with every collection Milvus gets slower.
const CREATED_FULL: u64 = 400;
const CREATED_QUICK: u64 = 150;
/// Listed by ShowCollections.
const LISTED_FULL: u64 = 2000;
const LISTED_QUICK: u64 = 500;

/// What is asked, and of Roost how many times Milvus' rate.
const READS: [(Call, &str, f64); 3] = [
    (Call::Describe, "RootCoord DescribeCollection", 3.0),
    (Call::Has, "RootCoord HasCollection", 1.5),
    (Call::Timestamp, "RootCoord AllocTimestamp", 1.5),
];
/// A call that costs little more than a call of nothing cannot be many times faster: then this much of that will do.
const OVER_EMPTY: [&str; 3] = [
    "RootCoord DescribeCollection over empty RPC",
    "RootCoord HasCollection over empty RPC",
    "RootCoord AllocTimestamp over empty RPC",
];
const OF_EMPTY: f64 = 0.8;

const fn metric(workload: &'static str, unit: &'static str, goal: Goal) -> Metric {
    Metric { workload, clients: CLIENTS as u64, unit, goal }
}

pub async fn run(lab: &Lab, side: Side) -> Result<Vec<Sample>> {
    let (mut cluster, mut milvus) = (None, None);
    let addresses = match side {
        Side::Roost => {
            let cluster = cluster.insert(Cluster::start(lab, side).await?);
            vec![cluster.internal()[cluster.leader().await?].clone()]
        }
        Side::Etcd => vec![milvus.insert(Milvus::start_with_its_own_etcd(lab).await?).root_coord().to_owned()],
    };
    let channels = connect_all(&addresses, CONNECTIONS).await?;
    let quick = lab.size == Size::Quick;
    let amount = Amount::For { warm_up: lab.warm_up(), measured: lab.measured() };
    let mut samples = Vec::new();

    measure(&channels, Call::Create { prefix: "exists" }, Amount::Calls(EXIST)).await?;
    let created = if quick { CREATED_QUICK } else { CREATED_FULL };
    let seen = measure(&channels, Call::Create { prefix: "created" }, Amount::Calls(created)).await?;
    samples.push(Sample::speed(metric("RootCoord CreateCollection", "/s", Goal::RatioAtLeast(10.0)), &seen));
    let rates = read_rates(&channels, amount).await?;
    for ((_, workload, least), seen) in READS.into_iter().zip(&rates) {
        samples.push(Sample::speed(metric(workload, "/s", Goal::RatioAtLeast(least)), seen));
    }
    let listed = if quick { LISTED_QUICK } else { LISTED_FULL };
    measure(&channels, Call::Create { prefix: "listed" }, Amount::Calls(listed - EXIST - created)).await?;
    let seen = measure(&channels, Call::Show, amount).await?;
    let show = metric("RootCoord ShowCollections", "/s", Goal::RatioAtLeast(5.0));
    samples.push(Sample::speed(show, &seen).with_note(&format!("{listed} collections")));

    if side == Side::Roost {
        let empty = load::run(Pinger::many(CLIENTS, &channels), amount, || Ok(Duration::ZERO)).await?;
        for (workload, seen) in OVER_EMPTY.into_iter().zip(&rates) {
            let ratio = metric(workload, "x", Goal::OursAtLeast(OF_EMPTY));
            samples.push(Sample::new(ratio, seen.per_second() / empty.per_second()));
        }
    }
    Ok(samples)
}

/// Of each of [`READS`], the first [`EXIST`] collections being there.
pub async fn read_rates(channels: &[Channel], amount: Amount) -> Result<Vec<Outcome>> {
    let mut rates = Vec::new();
    for (call, ..) in READS {
        rates.push(measure(channels, call, amount).await?);
    }
    Ok(rates)
}

/// Of DescribeCollection and of ShowCollections, the first [`EXIST`] collections being there.
pub async fn describe_and_list(channels: &[Channel], amount: Amount) -> Result<[Outcome; 2]> {
    let described = measure(channels, Call::Describe, amount).await?;
    Ok([described, measure(channels, Call::Show, amount).await?])
}

/// Creates so many collections of two fields, of which [`read_rates`] asks for the first.
pub async fn create(channels: &[Channel], prefix: &'static str, count: u64) -> Result<Outcome> {
    measure(channels, Call::Create { prefix }, Amount::Calls(count)).await
}

async fn measure(channels: &[Channel], call: Call, amount: Amount) -> Result<Outcome> {
    load::run(Caller::many(channels, call), amount, || Ok(Duration::ZERO)).await
}

#[derive(Clone, Copy)]
enum Call {
    Create { prefix: &'static str },
    Describe,
    Has,
    Timestamp,
    Show,
}

/// Makes one kind of call, about one collection after the other.
struct Caller {
    clients: Share<RootCoordClient<Channel>>,
    call: Call,
    next: Arc<AtomicU64>,
}

impl Caller {
    fn many(channels: &[Channel], call: Call) -> Vec<Self> {
        let next = Arc::new(AtomicU64::new(0));
        let caller = |index| Caller {
            clients: Share::of(channels, index, CLIENTS, RootCoordClient::new),
            call,
            next: next.clone(),
        };
        (0..CLIENTS).map(caller).collect()
    }
}

fn name(prefix: &str, number: u64) -> String {
    format!("{prefix}_{number:06}")
}

fn base(kind: MsgType) -> Option<MsgBase> {
    Some(MsgBase { msg_type: kind as i32, ..Default::default() })
}

/// A coordinator of Milvus takes calls only of its own cluster.
fn of_cluster<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("cluster", tonic::metadata::MetadataValue::from_static("by-dev"));
    request
}

fn ended(status: Option<Answer>) -> Result<(), Status> {
    accepted(&status.unwrap_or_default())
}

impl Client for Caller {
    async fn call(&mut self) -> Result<(), Status> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let existing = name("exists", number % EXIST);
        let client = self.clients.next();
        match self.call {
            Call::Create { prefix } => {
                let name = name(prefix, number);
                let request = CreateCollectionRequest {
                    base: base(MsgType::CreateCollection),
                    db_name: "default".to_owned(),
                    schema: schema(&name).encode_to_vec(),
                    collection_name: name,
                    shards_num: 1,
                    ..Default::default()
                };
                accepted(&client.create_collection(of_cluster(request)).await?.into_inner())
            }
            Call::Describe => {
                let request = DescribeCollectionRequest {
                    base: base(MsgType::DescribeCollection),
                    db_name: "default".to_owned(),
                    collection_name: existing,
                    ..Default::default()
                };
                ended(client.describe_collection(of_cluster(request)).await?.into_inner().status)
            }
            Call::Has => {
                let request = HasCollectionRequest {
                    base: base(MsgType::HasCollection),
                    db_name: "default".to_owned(),
                    collection_name: existing.clone(),
                    ..Default::default()
                };
                let reply = client.has_collection(of_cluster(request)).await?.into_inner();
                if !reply.value {
                    return Err(Status::not_found(existing));
                }
                ended(reply.status)
            }
            Call::Timestamp => {
                let request = AllocTimestampRequest { base: base(MsgType::RequestTso), count: 1, ..Default::default() };
                ended(client.alloc_timestamp(of_cluster(request)).await?.into_inner().status)
            }
            Call::Show => {
                let request = ShowCollectionsRequest {
                    base: base(MsgType::ShowCollections),
                    db_name: "default".to_owned(),
                    ..Default::default()
                };
                ended(client.show_collections(of_cluster(request)).await?.into_inner().status)
            }
        }
    }
}
