//! `roost-bench`: the same load on three nodes of Roost and three of etcd, on the same disk, in alternating rounds.
//!
//! [`cluster`] starts either side, [`milvus`] a stock Milvus on it; [`load`] is the closed loop that makes calls
//! through the connections of [`connect`]; each file of [`workload`] measures one thing on one side; [`report`] sets
//! the sides beside each other, [`chart`] draws them. scripts/bench installs and builds what this needs.

mod bare;
mod chart;
mod cluster;
mod connect;
mod lab;
mod load;
mod milvus;
mod ports;
mod process;
mod report;
mod workload;

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
    pub mod ports;
    pub mod sim;
    pub mod streaming;
}

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Parser;

use crate::cluster::Side;
use crate::lab::{Lab, Size};
use crate::report::Report;
use crate::workload::Workload;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Measures Roost beside etcd and says which targets are met.
#[derive(Debug, Parser)]
#[command(name = "roost-bench")]
struct Options {
    /// What to measure. Nothing named: everything, with --quick what is quick.
    #[arg(value_enum)]
    workloads: Vec<Workload>,
    /// Smaller sizes and one round: minutes instead of an hour.
    #[arg(long)]
    quick: bool,
    /// Rounds of each workload [default: 3, or 1 with --quick].
    #[arg(long)]
    rounds: Option<usize>,
    /// Writes the results there too, as a list.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draws speed and latency against the number of clients, as SVG.
    #[arg(long, value_name = "FILE")]
    chart: Option<PathBuf>,
    /// Measures one side only; ratios are left out.
    #[arg(long, value_enum)]
    only: Option<Side>,
    /// Where the servers keep their data while they are measured.
    #[arg(long, value_name = "DIRECTORY", default_value = "/tmp")]
    data: PathBuf,
    /// The server under test.
    #[arg(long, value_name = "FILE")]
    roostd: PathBuf,
    /// Streaming nodes that are simulated.
    #[arg(long, value_name = "FILE")]
    roost_sim: PathBuf,
    /// A Python with a real Milvus server.
    #[arg(long, value_name = "FILE")]
    milvus_python: PathBuf,
    /// What makes that Python such a server: tests/milvus_on_roost/server.py.
    #[arg(long, value_name = "FILE")]
    milvus_launcher: PathBuf,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let options = Options::parse();
    let lab = Lab {
        size: if options.quick { Size::Quick } else { Size::Full },
        data: options.data.clone(),
        roostd: options.roostd.clone(),
        roost_sim: options.roost_sim.clone(),
        milvus_python: options.milvus_python.clone(),
        milvus_launcher: options.milvus_launcher.clone(),
    };
    let rounds = options.rounds.unwrap_or(if options.quick { 1 } else { 3 });
    let workloads = match options.workloads.is_empty() {
        true => Workload::ALL.into_iter().filter(|workload| !(options.quick && workload.is_long())).collect(),
        false => options.workloads.clone(),
    };

    let mut report = Report::default();
    let mut failures = Vec::new();
    for workload in workloads {
        for round in 1..=rounds {
            if let Err(error) = one_round(&lab, workload, round, options.only, &mut report).await {
                let failure = format!("{workload}, round {round} of {rounds}: {error:#}");
                eprintln!("==> FAILED: {failure}");
                failures.push(failure);
            }
        }
    }
    println!("{}", report.table());
    if let Some(file) = &options.json {
        std::fs::write(file, report.json()?).with_context(|| format!("writing {}", file.display()))?;
    }
    if let Some(file) = &options.chart {
        let picture = chart::svg(&report.entries()).context("--chart: nothing was measured with several clients")?;
        std::fs::write(file, picture).with_context(|| format!("writing {}", file.display()))?;
    }
    if !failures.is_empty() {
        // What else was measured is worth keeping, but this is not a success.
        bail!("{} failed:\n{}", failures.len(), failures.join("\n"));
    }
    Ok(())
}

/// Measures the machine and both sides once.
async fn one_round(lab: &Lab, workload: Workload, round: usize, only: Option<Side>, report: &mut Report) -> Result<()> {
    let limits = workload.limits(lab).await?;
    limits.iter().for_each(|sample| eprintln!("    {sample}"));
    report.add_limits(limits);
    // Whoever comes first finds the disk and the machine as the last one left them: it is not always the same.
    let sides = if round % 2 == 1 { [Side::Etcd, Side::Roost] } else { [Side::Roost, Side::Etcd] };
    for side in sides.into_iter().filter(|side| only.is_none_or(|only| only == *side)) {
        eprintln!("==> {workload}, round {round}: {side}");
        let samples = workload.run(lab, side).await.with_context(|| side.to_string())?;
        samples.iter().for_each(|sample| eprintln!("    {sample}"));
        report.add(round, side, samples);
    }
    Ok(())
}
