//! Bringing a node up and down.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{Semaphore, broadcast, watch};
use tokio::time::Instant;

use super::barrier::LeaderChecks;
use super::batch::{self, Batches};
use super::clock::SuspendDetector;
use super::config::HostConfig;
use super::environment::Environment;
use super::read::FollowerChecks;
use super::{bootstrap, housekeeping};
use crate::apply::{AppliedEvents, StateShared, StateStore};
use crate::error::StartError;
use crate::log::LogStore;
use crate::machine::Machine;
use crate::network::proto::peer_server::PeerServer;
use crate::network::{
    AppendService, Identity, PeerService, Secret, Transport, append_service, remove_partial_snapshots,
};
use crate::storage::disk::DiskGuard;
use crate::storage::marker::{ClusterId, Marker};
use crate::storage::wal::Wal;
use crate::system::Alarm;
use crate::types::{Leadership, Member, NodeId, TypeConfig};

/// Threads for Raft, its peers and apply; client load runs on other threads. What each of them does follows from what
/// another one did: a second thread mostly adds the time to wake it. A long apply leaves this one by itself.
const RAFT_THREADS: usize = 1;
/// How long a stopping node waits for its own tasks.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Everything that the host's parts share.
pub struct HostCore<M: Machine> {
    pub(crate) raft: openraft::Raft<TypeConfig, StateStore<M>>,
    pub(crate) shared: Arc<StateShared<M>>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) leader_checks: LeaderChecks,
    pub(crate) snapshot_dir: PathBuf,
    pub(super) config: HostConfig,
    pub(super) transport: Transport,
    pub(super) log: LogStore,
    pub(super) wal: Wal,
    pub(crate) disk: DiskGuard,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) follower_checks: FollowerChecks,
    pub(super) in_flight: Arc<Semaphore>,
    pub(super) batches: Batches,
    pub(super) retry_pause: Duration,
    /// A purged log is being given back to the disk.
    pub(super) reclaiming: Arc<AtomicBool>,
    /// One membership change at a time from this node.
    pub(super) changing: tokio::sync::Mutex<()>,
    pub(super) started: Instant,
    votes_after: Instant,
    /// The end of Raft is wanted, so it is no failure.
    stopping: AtomicBool,
    failure: watch::Sender<Option<String>>,
}

/// A running node. Dropping it without [`Host::stop`] is a crash that the disk survives.
pub struct Host<M: Machine> {
    core: Arc<HostCore<M>>,
    runtime: Mutex<Option<Runtime>>,
    handle: Handle,
}

impl<M: Machine> Deref for Host<M> {
    type Target = HostCore<M>;

    fn deref(&self) -> &HostCore<M> {
        &self.core
    }
}

impl<M: Machine> Host<M> {
    /// Opens the node's disk and joins its cluster. Returns before a leader is known.
    pub async fn start(config: HostConfig, machine: M) -> Result<Arc<Self>, StartError> {
        let runtime =
            Builder::new_multi_thread().worker_threads(RAFT_THREADS).thread_name("raft").enable_all().build()?;
        let handle = runtime.handle().clone();
        let starting = handle.spawn(async move {
            std::fs::create_dir_all(&config.data_dir)?;
            let environment = Environment::of_machine(&config)?;
            HostCore::start(config, environment, machine).await
        });
        match starting.await.unwrap_or_else(|panic| Err(StartError::Raft(panic.to_string()))) {
            Ok(core) => Ok(Arc::new(Host { core, runtime: Mutex::new(Some(runtime)), handle })),
            Err(error) => {
                end(runtime).await;
                Err(error)
            }
        }
    }

    /// As [`Host::start`], in surroundings of the caller's choice and on the caller's own runtime, which must not end
    /// before the host does.
    pub async fn start_in(environment: Environment, config: HostConfig, machine: M) -> Result<Arc<Self>, StartError> {
        std::fs::create_dir_all(&config.data_dir)?;
        let core = HostCore::start(config, environment, machine).await?;
        Ok(Arc::new(Host { core, runtime: Mutex::new(None), handle: Handle::current() }))
    }

    /// What peers call, to be served on the peer listener, on [`Host::runtime`].
    pub fn peer_service(&self) -> PeerServer<PeerService<M>> {
        PeerService::server(self.core.clone())
    }

    /// What leaders append to, on the same listener: see [`crate::network::divide`].
    pub fn append_service(&self) -> AppendService {
        append_service(self.core.clone())
    }

