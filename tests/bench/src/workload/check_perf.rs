//! `etcdctl check perf --load=l`: 8,000 puts of 1 KiB a second are wanted for a minute, from 500 clients.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::bare;
use crate::cluster::{Cluster, Side};
use crate::lab::Lab;
use crate::report::{Goal, Metric, Sample};

const CLIENTS: u64 = 500;
const NODES: usize = 3;
const WRITES: Metric =
    Metric { workload: "check perf --load=l", clients: CLIENTS, unit: "writes/s", goal: Goal::RatioAtLeast(2.0) };
const SLOWEST: Metric = Metric {
    workload: "check perf --load=l: slowest request",
    clients: CLIENTS,
    unit: "s",
    goal: Goal::RatioAtMost(1.0),
};
/// The check writes for a minute and then deletes what it wrote.
const ENDS_IN: Duration = Duration::from_secs(150);
const SECONDS: f64 = 60.0;

/// What the check reaches when every request is answered at once: it sends with one token a put, so whatever it sleeps
/// too long for a token is lost.
pub async fn limit() -> Result<Vec<Sample>> {
    const LIMIT: Metric =
        Metric { workload: "machine: check perf --load=l, answered at once", goal: Goal::None, ..WRITES };
    let found = check(&bare::serve(NODES)?).await?;
    Ok(vec![Sample::new(LIMIT, found.writes_per_second).with_note(&found.told)])
}

pub async fn run(lab: &Lab, side: Side) -> Result<Vec<Sample>> {
    let cluster = Cluster::start(lab, side).await?;
    let cpu_before = cluster.cpu()?;
    let found = check(cluster.endpoints()).await?;
    let cpu = cluster.cpu()?.saturating_sub(cpu_before);
    let cpu_us = cpu.as_secs_f64() * 1e6 / (found.writes_per_second * SECONDS).max(1.0);
    Ok(vec![
        Sample::new(WRITES, found.writes_per_second).with_cpu(cpu_us).with_note(&found.told),
        Sample::new(SLOWEST, found.slowest_s),
    ])
}

async fn check(endpoints: &[String]) -> Result<Verdict> {
    let check = Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .args(["check", "perf", "--load=l", &format!("--endpoints={}", endpoints.join(","))])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    // Its exit status says whether the check passed, and its text too.
    let output = tokio::time::timeout(ENDS_IN, check).await.context("etcdctl check perf does not end")??;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Verdict::parse(&text)
}

/// What the check said.
#[derive(Debug, PartialEq)]
struct Verdict {
    writes_per_second: f64,
    slowest_s: f64,
    told: String,
}

impl Verdict {
    /// Its progress bar comes first, with a carriage return for every picture of it. What failed is worded in its own
    /// way, and begins with FAIL or with nothing.
    fn parse(text: &str) -> Result<Self> {
        let lines = || text.split(['\n', '\r']).map(str::trim);
        let find = |what: &str| {
            let line = lines().find(|line| line.contains(what))?;
            line.split_whitespace().find_map(|word| word.strip_suffix('s').unwrap_or(word).parse::<f64>().ok())
        };
        match (find("hroughput"), find("lowest request"), lines().find(|line| matches!(*line, "PASS" | "FAIL"))) {
            (Some(writes_per_second), Some(slowest_s), Some(told)) => {
                Ok(Verdict { writes_per_second, slowest_s, told: told.to_owned() })
            }
            _ => bail!("etcdctl check perf said:\n{}", text.rsplit('\r').next().unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_and_a_fail_are_read() {
        let passed = " 59 / 60 Boooo 98.33%\rPASS: Throughput is 7989 writes/s\nPASS: Slowest request took 0.134021s\n\
                      PASS: Stddev is 0.011\nPASS\n";
        let verdict = Verdict::parse(passed).unwrap();
        assert_eq!(verdict, Verdict { writes_per_second: 7989.0, slowest_s: 0.134021, told: "PASS".to_owned() });
        let failed = "\r 60 / 60 Boooo 100.00% 1m0s\nFAIL: Throughput too low: 1320 writes/s\n\
                      Slowest request took too long: 1.544880s\nStddev too high: 0.237969s\nFAIL\n";
        let verdict = Verdict::parse(failed).unwrap();
        assert_eq!(verdict, Verdict { writes_per_second: 1320.0, slowest_s: 1.54488, told: "FAIL".to_owned() });
    }

    #[test]
    fn no_verdict_is_an_error() {
        assert!(Verdict::parse("\r 12 / 60\nError: context deadline exceeded\n").is_err());
    }
}
