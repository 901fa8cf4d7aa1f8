//! What is measured. Each workload measures one side at a time, on servers that it starts and stops.

mod catalogue;
mod check_perf;
mod collections;
mod create_collection;
mod ddl;
mod fail_over;
mod growth;
mod idle;
mod machine;
mod puts;
mod reads;
mod restart;
mod root_coord;
mod streaming;
mod timestamps;
mod watch;
mod writes;

use std::fmt;

use anyhow::Result;
use clap::ValueEnum;

use crate::cluster::Side;
use crate::lab::Lab;
use crate::report::Sample;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// The machine's own limits: syncs and empty calls a second.
    Machine,
    /// Replicated writes of 256 B from 1, 64 and 256 clients; AlterCollection.
    Writes,
    /// Linearizable reads through every node; DescribeCollection.
    Reads,
    /// CreateCollection beside the transactions that Milvus makes for one; from 1, 64 and 256 clients.
    Ddl,
    /// Timestamps by single calls and over a stream.
    Timestamps,
    /// From kill -9 of the leader to the next acknowledged write.
    FailOver,
    /// A node killed under load, started again on a large key space; and all nodes' memory with it.
    Restart,
    /// 1,000 watchers on 10 streams, each change to all.
    Watch,
    /// Puts into a large key space beside puts into a small one.
    Growth,
    /// etcd's own check of a cluster's speed, at its large load; a minute a side.
    CheckPerf,
    /// CreateCollection of a stock Milvus on the cluster.
    CreateCollection,
    /// RootCoord asked directly, beside the one of a stock Milvus with its embedded etcd.
    RootCoord,
    /// Rates, idle nodes and starts with many collections; permission checks. Roost only.
    Catalogue,
    /// CPU time with many watchers and leases of which nothing happens.
    Idle,
    /// Plans of channels, a streaming node's death, 10,000 listeners, keep-alives. Roost only.
    Streaming,
}

impl Workload {
    pub const ALL: [Workload; 15] = [
        Workload::Machine,
        Workload::Writes,
        Workload::Reads,
        Workload::Ddl,
        Workload::Timestamps,
        Workload::FailOver,
        Workload::Restart,
        Workload::Watch,
        Workload::Growth,
        Workload::CheckPerf,
        Workload::Idle,
        Workload::CreateCollection,
        Workload::RootCoord,
        Workload::Catalogue,
        Workload::Streaming,
    ];

    /// Those whose time does not shrink with their size.
    pub fn is_long(self) -> bool {
        matches!(
            self,
            Workload::Catalogue
                | Workload::CheckPerf
                | Workload::RootCoord
                | Workload::Idle
                | Workload::CreateCollection
        )
    }

    /// What bounds the workload whichever side is measured: the machine's own limits, or the client's.
    pub async fn limits(self, lab: &Lab) -> Result<Vec<Sample>> {
        match self {
            Workload::Machine => machine::run(lab).await,
            Workload::CheckPerf => check_perf::limit().await,
            _ => Ok(Vec::new()),
        }
    }

    /// What one side shows; nothing if the workload is not about it.
    pub async fn run(self, lab: &Lab, side: Side) -> Result<Vec<Sample>> {
        match self {
            Workload::Machine => Ok(Vec::new()),
            Workload::Writes => writes::run(lab, side).await,
            Workload::Reads => reads::run(lab, side).await,
            Workload::Ddl => ddl::run(lab, side).await,
            Workload::Timestamps if side == Side::Roost => timestamps::run(lab).await,
            Workload::Timestamps => Ok(Vec::new()),
            Workload::FailOver => fail_over::run(lab, side).await,
            Workload::Restart => restart::run(lab, side).await,
            Workload::Watch => watch::run(lab, side).await,
            Workload::Growth => growth::run(lab, side).await,
            Workload::CheckPerf => check_perf::run(lab, side).await,
            Workload::CreateCollection => create_collection::run(lab, side).await,
            Workload::RootCoord => root_coord::run(lab, side).await,
            Workload::Catalogue if side == Side::Roost => catalogue::run(lab).await,
            Workload::Catalogue => Ok(Vec::new()),
            Workload::Idle => idle::run(lab, side).await,
            Workload::Streaming if side == Side::Roost => streaming::run(lab).await,
            Workload::Streaming => Ok(Vec::new()),
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}
