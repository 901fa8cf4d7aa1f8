//! CreateCollection: one call of Roost beside the transactions that Milvus makes for one in its etcd.

use anyhow::Result;
use roost::pb::etcd::api::kv_client::KvClient;
use roost::pb::etcd::api::request_op::Request;
use roost::pb::etcd::api::{PutRequest, RequestOp, TxnRequest};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tonic::Status;
use tonic::transport::Channel;

use super::collections;
use crate::cluster::{Cluster, Side};
use crate::connect::{Share, connect_all};
use crate::lab::{Lab, Size};
use crate::load::{self, Amount, Client};
use crate::report::{Goal, Metric, Sample};

const CONNECTIONS: usize = 8;
const TARGETS: [(usize, f64); 3] = [(1, 7.0), (64, 5.0), (256, 5.0)];
/// Short, because a cluster takes 65,536 collections.
const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED_FULL: Duration = Duration::from_secs(6);
const MEASURED_QUICK: Duration = Duration::from_secs(4);

pub async fn run(lab: &Lab, side: Side) -> Result<Vec<Sample>> {
    let measured = if lab.size == Size::Quick { MEASURED_QUICK } else { MEASURED_FULL };
    let amount = Amount::For { warm_up: WARM_UP, measured };
    let mut samples = Vec::new();
    for (clients, least) in TARGETS {
        let cluster = Cluster::start(lab, side).await?;
        let channels = connect_all(cluster.endpoints(), CONNECTIONS).await?;
        let outcome = match side {
            Side::Roost => {
                let creators = collections::Creator::many(clients, &channels, 0);
                load::run(creators, amount, || cluster.cpu()).await?
            }
            Side::Etcd => load::run(Proposer::many(clients, &channels), amount, || cluster.cpu()).await?,
        };
        let metric = Metric {
            workload: "CreateCollection, 16 fields",
            clients: clients as u64,
            unit: "/s",
            goal: Goal::RatioAtLeast(least),
        };
        samples.push(Sample::speed(metric, &outcome));
    }
    Ok(samples)
}

/// Makes a collection's seven proposals one after the other: what Milvus 2.3.5 was seen to write for a collection of 16
/// fields and one shard, with the same number of keys in each, and names and values of the same form and length.
struct Proposer {
    clients: Share<KvClient<Channel>>,
    next: Arc<AtomicU64>,
}

/// As Milvus numbers what it makes: a timestamp of the hybrid clock.
const FIRST_ID: u64 = 470_636_957_711_728_734;
/// The user's 16 and Milvus' own two.
const FIELD_IDS: std::ops::Range<u64> = 100..116;
const SYSTEM_FIELD_IDS: std::ops::Range<u64> = 0..2;

impl Proposer {
    fn many(count: usize, channels: &[Channel]) -> Vec<Self> {
        let next = Arc::new(AtomicU64::new(FIRST_ID));
        let proposer =
            |index| Proposer { clients: Share::of(channels, index, count, KvClient::new), next: next.clone() };
        (0..count).map(proposer).collect()
    }

    /// One key is put, several are a transaction.
    async fn propose(&mut self, mut puts: Vec<PutRequest>) -> Result<(), Status> {
        let client = self.clients.next();
        if puts.len() == 1 {
            client.put(puts.remove(0)).await?;
            return Ok(());
        }
        let operation = |put| RequestOp { request: Some(Request::RequestPut(put)) };
        let success = puts.into_iter().map(operation).collect();
        client.txn(TxnRequest { success, ..Default::default() }).await?;
        Ok(())
    }
}

impl Client for Proposer {
    async fn call(&mut self) -> Result<(), Status> {
        let id = self.next.fetch_add(2, Ordering::Relaxed);
        for puts in proposals(id) {
            self.propose(puts).await?;
        }
        Ok(())
    }
}

fn put(key: String, value_bytes: usize) -> PutRequest {
    PutRequest { key: key.into_bytes(), value: vec![b'v'; value_bytes], ..Default::default() }
}

/// A key and the copy of it that Milvus keeps for each time.
fn with_snapshot(key: &str, ts: u64, value_bytes: usize) -> [PutRequest; 2] {
    [
        put(format!("by-dev/meta/root-coord/{key}"), value_bytes),
        put(format!("by-dev/meta/snapshots/root-coord/{key}_ts{ts}"), value_bytes),
    ]
}

fn proposals(id: u64) -> [Vec<PutRequest>; 7] {
    let (partition, ts) = (id + 1, id);
    let collection = format!("database/collection-info/1/{id}");
    let channel = format!("by-dev-rootcoord-dml_{}_{id}v0", id % 16);
    let mut parts = with_snapshot(&format!("partitions/{id}/{partition}"), ts, 40).to_vec();
    for field in FIELD_IDS.chain(SYSTEM_FIELD_IDS) {
        parts.extend(with_snapshot(&format!("fields/{id}/{field}"), ts, 33));
    }
    [
        with_snapshot(&collection, ts, 142).to_vec(),
        parts,
        vec![put(format!("by-dev/meta/channelwatch/1/{channel}"), 721)],
        vec![put(format!("by-dev/meta/datacoord-meta/channel-removal/{channel}"), 11)],
        with_snapshot(&collection, ts, 140).to_vec(),
        vec![put(format!("by-dev/meta/channelwatch/1/{channel}"), 700)],
        vec![put(format!("by-dev/meta/datacoord-meta/channel-cp/{channel}"), 126)],
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collection_is_seven_proposals_of_46_keys() {
        let counts: Vec<usize> = proposals(FIRST_ID).iter().map(Vec::len).collect();
        assert_eq!(counts, [2, 38, 1, 1, 2, 1, 1]);
    }
}
