//! `roost-chaos`: three real roostd processes, a load that writes down what it sees, one fault after the other, and
//! checkers over the record. scripts/chaos builds what this needs.
//!
//! [`fault`] says what can happen and draws it from the seed; [`strike`] makes it happen to the [`cluster`], by the
//! processes' signals and disks ([`node`]) and the network between them ([`proxy`]); [`load`] are the clients;
//! [`verify`] and [`workers`] ask what must hold after the healing, with the pure functions of [`check`] over the
//! [`history`], which are this package's library, as the simulation needs them too.
//! [`mutation`] lists the deliberate errors by which the checkers are checked.
//!
//! A seed repeats the faults and their order, not the moment at which threads and packets meet.
//!
//! Not done here: torn or reordered writes within what was synced, a disk that lies about
//! its syncs beyond the mutation, packet loss below TCP (a lost chunk is delivered late, as TCP would do it), and a
//! clock step as seen by `rustix` calls of the suspension detector, which bypass the preloaded library.

mod cluster;
mod fault;
#[allow(clippy::unwrap_used, reason = "shared with the crash tests")]
#[path = "../../../raft/tests/it/crash/journal.rs"]
mod journal;
mod load;
mod mutation;
mod node;
mod proxy;
mod run;
mod strike;
mod verify;
mod workers;

/// Shared with the integration tests, which use more of it and panic where this program does not get.
#[allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "shared with the integration tests"
)]
#[path = "../../it/support"]
mod support {
    pub mod client;
    pub mod config;
    pub mod ports;
    pub mod sim;
    pub mod streaming;
}

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
// Under the names by which this program's modules know them.
use roost_chaos::{check, history, request, shim};

use crate::mutation::Mutation;
use crate::node::Program;
use crate::run::{Outcome, Plan, run};

/// Breaks a cluster in every way that can be arranged, and checks what clients saw.
#[derive(Debug, Parser)]
#[command(name = "roost-chaos")]
struct Options {
    /// How long to go on.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Stops after so many faults.
    #[arg(long, default_value_t = u64::MAX, hide_default_value = true)]
    faults: u64,
    /// Repeats the faults of another run.
    #[arg(long)]
    seed: Option<u64>,
    /// Runs a build with a deliberate error until its checker sees it, for each that is named.
    #[arg(long, value_enum)]
    mutation: Vec<Mutation>,
    /// All of them.
    #[arg(long)]
    mutations: bool,
    /// Where the nodes keep their data meanwhile.
    #[arg(long, value_name = "DIRECTORY", default_value = "/tmp")]
    data: PathBuf,
    /// The server under test.
    #[arg(long, value_name = "FILE")]
    roostd: PathBuf,
    /// Simulated worker nodes that take part; none without it.
    #[arg(long, value_name = "FILE")]
    roost_sim: Option<PathBuf>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let tools = tempfile::tempdir()?;
    let shim = shim::compile(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/shim.c")), tools.path())?;
    let seed = options.seed.unwrap_or_else(|| rand::random_range(0..1_000_000_000));
    eprintln!("==> chaos with seed {seed}");
    let plan = |mutation: Option<Mutation>| Plan {
        program: Program {
            roostd: options.roostd.clone(),
            shim: shim.clone(),
            mutation: mutation.map(|mutation| mutation.name().to_owned()),
        },
        workers: options.roost_sim.clone().map(|program| (program, mutation != Some(Mutation::AppendWithoutFence))),
        data: options.data.clone(),
        seed,
        lasting: Duration::from_secs(options.seconds),
        faults_max: options.faults,
        faults: mutation.map(Mutation::faults),
    };
    let chosen = if options.mutations { Mutation::ALL.to_vec() } else { options.mutation.clone() };
    if chosen.is_empty() {
        let outcome = run(plan(None)).await?;
        if let Some(kept) = &outcome.kept {
            eprintln!("    disks and logs are kept in {}", kept.display());
        }
        println!("{}", outcome.summary(seed));
        return Ok(if outcome.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let mut unseen = 0;
    let mut lines = Vec::new();
    for mutation in chosen {
        eprintln!("==> {mutation}");
        let outcome = run(plan(Some(mutation))).await?;
        if let Some(kept) = &outcome.kept {
            std::fs::remove_dir_all(kept)?;
        }
        let (seen, line) = verdict(mutation, &outcome);
        unseen += usize::from(!seen);
        lines.push(line);
    }
    lines.iter().for_each(|line| println!("{line}"));
    println!("chaos: {} of {} mutations seen by their checker — seed {seed}", lines.len() - unseen, lines.len());
    Ok(if unseen == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether the checker that is made for it saw the mutation.
fn verdict(mutation: Mutation, outcome: &Outcome) -> (bool, String) {
    let by = outcome.violations.iter().find(|violation| mutation.seen_by().contains(&violation.checker));
    let line = match (by, outcome.violations.first()) {
        (Some(violation), _) => format!("seen by `{}`", violation.checker),
        (None, Some(other)) => format!("NOT seen by its checker, but by `{}`", other.checker),
        (None, None) => "NOT SEEN".to_owned(),
    };
    (by.is_some(), format!("{mutation:24} {line}, after {} faults", outcome.faults))
}