    pub(super) fn core(&self) -> Arc<HostCore<M>> {
        self.core.clone()
    }

    /// The runtime that Raft runs on, apart from client load.
    pub fn runtime(&self) -> &Handle {
        &self.handle
    }

    /// Stops Raft and syncs the log. Transfer leadership first for a stop that nobody notices.
    pub async fn stop(&self) {
        let core = self.core.clone();
        core.stopping.store(true, Ordering::Relaxed);
        let stopping = self.handle.spawn(async move {
            // A core that already stopped has nothing to say.
            let _ = core.raft.shutdown().await;
            if let Err(error) = core.wal.barrier().await {
                tracing::warn!(%error, "the log could not be synced while stopping");
            }
        });
        let _ = tokio::time::timeout(STOP_TIMEOUT, stopping).await;
        let runtime = self.runtime.lock().take();
        if let Some(runtime) = runtime {
            end(runtime).await;
        }
    }
}

impl<M: Machine> Drop for Host<M> {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.lock().take() {
            // On a thread of its own, because a runtime must not be waited for on another one's. Waited for, because
            // RocksDB must not be used any more when the process ends.
            let ending = std::thread::spawn(move || runtime.shutdown_timeout(STOP_TIMEOUT));
            let _ = ending.join();
        }
    }
}

impl<M: Machine> HostCore<M> {
    async fn start(config: HostConfig, environment: Environment, machine: M) -> Result<Arc<Self>, StartError> {
        let Environment { engine, syncing, dial, gaps } = environment;
        let mut marker = Marker::open(engine.as_ref(), config.node_id)?;
        match (marker.cluster_id, config.cluster_id()) {
            // A restored or joined disk already knows its cluster; the configured first members are history then.
            (Some(_), _) | (None, None) => {}
            (None, Some(cluster_id)) => marker.join(engine.as_ref(), cluster_id)?,
        }
        let wal = Wal::start_as(&syncing, engine.clone(), &config.data_dir.join("synced.mark"))?;
        let log = LogStore::open(engine.clone(), wal.clone())?;
        let snapshot_dir = config.data_dir.join("snapshots");
        remove_partial_snapshots(&snapshot_dir)?;
        let store = StateStore::open(engine.clone(), wal.clone(), snapshot_dir.clone(), machine)?;
        let shared = store.shared();
        let lease = config.lease();
        let identity = Arc::new(Identity::new(marker, Secret::derive(&config.secret), lease, engine));
        let transport = Transport::new(identity.clone(), dial, lease.max(Duration::from_millis(500)) * 2, lease);
        let pristine = log.is_pristine();
        let options = Arc::new(config.openraft(pristine)?);
        let granted = log.exchange_lease(lease)?;
        let raft = openraft::Raft::new(config.node_id, options, transport.clone(), log.clone(), store).await;
        let raft = raft.map_err(|error| StartError::Raft(error.to_string()))?;
        let leadership = publish_leadership(&raft);
        let core = Arc::new(HostCore {
            leader_checks: LeaderChecks::start(raft.clone(), lease, SuspendDetector::new(lease, gaps)),
            shared,
            identity,
            snapshot_dir,
            transport,
            log,
            wal,
            disk: DiskGuard::new(&config.data_dir, config.min_free_bytes, config.ballast_bytes),
            leadership,
            follower_checks: FollowerChecks::default(),
            in_flight: Arc::new(Semaphore::new(config.max_proposal_bytes_in_flight)),
            batches: Batches::new(config.batches),
            retry_pause: Duration::from_millis(config.heartbeat_ms.clamp(5, 50)),
            reclaiming: Arc::new(AtomicBool::new(false)),
            changing: tokio::sync::Mutex::new(()),
            started: Instant::now(),
            votes_after: if pristine { Instant::now() } else { Instant::now() + lease.max(granted) },
            stopping: AtomicBool::new(false),
            failure: watch::Sender::new(None),
            raft,
            config,
        });
        core.spawn_tasks();
        Ok(core)
    }

    fn spawn_tasks(self: &Arc<Self>) {
        tokio::spawn(watch_failure(self.clone()));
        tokio::spawn(batch::run(self.clone()));
        tokio::spawn(hold_elections(self.clone()));
        tokio::spawn(bootstrap::run(self.clone()));
        tokio::spawn(housekeeping::run(self.clone()));
    }

