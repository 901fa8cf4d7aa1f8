//! `roostctl node list|describe|drain|freeze`.

use std::collections::BTreeMap;

use clap::builder::RangedI64ValueParser;
use clap::{Subcommand, ValueEnum, value_parser};
use serde::Serialize;

use super::Context;
use super::exit::{Failure, one_line};
use super::output::{Done, Report, facts, or_dash, table};
use super::session::Secured;
use crate::limits;
use crate::pb::session::session_client::SessionClient;
use crate::pb::session::{DrainRequest, FreezeRequest, ListRequest, LoadReport, Resources, Worker};
use crate::pb::store::WorkerRole;
use crate::state::worker::role_name;

const LIST_JSON: &str = "\
JSON: {\"revision\", \"nodes\": [{\"id\", \"role\", \"address\", \"version\", \"hostname\", \"labels\": {name: value}, \
\"capacity\": {\"cpu_millis\", \"memory_bytes\", \"disk_bytes\", \"network_bytes_per_s\"} or null, \"lease\", \
\"draining\", \"frozen\", \"registered_ms\", \"revision\", \"load\": 0 to 1 or null, \"used\": as capacity, \
\"load_age_ms\" or null}]}";
const DONE_JSON: &str = "JSON: {\"kind\": \"node\", \"name\", \"done\"}";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the worker nodes that live
    #[command(after_help = LIST_JSON)]
    List {
        /// Only those of one role
        #[arg(long)]
        role: Option<RoleArg>,
    },
    /// Show one node: every role of its server id
    #[command(after_help = LIST_JSON)]
    Describe {
        #[arg(value_name = "SERVER_ID", value_parser = server_ids())]
        id: i64,
    },
    /// Have everything taken from a node, before it is stopped
    #[command(after_help = DONE_JSON)]
    Drain {
        #[arg(value_name = "SERVER_ID", value_parser = server_ids())]
        id: i64,
        /// Let it take part again
        #[arg(long)]
        undo: bool,
    },
    /// Give nodes nothing new; they keep what they have
    #[command(after_help = DONE_JSON)]
    Freeze {
        #[arg(value_name = "SERVER_ID", required = true, value_parser = server_ids())]
        ids: Vec<i64>,
        /// Let them take part again
        #[arg(long)]
        undo: bool,
    },
}

/// Those that nodes have: 0 stands for every one in a request.
fn server_ids() -> RangedI64ValueParser<i64> {
    value_parser!(i64).range(1..)
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum RoleArg {
    Streamingnode,
    Querynode,
    Datanode,
    Proxy,
}

impl From<RoleArg> for WorkerRole {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Streamingnode => WorkerRole::StreamingNode,
            RoleArg::Querynode => WorkerRole::QueryNode,
            RoleArg::Datanode => WorkerRole::DataNode,
            RoleArg::Proxy => WorkerRole::Proxy,
        }
    }
}

pub async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::List { role } => {
            let role = role.map_or(WorkerRole::Unspecified, WorkerRole::from).into();
            let nodes = list(context, ListRequest { role, server_id: 0 }).await?;
            context.output.print(&nodes)
        }
        Command::Describe { id } => {
            let nodes = list(context, ListRequest { role: 0, server_id: id }).await?;
            if nodes.nodes.is_empty() {
                return Err(Failure::Failed(format!("there is no worker node {id}, or it is dead")));
            }
            context.output.print(&Described(nodes))
        }
        Command::Drain { id, undo } => {
            let session = context.dialer.with_leader().await?;
            let request = DrainRequest { server_id: id, draining: !undo };
            session.of(request, |channel, request| async move { workers(channel).drain(request).await }).await?;
            done(context, &id.to_string(), if undo { "no longer drained" } else { "draining" })
        }
        Command::Freeze { ids, undo } => {
            let session = context.dialer.with_leader().await?;
            let name = ids.iter().map(i64::to_string).collect::<Vec<_>>().join(" ");
            let request = FreezeRequest { server_ids: ids, frozen: !undo };
            session.of(request, |channel, request| async move { workers(channel).freeze(request).await }).await?;
            done(context, &name, if undo { "no longer frozen" } else { "frozen" })
        }
    }
}

fn done(context: &Context, name: &str, done: &'static str) -> Result<(), Failure> {
    context.output.print(&Done { kind: "node", name, done })
}

fn workers(channel: Secured) -> SessionClient<Secured> {
    SessionClient::new(channel).max_decoding_message_size(limits::REPLY_BYTES_MAX)
}

