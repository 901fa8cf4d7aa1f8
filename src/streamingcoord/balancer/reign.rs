//! The balancer's work for as long as this node leads. What is decided is proposed under the reign's term; what is on
//! its way can be read from the facts, so the next leader goes on where this one was.

mod upkeep;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use roost_raft::apply::AppliedEvents;
use roost_raft::mutation;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use tracing::Instrument;

use super::failures::Failures;
use super::former::Former;
use super::health::Health;
use super::metrics::Cause;
use super::operation::{Ended, Operation, Outcome, told_early};
use super::picture::{Known, Picture, streaming_nodes};
use super::planning::{Planned, examined};
use super::tenants::Tenants;
use super::{Balancer, report};
use crate::error::Rejection;
use crate::failure::Failure;
use crate::leader::Reign;
use crate::limits;
use crate::pb::roost_streaming::PlanResponse;
use crate::pb::store::{self, PChannelState};
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
    former: Former,
    health: Health,
    operations: JoinSet<Ended>,
    running: BTreeMap<String, Running>,
    /// Channels that were not taken under this term, and wait to be ordered anew.
    failed: BTreeMap<String, i64>,
    /// Taken, and not yet said so in the log.
    taken: Vec<(String, i64)>,
    /// Why a plan is to be made now; empty: none is.
    due: BTreeSet<Cause>,
    /// When something that waits may go on.
    retry_at: Option<Instant>,
    /// When it is to be looked at the vchannels of collections that came or went.
    vchannels_at: Option<Instant>,
    /// Since when channels are on their way that a plan gave to nodes.
    moving_since: Option<Instant>,
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
            former: Former::default(),
            health: Health::default(),
            operations: JoinSet::new(),
            running: BTreeMap::new(),
            failed: BTreeMap::new(),
            taken: Vec::new(),
            due: BTreeSet::from([Cause::Begin]),
            retry_at: None,
            vchannels_at: None,
            moving_since: None,
        };
        reigning.read_tenants().await?;
        Ok(reigning)
    }

    pub(super) async fn run(&mut self, mut events: Events, mut asks: mpsc::Receiver<Ask>) -> Result<(), Failure> {
        let mut check = interval(Duration::from_millis(self.balancer.config.balancer_check_interval_ms));
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.advance().await?;
            let (retry_at, vchannels_at) = (self.retry_at, self.vchannels_at);
            tokio::select! {
                batch = events.recv() => match batch {
                    Ok(batch) => self.note(&batch).await?,
                    Err(RecvError::Lagged(_)) => self.read_tenants().await?,
                    Err(RecvError::Closed) => return std::future::pending().await,
                },
                Some(ended) = self.operations.join_next(), if !self.operations.is_empty() => self.ended(ended),
                Some(ask) = asks.recv() => self.answer(ask).await?,
                answer = self.health.answer() => self.examine(answer).await?,
                () = self.balancer.triggered.notified() => { self.due.insert(Cause::Operator); }
                () = due(retry_at), if retry_at.is_some() => {
                    self.retry_at = None;
                    self.due.insert(Cause::Retry);
                }
                () = due(vchannels_at), if vchannels_at.is_some() => {
                    self.vchannels_at = None;
                    self.due.insert(Cause::VChannels);
                }
                _ = check.tick() => {
                    self.due.insert(Cause::Timer);
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
        if !self.due.is_empty() {
            // What happens together is planned together.
            tokio::time::sleep(limits::BALANCER_GATHER).await;
            self.balancer.metrics.triggered(&std::mem::take(&mut self.due));
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
            if mutation::active("assign-before-commit") {
                told_early(&self.balancer.nodes, self.balancer.replica.as_ref(), chunk).await?;
            }
            self.propose(PChannelCommand::Assign { orders: chunk.to_vec() }).await?;
        }
        if !orders.is_empty() {
            self.moving_since.get_or_insert(started);
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

    fn picture(&mut self, force: bool, now: Instant) -> io::Result<Picture> {
        let view = self.balancer.replica.view()?;
        let view = View::new(view.as_ref());
        let rows = view.pchannels()?;
        self.former.take_in(&view, &rows)?;
        for row in rows.iter().filter(|row| row.state() == PChannelState::Unavailable) {
            let node = row.node.as_ref().map_or(0, |node| node.server_id);
            self.failures.lost(&row.name, row.term, node, now);
        }
        let running = |channel: &str, term: i64| self.running.get(channel).is_some_and(|one| one.term == term);
        let known = Known {
            tenants: &self.tenants,
            failures: &self.failures,
            former: &self.former,
            running: &running,
            lagging: self.health.lagging(),
            loads: &self.balancer.loads,
            config: &self.balancer.config,
            now_ms: self.balancer.clock.wall_ms(),
            now,
            force,
        };
        Picture::take(&view, rows, &known)
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
        self.failures.keep_only(|node| workers.contains_key(&node), Instant::now());
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
                self.due.insert(Cause::Retry);
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
                self.failures.taken(&channel, Instant::now());
                self.taken.push((channel, term));
                if self.running.is_empty() {
                    // What is balanced comes next.
                    self.due.insert(Cause::Settled);
                    let since = self.moving_since.take();
                    since.into_iter().for_each(|since| self.balancer.metrics.rebalanced(since.elapsed()));
                }
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
        let cause = |event: &Event| match event {
            Event::AssignmentsChanged { unsettled: true, .. } => Some(Cause::Channels),
            Event::WorkerChanged { .. } => Some(Cause::Nodes),
            other => Tenants::concerns(other).then_some(Cause::VChannels),
        };
        let causes: BTreeSet<Cause> = batch.events.iter().filter_map(cause).collect();
        if causes.contains(&Cause::VChannels) {
            let view = self.balancer.replica.view()?;
            let view = View::new(view.as_ref());
            batch.events.iter().try_for_each(|event| self.tenants.note(&view, event))?;
            // Collections come and go by thousands: they are looked at together.
            self.vchannels_at.get_or_insert_with(|| Instant::now() + limits::BALANCER_VCHANNELS_GATHER);
        }
        self.due.extend(causes.into_iter().filter(|cause| *cause != Cause::VChannels));
        Ok(())
    }

    async fn read_tenants(&mut self) -> Result<(), Failure> {
        let replica = self.balancer.replica.clone();
        let reading = tokio::task::spawn_blocking(move || Tenants::read(&View::new(replica.view()?.as_ref())));
        self.tenants = reading.await.map_err(|error| io::Error::other(error.to_string()))??;
        self.due.insert(Cause::Begin);
        Ok(())
    }

    async fn answer(&mut self, ask: Ask) -> Result<(), Failure> {
        if ask.execute {
            self.balancer.metrics.triggered(&BTreeSet::from([Cause::Operator]));
        }
        let planned = self.round(ask.force, ask.execute).await?;
        // Who does not wait any more needs no answer.
        let _ = ask.answer.send(Ok(planned.map(|planned| report::planned(&planned)).unwrap_or_default()));
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
