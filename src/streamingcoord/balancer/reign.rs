//! The balancer's work for as long as this node leads. What is decided is proposed under the reign's term; what is on
//! its way can be read from the facts, so the next leader goes on where this one was.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use roost_raft::apply::AppliedEvents;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use tracing::Instrument;

use super::failures::Failures;
use super::health::{Answer, Health};
use super::operation::{Ended, Operation, Outcome};
use super::picture::{Known, Picture, streaming_nodes};
use super::planning::{Planned, examined};
use super::tenants::Tenants;
use super::{Balancer, report};
use crate::error::Rejection;
use crate::failure::Failure;
use crate::leader::Reign;
use crate::limits;
use crate::pb::roost_streaming::PlanResponse;
use crate::pb::store;
use crate::replica::Events;
use crate::state::limits::{MAX_PCHANNEL_ORDERS, MAX_PCHANNELS_ADDED};
use crate::state::{Command, Event, PChannelCommand, PChannelReply, Reply, View, pchannel_name};
use crate::streamingcoord::nodes::NodeError;
use crate::streamingcoord::policy::Policy;

/// A question of an operator.
pub(super) struct Ask {
    pub execute: bool,
    pub force: bool,
    pub answer: oneshot::Sender<Result<PlanResponse, Failure>>,
}

/// What one reign knows. Dropped with it, which cuts off what is under way.
pub(super) struct Reigning<'b> {
    balancer: &'b Balancer,
    reign: Reign,
    policy: Arc<dyn Policy>,
    tenants: Tenants,
    failures: Failures,
    health: Health,
    operations: JoinSet<Ended>,
    running: BTreeMap<String, Running>,
    /// Channels that were not taken under this term, and wait to be ordered anew.
    failed: BTreeMap<String, i64>,
    /// Taken, and not yet said so in the log.
    taken: Vec<(String, i64)>,
    plan_due: bool,
    /// When something that waits may go on.
    retry_at: Option<Instant>,
}

struct Running {
    term: i64,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<'b> Reigning<'b> {
    /// Reads what is kept in memory.
    pub(super) async fn begin(balancer: &'b Balancer, reign: Reign) -> Result<Self, Failure> {
        let unknown = || Rejection::Internal { detail: format!("no policy `{}`", balancer.config.balancer_policy) };
        let policy = balancer.policies.get(&balancer.config.balancer_policy).ok_or_else(unknown)?;
        let mut reigning = Reigning {
            balancer,
            reign,
            policy,
            tenants: Tenants::default(),
            failures: Failures::default(),
            health: Health::default(),
            operations: JoinSet::new(),
            running: BTreeMap::new(),
            failed: BTreeMap::new(),
            taken: Vec::new(),
            plan_due: true,
            retry_at: None,
        };
        reigning.read_tenants().await?;
        Ok(reigning)
    }

    pub(super) async fn run(&mut self, mut events: Events, mut asks: mpsc::Receiver<Ask>) -> Result<(), Failure> {
        let mut check = interval(Duration::from_millis(self.balancer.config.balancer_check_interval_ms));
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.advance().await?;
            let retry_at = self.retry_at;
            tokio::select! {
                batch = events.recv() => match batch {
                    Ok(batch) => self.note(&batch).await?,
                    Err(RecvError::Lagged(_)) => self.read_tenants().await?,
                    Err(RecvError::Closed) => return std::future::pending().await,
                },
                Some(ended) = self.operations.join_next(), if !self.operations.is_empty() => self.ended(ended),
                Some(ask) = asks.recv() => self.answer(ask).await?,
                answer = self.health.answer() => self.examine(answer).await?,
                () = self.balancer.triggered.notified() => self.plan_due = true,
                () = due(retry_at), if retry_at.is_some() => {
                    self.retry_at = None;
                    self.plan_due = true;
                }
                _ = check.tick() => {
                    self.plan_due = true;
                    self.ask_health()?;
                }
            }
        }
    }

    /// Says what was taken, and plans if that is due.
    async fn advance(&mut self) -> Result<(), Failure> {
        while let Some(ended) = self.operations.try_join_next() {
            self.ended(ended);
        }
        while !self.taken.is_empty() {
            let taken = self.taken.drain(..self.taken.len().min(MAX_PCHANNEL_ORDERS)).collect();
            self.propose(PChannelCommand::AssignDone { taken }).await?;
        }
        if self.plan_due {
            // What happens together is planned together.
            tokio::time::sleep(limits::BALANCER_GATHER).await;
            self.plan_due = false;
            self.round(false, true).await?;
        }
        Ok(())
    }

