//! The leader's task that asks every registered node of Milvus for its metrics, and makes factors of the answers.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use http::uri::PathAndQuery;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tonic::client::Grpc;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::board::{LoadBoard, NodeLine, Picture};
use super::{Factors, NodeMetrics, factors, milvus, steady};
use crate::config::Quota;
use crate::introduce::{Introduced, dial};
use crate::leader::clock::Clock;
use crate::leader::{LeaderTask, Reign};
use crate::limits;
use crate::pb::common;
use crate::pb::milvus::{GetMetricsRequest, GetMetricsResponse};
use crate::pb::store::{Worker, WorkerRole};
use crate::proxies::Place;
use crate::replica::Replica;
use crate::state::worker::role_name;
use crate::state::{View, physical_ms};

/// What a node said that does not answer any more holds for so many rounds; then it limits nobody.
const ROUNDS_BELIEVED: u32 = 5;

/// See the module.
pub struct Collector {
    replica: Arc<dyn Replica>,
    clock: Arc<dyn Clock>,
    quota: Arc<Quota>,
    place: Place,
    /// Milvus' name of the cluster, which its processes show each other.
    cluster: String,
    board: Arc<LoadBoard>,
}

/// A registered node, as this reign knows it.
struct Known {
    worker: Worker,
    channel: Option<Introduced>,
    last: Option<NodeMetrics>,
    missed: u32,
    error: Option<String>,
}

type Nodes = BTreeMap<(WorkerRole, i64), Known>;

impl Collector {
    /// `root` is Milvus' etcd.rootPath.
    pub fn new(
        replica: Arc<dyn Replica>,
        clock: Arc<dyn Clock>,
        quota: Arc<Quota>,
        root: &str,
        board: Arc<LoadBoard>,
    ) -> Arc<Self> {
        let (place, cluster) = (Place::under(root), root.to_owned());
        Arc::new(Collector { replica, clock, quota, place, cluster, board })
    }

    async fn round(&self, nodes: &mut Nodes, before: &Factors) -> io::Result<Factors> {
        self.find(nodes)?;
        let wait = Duration::from_millis(self.quota.collect_interval_ms).min(limits::PROXY_CALL_WAIT);
        let ask = |((role, id), known): (&(WorkerRole, i64), &Known)| {
            let (key, channel) = ((*role, *id), known.channel.clone());
            async move {
                let Some(channel) = channel else { return (key, Err("its address is none".to_owned())) };
                let asked = timeout(wait, ask(channel, key.0)).await;
                (key, asked.unwrap_or_else(|_| Err("no answer in time".to_owned())))
            }
        };
        let asking = futures::stream::iter(nodes.iter().map(ask).collect::<Vec<_>>());
        let answers: Vec<_> = asking.buffer_unordered(limits::PROXY_CALLS_AT_ONCE).collect().await;
        for (key, answer) in answers {
            let Some(known) = nodes.get_mut(&key) else { continue };
            known.heard(answer);
        }
        if self.board.latest().is_none() && nodes.values().any(Known::is_unheard) {
            // What it said last the leader before may have told proxies to deny.
            return Ok(Factors::new());
        }
        let now_ms = self.clock.wall_ms();
        let said = nodes.iter().filter_map(|((role, _), known)| Some((*role, known.last.as_ref()?)));
        let mut factors = factors(said, &self.quota.protections, now_ms);
        self.forget_unknown(&mut factors)?;
        let factors = steady(before, factors, self.quota.factor_change_threshold);
        let nodes = nodes.iter().map(|((role, _), known)| known.line(*role, now_ms)).collect();
        self.board.show(Some(Picture { factors: factors.clone(), nodes }));
        Ok(factors)
    }

    /// A node may name what was dropped, or anything.
    fn forget_unknown(&self, factors: &mut Factors) -> io::Result<()> {
        let view = self.replica.view()?;
        let view = View::new(view.as_ref());
        let mut known = BTreeSet::new();
        for id in factors.keys() {
            if view.has_collection(*id)? {
                known.insert(*id);
            }
        }
        factors.retain(|id, _| known.contains(id));
        Ok(())
    }

