//! One run: a cluster, its clients, faults one after the other, and what must hold after each healing and at the end.
//! All of it follows from the seed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};

use rand::rngs::SmallRng;
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};
use roost_chaos::check::hash::{self, Hashes};
use roost_chaos::history::{Checker, Violation};
use turmoil::Sim;

use crate::fault::{End, Fault, Target};
use crate::load::{self, Shared};
use crate::node::{self, EPOCH_MS, Order, Place};
use crate::trace::Trace;
use crate::verify;

/// The longest sync of a disk that is not slow, in microseconds.
pub const SYNC_US: u64 = 3_000;
const SLOW_SYNC_US: u64 = 400_000;
const PLACES: u64 = 3;
/// Hosts that clients share.
const CLIENT_HOSTS: usize = 2;
const TICK: Duration = Duration::from_millis(1);
/// From the healing to a write and a read of it on each node.
const ALIVE_IN: Duration = Duration::from_secs(20);
/// From the end of the load to the same state everywhere.
const EQUAL_IN: Duration = Duration::from_secs(10);
const FAULT_MS: (u64, u64) = (50, 3000);
const CALM_MS: (u64, u64) = (50, 1200);
/// Long enough for a megabyte of log, which is what is purged at once.
const LAGGING: Duration = Duration::from_millis(3000);

/// What is to be run.
#[derive(Clone)]
pub struct Plan {
    pub seed: u64,
    pub faults: u64,
    pub trace: Trace,
    /// For what the nodes keep in files.
    pub dir: PathBuf,
}

/// What came out.
pub struct Outcome {
    pub violations: Vec<Violation>,
    pub faults: Vec<String>,
    pub answered: u64,
    pub open: u64,
    pub undecided: u64,
    /// Snapshots that were installed.
    pub snapshots: u64,
    pub slowest: Duration,
    /// Virtual time.
    pub lasted: Duration,
    pub trace: blake3::Hash,
}

struct Run {
    sim: Sim<'static>,
    places: Vec<Arc<Place>>,
    shared: Arc<Shared>,
    trace: Trace,
    rng: SmallRng,
    down: BTreeMap<usize, End>,
    faults: Vec<String>,
    /// What each node's state was, index by index, over all of its lives.
    hashes: BTreeMap<String, Hashes>,
    violations: Vec<Violation>,
    slowest: Duration,
    /// The longest way of a message while links are not slow.
    latency: Duration,
}

/// Runs a plan, on this thread alone.
pub fn run(plan: &Plan) -> anyhow::Result<Outcome> {
    let Plan { seed, faults, trace, dir } = plan.clone();
    roost_raft::random::seed(seed);
    let mut rng = SmallRng::seed_from_u64(seed);
    let latency = Duration::from_millis(rng.random_range(2..=20));
    let sim = turmoil::Builder::new()
        .rng_seed(seed)
        .epoch(UNIX_EPOCH + Duration::from_millis(EPOCH_MS))
        .tick_duration(TICK)
        .simulation_duration(Duration::MAX)
        .min_message_latency(TICK)
        .max_message_latency(latency)
        .tcp_capacity(4096)
        .enable_random_order()
        .build();
    let places = node::places(PLACES, &dir, seed, &trace);
    let shared = Shared::new(seed, places.iter().map(|place| place.name.clone()).collect(), trace.clone());
    let mut run = Run {
        sim,
        places,
        shared,
        trace,
        rng,
        down: BTreeMap::new(),
        faults: Vec::new(),
        hashes: BTreeMap::new(),
        violations: Vec::new(),
        slowest: Duration::ZERO,
        latency,
    };
    run.populate();
    run.through(faults)?;
    Ok(run.outcome())
}

impl Run {
    fn populate(&mut self) {
        let all: Vec<_> = self.places.iter().map(Arc::downgrade).collect();
        for place in &self.places {
            let (place, all) = (place.clone(), all.clone());
            self.sim.host(place.name.clone(), move || node::run(place.clone(), all.clone()));
        }
        let mut hosts: Vec<Vec<load::Work>> = (0..CLIENT_HOSTS).map(|_| Vec::new()).collect();
        for (number, work) in load::clients(&self.shared).into_iter().enumerate() {
            hosts[number % CLIENT_HOSTS].push(work);
        }
        for (number, works) in hosts.into_iter().enumerate() {
            self.sim.client(format!("clients{number}"), async move {
                futures::future::join_all(works).await;
                Ok(())
            });
        }
    }

