//! Who gives physical channels to streaming nodes. One leader task: it plans when a node comes, goes or fails, when a
//! channel is lost, when an operator or a timer says so; what it orders is committed under a new term before any node
//! hears of it.
//!
//! - `reign`: the loop; `reign/upkeep`: nodes that are asked now and then; `picture`: what the policy looks at;
//!   `planning`: from its plan to orders; `report`: the same for operators; `tenants`: which collections a channel
//!   carries;
//! - `operation`: one assignment on the nodes; `failures`: who failed lately; `former`: who had a channel before;
//!   `health`: how nodes are;
//! - `interceptor`: what is asked before and told after; `metrics`.

mod failures;
mod former;
mod health;
mod interceptor;
mod metrics;
mod operation;
mod picture;
mod planning;
mod reign;
mod report;
mod tenants;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot, watch};

pub use interceptor::{Audit, Intended, Interceptor, Interceptors, RateLimit};
pub use metrics::{BalancerMetrics, ChannelGauges};
pub use operation::Outcome;
use reign::{Ask, Reigning};

use super::discovery::{Assignments, Published};
use super::nodes::Nodes;
use super::policy::Registry;
use crate::call::Call;
use crate::config;
use crate::error::Rejection;
use crate::failure::Failure;
use crate::leader::clock::Clock;
use crate::leader::{LeaderTask, Reign};
use crate::limits;
use crate::pb::roost_streaming::PlanResponse;
use crate::pb::store::PChannelState;
use crate::pb::streaming::PChannelInfo;
use crate::proposer::Proposer;
use crate::relay::Relay;
use crate::replica::{self, Replica};
use crate::session::Loads;
use crate::state::{Command, PChannelCommand, View};

/// What the balancer works with.
pub struct Parts {
    pub replica: Arc<dyn Replica>,
    pub proposer: Arc<Proposer>,
    pub relay: Arc<Relay>,
    pub clock: Arc<dyn Clock>,
    pub nodes: Arc<Nodes>,
    /// What nodes reported of their load to this leader.
    pub loads: Arc<Loads>,
    pub assignments: Arc<Assignments>,
    pub config: Arc<config::Streaming>,
    pub policies: Registry,
}

/// See the module.
pub struct Balancer {
    replica: Arc<dyn Replica>,
    proposer: Arc<Proposer>,
    relay: Arc<Relay>,
    clock: Arc<dyn Clock>,
    nodes: Arc<Nodes>,
    loads: Arc<Loads>,
    assignments: Arc<Assignments>,
    config: Arc<config::Streaming>,
    policies: Registry,
    interceptors: Interceptors,
    metrics: BalancerMetrics,
    triggered: Notify,
    /// To the reign, while there is one.
    asks: Mutex<Option<mpsc::Sender<Ask>>>,
    closed: watch::Sender<bool>,
}

