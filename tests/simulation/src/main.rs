//! `roost-simulation`: three nodes and their clients in one thread, on a disk, a network and clocks that follow from a
//! seed: what one run shows, the next one with its seed shows again. `scripts/chaos --simulate` builds and runs it.
//!
//! [`node`] is the production host, state machine, peer protocol, proposer and oracle, on a [`disk`] in memory and on
//! turmoil's network and time; [`client`] and [`load`] are the clients, who reach it by its [`door`]; [`fault`] draws
//! what is broken and [`run`] breaks it; [`verify`] has the checkers of roost-chaos look at what clients wrote down;
//! [`farm`] makes each run in a process of its own, and [`mutation`] lists the deliberate errors that it must see.
//!
//! Not here: RocksDB and files (a snapshot on its way and the mark of what was synced lie in real files, which a crash
//! leaves alone), the listeners of roostd with their forwarding, threads, suspended machines, full or lying disks.

mod client;
mod disk;
mod door;
mod farm;
mod fault;
mod load;
mod mutation;
mod node;
mod run;
mod trace;
mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::farm::{Farm, Report, Settings};
use crate::mutation::Mutation;
use crate::run::{Plan, run};
use crate::trace::Trace;

/// Seeds after which a mutation that nobody saw is given up.
const MUTATION_SEEDS: u64 = 60;

/// Breaks a simulated cluster, and checks what its clients saw.
#[derive(Debug, Parser)]
#[command(name = "roost-simulation")]
struct Options {
    /// Runs this seed, again exactly as before. Without it, one is drawn.
    #[arg(long)]
    seed: Option<u64>,
    /// How many seeds, from the first on.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Faults of each run.
    #[arg(long, default_value_t = 8)]
    faults: u64,
    /// How many runs at once; as many as there are cores.
    #[arg(long)]
    jobs: Option<usize>,
    /// Runs each seed twice and compares all that happened.
    #[arg(long)]
    twice: bool,
    /// What the nodes log, to stderr, with virtual times: tracing's directives, such as info,roost_raft=debug.
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// Writes down what happened, line by line.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Makes a deliberate error and runs seeds until its checker sees it. Needs a build with the feature `mutations`.
    #[arg(long, value_enum)]
    mutation: Vec<Mutation>,
    /// All of them.
    #[arg(long)]
    mutations: bool,
    /// This process is the run.
    #[arg(long, hide = true, value_name = "DIRECTORY")]
    run_in: Option<PathBuf>,
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let seed = options.seed.unwrap_or_else(|| rand::random_range(0..1_000_000_000));
    if let Some(dir) = &options.run_in {
        println!("{}", serde_json::to_string(&run_here(seed, dir, &options)?)?);
        return Ok(ExitCode::SUCCESS);
    }
    let settings =
        Settings { faults: options.faults, mutation: None, log: options.log.clone(), trace: options.trace.clone() };
    let farm = Farm::new(options.jobs)?;
    let chosen = if options.mutations { Mutation::ALL.to_vec() } else { options.mutation.clone() };
    if !chosen.is_empty() {
        return mutated(&farm, seed, &settings, &chosen);
    }
    let run = |seed| {
        let report = if options.twice { farm.run_twice(seed, &settings) } else { farm.run(seed, &settings) };
        report.inspect(tell)
    };
    let reports = farm.run_all(seed..seed.saturating_add(options.seeds), run, |_| false)?;
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    let violated: Vec<u64> =
        reports.iter().filter(|report| !report.violations.is_empty()).map(|report| report.seed).collect();
    println!(
        "simulation: {} seeds from {seed}, {} faults, {} calls answered, {} left open, {} snapshots installed, slowest \
         recovery {} ms, {} s of virtual time, {} histories too long to decide: {}",
        reports.len(),
        sum(|report| report.faults.len() as u64),
        sum(|report| report.answered),
        sum(|report| report.open),
        sum(|report| report.snapshots),
        reports.iter().map(|report| report.slowest_ms).max().unwrap_or(0),
        sum(|report| report.lasted_ms) / 1000,
        sum(|report| report.undecided),
        if violated.is_empty() { "no violation".to_owned() } else { format!("VIOLATIONS with seeds {violated:?}") }
    );
    Ok(if violated.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The run itself, in the process that was made for it.
fn run_here(seed: u64, dir: &Path, options: &Options) -> Result<Report> {
    if let Some(filter) = &options.log {
        trace::log(filter)?;
    }
    let trace = if options.trace.is_some() { Trace::keeping_lines() } else { Trace::default() };
    let plan = Plan { seed, faults: options.faults, trace: trace.clone(), dir: dir.to_path_buf() };
    let outcome = run(&plan);
    if let Some(file) = &options.trace {
        std::fs::write(file, trace.lines().join("\n"))?;
    }
    Ok(Report::of(seed, outcome?))
}

/// What a run came to, to stderr.
fn tell(report: &Report) {
    let Report { seed, answered, open, snapshots, slowest_ms, lasted_ms, .. } = report;
    eprintln!(
        "    seed {seed}: {} faults, {answered} calls answered, {open} open, {snapshots} snapshots, slowest recovery \
         {slowest_ms} ms, {lasted_ms} ms",
        report.faults.len()
    );
    for (checker, what) in &report.violations {
        eprintln!("VIOLATION of `{checker}`, seed {seed}, after {:?}: {what}", report.faults);
        eprintln!("    again: scripts/chaos --simulate --seed {seed}");
    }
}

/// Runs seeds with each deliberate error until the checker that is made for it sees it.
fn mutated(farm: &Farm, seed: u64, settings: &Settings, chosen: &[Mutation]) -> Result<ExitCode> {
    if !cfg!(feature = "mutations") {
        anyhow::bail!("this build makes no deliberate errors: build it with the feature `mutations`");
    }
    let mut missed = 0;
    for mutation in chosen {
        let settings = Settings { mutation: Some(*mutation), ..settings.clone() };
        let checkers = mutation.seen_by();
        let finding = |report: &Report| report.violations.iter().find(|(by, _)| checkers.contains(by)).cloned();
        let run = |seed| farm.run(seed, &settings);
        let reports = farm.run_all(seed..seed + MUTATION_SEEDS, run, |report| finding(report).is_some())?;
        let seen = reports.iter().find_map(|report| Some((report.seed, finding(report)?)));
        missed += usize::from(seen.is_none());
        match seen {
            Some((seed, (checker, what))) => {
                eprintln!("    {}, seed {seed}: {what}", mutation.name());
                println!("{:24} seen by `{checker}` with seed {seed}, after {} seeds", mutation.name(), reports.len());
            }
            None => {
                let others: Vec<_> = reports.iter().flat_map(|report| &report.violations).take(3).collect();
                println!("{:24} NOT SEEN in {} seeds; others: {others:?}", mutation.name(), reports.len());
            }
        }
    }
    println!("simulation: {} of {} mutations seen", chosen.len() - missed, chosen.len());
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