    fn through(&mut self, faults: u64) -> anyhow::Result<()> {
        self.recover("the start")?;
        for _ in 0..faults {
            if !self.violations.is_empty() {
                return Ok(());
            }
            self.pass_between(CALM_MS)?;
            // Now and then two at once.
            let together = if self.rng.random_bool(0.3) { 2 } else { 1 };
            for _ in 0..together {
                let fault = Fault::draw(&mut self.rng, self.places.len());
                self.strike(fault)?;
            }
            let names = self.faults.split_off(self.faults.len() - together).join(" and ");
            self.faults.push(names.clone());
            self.heal();
            self.recover(&names)?;
        }
        self.shared.stop.store(true, Ordering::Relaxed);
        self.settle()
    }

    fn note(&self, what: &str) {
        self.trace.set_now(self.sim.elapsed());
        self.trace.note(format_args!("{what}"));
    }

    /// One tick of everything. Says whether all clients have ended.
    fn step(&mut self) -> anyhow::Result<bool> {
        self.trace.set_now(self.sim.elapsed());
        let ended = self.sim.step().map_err(|error| anyhow::anyhow!("the simulation broke: {error}"))?;
        for place in &self.places {
            if let Some(why) = place.failure() {
                let what = format!("{} ended by itself: {why}", place.name);
                self.violations.push(Checker::Liveness.found(what));
            }
        }
        Ok(ended)
    }

    fn pass(&mut self, time: Duration) -> anyhow::Result<()> {
        let until = self.sim.elapsed() + time;
        while self.sim.elapsed() < until {
            self.step()?;
        }
        Ok(())
    }

    fn pass_between(&mut self, (least, most): (u64, u64)) -> anyhow::Result<()> {
        let time = Duration::from_millis(self.rng.random_range(least..=most));
        self.pass(time)
    }

    /// The place that leads now, as the newest of those who believe it; any other if nobody does.
    fn place_of(&mut self, target: Target) -> usize {
        let place = match target {
            Target::Place(place) => Some(place),
            Target::Leader => {
                let leads = |(number, place): (usize, &Arc<Place>)| {
                    let leadership = *place.host()?.leadership().borrow();
                    leadership.is_self.then_some((leadership.term, number))
                };
                self.places.iter().enumerate().filter_map(leads).max().map(|(_, number)| number)
            }
        };
        place.unwrap_or_else(|| self.rng.random_range(0..self.places.len()))
    }

    fn others(&self, place: usize) -> Vec<usize> {
        (0..self.places.len()).filter(|other| *other != place).collect()
    }

    fn name(&self, place: usize) -> String {
        self.places[place].name.clone()
    }

    fn everybody_but(&self, place: usize) -> Vec<String> {
        let clients = (0..CLIENT_HOSTS).map(|number| format!("clients{number}"));
        self.others(place).into_iter().map(|other| self.name(other)).chain(clients).collect()
    }

