//! What is measured. Each workload measures one side at a time, on servers that it starts and stops.

mod check_perf;
mod create_collection;
mod growth;
mod idle;
mod puts;

use std::fmt;

use anyhow::Result;
use clap::ValueEnum;

use crate::cluster::Side;
use crate::lab::Lab;
use crate::report::Sample;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// etcd's own check of a cluster's speed, at its large load; a minute a side.
    CheckPerf,
    /// Puts into a large key space beside puts into a small one.
    Growth,
    /// CreateCollection of a stock Milvus on the cluster.
    CreateCollection,
    /// CPU time with many watchers and leases of which nothing happens.
    Idle,
}

impl Workload {
    pub const ALL: [Workload; 4] = [Workload::CheckPerf, Workload::Growth, Workload::CreateCollection, Workload::Idle];

    pub async fn run(self, lab: &Lab, side: Side) -> Result<Vec<Sample>> {
        match self {
            Workload::CheckPerf => check_perf::run(lab, side).await,
            Workload::Growth => growth::run(lab, side).await,
            Workload::CreateCollection => create_collection::run(lab, side).await,
            Workload::Idle => idle::run(lab, side).await,
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Workload::CheckPerf => "check-perf",
            Workload::Growth => "growth",
            Workload::CreateCollection => "create-collection",
            Workload::Idle => "idle",
        })
    }
}
