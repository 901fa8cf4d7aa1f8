//! The whole process: configuration in, exit code out.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use roost_raft::Host;
use roost_raft::error::StartError;
use roost_raft::host::{BatchLimits, HostConfig};
use roost_raft::storage::rocks::RocksBudget;
use roost_raft::types::Member;
use tonic::service::Routes;

use super::{Access, EtcdSettings, Listeners, Node, OracleSettings, RaftServices};
use crate::admin::HostNode;
use crate::config::{Args, Config};
use crate::gateway::VERSION;
use crate::leader::tso::OracleGauges;
use crate::metrics::Metrics;
use crate::replica::HostReplica;
use crate::shutdown;
use crate::state::Roost;
use crate::{boot, telemetry};

/// The process was told something it cannot work with.
const EXIT_CONFIG: u8 = 2;
/// How long the process waits for its last tasks.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the node ended.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("data directory: {0}")]
    Boot(std::io::Error),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Server(#[from] super::Error),
    #[error("the compiled descriptors are damaged: {0}")]
    Descriptors(#[from] prost::DecodeError),
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
}

/// What `roostd` does.
pub fn main() -> ExitCode {
    let config = match Config::load(&Args::parse()) {
        Ok(config) => config,
        Err(error) => return complain(&error, EXIT_CONFIG),
    };
    if let Err(error) = telemetry::init(&config.log) {
        return complain(&error, EXIT_CONFIG);
    }
    stop_when_raft_panics();
    let runtime = match tokio::runtime::Builder::new_multi_thread().thread_name("roost").enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error, 1),
    };
    let outcome = runtime.block_on(serve(&config));
    // Waited for: tasks of open connections hold the database, and RocksDB aborts when it is used or closed while the
    // process already ends.
    runtime.shutdown_timeout(END_TIMEOUT);
    if config.ephemeral {
        // It was made up for this run; a leftover does no harm.
        let _ = std::fs::remove_dir_all(&config.node.data_dir);
    }
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error, 1),
    }
}

/// A panic on Raft's own threads leaves a node that seems to run; it is better dead, and its peers know what to do.
fn stop_when_raft_panics() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        if matches!(std::thread::current().name(), Some("raft" | "wal-sync")) {
            std::process::abort();
        }
    }));
}

/// One line, on stderr, whatever the log is set to.
fn complain(error: &dyn std::fmt::Display, code: u8) -> ExitCode {
    eprintln!("roostd: {error}");
    ExitCode::from(code)
}

async fn serve(config: &Config) -> Result<(), Error> {
    let (_trigger, shutdown) = shutdown::on_signals().map_err(Error::Signals)?;
    let listeners = Listeners::bind(&config.listen).await?;
    let boot = boot::next(&config.node.data_dir).map_err(Error::Boot)?;
    let access = Access::of(config);
    let host = Host::start(host_config(config, access.secret.as_deref().unwrap_or_default()), Roost).await?;
    let metrics = Arc::new(Metrics::new());
    metrics.register(|registry| host.register_metrics(registry));
    let settings =
        OracleSettings { window_ms: config.tso.window_ms, max_clock_ahead_ms: config.tso.max_clock_ahead_ms };
    let replica = Arc::new(HostReplica::new(host.clone()));
    let (etcd, limits) = (EtcdSettings::of(config), config.limits.clone());
    let (caching, streaming, broadcast) = (config.cache.clone(), config.streaming.clone(), config.broadcast);
    let node = Node::new(replica, access, settings, etcd, limits, caching, streaming, broadcast, boot, metrics)?
        .with_settings(config.shown());
    node.metrics.register(|registry| registry.register_collector(Box::new(OracleGauges(node.oracle.clone()))));
    let operated = HostNode::new(host.clone(), node.oracle.clone(), member(&config.this_member()));
    let node = node.with_admin(Arc::new(operated));
    tracing::info!(
        node = config.node.id,
        version = VERSION,
        boot,
        client = %config.listen.client,
        internal = %config.listen.internal,
        peer = %config.listen.peer,
        http = %config.listen.http,
        data = %config.node.data_dir.display(),
        "roostd serves"
    );
    let raft = RaftServices { calls: Routes::new(host.peer_service()), appends: host.append_service() };
    let raft_runtime = host.runtime().clone();
    Ok(super::run(node, listeners, raft, &raft_runtime, &shutdown).await?)
}

fn member(configured: &crate::config::Member) -> Member {
    Member {
        peer: configured.peer.as_str().to_owned(),
        client: configured.client.as_str().to_owned(),
        internal: configured.internal.as_str().to_owned(),
    }
}

fn host_config(config: &Config, secret: &str) -> HostConfig {
    let initial: BTreeMap<u64, Member> =
        config.cluster.initial_members.iter().map(|listed| (listed.id, member(listed))).collect();
    let bytes = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    let (raft, storage) = (&config.raft, &config.storage);
    HostConfig {
        heartbeat_ms: raft.heartbeat_ms,
        election_min_ms: raft.election_min_ms,
        election_max_ms: raft.election_max_ms,
        quorum_loss_probe_ms: raft.quorum_loss_probe_ms,
        snapshot_log_bytes: raft.snapshot_log_bytes,
        keep_log_bytes: raft.keep_log_bytes,
        max_proposal_bytes_in_flight: bytes(raft.max_proposal_bytes_in_flight),
        batches: BatchLimits {
            commands_max: raft.batch_commands_max,
            wait_max: Duration::from_millis(raft.batch_wait_max_ms),
        },
        min_free_bytes: storage.min_free_bytes,
        ballast_bytes: storage.ballast_bytes,
        budget: RocksBudget {
            block_cache_bytes: bytes(storage.block_cache_bytes),
            write_buffer_bytes: bytes(storage.write_buffer_bytes),
        },
        ..HostConfig::new(config.node.id, config.node.data_dir.clone(), initial, secret)
    }
}
