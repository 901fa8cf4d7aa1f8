//! The flags of `roostd`: only what differs between two nodes started from one file by hand.

use std::path::PathBuf;

use clap::Parser;

/// The coordinator of a Milvus cluster as one Raft-replicated state machine.
///
/// Every key of the configuration file is also an environment variable, ROOST_<SECTION>_<KEY>, for example
/// ROOST_RAFT_HEARTBEAT_MS. A flag wins over the environment, which wins over the file.
#[derive(Clone, Debug, Default, Parser)]
#[command(name = "roostd", version)]
pub struct Args {
    /// Configuration file (YAML).
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// One node on loopback, without a configuration file; data in a temporary directory unless --data-dir is given.
    #[arg(long, conflicts_with = "config")]
    pub dev: bool,

    /// Number of this node; never 0 and never reused in a cluster (node.id).
    #[arg(long, value_name = "N")]
    pub node_id: Option<u64>,

    /// Where this node keeps its data (node.data_dir).
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Address for Milvus clients (listen.client).
    #[arg(long, value_name = "IP:PORT")]
    pub listen_client: Option<String>,

    /// Address for Milvus nodes and roostctl (listen.internal).
    #[arg(long, value_name = "IP:PORT")]
    pub listen_internal: Option<String>,

    /// Address for the other nodes of this cluster (listen.peer).
    #[arg(long, value_name = "IP:PORT")]
    pub listen_peer: Option<String>,

    /// Address for /metrics, /livez, /readyz and /healthz (listen.http).
    #[arg(long, value_name = "IP:PORT")]
    pub listen_http: Option<String>,

    /// error, warn, info, debug or trace, or tracing directives such as info,roost_raft=debug (log.level).
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
}
