//! `roost-sim`: one process that stands for any number of Milvus' streaming, query and data nodes. They speak the real
//! wire of such nodes, as far as the coordinator speaks to them, and register as such nodes do. The streaming nodes
//! share one in-memory log for each pchannel, which is fenced by term.
//!
//! Each node can be crashed, paused, isolated, slowed down, told to reject and told what to report. What the logs
//! accepted from whom is written down, so that tests can check that a term had one owner, that no append came under an
//! older term and that broadcasts arrived everywhere in one order; and a node that was declared dead before its time.

mod acks;
mod args;
mod channels;
mod component;
mod consume;
mod control;
mod etcd;
mod handler;
pub mod invariant;
mod message;
mod node;
mod orders;
mod parts;
mod register;
mod shown;
#[cfg(test)]
mod tests;
mod wal;
mod wire;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

use acks::Acks;
use args::{Cli, Command, Register, Run};
use control::Control;
use etcd::Etcd;
use node::Node;
use register::{Registrar, Way};
use wal::Wals;

use crate::client::{Coordinators, Registration};
use crate::config::{Log, LogFormat};
use crate::gateway::VERSION;
use crate::limits;
use crate::pb::session::{Resources, Role};
use crate::pb::sim::sim_server::SimServer;
use crate::{shutdown, telemetry};

pub use handler::{CREATE_CONSUMER, CREATE_PRODUCER, producer_of};

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Run(run) => simulate(*run).await,
            asked => shown::ask(asked).await,
        }
    });
    // Nothing that is left over has anything to finish.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &io::Error) -> ExitCode {
    // A closed stderr is nobody's loss.
    let _ = writeln!(io::stderr(), "roost-sim: {error}");
    ExitCode::FAILURE
}

/// Simulates until the process is told to stop.
async fn simulate(run: Run) -> io::Result<()> {
    telemetry::init(&Log { level: run.log_level.clone(), format: LogFormat::Text }).map_err(io::Error::other)?;
    let (_trigger, shutdown) = shutdown::on_signals()?;
    let wals = Arc::new(Wals::new(!run.unfenced));
    let acks = Acks::new(run.endpoints.clone(), run.secret.as_deref());
    let ways = Ways::of(&run);
    let mut nodes = Vec::new();
    for (role, number) in roles(&run)?.into_iter().zip(1..) {
        let port =
            if run.port == 0 { Some(0) } else { u16::try_from(number - 1).ok().and_then(|n| run.port.checked_add(n)) };
        let port = port.ok_or_else(|| io::Error::other("there are not so many ports"))?;
        let listener = TcpListener::bind(SocketAddr::new(run.listen, port)).await?;
        let registrar = Registrar { registration: registration(&run, role), way: ways.take(run.register, number) };
        let node = Arc::new(Node::new(number, listener.local_addr()?, wals.clone(), registrar, acks.clone()));
        tokio::spawn(node.clone().run(listener));
        nodes.push(node);
    }
    let control = TcpListener::bind(run.control).await?;
    // For programs that let the system choose a port.
    writeln!(io::stdout(), "control {}", control.local_addr()?)?;
    io::stdout().flush()?;
    let serving = Server::builder()
        .add_service(SimServer::new(Control { nodes, wals }).max_encoding_message_size(limits::REPLY_BYTES_MAX))
        .serve_with_incoming(TcpListenerStream::new(control));
    tokio::select! {
        served = serving => served.map_err(io::Error::other),
        reason = shutdown.requested() => {
            tracing::info!(reason, "shutting down");
            Ok(())
        }
    }
}

/// Of each node, in the order of their numbers.
fn roles(run: &Run) -> io::Result<Vec<Role>> {
    let counts =
        [(Role::StreamingNode, run.nodes), (Role::QueryNode, run.query_nodes), (Role::DataNode, run.data_nodes)];
    let roles: Vec<Role> = counts.into_iter().flat_map(|(role, count)| (0..count).map(move |_| role)).collect();
    match roles.len() {
        count if (1..=limits::SIM_NODES_MAX as usize).contains(&count) => Ok(roles),
        count => Err(io::Error::other(format!("{count} nodes; one process simulates 1 to {}", limits::SIM_NODES_MAX))),
    }
}

fn registration(run: &Run, role: Role) -> Registration {
    Registration {
        role,
        version: VERSION.to_owned(),
        hostname: "roost-sim".to_owned(),
        labels: run.labels.iter().cloned().collect(),
        capacity: Some(Resources {
            cpu_millis: run.cpu_millis,
            memory_bytes: run.memory_bytes,
            ..Resources::default()
        }),
        ttl_s: run.ttl,
        ..Registration::default()
    }
}

/// Both ways to register; nodes of one kind share their connections.
struct Ways {
    sessions: Coordinators,
    etcd: Arc<Etcd>,
}

impl Ways {
    fn of(run: &Run) -> Self {
        let (endpoints, secret) = (run.etcd_endpoints.clone(), run.secret.clone());
        Ways {
            sessions: Coordinators::new(run.endpoints.clone(), run.secret.as_deref()),
            etcd: Arc::new(Etcd::new(endpoints, secret, run.root_path.clone())),
        }
    }

    fn take(&self, register: Register, number: u32) -> Way {
        let by_session = register == Register::Session || register == Register::Both && number % 2 == 1;
        if by_session { Way::Sessions(self.sessions.clone()) } else { Way::Etcd(self.etcd.clone()) }
    }
}