async fn list(context: &Context, request: ListRequest) -> Result<Nodes, Failure> {
    let session = context.dialer.with_leader().await?;
    let rpc = session.of(request, |channel, request| async move { workers(channel).list(request).await });
    let found = rpc.await?;
    Ok(Nodes { revision: found.revision, nodes: found.workers.into_iter().map(Node::from).collect() })
}

#[derive(Debug, Serialize)]
struct Nodes {
    revision: u64,
    nodes: Vec<Node>,
}

#[derive(Debug, Serialize)]
struct Node {
    id: i64,
    role: &'static str,
    address: String,
    version: String,
    hostname: String,
    labels: BTreeMap<String, String>,
    capacity: Option<Amounts>,
    lease: i64,
    draining: bool,
    frozen: bool,
    registered_ms: u64,
    revision: u64,
    load: Option<f64>,
    used: Option<Amounts>,
    load_age_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Amounts {
    cpu_millis: u64,
    memory_bytes: u64,
    disk_bytes: u64,
    network_bytes_per_s: u64,
}

impl From<Resources> for Amounts {
    fn from(resources: Resources) -> Self {
        let Resources { cpu_millis, memory_bytes, disk_bytes, network_bytes_per_s } = resources;
        Amounts { cpu_millis, memory_bytes, disk_bytes, network_bytes_per_s }
    }
}

impl From<Worker> for Node {
    fn from(worker: Worker) -> Self {
        Node {
            id: worker.server_id,
            role: role_name(WorkerRole::try_from(worker.role).unwrap_or_default()),
            address: worker.address,
            version: worker.version,
            hostname: worker.hostname,
            labels: worker.labels,
            capacity: worker.capacity.map(Amounts::from),
            lease: worker.lease_id,
            draining: worker.draining,
            frozen: worker.frozen,
            registered_ms: worker.registered_ms,
            revision: worker.revision,
            load: worker.load.and_then(|report: LoadReport| report.load),
            used: worker.load.and_then(|report| report.used).map(Amounts::from),
            load_age_ms: worker.load.map(|_| worker.load_age_ms),
        }
    }
}

impl Node {
    fn state(&self) -> &'static str {
        match (self.draining, self.frozen) {
            (true, _) => "draining",
            (false, true) => "frozen",
            (false, false) => "serving",
        }
    }

    fn shown_load(&self) -> String {
        or_dash(self.load.map(|load| format!("{:.0}%", load * 100.0)))
    }

    fn shown_labels(&self) -> String {
        let labels: Vec<String> = self.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        or_dash(Some(one_line(&labels.join(","))).filter(|labels| !labels.is_empty()))
    }
}

impl Report for Nodes {
    fn table(&self) -> String {
        let row = |node: &Node| {
            let (id, role, state) = (node.id.to_string(), node.role.to_owned(), node.state().to_owned());
            let (address, version) = (one_line(&node.address), one_line(&node.version));
            vec![id, role, state, address, version, node.shown_load(), node.shown_labels()]
        };
        match self.nodes.is_empty() {
            true => "no worker nodes".to_owned(),
            false => {
                table(&["ID", "ROLE", "STATE", "ADDRESS", "VERSION", "LOAD", "LABELS"], self.nodes.iter().map(row))
            }
        }
    }
}

/// The same, for people line by line.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Described(Nodes);

impl Report for Described {
    fn table(&self) -> String {
        let shown = |amounts: &Option<Amounts>| match amounts {
            None => "-".to_owned(),
            Some(Amounts { cpu_millis, memory_bytes, disk_bytes, network_bytes_per_s }) => format!(
                "{cpu_millis} mCPU, {memory_bytes} bytes of memory, {disk_bytes} of disk, {network_bytes_per_s} B/s"
            ),
        };
        let one = |node: &Node| {
            facts(&[
                ("id", node.id.to_string()),
                ("role", node.role.to_owned()),
                ("state", node.state().to_owned()),
                ("address", one_line(&node.address)),
                ("version", one_line(&node.version)),
                ("hostname", one_line(&node.hostname)),
                ("labels", node.shown_labels()),
                ("capacity", shown(&node.capacity)),
                ("used", shown(&node.used)),
                ("load", node.shown_load()),
                ("load age", or_dash(node.load_age_ms.map(|age| format!("{age} ms")))),
                ("lease", node.lease.to_string()),
                ("registered", format!("{} ms", node.registered_ms)),
                ("revision", node.revision.to_string()),
            ])
        };
        self.0.nodes.iter().map(one).collect::<Vec<_>>().join("\n\n")
    }
}