impl Balancer {
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts { replica, proposer, relay, clock, nodes, loads, assignments, config, policies } = parts;
        let mut built_in: Vec<Arc<dyn Interceptor>> = Vec::new();
        if config.balancer_moves_per_s > 0.0 {
            built_in.push(Arc::new(RateLimit::new(config.balancer_moves_per_s, clock.clone())));
        }
        built_in.push(Arc::new(Audit));
        let interceptors = Interceptors::new(built_in);
        Arc::new(Balancer {
            replica,
            proposer,
            relay,
            clock,
            nodes,
            loads,
            assignments,
            config,
            policies,
            interceptors,
            metrics: BalancerMetrics::default(),
            triggered: Notify::new(),
            asks: Mutex::default(),
            closed: watch::Sender::new(false),
        })
    }

    /// Asked before and told after each assignment, before those built in.
    pub fn add_interceptor(&self, interceptor: Arc<dyn Interceptor>) {
        self.interceptors.add(interceptor);
    }

    pub fn metrics(&self) -> &BalancerMetrics {
        &self.metrics
    }

    /// Calls `notifier` once a streaming node was given a channel, at once if that was so already.
    pub fn register_streaming_enabled_notifier(&self, notifier: impl FnOnce() + Send + 'static) {
        let mut published = self.assignments.watch();
        tokio::spawn(async move {
            // Without a sender the node has stopped, and nobody is to be told.
            if published.wait_for(|published| published.ever_enabled).await.is_ok() {
                notifier();
            }
        });
    }

    /// The node that has the channel, and under which term, as this node knows.
    pub fn latest_wal_located(&self, pchannel: &str) -> io::Result<Option<(i64, i64)>> {
        let row = View::new(self.replica.view()?.as_ref()).pchannel(pchannel)?;
        let row = row.filter(|row| row.state() == PChannelState::Assigned);
        Ok(row.and_then(|row| Some((row.node?.server_id, row.term))))
    }

    /// The assignments as they are told to clients, and each change of them; whoever is slow sees the latest.
    pub fn watch_channel_assignments(&self) -> watch::Receiver<Arc<Published>> {
        self.assignments.watch()
    }

    /// Says that these are not served under these terms, so that they are given to another node. From any node.
    pub async fn mark_as_unavailable(&self, call: &Call, channels: &[PChannelInfo]) -> Result<(), Failure> {
        let lost = channels.iter().map(|channel| (channel.name.clone(), channel.term)).collect();
        self.relay.submit(call, Command::PChannel(PChannelCommand::MarkUnavailable { lost })).await?;
        Ok(())
    }

    /// On the leader. Has the balancer look at once.
    pub fn trigger(&self) -> Result<(), Failure> {
        if self.asks.lock().is_none() {
            return Err(replica::Error::NotLeader.into());
        }
        self.triggered.notify_one();
        Ok(())
    }

    /// On the leader. What would be ordered now; `force`: as if no channel had been moved a moment ago.
    pub async fn plan(&self, call: &Call, force: bool) -> Result<PlanResponse, Failure> {
        self.ask(call, force, false).await
    }

    /// On the leader. Orders what is best now, channels that were moved a moment ago included.
    pub async fn balance(&self, call: &Call) -> Result<PlanResponse, Failure> {
        self.ask(call, true, true).await
    }

    async fn ask(&self, call: &Call, force: bool, execute: bool) -> Result<PlanResponse, Failure> {
        let asks = self.asks.lock().clone().ok_or(replica::Error::NotLeader)?;
        let (answer, answered) = oneshot::channel();
        let full = |_| Rejection::TooManyRequests { detail: "too many questions to the balancer".into() };
        asks.try_send(Ask { execute, force, answer }).map_err(full)?;
        match tokio::time::timeout_at(call.deadline.into(), answered).await {
            Ok(Ok(planned)) => planned,
            // The reign is over, or the balancer begins anew.
            Ok(Err(_)) => Err(replica::Error::NotLeader.into()),
            Err(_) => Err(Rejection::Unavailable { detail: "the balancer did not answer in time".into() }.into()),
        }
    }

    /// Stops balancing on this node for good.
    pub fn close(&self) {
        self.closed.send_replace(true);
    }
}

/// Takes no questions any more when the reign ends, however it ends.
struct Closing<'a>(&'a Balancer);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        *self.0.asks.lock() = None;
        // A leader opened connections to all streaming nodes; nobody else needs them.
        self.0.nodes.keep_only(&BTreeSet::new());
    }
}

async fn is_closed(closed: &mut watch::Receiver<bool>) {
    // The balancer holds the sender.
    let _ = closed.wait_for(|closed| *closed).await;
}

#[tonic::async_trait]
impl LeaderTask for Balancer {
    fn name(&self) -> &'static str {
        "balancer"
    }

    async fn run(&self, reign: Reign) {
        let mut closed = self.closed.subscribe();
        tokio::select! {
            () = is_closed(&mut closed) => return std::future::pending().await,
            () = self.proposer.clock_settled(reign.term) => {}
        }
        let closing = Closing(self);
        loop {
            let (sender, asks) = mpsc::channel(limits::BALANCER_QUESTIONS_MAX);
            // Before the tables are read, so that nothing falls between.
            let events = self.replica.events();
            let reigning = async {
                let mut reigning = Reigning::begin(self, reign).await?;
                *self.asks.lock() = Some(sender);
                reigning.run(events, asks).await
            };
            let ended = tokio::select! {
                () = is_closed(&mut closed) => break,
                ended = reigning => ended,
            };
            if let Err(error) = ended {
                tracing::warn!(%error, term = reign.term, "the balancer begins anew");
            }
            tokio::time::sleep(limits::BALANCER_RETRY).await;
        }
        drop(closing);
        std::future::pending().await
    }
}