    /// Plans, and orders it if it is to be executed. `None`: there is nothing to plan.
    async fn round(&mut self, force: bool, execute: bool) -> Result<Option<Planned>, Failure> {
        if execute && !self.add_channels().await? {
            return Ok(None);
        }
        if execute {
            self.start_operations()?;
        }
        let (started, now) = (Instant::now(), Instant::now());
        let picture = self.picture(force, now)?;
        let policy = self.policy.clone();
        let planning = tokio::task::spawn_blocking(move || (policy.plan(&picture.view, &picture.settings), picture));
        let (plan, picture) = planning.await.map_err(|error| io::Error::other(error.to_string()))?;
        let interceptors = &self.balancer.interceptors;
        let name = self.policy.name();
        let planned = examined(name, plan, picture, &self.failures, interceptors, now, !execute);
        if !execute {
            return Ok(Some(planned));
        }
        self.retry_at = self.failures.next_due(now);
        let orders = planned.orders();
        self.balancer.metrics.planned(started.elapsed(), planned.vetoes.len(), !orders.is_empty());
        for chunk in orders.chunks(MAX_PCHANNEL_ORDERS) {
            self.propose(PChannelCommand::Assign { orders: chunk.to_vec() }).await?;
        }
        if !orders.is_empty() {
            tracing::info!(channels = orders.len(), cost = planned.plan.cost_after, "channels are given to nodes");
            self.start_operations()?;
        }
        Ok(Some(planned))
    }

    /// Makes the channels that are configured, once there is a node for them. Whether there are any.
    async fn add_channels(&mut self) -> Result<bool, Failure> {
        let (missing, any) = {
            let view = self.balancer.replica.view()?;
            let view = View::new(view.as_ref());
            let there = view.streaming()?.pchannels;
            let wanted = u32::from(self.balancer.config.pchannels);
            let any_node = there > 0 || !streaming_nodes(&view)?.is_empty();
            (if any_node { there..wanted } else { 0..0 }, any_node)
        };
        let names: Vec<String> =
            missing.filter_map(|number| Some(pchannel_name(u16::try_from(number).ok()?))).collect();
        for chunk in names.chunks(MAX_PCHANNELS_ADDED) {
            self.propose(PChannelCommand::Add { names: chunk.to_vec() }).await?;
        }
        Ok(any)
    }

    fn picture(&self, force: bool, now: Instant) -> io::Result<Picture> {
        let running = |channel: &str, term: i64| self.running.get(channel).is_some_and(|one| one.term == term);
        let known = Known {
            tenants: &self.tenants,
            failures: &self.failures,
            running: &running,
            lagging: self.health.lagging(),
            loads: &self.balancer.loads,
            config: &self.balancer.config,
            now_ms: self.balancer.clock.wall_ms(),
            now,
            force,
        };
        let view = self.balancer.replica.view()?;
        Picture::take(&View::new(view.as_ref()), &known)
    }

    /// Begins what the facts say is being assigned, and ends what they do not.
    fn start_operations(&mut self) -> io::Result<()> {
        let (rows, workers) = {
            let view = self.balancer.replica.view()?;
            let view = View::new(view.as_ref());
            (view.pchannels_assigning()?, streaming_nodes(&view)?)
        };
        let lives = |row: &store::PChannel| row.node.as_ref().is_some_and(|node| workers.contains_key(&node.server_id));
        let wanted: BTreeMap<&str, i64> =
            rows.iter().filter(|row| lives(row)).map(|row| (row.name.as_str(), row.term)).collect();
        self.running.retain(|name, running| wanted.get(name.as_str()) == Some(&running.term));
        self.failed.retain(|name, term| wanted.get(name.as_str()) == Some(&*term));
        let assigning: BTreeSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        self.failures.keep_only(|node| workers.contains_key(&node), |channel| assigning.contains(channel));
        self.balancer.nodes.keep_only(&workers.keys().copied().collect());
        for row in rows.iter().filter(|row| lives(row)) {
            if !self.running.contains_key(&row.name) && !self.failed.contains_key(&row.name) {
                self.start(row.clone());
            }
        }
        Ok(())
    }

    fn start(&mut self, row: store::PChannel) {
        // Its word is on its way into the log.
        if self.taken.iter().any(|(name, term)| *name == row.name && *term == row.term) {
            return;
        }
        let (name, term) = (row.name.clone(), row.term);
        let node = row.node.as_ref().map_or(0, |node| node.server_id);
        let span = tracing::info_span!("assignment", pchannel = name, term, node);
        let operation = Operation {
            nodes: self.balancer.nodes.clone(),
            replica: self.balancer.replica.clone(),
            wait: Duration::from_millis(self.balancer.config.balancer_operation_timeout_ms),
            row,
        };
        let task = self.operations.spawn(operation.run().instrument(span));
        self.running.insert(name, Running { term, task });
    }