    /// Whether the lease that this node may have granted before its restart has run out.
    pub(crate) fn may_vote(&self) -> bool {
        Instant::now() >= self.votes_after
    }

    /// Stops being trustworthy: the process should exit with this message.
    pub(crate) fn fail(&self, why: &str) {
        self.failure.send_if_modified(|failure| {
            let first = failure.is_none();
            if first {
                tracing::error!(why, "this node cannot go on");
                *failure = Some(why.to_string());
            }
            first
        });
    }

    /// Holds the reason once this node must stop.
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        self.failure.subscribe()
    }

    /// Who leads, as this node sees it.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// What changed, from now on, without entries of common events only (see [`Machine::is_common`]). A receiver that
    /// falls behind gets `Lagged` and must read the state again, as it must after an empty batch: a snapshot was
    /// installed.
    pub fn events(&self) -> broadcast::Receiver<Arc<AppliedEvents<M::Event>>> {
        self.shared.events.subscribe()
    }

    /// The same with all entries that have events.
    pub fn all_events(&self) -> broadcast::Receiver<Arc<AppliedEvents<M::Event>>> {
        self.shared.all_events.subscribe()
    }

    /// The alarms in force, as of what this node has applied.
    pub fn alarms(&self) -> Vec<Alarm> {
        self.shared.system().alarms.clone()
    }

    pub fn node_id(&self) -> NodeId {
        self.identity.node_id
    }

    /// The cluster that this disk belongs to, if it belongs to one.
    pub fn cluster_id(&self) -> Option<ClusterId> {
        self.identity.cluster_id()
    }

    /// The secret that calls between members carry.
    pub fn secret(&self) -> &Secret {
        self.identity.secret()
    }

    /// A member's addresses, as of the effective membership.
    pub fn member(&self, node: NodeId) -> Option<Member> {
        self.raft.metrics().borrow_watched().membership_config.get_node(&node).cloned()
    }

    /// The members of the effective membership, voters and learners.
    pub fn members(&self) -> Vec<(NodeId, Member)> {
        let membership = self.raft.metrics().borrow_watched().membership_config.clone();
        membership.nodes().map(|(id, member)| (*id, member.clone())).collect()
    }

    /// The voters of the effective membership.
    pub fn voters(&self) -> BTreeSet<NodeId> {
        self.raft.metrics().borrow_watched().membership_config.voter_ids().collect()
    }
}

/// Ends Raft's runtime. Waited for, so that nothing touches the disk any more when the process ends.
async fn end(runtime: Runtime) {
    let _ = tokio::task::spawn_blocking(move || runtime.shutdown_timeout(STOP_TIMEOUT)).await;
}

/// Condenses openraft's metrics into who leads.
fn publish_leadership<M: Machine>(raft: &openraft::Raft<TypeConfig, StateStore<M>>) -> watch::Receiver<Leadership> {
    let mut metrics = raft.metrics();
    let (sender, receiver) = watch::channel(Leadership::default());
    tokio::spawn(async move {
        loop {
            let now = {
                let metrics = metrics.borrow_watched();
                let is_self = metrics.state.is_leader() && metrics.current_leader == Some(metrics.id);
                Leadership { term: metrics.current_term, leader: metrics.current_leader, is_self }
            };
            sender.send_if_modified(|last| {
                let changed = *last != now;
                *last = now;
                changed
            });
            if metrics.changed().await.is_err() {
                // Nobody leads for a node whose Raft is gone.
                sender.send_replace(Leadership::default());
                return;
            }
        }
    });
    receiver
}

/// Raft's end is the node's end: no server goes on without its state machine.
async fn watch_failure<M: Machine>(core: Arc<HostCore<M>>) {
    let mut metrics = core.raft.metrics();
    loop {
        let state = metrics.borrow_watched().running_state.clone();
        if core.stopping.load(Ordering::Relaxed) {
            return;
        }
        if let Err(fatal) = state {
            core.fail(&format!("consensus stopped: {fatal}"));
            return;
        }
        if metrics.changed().await.is_err() {
            if !core.stopping.load(Ordering::Relaxed) {
                core.fail("consensus ended without a reason; a panic stands in the log above");
            }
            return;
        }
    }
}

/// A restarted node neither campaigns nor votes until the lease it may have granted has run out.
async fn hold_elections<M: Machine>(core: Arc<HostCore<M>>) {
    if core.may_vote() {
        return;
    }
    tokio::time::sleep_until(core.votes_after).await;
    core.raft.runtime_config().elect(true);
}
