//! What the policy looks at: facts, and what only this leader knows, at one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Instant;

use super::failures::Failures;
use super::former::Former;
use super::tenants::Tenants;
use crate::config;
use crate::pb::store::{self, PChannelState, WorkerRole};
use crate::session::Loads;
use crate::state::View;
use crate::streamingcoord::policy::{ChannelView, ClusterView, NodeView, Settings};

/// What is known beside the facts.
pub struct Known<'a> {
    pub tenants: &'a Tenants,
    pub failures: &'a Failures,
    /// Who had the channels before.
    pub former: &'a Former,
    /// Whether the channel of this name is being assigned under this term right now.
    pub running: &'a dyn Fn(&str, i64) -> bool,
    /// Channels whose logs have much to recover.
    pub lagging: &'a BTreeSet<String>,
    /// The load of each node, as far as it was reported.
    pub loads: &'a Loads,
    pub config: &'a config::Streaming,
    /// Milliseconds since 1970.
    pub now_ms: u64,
    pub now: Instant,
    /// Channels that were moved a moment ago may be moved again.
    pub force: bool,
}

/// See the module.
pub struct Picture {
    pub view: ClusterView,
    pub settings: Settings,
    /// The term of each channel, which an order has to name.
    pub terms: BTreeMap<String, i64>,
    /// Nodes that are avoided though nobody ordered so, and why.
    pub suspicions: BTreeMap<i64, String>,
    /// Why nothing is moved for balance, if so.
    pub no_rebalance: Option<String>,
    /// Why channels stay where they are.
    pub notes: Vec<String>,
}

/// The live streaming nodes by id.
pub fn streaming_nodes(view: &View<'_>) -> io::Result<BTreeMap<i64, store::Worker>> {
    let workers = view.workers()?.into_iter().filter(|worker| worker.role() == WorkerRole::StreamingNode);
    Ok(workers.map(|worker| (worker.id, worker)).collect())
}

impl Picture {
    /// `rows`: all channels, by name.
    pub fn take(view: &View<'_>, rows: Vec<store::PChannel>, known: &Known<'_>) -> io::Result<Self> {
        let workers = streaming_nodes(view)?;
        let common = view.streaming()?;
        let suspicions = suspicions(&workers, known);
        let no_rebalance = no_rebalance(&rows, &common);
        let weights = weights(&workers);
        let nodes = workers.values().map(|worker| NodeView {
            id: worker.id,
            labels: worker.labels.clone(),
            weight: weights.get(&worker.id).copied().unwrap_or(1.0),
            load: known.loads.load(worker),
            frozen: worker.frozen || suspicions.contains_key(&worker.id),
            draining: worker.draining,
        });
        let terms = rows.iter().map(|row| (row.name.clone(), row.term)).collect();
        let nodes = nodes.collect();
        let notes = notes(&rows, known);
        let at = workers.values().map(|worker| (worker.address.as_str(), worker.id)).collect();
        let channels = rows.into_iter().map(|row| channel(row, &workers, &at, known)).collect();
        let settings = Settings {
            tolerance: known.config.balancer_rebalance_threshold,
            max_step: known.config.balancer_max_step,
            allow_rebalance: no_rebalance.is_none(),
            preferred_labels: known.config.balancer_preferred_labels.clone(),
            weights: known.config.balancer_weights,
        };
        let view = ClusterView { nodes, channels, now_ms: known.now_ms };
        Ok(Picture { view, settings, terms, suspicions, no_rebalance, notes })
    }
}

/// Whether a node took the channel so lately that it stays there.
fn is_recent(row: &store::PChannel, known: &Known<'_>) -> bool {
    let since_ms = known.now_ms.saturating_sub(row.last_assigned_ms);
    !known.force && since_ms < known.config.balancer_min_interval_ms
}