    /// Makes the nodes those that are registered: of another coordinator, which may use this cluster as its etcd, none.
    fn find(&self, nodes: &mut Nodes) -> io::Result<()> {
        let view = self.replica.view()?;
        let mut registered = BTreeMap::new();
        if !self.place.has_another_coordinator(view.as_ref(), &self.replica.members())? {
            let workers = View::new(view.as_ref()).workers()?.into_iter();
            registered.extend(workers.map(|worker| ((worker.role(), worker.id), worker)));
        }
        let same = |one: &Worker, other: &Worker| {
            (&one.address, one.created_revision) == (&other.address, other.created_revision)
        };
        nodes.retain(|key, known| registered.get(key).is_some_and(|worker| same(worker, &known.worker)));
        for (key, worker) in registered {
            nodes.entry(key).or_insert_with(|| {
                let channel = dial(&self.cluster, worker.id, &worker.address, limits::PROXY_CALL_WAIT).ok();
                Known { worker, channel, last: None, missed: 0, error: None }
            });
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl LeaderTask for Collector {
    fn name(&self) -> &'static str {
        "load"
    }

    async fn run(&self, _reign: Reign) {
        if !self.quota.lowers_rates() {
            return std::future::pending().await;
        }
        let _shown = Shown(&self.board);
        let mut nodes = Nodes::new();
        let mut last = Factors::new();
        let mut due = interval(Duration::from_millis(self.quota.collect_interval_ms));
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            match self.round(&mut nodes, &last).await {
                Ok(factors) => last = factors,
                Err(error) => tracing::error!(%error, "the sessions of nodes cannot be read"),
            }
        }
    }
}

/// With the reign what was heard in it is forgotten.
struct Shown<'b>(&'b LoadBoard);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.0.show(None);
    }
}

impl Known {
    /// Nobody knows yet what it says, and it may still say something.
    fn is_unheard(&self) -> bool {
        self.last.is_none() && self.missed < ROUNDS_BELIEVED
    }

    fn heard(&mut self, answer: Result<NodeMetrics, String>) {
        match answer {
            Ok(metrics) => {
                self.last = Some(metrics);
                (self.missed, self.error) = (0, None);
            }
            Err(error) => {
                self.missed = self.missed.saturating_add(1);
                if self.missed >= ROUNDS_BELIEVED {
                    self.last = None;
                }
                self.error = Some(error);
            }
        }
    }

    fn line(&self, role: WorkerRole, now_ms: u64) -> NodeLine {
        let last = self.last.as_ref();
        let memory = last.filter(|metrics| metrics.memory_total > 0);
        let late = last.filter(|metrics| metrics.time_tick > 0);
        NodeLine {
            id: self.worker.id,
            role: role_name(role).to_owned(),
            address: self.worker.address.clone(),
            memory_ratio: memory.map(|metrics| metrics.memory_used as f64 / metrics.memory_total as f64),
            time_tick_delay_ms: late.map(|metrics| now_ms.saturating_sub(physical_ms(metrics.time_tick))),
            collections: last.map_or(0, |metrics| metrics.collections.len()),
            error: self.error.clone(),
        }
    }
}

/// The method of each kind of node. In Milvus 2.6 a streaming node serves reads too, and reports as a query node.
fn method(role: WorkerRole) -> Option<PathAndQuery> {
    let path = match role {
        WorkerRole::DataNode => "/milvus.proto.data.DataNode/GetMetrics",
        WorkerRole::QueryNode | WorkerRole::StreamingNode => "/milvus.proto.query.QueryNode/GetMetrics",
        WorkerRole::Proxy => "/milvus.proto.proxy.Proxy/GetProxyMetrics",
        WorkerRole::Unspecified => return None,
    };
    Some(PathAndQuery::from_static(path))
}

async fn ask(channel: Introduced, role: WorkerRole) -> Result<NodeMetrics, String> {
    let method = method(role).ok_or_else(|| "its role has no metrics".to_owned())?;
    let request = GetMetricsRequest { request: milvus::REQUEST.to_owned(), ..GetMetricsRequest::default() };
    let told = |status: Status| format!("{:?}: {}", status.code(), status.message());
    let mut grpc = Grpc::new(channel).max_decoding_message_size(limits::NODE_METRICS_BYTES_MAX);
    grpc.ready().await.map_err(|error| error.to_string())?;
    let codec = ProstCodec::<GetMetricsRequest, GetMetricsResponse>::default();
    let answer = grpc.unary(Request::new(request), method, codec).await.map_err(told)?.into_inner();
    match answer.status {
        Some(status) if !is_success(&status) => Err(format!("it answered {}: {}", status.code, status.reason)),
        _ => milvus::parse(&answer.response),
    }
}

/// Older nodes set the older code alone.
#[allow(deprecated, reason = "older nodes set nothing else")]
fn is_success(status: &common::Status) -> bool {
    status.code == 0 && status.error_code == 0
}
