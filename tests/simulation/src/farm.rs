//! Runs, each in a process of its own with the library of `shim.c` preloaded: what tokio and the hashers of std draw
//! from the operating system then follows from the seed as well, and no run sees what another one left.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::mutation::Mutation;
use crate::run::Outcome;

/// Of real time. A run that takes longer stands still: some task never lets the clock go on.
const RUN_TIMEOUT: Duration = Duration::from_secs(600);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a run's process tells.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    pub seed: u64,
    /// Checker and what it says.
    pub violations: Vec<(String, String)>,
    pub faults: Vec<String>,
    pub answered: u64,
    pub open: u64,
    pub undecided: u64,
    pub snapshots: u64,
    pub slowest_ms: u64,
    /// Virtual.
    pub lasted_ms: u64,
    pub trace: String,
}

impl Report {
    pub fn of(seed: u64, outcome: Outcome) -> Self {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let told = |violation: roost_chaos::history::Violation| (violation.checker.to_string(), violation.what);
        Report {
            seed,
            violations: outcome.violations.into_iter().map(told).collect(),
            faults: outcome.faults,
            answered: outcome.answered,
            open: outcome.open,
            undecided: outcome.undecided,
            snapshots: outcome.snapshots,
            slowest_ms: ms(outcome.slowest),
            lasted_ms: ms(outcome.lasted),
            trace: outcome.trace.to_string(),
        }
    }

    fn broken(seed: u64, what: String) -> Self {
        Report { seed, violations: vec![("a run that ends".into(), what)], ..Report::default() }
    }
}

/// How each run is made.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub faults: u64,
    pub mutation: Option<Mutation>,
    pub log: Option<String>,
    pub trace: Option<PathBuf>,
}

pub struct Farm {
    shim: PathBuf,
    /// Runs at once.
    jobs: usize,
    tools: tempfile::TempDir,
    runs: AtomicU64,
}

impl Farm {
    /// Without a number, as many runs at once as there are cores.
    pub fn new(jobs: Option<usize>) -> Result<Self> {
        let jobs = jobs.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
        let tools = tempfile::tempdir()?;
        let shim = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/shim.c"));
        let shim = roost_chaos::shim::compile(shim, tools.path())?;
        Ok(Farm { shim, jobs, tools, runs: AtomicU64::new(0) })
    }

    /// Runs one seed. A process that breaks or stands still is a violation as well.
    pub fn run(&self, seed: u64, settings: &Settings) -> Result<Report> {
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        let dir = self.tools.path().join(format!("run{number}"));
        std::fs::create_dir(&dir)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--seed", &seed.to_string(), "--faults", &settings.faults.to_string()]);
        command.arg("--run-in").arg(&dir);
        command.env("LD_PRELOAD", &self.shim).env("ROOST_SIMULATION_SEED", seed.to_string());
        command.env_remove("ROOST_MUTATION").stdin(Stdio::null()).stdout(Stdio::piped());
        if let Some(mutation) = settings.mutation {
            command.env("ROOST_MUTATION", mutation.name());
        }
        match &settings.log {
            Some(filter) => _ = command.args(["--log", filter]),
            // A panic is told by what it leads to.
            None => _ = command.stderr(Stdio::null()),
        }
        if let Some(trace) = &settings.trace {
            command.arg("--trace").arg(trace);
        }
        let mut child = command.spawn().context("the simulation's own program cannot be started")?;
        let mut output = child.stdout.take().context("no output")?;
        let reading = std::thread::spawn(move || {
            let mut text = String::new();
            output.read_to_string(&mut text).map(|_| text)
        });
        let began = Instant::now();
        let ended = loop {
            match child.try_wait()? {
                Some(status) => break Some(status),
                None if began.elapsed() > RUN_TIMEOUT => {
                    child.kill()?;
                    child.wait()?;
                    break None;
                }
                None => std::thread::sleep(LOOK_EVERY),
            }
        };
        let text = reading.join().map_err(|_| anyhow::anyhow!("the reader of a run's output panicked"))??;
        std::fs::remove_dir_all(&dir)?;
        let Some(status) = ended else {
            return Ok(Report::broken(seed, format!("it did not end within {RUN_TIMEOUT:?}")));
        };
        match text.lines().last().map(serde_json::from_str::<Report>) {
            Some(Ok(report)) if status.success() => Ok(report),
            _ => Ok(Report::broken(seed, format!("its process ended with {status}"))),
        }
    }

    /// Runs a seed twice.
    pub fn run_twice(&self, seed: u64, settings: &Settings) -> Result<Report> {
        let (mut one, other) = (self.run(seed, settings)?, self.run(seed, settings)?);
        if one.trace != other.trace {
            let what = format!("two runs have the traces {} and {}", one.trace, other.trace);
            one.violations.push(("the same again".into(), what));
        }
        Ok(one)
    }

    /// Runs seeds until `seen` has seen enough. Reports are in no order.
    pub fn run_all(
        &self,
        seeds: std::ops::Range<u64>,
        run: impl Fn(u64) -> Result<Report> + Sync,
        seen: impl Fn(&Report) -> bool + Sync,
    ) -> Result<Vec<Report>> {
        let (next, end) = (AtomicU64::new(seeds.start), AtomicU64::new(seeds.end));
        let work = || -> Result<Vec<Report>> {
            let mut reports = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= end.load(Ordering::Relaxed) {
                    return Ok(reports);
                }
                let report = run(seed)?;
                if seen(&report) {
                    end.store(0, Ordering::Relaxed);
                }
                reports.push(report);
            }
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..self.jobs).map(|_| scope.spawn(work)).collect();
            let mut all = Vec::new();
            for worker in workers {
                match worker.join() {
                    Ok(reports) => all.extend(reports?),
                    Err(_) => bail!("a worker panicked"),
                }
            }
            Ok(all)
        })
    }
}
