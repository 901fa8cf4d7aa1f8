//! One run: fault after fault, and after each the healing and the checks.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, PLACES};
use crate::fault::{Fault, Means};
use crate::history::{Checker, Clock, Violation};
use crate::load::{Load, closed};
use crate::node::Program;
use crate::strike::Strike;
use crate::support::sim::Sim;
use crate::verify::{self, Memory};
use crate::workers;

/// Load before each fault.
const CALM: Duration = Duration::from_millis(400);
/// Violations of one round that are shown.
const SHOWN: usize = 6;

/// What to do.
pub struct Plan {
    pub program: Program,
    /// `roost-sim`, if streaming nodes take part, and whether their logs are fenced.
    pub workers: Option<(PathBuf, bool)>,
    /// Where the nodes keep their data.
    pub data: PathBuf,
    pub seed: u64,
    /// Ends after the first round that is over by then.
    pub lasting: Duration,
    /// Ends after so many faults.
    pub faults_max: u64,
    /// These again and again, instead of drawn ones.
    pub faults: Option<Vec<Fault>>,
}

/// What came of it.
pub struct Outcome {
    pub faults: u64,
    pub violations: Vec<Violation>,
    pub memory: Memory,
    pub took: Duration,
    /// Left behind when something was found.
    pub kept: Option<PathBuf>,
}

impl Outcome {
    /// One line.
    pub fn summary(&self, seed: u64) -> String {
        let memory = &self.memory;
        format!(
            "chaos: {} — seed {seed}, {} faults in {} s, {} operations answered, {} left open, {} watch events, \
             {} appends, {} broadcasts, {} histories undecided, slowest recovery {:.1} s",
            if self.violations.is_empty() {
                "no violation".to_owned()
            } else {
                format!("{} VIOLATIONS", self.violations.len())
            },
            self.faults,
            self.took.as_secs(),
            memory.operations,
            memory.open,
            memory.events,
            memory.appends,
            memory.broadcasts,
            memory.undecided,
            memory.slowest.as_secs_f64(),
        )
    }
}

pub async fn run(plan: Plan) -> Result<Outcome> {
    let began = Instant::now();
    let mut random = StdRng::seed_from_u64(plan.seed);
    let mut cluster = Cluster::start(plan.program, plan.workers, &plan.data).await?;
    if !cluster.can_fill() {
        eprintln!("    no small disk could be mounted: the faults of full disks are left out");
    }
    let addresses: Vec<_> = (0..PLACES).map(|place| cluster.addresses(place)).collect();
    let sim = cluster.workers().map(Sim::control);
    let load = Load::start(Clock::start(), &addresses, cluster.places(), sim);
    let mut memory = Memory::default();
    let mut violations = verify::alive(&mut cluster, &load, &mut memory).await?;
    memory.slowest = Duration::ZERO;
    // One of each first, so that a short run misses none.
    let mut waiting = Fault::tour(cluster.means());
    waiting.shuffle(&mut random);
    let mut faults = 0;
    while violations.is_empty() && began.elapsed() < plan.lasting && faults < plan.faults_max {
        let fault = match &plan.faults {
            Some(listed) => listed.get(faults as usize % listed.len().max(1)).cloned().context("no faults")?,
            None => next(&mut waiting, &mut random, cluster.means()),
        };
        // Not while one of each kind is shown, and not beside listed ones. Full disks may wait for their node.
        let drawn = plan.faults.is_none() && waiting.len() < 2;
        let backdrop = if drawn { Fault::backdrop(&mut random, cluster.means()) } else { None };
        faults += 1 + u64::from(backdrop.is_some());
        let meanwhile = backdrop.as_ref().map(|backdrop| format!("; meanwhile: {backdrop}")).unwrap_or_default();
        eprintln!("[{:6.1} s] {faults:3}: {fault}{meanwhile}", began.elapsed().as_secs_f64());
        violations = round(&fault, backdrop.as_ref(), &mut cluster, &load, &mut random, &mut memory).await?;
        for violation in violations.iter().take(SHOWN) {
            eprintln!("{violation}");
        }
    }
    if violations.is_empty() {
        violations.extend(verify::all_keys(&cluster, &load, &memory).await);
        violations.extend(load.take_found());
        violations.iter().take(SHOWN).for_each(|violation| eprintln!("{violation}"));
    }
    load.stop().await;
    let kept = if violations.is_empty() { None } else { Some(cluster.keep()) };
    Ok(Outcome { faults, violations, memory, took: began.elapsed(), kept })
}

/// The next of those that wait, or a drawn one. A small disk may have lost its node to another place.
fn next(waiting: &mut Vec<Fault>, random: &mut StdRng, means: Means) -> Fault {
    let place = waiting.iter().rposition(|fault| means.allow(fault));
    place.map_or_else(|| Fault::draw(random, means), |place| waiting.remove(place))
}

/// One fault, its healing, and the checks of what was seen meanwhile.
async fn round(
    fault: &Fault,
    backdrop: Option<&Fault>,
    cluster: &mut Cluster,
    load: &Load,
    random: &mut StdRng,
    memory: &mut Memory,
) -> Result<Vec<Violation>> {
    sleep(CALM).await;
    let mut strike = Strike { cluster, load, random, may_fall: false };
    let struck = match backdrop {
        Some(backdrop) => match strike.begin(backdrop).await {
            Ok(()) => strike.run(fault).await,
            failed => failed,
        },
        None => strike.run(fault).await,
    };
    let may_fall = strike.may_fall;
    let mut found = Vec::new();
    if let Err(error) = struck {
        // What a fault needs of the cluster is that it is led, or that a command of the operator succeeds.
        found.push(Checker::Liveness.found(format!("while `{fault}` was brought about: {error:#}")));
    }
    let fallen = cluster.fallen()?;
    if !may_fall {
        found.extend(fallen.into_iter().map(|last_words| Checker::Liveness.found(last_words)));
    }
    if !found.is_empty() {
        return Ok(found);
    }
    cluster.heal()?;
    cluster.heal_workers().await?;
    found.extend(workers::nobody_drains(cluster).await);
    found.extend(verify::alive(cluster, load, memory).await?);
    found.extend(cluster.fallen()?.into_iter().map(|last_words| Checker::Liveness.found(last_words)));
    if !found.is_empty() {
        return Ok(found);
    }
    found.extend(verify::equal_hashes(cluster).await?);
    found.extend(verify::no_alarm(cluster).await);
    let epoch = Arc::new(closed(load.next_epoch()).await);
    found.extend(workers::settled(cluster, &epoch, memory).await);
    verify::last_reads(cluster, load, &epoch).await;
    let (upto, late) = verify::watchers_arrive(cluster, load, epoch.number).await;
    found.extend(late);
    let watched: Vec<_> = load.watchers.iter().map(|watcher| (watcher.number, watcher.take(upto))).collect();
    found.extend(verify::names(cluster, load, &epoch, memory).await);
    found.extend(tokio::task::block_in_place(|| verify::history(&epoch, watched, upto, memory)));
    found.extend(load.take_found());
    Ok(found)
}