fn notes(rows: &[store::PChannel], known: &Known<'_>) -> Vec<String> {
    let assigned = || rows.iter().filter(|row| row.state() == PChannelState::Assigned);
    let recent = assigned().filter(|row| is_recent(row, known)).count();
    let lagging = assigned().filter(|row| known.lagging.contains(&row.name)).count();
    let (interval_ms, lag_ms) = (known.config.balancer_min_interval_ms, known.config.balancer_max_recovery_lag_ms);
    let mut notes = Vec::new();
    if recent > 0 {
        notes.push(format!("{recent} channels stay: they were taken less than {interval_ms} ms ago"));
    }
    if lagging > 0 {
        notes.push(format!("{lagging} channels stay: their logs have more than {lag_ms} ms to recover"));
    }
    notes
}

fn channel(
    row: store::PChannel,
    workers: &BTreeMap<i64, store::Worker>,
    at: &BTreeMap<&str, i64>,
    known: &Known<'_>,
) -> ChannelView {
    let node = row.node.as_ref().map(|node| node.server_id).filter(|node| workers.contains_key(node));
    let owner = match row.state() {
        PChannelState::Assigned => node,
        // It is being taken, or it was not and waits for its next turn.
        PChannelState::Assigning => {
            node.filter(|_| (known.running)(&row.name, row.term) || known.failures.waits(&row.name, known.now))
        }
        _ => None,
    };
    let movable =
        row.state() == PChannelState::Assigned && !is_recent(&row, known) && !known.lagging.contains(&row.name);
    // Of a node that did not take it a moment ago the order is void: else the channel went there and back for ever.
    let takes =
        |node: &i64| workers.contains_key(node) && known.failures.refused(&row.name, *node, known.now).is_none();
    let pinned = Some(row.pinned).filter(takes);
    let former = known.former.of(&row.name, workers, at);
    ChannelView { collections: known.tenants.of(&row.name), name: row.name, owner, former, movable, pinned }
}

/// Nodes that do not answer. When all that could take channels are such, none is: one may answer again.
fn suspicions(workers: &BTreeMap<i64, store::Worker>, known: &Known<'_>) -> BTreeMap<i64, String> {
    let why = |id: &i64| Some((*id, known.failures.avoided(*id, known.now)?.to_owned()));
    let suspected: BTreeMap<i64, String> = workers.keys().filter_map(why).collect();
    let takes = |worker: &&store::Worker| !worker.frozen && !worker.draining;
    match workers.values().filter(takes).any(|worker| !suspected.contains_key(&worker.id)) {
        true => suspected,
        false => BTreeMap::new(),
    }
}

/// While channels are on their way, others are not moved as well: what comes of it is not yet known.
fn no_rebalance(rows: &[store::PChannel], common: &store::Streaming) -> Option<String> {
    let assigning = rows.iter().filter(|row| row.state() == PChannelState::Assigning).count();
    match (common.rebalance_off, assigning) {
        (true, _) => Some("an operator turned it off".to_owned()),
        (false, 0) => None,
        (false, count) => Some(format!("{count} channels are being assigned")),
    }
}

/// What each node has of every resource, over the average of those that say; averaged over the resources.
fn weights(workers: &BTreeMap<i64, store::Worker>) -> BTreeMap<i64, f64> {
    let resources: [fn(&store::WorkerCapacity) -> u64; 4] = [
        |capacity| capacity.cpu_millis,
        |capacity| capacity.memory_bytes,
        |capacity| capacity.disk_bytes,
        |capacity| capacity.network_bytes_per_s,
    ];
    let mut shares: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
    for resource in resources {
        let said = workers.values().filter_map(|worker| Some((worker.id, resource(worker.capacity.as_ref()?))));
        let said: Vec<(i64, u64)> = said.filter(|(_, amount)| *amount > 0).collect();
        let sum: f64 = said.iter().map(|(_, amount)| *amount as f64).sum();
        for (id, amount) in &said {
            shares.entry(*id).or_default().push(*amount as f64 * said.len() as f64 / sum);
        }
    }
    shares.into_iter().map(|(id, shares)| (id, shares.iter().sum::<f64>() / shares.len() as f64)).collect()
}
