//! Timestamps of Roost's oracle: by single calls, over the stream that callers share, and out of the window itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use roost::client::Timestamps;
use roost::leader::tso::Window;
use roost::pb::rootcoord::AllocTimestampRequest;
use roost::pb::rootcoord::root_coord_client::RootCoordClient;
use tonic::Status;
use tonic::transport::Channel;

use super::machine::Pinger;
use crate::cluster::Cluster;
use crate::cluster::Side;
use crate::connect::{Share, connect_all};
use crate::lab::Lab;
use crate::load::{self, Amount, Client};
use crate::milvus::accepted;
use crate::report::{Goal, Metric, Sample};

const CLIENTS: usize = 256;
const CONNECTIONS: usize = 8;
/// Who share one stream.
const STREAM_CLIENTS: usize = 4096;
const ANSWER_IN: Duration = Duration::from_secs(5);
const ALLOCATIONS: u64 = 20_000_000;

const UNARY: Metric = metric("timestamps: AllocTimestamp of 1", "/s", Goal::None);
const EMPTY: Metric = metric("timestamps: empty RPC of the same server", "/s", Goal::None);
const UNARY_OVER_EMPTY: Metric = metric("timestamps: unary over empty RPC", "x", Goal::OursAtLeast(0.6));
const STREAM: Metric = Metric {
    clients: STREAM_CLIENTS as u64,
    ..metric("timestamps: stream, each awaited", "/s", Goal::OursAtLeast(1e6))
};
const ALLOCATOR: Metric = Metric { clients: 1, ..metric("timestamps: the window alone", "/s", Goal::OursAtLeast(1e7)) };

const fn metric(workload: &'static str, unit: &'static str, goal: Goal) -> Metric {
    Metric { workload, clients: CLIENTS as u64, unit, goal }
}

pub async fn run(lab: &Lab) -> Result<Vec<Sample>> {
    let cluster = Cluster::start(lab, Side::Roost).await?;
    let amount = Amount::For { warm_up: lab.warm_up(), measured: lab.measured() };
    let leader = cluster.internal()[cluster.leader().await?].clone();
    let channels = connect_all(&[leader], CONNECTIONS).await?;
    let empty = load::run(Pinger::many(CLIENTS, &channels), amount, || cluster.cpu()).await?;
    let unary = load::run(Asker::many(CLIENTS, &channels), amount, || cluster.cpu()).await?;
    drop(channels);
    let timestamps = Timestamps::new(cluster.internal().to_vec(), None);
    let sharers = Sharer::many(STREAM_CLIENTS, &timestamps);
    let stream = load::run(sharers, amount, || cluster.cpu()).await?;
    Ok(vec![
        Sample::speed(EMPTY, &empty),
        Sample::speed(UNARY, &unary),
        Sample::new(UNARY_OVER_EMPTY, unary.per_second() / empty.per_second()),
        Sample::speed(STREAM, &stream),
        Sample::new(ALLOCATOR, tokio::task::spawn_blocking(allocate).await??),
    ])
}

/// Asks the leader for one timestamp after the other.
struct Asker {
    clients: Share<RootCoordClient<Channel>>,
    order: Order,
}

impl Asker {
    fn many(count: usize, channels: &[Channel]) -> Vec<Self> {
        let order = Order::default();
        let asker =
            |index| Asker { clients: Share::of(channels, index, count, RootCoordClient::new), order: order.clone() };
        (0..count).map(asker).collect()
    }
}

impl Client for Asker {
    async fn call(&mut self) -> Result<(), Status> {
        let before = self.order.answered();
        let request = AllocTimestampRequest { count: 1, ..Default::default() };
        let reply = self.clients.next().alloc_timestamp(request).await?.into_inner();
        accepted(&reply.status.unwrap_or_default())?;
        self.order.check(before, reply.timestamp)
    }
}

/// Awaits one timestamp after the other of a stream that it shares with others.
struct Sharer {
    timestamps: Timestamps,
    order: Order,
}

impl Sharer {
    fn many(count: usize, timestamps: &Timestamps) -> Vec<Self> {
        let order = Order::default();
        (0..count).map(|_| Sharer { timestamps: timestamps.clone(), order: order.clone() }).collect()
    }
}

impl Client for Sharer {
    async fn call(&mut self) -> Result<(), Status> {
        let before = self.order.answered();
        let given = self.timestamps.allocate(1, ANSWER_IN).await;
        self.order.check(before, given.map_err(|error| Status::unknown(error.to_string()))?)
    }
}

/// The largest timestamp that anybody was answered: one that is asked for later must be larger.
#[derive(Clone, Default)]
struct Order {
    largest: Arc<AtomicU64>,
}

impl Order {
    fn answered(&self) -> u64 {
        self.largest.load(Ordering::Acquire)
    }

    fn check(&self, before: u64, given: u64) -> Result<(), Status> {
        if given <= before {
            return Err(Status::data_loss(format!("{given} was given after {before}")));
        }
        self.largest.fetch_max(given, Ordering::AcqRel);
        Ok(())
    }
}

/// Timestamps a second of one thread that takes them singly and reads the clock each time.
fn allocate() -> Result<f64> {
    let now_ms = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64);
    let window = Window::new(1, now_ms(), now_ms() + 3_600_000);
    let (started, mut last) = (Instant::now(), 0);
    for _ in 0..ALLOCATIONS {
        match window.take(now_ms(), 1) {
            Ok(given) if given > last => last = given,
            other => bail!("{other:?} after {last}"),
        }
    }
    Ok(ALLOCATIONS as f64 / started.elapsed().as_secs_f64())
}