    fn strike(&mut self, fault: Fault) -> anyhow::Result<()> {
        self.faults.push(fault.to_string());
        self.note(&format!("fault: {fault}"));
        match fault {
            Fault::One(end, target) => {
                let place = self.place_of(target);
                self.end(place, end);
            }
            Fault::Two(end, target) => {
                let first = self.place_of(target);
                let others = self.others(first);
                let second = others.into_iter().choose(&mut self.rng).unwrap_or(first);
                self.end(first, end);
                self.pass_between((0, 200))?;
                self.end(second, end);
            }
            Fault::All(end) => (0..self.places.len()).for_each(|place| self.end(place, end)),
            Fault::PowerFailsAt(operations, target) => {
                let place = self.place_of(target);
                self.places[place].disk.fail_after(operations);
                let until = self.sim.elapsed() + Duration::from_secs(2);
                while self.places[place].disk.has_power() && self.sim.elapsed() < until {
                    self.step()?;
                }
                self.end(place, End::PowerLoss);
            }
            Fault::Isolated(target) => {
                let place = self.place_of(target);
                for other in self.everybody_but(place) {
                    self.sim.partition(self.name(place), other);
                }
            }
            Fault::CutFromNodes(target) => {
                let place = self.place_of(target);
                for other in self.others(place) {
                    self.sim.partition(self.name(place), self.name(other));
                }
            }
            Fault::Mute(target) | Fault::Deaf(target) => {
                let place = self.place_of(target);
                for other in self.others(place) {
                    let (one, other) = (self.name(place), self.name(other));
                    let mute = matches!(fault, Fault::Mute(_));
                    let (from, to) = if mute { (one, other) } else { (other, one) };
                    self.sim.partition_oneway(from, to);
                }
            }
            Fault::Bridge(target) => {
                let place = self.place_of(target);
                let others = self.others(place);
                self.sim.partition(self.name(others[0]), self.name(others[1]));
            }
            Fault::Held(target) => {
                let place = self.place_of(target);
                for other in self.others(place) {
                    self.sim.hold(self.name(place), self.name(other));
                }
            }
            Fault::SlowLinks => {
                let latency = Duration::from_millis(self.rng.random_range(50..400));
                for (one, other) in self.links() {
                    self.sim.set_link_max_message_latency(one, other, latency);
                }
            }
            Fault::SlowDisk(target) => {
                let place = self.place_of(target);
                self.places[place].sync_us.store(SLOW_SYNC_US, Ordering::Relaxed);
            }
            Fault::ClockStep(target, ms) => {
                let place = self.place_of(target);
                self.places[place].skew_ms.fetch_add(ms, Ordering::Relaxed);
            }
            Fault::Transfer => {
                let place = self.place_of(Target::Leader);
                self.places[place].order(Order::TransferLeadership);
            }
            Fault::VoterRestarted => self.restart_voter_of_cut_leader()?,
            Fault::Lagging(target) => self.lag(target)?,
        }
        self.pass_between(FAULT_MS)
    }

    fn restart_voter_of_cut_leader(&mut self) -> anyhow::Result<()> {
        let leader = self.place_of(Target::Leader);
        let others = self.others(leader);
        for other in &others {
            self.sim.partition(self.name(leader), self.name(*other));
        }
        if let Some(voter) = others.into_iter().choose(&mut self.rng) {
            self.end(voter, End::PowerLoss);
            self.pass_between((1, 100))?;
            self.start(voter);
        }
        Ok(())
    }

