//! Callers that put, and the filling of a key space.

use anyhow::Result;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use roost::pb::etcd::api::kv_client::KvClient;
use roost::pb::etcd::api::request_op::Request;
use roost::pb::etcd::api::{PutRequest, RequestOp, TxnRequest};
use tonic::Status;
use tonic::transport::Channel;

use crate::cluster::Cluster;
use crate::connect::{Share, connect_all};
use crate::load::{self, Amount, Client};

pub const VALUE_BYTES: usize = 256;
/// Puts in one transaction of a filling: etcd takes up to 128.
const FILL_AT_ONCE: u64 = 100;
const FILLERS: usize = 16;

pub fn key(index: u64) -> Vec<u8> {
    format!("bench/{index:012}").into_bytes()
}

fn put(index: u64, value: &[u8]) -> PutRequest {
    PutRequest { key: key(index), value: value.to_vec(), ..Default::default() }
}

/// Overwrites keys of the first `keys`, one after the other at random.
pub struct Putter {
    clients: Share<KvClient<Channel>>,
    keys: u64,
    random: SmallRng,
    value: Vec<u8>,
}

impl Putter {
    /// `count` callers over the given connections.
    pub fn many(count: usize, channels: &[Channel], keys: u64) -> Vec<Self> {
        let putter = |index| Putter {
            clients: Share::of(channels, index, count, KvClient::new),
            keys,
            random: SmallRng::seed_from_u64(index as u64),
            value: vec![b'v'; VALUE_BYTES],
        };
        (0..count).map(putter).collect()
    }
}

impl Client for Putter {
    async fn call(&mut self) -> Result<(), Status> {
        let key = self.random.random_range(0..self.keys);
        self.clients.next().put(put(key, &self.value)).await?;
        Ok(())
    }
}

/// Puts its share of the keys, many in each transaction.
struct Filler {
    client: KvClient<Channel>,
    next: u64,
    step: u64,
    end: u64,
    value: Vec<u8>,
}

impl Client for Filler {
    async fn call(&mut self) -> Result<(), Status> {
        let keys = self.next..(self.next + FILL_AT_ONCE).min(self.end);
        self.next += self.step;
        let operation = |key| RequestOp { request: Some(Request::RequestPut(put(key, &self.value))) };
        let success: Vec<RequestOp> = keys.map(operation).collect();
        if !success.is_empty() {
            self.client.txn(TxnRequest { success, ..Default::default() }).await?;
        }
        Ok(())
    }
}

/// Puts the keys from `from` to before `to`.
pub async fn fill(cluster: &Cluster, from: u64, to: u64) -> Result<()> {
    let channels = connect_all(cluster.endpoints(), FILLERS).await?;
    let step = FILL_AT_ONCE * FILLERS as u64;
    // Each takes every 16th piece; each is given as many calls as its share has, so that nobody's share is left.
    let calls = (to - from).div_ceil(step);
    let mut tasks = tokio::task::JoinSet::new();
    for (index, channel) in channels.into_iter().enumerate() {
        let filler = Filler {
            client: KvClient::new(channel),
            next: from + FILL_AT_ONCE * index as u64,
            step,
            end: to,
            value: vec![b'v'; VALUE_BYTES],
        };
        tasks.spawn(async move {
            load::run(vec![filler], Amount::Calls(calls), || Ok(std::time::Duration::ZERO)).await.map(drop)
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}
