//! The command line of `roost-sim`.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::limits;
use crate::pb::sim;

/// How many nodes of one kind one process may simulate.
const NODES: RangeInclusive<i64> = 0..=limits::SIM_NODES_MAX as i64;

/// Simulates Milvus' nodes for a Roost cluster, and breaks them.
#[derive(Debug, Parser)]
#[command(name = "roost-sim", version, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Simulates nodes until SIGTERM or SIGINT
    Run(Box<Run>),
    /// Lists the nodes and what they serve
    Nodes {
        #[command(flatten)]
        control: At,
    },
    /// Lists the logs: who appended how much under which term
    Wals {
        #[command(flatten)]
        control: At,
        /// Only this pchannel
        #[arg(default_value = "")]
        pchannel: String,
    },
    /// Switches one node
    Switch {
        #[command(flatten)]
        control: At,
        /// Its number, from 1
        number: u32,
        power: Option<Power>,
        #[command(flatten)]
        knobs: Knobs,
        #[command(flatten)]
        reports: Reports,
    },
}

/// Where the simulation is controlled.
#[derive(Clone, Debug, Args)]
pub struct At {
    #[arg(long, value_name = "HOST:PORT", env = "ROOST_SIM_CONTROL", default_value = "127.0.0.1:22199")]
    pub control: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Power {
    /// Runs, again
    Run,
    /// As by SIGSTOP
    Pause,
    /// As by kill -9
    Crash,
    /// Leaves in good order
    Stop,
}

impl From<Power> for sim::Power {
    fn from(power: Power) -> Self {
        match power {
            Power::Run => sim::Power::Running,
            Power::Pause => sim::Power::Paused,
            Power::Crash => sim::Power::Crashed,
            Power::Stop => sim::Power::Stopped,
        }
    }
}

/// What is wrong with the node; whatever is not named is right again.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Knobs {
    /// The coordinator cannot reach it, nor it the coordinator
    #[arg(long)]
    pub isolate: bool,
    /// Assignments and appends take so much longer
    #[arg(long, value_name = "MS", default_value_t)]
    pub slow: u32,
    /// Refuses assignments and new producers with this StreamingCode
    #[arg(long, value_name = "CODE", default_value_t)]
    pub reject: i32,
    /// How far it says that its logs are behind
    #[arg(long, value_name = "MS", default_value_t)]
    pub lag: u32,
    /// The load that it reports
    #[arg(long, value_name = "PERCENT", default_value_t, value_parser = clap::value_parser!(u32).range(..=100))]
    pub load: u32,
}

impl From<Knobs> for sim::Knobs {
    fn from(knobs: Knobs) -> Self {
        let Knobs { isolate: isolated, slow: slow_ms, reject, lag: lag_ms, load: load_percent } = knobs;
        sim::Knobs { isolated, slow_ms, reject, lag_ms, load_percent }
    }
}

/// What the node answers to GetMetrics; whatever is not named is nothing again.
#[derive(Clone, Debug, Default, Args)]
pub struct Reports {
    /// How much of its memory is used
    #[arg(long, value_name = "PERCENT", default_value_t, value_parser = clap::value_parser!(u32).range(..=100))]
    pub memory: u32,
    /// How much of it growing segments take
    #[arg(long, value_name = "PERCENT", default_value_t, value_parser = clap::value_parser!(u32).range(..=100))]
    pub growing: u32,
    /// How far its slowest channel is behind
    #[arg(long, value_name = "MS", default_value_t)]
    pub late: u32,
    /// A collection whose rows it takes; repeatable
    #[arg(long = "collection", value_name = "ID")]
    pub collections: Vec<i64>,
    /// Reports this error and nothing else
    #[arg(long, value_name = "TEXT", default_value_t)]
    pub error: String,
}

impl From<Reports> for sim::Metrics {
    fn from(reports: Reports) -> Self {
        let Reports { memory, growing, late, collections, error } = reports;
        sim::Metrics { memory_percent: memory, growing_percent: growing, late_ms: late, collections, error }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Register {
    /// By Roost's session API
    Session,
    /// In Milvus' own way, by the etcd API
    Etcd,
    /// Nodes of odd numbers by the one, of even numbers by the other
    Both,
}

#[derive(Debug, Args)]
pub struct Run {
    /// How many streaming nodes; their numbers come first
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(NODES))]
    pub nodes: u32,
    /// How many query nodes; their numbers come next
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(NODES))]
    pub query_nodes: u32,
    /// How many data nodes
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(NODES))]
    pub data_nodes: u32,
    /// An internal address of the coordinator; repeatable
    #[arg(long = "endpoint", value_name = "HOST:PORT", default_value = "127.0.0.1:22125")]
    pub endpoints: Vec<String>,
    /// The cluster's secret
    #[arg(long, env = "ROOST_CLUSTER_SECRET", hide_env_values = true)]
    pub secret: Option<String>,
    /// How the nodes register
    #[arg(long, default_value = "session")]
    pub register: Register,
    /// A client address of the coordinator, for nodes that register by the etcd API; repeatable
    #[arg(long = "etcd-endpoint", value_name = "HOST:PORT", default_value = "127.0.0.1:19530")]
    pub etcd_endpoints: Vec<String>,
    /// Milvus' etcd.rootPath, for the same
    #[arg(long, default_value = "by-dev")]
    pub root_path: String,
    /// The IP address of the nodes
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub listen: IpAddr,
    /// The port of the first node, the others follow; 0 takes any free ones
    #[arg(long, default_value_t)]
    pub port: u16,
    /// Where the simulation is controlled; port 0 takes any free one
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:22199")]
    pub control: SocketAddr,
    /// Without a keep-alive for so long a node is declared dead
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=3600))]
    pub ttl: u32,
    /// KEY=VALUE, of all nodes; repeatable
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// Of each node, in thousandths
    #[arg(long, default_value_t = 4000)]
    pub cpu_millis: u64,
    /// Of each node
    #[arg(long, default_value_t = 8 << 30)]
    pub memory_bytes: u64,
    /// A deliberate error: the logs accept appends under terms that are over
    #[arg(long)]
    pub unfenced: bool,
    /// error, warn, info, debug or trace, or tracing directives
    #[arg(long, default_value = "info")]
    pub log_level: String,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a label is KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}