    fn lag(&mut self, target: Target) -> anyhow::Result<()> {
        let place = self.place_of(target);
        self.shared.bulk.store(true, Ordering::Relaxed);
        for other in self.others(place) {
            self.sim.partition(self.name(place), self.name(other));
        }
        self.pass(LAGGING)?;
        for other in self.others(place) {
            self.places[other].order(Order::BuildSnapshot);
        }
        // The log is purged by housekeeping, every second.
        self.pass(Duration::from_millis(1500))?;
        for other in self.others(place) {
            self.sim.release(self.name(place), self.name(other));
        }
        self.shared.bulk.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Ends a node in the given way, if it runs.
    fn end(&mut self, place: usize, end: End) {
        if self.down.contains_key(&place) {
            return;
        }
        self.remember_hashes();
        self.note(&format!("{} ends: {end:?}", self.name(place)));
        if end == End::PowerLoss {
            // Nobody is told.
            for other in self.everybody_but(place) {
                self.sim.partition(self.name(place), other);
            }
        }
        self.sim.crash(self.name(place));
        if end == End::PowerLoss {
            self.places[place].disk.lose_power(&mut self.rng);
        }
        self.down.insert(place, end);
    }

    fn start(&mut self, place: usize) {
        let Some(end) = self.down.remove(&place) else { return };
        if end == End::PowerLoss {
            for other in self.everybody_but(place) {
                self.sim.release(self.name(place), other);
            }
        }
        self.places[place].disk.restore_power();
        self.trace.set_now(self.sim.elapsed());
        self.sim.bounce(self.name(place));
    }

    /// Every link between two hosts.
    fn links(&self) -> Vec<(String, String)> {
        let mut links = BTreeSet::new();
        for place in 0..self.places.len() {
            for other in self.everybody_but(place) {
                let (one, other) = (self.name(place), other);
                links.insert(if one < other { (one, other) } else { (other, one) });
            }
        }
        links.into_iter().collect()
    }

    fn heal(&mut self) {
        let down: Vec<usize> = self.down.keys().copied().collect();
        for place in down {
            self.start(place);
        }
        for (one, other) in self.links() {
            // Held messages arrive now.
            self.sim.release(one.clone(), other.clone());
            self.sim.set_link_max_message_latency(one, other, self.latency);
        }
        for place in &self.places {
            place.sync_us.store(SYNC_US, Ordering::Relaxed);
        }
        self.note("healed");
    }

    /// After a healing, the cluster takes a write and every node serves it, and states are equal where they can be
    /// compared.
    fn recover(&mut self, after: &str) -> anyhow::Result<()> {
        let began = self.sim.elapsed();
        let wanted = self.shared.wanted.fetch_add(1, Ordering::Relaxed) + 1;
        while self.shared.alive.load(Ordering::Relaxed) < wanted && self.violations.is_empty() {
            self.step()?;
            if self.sim.elapsed() - began > ALIVE_IN {
                let states: Vec<_> =
                    self.places.iter().filter_map(|place| place.host()).map(|host| describe(&host)).collect();
                let what = format!("not alive {ALIVE_IN:?} after {after}; nodes: {states:?}");
                self.violations.push(Checker::Liveness.found(what));
            }
        }
        self.slowest = self.slowest.max(self.sim.elapsed() - began);
        self.compare();
        Ok(())
    }

    /// Keeps what the running nodes remember of their states.
    fn remember_hashes(&mut self) {
        for place in &self.places {
            let Some(host) = place.host() else { continue };
            let kept = self.hashes.entry(place.name.clone()).or_default();
            kept.extend(host.recent_hashes().into_iter().map(|(index, hash)| (index, hash.to_string().into_bytes())));
        }
    }

    fn compare(&mut self) {
        self.remember_hashes();
        let nodes: Vec<_> = self.hashes.iter().map(|(name, hashes)| (name.clone(), hashes.clone())).collect();
        self.violations.extend(hash::equal(&nodes));
    }

    /// Without load, all nodes get to the same index and the same state.
    fn settle(&mut self) -> anyhow::Result<()> {
        while !self.step()? {}
        let until = self.sim.elapsed() + EQUAL_IN;
        loop {
            let ends: BTreeSet<_> = self
                .places
                .iter()
                .filter_map(|place| {
                    let status = place.host()?.status().ok()?;
                    Some((status.applied_index, status.state_hash.to_string()))
                })
                .collect();
            if ends.len() == 1 {
                self.note(&format!("all at {ends:?}"));
                break;
            }
            if self.sim.elapsed() > until {
                self.violations
                    .push(Checker::Hash.found(format!("not the same {EQUAL_IN:?} after the load: {ends:?}")));
                break;
            }
            self.pass(Duration::from_millis(50))?;
        }
        self.compare();
        Ok(())
    }

    fn outcome(mut self) -> Outcome {
        let record = std::mem::take(&mut *self.shared.record.lock());
        let (found, undecided) = verify::history(&record);
        self.violations.extend(found);
        Outcome {
            violations: self.violations,
            faults: self.faults,
            answered: record.answered,
            open: record.open,
            undecided,
            snapshots: self.places.iter().map(|place| place.installed.load(Ordering::Relaxed)).sum(),
            slowest: self.slowest,
            lasted: self.sim.elapsed(),
            trace: self.trace.hash(),
        }
    }
}

fn describe(host: &roost_raft::Host<roost::state::Roost>) -> String {
    let Ok(status) = host.status() else { return "unreadable".to_owned() };
    format!(
        "node {} {:?} term {} leader {:?} log {}..{} committed {} applied {}",
        status.node_id,
        status.state,
        status.term,
        status.leader,
        status.first_log_index,
        status.last_log_index,
        status.committed_index,
        status.applied_index
    )
}