    fn ended(&mut self, ended: Result<Ended, JoinError>) {
        let Ended { channel, term, node, outcome, took } = match ended {
            Ok(ended) => ended,
            Err(error) if error.is_cancelled() => return,
            Err(error) => {
                tracing::error!(%error, "an assignment was cut off");
                self.running.retain(|_, running| !running.task.is_finished());
                self.plan_due = true;
                return;
            }
        };
        if self.running.get(&channel).is_none_or(|running| running.term != term) {
            return;
        }
        self.running.remove(&channel);
        self.balancer.interceptors.after(&channel, term, node, &outcome, took);
        match outcome {
            Outcome::Taken => {
                self.balancer.metrics.ended("assigned", took);
                self.failures.answered(node);
                self.failures.taken(&channel);
                self.taken.push((channel, term));
                // What is balanced comes next.
                self.plan_due |= self.running.is_empty();
            }
            Outcome::Failed(error) => {
                self.balancer.metrics.ended("failed", took);
                let (now, why) = (Instant::now(), error.to_string());
                if matches!(error, NodeError::Unreachable(_)) {
                    self.failures.unreachable(node, now, &why);
                }
                self.failures.not_taken(&channel, node, now, &why);
                self.failed.insert(channel, term);
                self.retry_at = self.failures.next_due(now);
            }
        }
    }

    async fn note(&mut self, batch: &AppliedEvents<Event>) -> Result<(), Failure> {
        if batch.events.is_empty() {
            // Rows were replaced as a whole.
            return self.read_tenants().await;
        }
        let changes = |event: &Event| match event {
            Event::AssignmentsChanged { unsettled, .. } => *unsettled,
            Event::WorkerChanged { .. } => true,
            other => Tenants::concerns(other),
        };
        if !batch.events.iter().any(changes) {
            return Ok(());
        }
        let view = self.balancer.replica.view()?;
        let view = View::new(view.as_ref());
        let mut urgent = false;
        for event in &batch.events {
            // How many vchannels there are is looked at with the next check: collections come and go by thousands.
            urgent |= !self.tenants.note(&view, event)? && changes(event);
        }
        self.plan_due |= urgent;
        Ok(())
    }

    async fn read_tenants(&mut self) -> Result<(), Failure> {
        let replica = self.balancer.replica.clone();
        let reading = tokio::task::spawn_blocking(move || Tenants::read(&View::new(replica.view()?.as_ref())));
        self.tenants = reading.await.map_err(|error| io::Error::other(error.to_string()))??;
        self.plan_due = true;
        Ok(())
    }

    async fn answer(&mut self, ask: Ask) -> Result<(), Failure> {
        let planned = self.round(ask.force, ask.execute).await?;
        // Who does not wait any more needs no answer.
        let _ = ask.answer.send(Ok(planned.map(|planned| report::planned(&planned)).unwrap_or_default()));
        Ok(())
    }

    fn ask_health(&mut self) -> io::Result<()> {
        let view = self.balancer.replica.view()?;
        let view = View::new(view.as_ref());
        self.health.ask(&self.balancer.nodes, &streaming_nodes(&view)?, &view.pchannels()?);
        Ok(())
    }

    async fn examine(&mut self, answer: Answer) -> Result<(), Failure> {
        let rows = View::new(self.balancer.replica.view()?.as_ref()).pchannels()?;
        let findings = self.health.take(&answer, &rows, self.balancer.config.balancer_max_recovery_lag_ms);
        self.balancer.metrics.nodes_silent.set(i64::try_from(self.health.silent()).unwrap_or(i64::MAX));
        let node = answer.node;
        match answer.said {
            Ok(_) => self.failures.answered(node.server_id),
            Err(error) => {
                tracing::warn!(node = node.server_id, %error, "a streaming node does not say how it is");
                let now = Instant::now();
                self.failures.unreachable(node.server_id, now, &error.to_string());
                self.retry_at = self.failures.next_due(now);
            }
        }
        for info in findings.stale {
            tracing::warn!(
                node = node.server_id,
                pchannel = info.name,
                term = info.term,
                "a node has what is another's"
            );
            let (nodes, node) = (self.balancer.nodes.clone(), node.clone());
            // What fails is found again with the next check.
            tokio::spawn(async move { nodes.remove(&node, info, limits::NODE_STATUS_WAIT).await });
        }
        for lost in findings.lost.chunks(MAX_PCHANNEL_ORDERS) {
            tracing::warn!(node = node.server_id, channels = lost.len(), "a node does not have what it was given");
            self.propose(PChannelCommand::MarkUnavailable { lost: lost.to_vec() }).await?;
        }
        Ok(())
    }

    async fn propose(&self, command: PChannelCommand) -> Result<PChannelReply, Failure> {
        let command = Command::PChannel(command);
        match self.balancer.proposer.propose_internal(self.reign.term, command).await? {
            Reply::PChannel(reply) => Ok(reply),
            other => Err(Rejection::Internal { detail: format!("another command's reply: {other:?}") }.into()),
        }
    }
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
