//! The services of one node, put together over its replica.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::access::{Accounts, GrantService, GrantSweeper, Guard, Hasher, PolicyBook, RootTask};
use crate::admin::{self, AdminService, MemberCalls};
use crate::call::Requests;
use crate::config::{self, Config, Quota, Security};
use crate::datacoord::DataCoord;
use crate::etcd::HistoryTask;
use crate::etcd::lessor::Lessor;
use crate::forward::{Ingress, Peers};
use crate::gateway::Gateway;
use crate::health::Health;
use crate::leader::LeaderTask;
use crate::leader::clock::{GuardedClock, SystemClock};
use crate::leader::tso::{Keeper, Oracle, PeerClocks, TimestampService};
use crate::ledger::Ledger;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::pb::admin::admin_server::AdminServer;
use crate::proposer::Proposer;
use crate::proxies::{self, Departed, ProxyBoard, ProxyTask};
use crate::querycoord::QueryCoord;
use crate::quota::load::{Collector, LoadBoard};
use crate::quota::{Gate, QuotaReports};
use crate::relay::Relay;
use crate::replica::Replica;
use crate::rootcoord::{CacheGauges, Catalog, CatalogService, Eraser, MetadataCache, Operations, RootCoordService};
use crate::session::{Loads, SessionService, SessionTask, WorkerGauges, WorkerHub};
use crate::shutdown::{self, Shutdown, Trigger};

use super::broadcast::BroadcastParts;
use super::etcd::{EtcdServices, EtcdSettings};
use super::streaming::StreamingParts;

/// Which secret guards which listener (`None` leaves it open), what clients must show, and how often they may call.
#[derive(Clone, Default)]
pub struct Access {
    pub secret: Option<String>,
    pub internal_secret: Option<String>,
    pub security: Arc<Security>,
    /// How much clients may ask for.
    pub quota: Arc<Quota>,
}

impl Access {
    pub fn of(config: &Config) -> Self {
        // Without a secret (loopback only) peers still show the proof of an empty one: other protocols' calls end here.
        let secret = config.cluster.secret.as_ref().map(|secret| secret.expose().to_owned()).unwrap_or_default();
        let internal_secret = config.internal_needs_secret().then(|| secret.clone());
        let (security, quota) = (Arc::new(config.security.clone()), Arc::new(config.quota.clone()));
        Access { secret: Some(secret), internal_secret, security, quota }
    }
}

/// How the oracle is set.
#[derive(Clone, Copy, Debug)]
pub struct OracleSettings {
    pub window_ms: u64,
    pub max_clock_ahead_ms: u64,
}

/// Everything that a node serves with.
pub struct Node {
    pub access: Access,
    pub replica: Arc<dyn Replica>,
    pub peers: Arc<Peers>,
    pub oracle: Arc<Oracle>,
    pub health: Arc<Health>,
    pub metrics: Arc<Metrics>,
    pub relay: Arc<Relay>,
    pub(super) ingress: Arc<Ingress>,
    pub(super) gateway: Gateway,
    pub(super) rootcoord: RootCoordService,
    pub(super) timestamps: TimestampService,
    pub(super) grants: GrantService,
    pub(super) sessions: SessionService,
    /// What workers reported, on the leader.
    pub loads: Arc<Loads>,
    pub(super) changes: CatalogService,
    pub(super) admin: Option<AdminServer<AdminService>>,
    pub(super) etcd: Option<EtcdServices>,
    pub(super) streaming: StreamingParts,
    pub(super) broadcast: BroadcastParts,
    /// Ends the calls of clients: streams at once, others once they are answered.
    pub(super) stop_calls: Trigger,
    pub(super) calls_stop: Shutdown,
    proposer: Arc<Proposer>,
    lessor: Arc<Lessor>,
    history: Arc<HistoryTask>,
    root: Arc<RootTask>,
    /// Only where proxies can register.
    proxies: Option<Arc<ProxyTask>>,
    collector: Arc<Collector>,
    pub(super) departed: Arc<Departed>,
    pub(super) workers: Arc<WorkerHub>,
    session_task: Arc<SessionTask>,
    pub(super) policy: Arc<PolicyBook>,
    pub(super) cache: Arc<MetadataCache>,
}

impl Node {
    /// `boot` is the number of this start.
    #[allow(clippy::too_many_arguments, reason = "parts of the configuration, each with a type of its own")]
    pub fn new(
        replica: Arc<dyn Replica>,
        access: Access,
        oracle: OracleSettings,
        etcd: EtcdSettings,
        limits: Limits,
        caching: config::Cache,
        streaming: config::Streaming,
        broadcast: config::Broadcast,
        boot: u64,
        metrics: Arc<Metrics>,
    ) -> Result<Self, prost::DecodeError> {
        let peers = Arc::new(Peers::new(access.secret.as_deref()));
        let clock = Arc::new(GuardedClock::new(Arc::new(SystemClock::default()), oracle.max_clock_ahead_ms));
        let oracle = Oracle::new(replica.clone(), clock.clone(), oracle.window_ms);
        let proposer = Proposer::new(replica.clone(), clock);
        let ledger = Ledger::new(replica.clone(), proposer.clone(), oracle.clone(), limits);
        let (datacoord, querycoord) = (DataCoord::new(ledger.clone()), QueryCoord::new(ledger.clone()));
        let (departed, board) = (Arc::<Departed>::default(), Arc::<ProxyBoard>::default());
        let node_loads = Arc::<LoadBoard>::default();
        let quota = access.quota.clone();
        let quota_reports =
            QuotaReports::new(ledger.clone(), replica.clone(), quota, board.clone(), node_loads.clone());
        let cache = MetadataCache::new(replica.clone(), &caching);
        metrics.register(|registry| registry.register_collector(Box::new(CacheGauges(cache.clone()))));
        let catalog = Catalog::new(ledger.clone(), cache.clone());
        let hasher = Hasher::new(access.security.bcrypt_cost);
        let accounts = Accounts::new(ledger.clone(), hasher.clone(), access.security.clone());
        let root = RootTask::new(replica.clone(), proposer.clone(), hasher.clone(), access.security.clone());
        let policy = PolicyBook::new(replica.clone());
        let guard = match access.security.authorization_enabled {
            true => Some(Guard::new(replica.clone(), policy.clone(), hasher, access.security.clone())),
            false => None,
        };
        let gate = match access.quota.enabled {
            true => Some(Gate::new(replica.clone(), Arc::new(SystemClock::default()), access.quota.clone(), &metrics)?),
            false => None,
        };
        let health = Health::new(replica.clone(), peers.clone(), access.quota.clone(), node_loads.clone());
        let operations = Operations::new(replica.clone(), BTreeMap::new());
        let requests = Requests::new(replica.node_id(), boot);
        let lessor = Lessor::new(replica.clone(), proposer.clone(), Arc::new(SystemClock::default()));
        let history = HistoryTask::new(replica.clone(), proposer.clone(), etcd.auto_compaction_revisions);
        let loads = Arc::<Loads>::default();
        let relay = Relay::new(
            replica.clone(),
            proposer.clone(),
            lessor.clone(),
            loads.clone(),
            peers.clone(),
            requests.clone(),
            metrics.clone(),
        );
        let broadcast = BroadcastParts::new(
            replica.clone(),
            proposer.clone(),
            ledger.clone(),
            broadcast,
            etcd.root_path.clone(),
            &metrics,
        );
        let streaming = StreamingParts::new(
            replica.clone(),
            proposer.clone(),
            relay.clone(),
            ledger.clone(),
            loads.clone(),
            streaming,
            &broadcast,
            &metrics,
        );
        let (stop_calls, calls_stop) = shutdown::channel();
        let workers = WorkerHub::new(replica.clone());
        let (under, publish) = (etcd.root_path.as_str(), etcd.publish_coordinators);
        let session_task =
            SessionTask::new(replica.clone(), proposer.clone(), lessor.clone(), loads.clone(), under, publish);
        let sessions = SessionService::new(ledger, relay.clone(), loads.clone(), workers.clone(), calls_stop.clone());
        metrics.register(|registry| {
            sessions.counts().register(registry);
            let (replica, hub) = (replica.clone(), workers.clone());
            registry.register_collector(Box::new(WorkerGauges { replica, hub }));
        });
        let gate = gate.map(Arc::new);
        let ingress =
            Ingress::new(replica.clone(), peers.clone(), requests, metrics.clone(), calls_stop.clone(), guard, gate)?;
        let proxies = etcd.guard.is_some().then(|| {
            let (root, cluster) = (etcd.root_path.clone(), etcd.root_path.clone());
            let (replica, oracle, departed) = (replica.clone(), oracle.clone(), departed.clone());
            let shared = proxies::Shared { replica, oracle, departed, cluster };
            ProxyTask::new(shared, &root, access.quota.clone(), board.clone(), node_loads.clone())
        });
        let collector = {
            let (clock, quota) = (Arc::new(SystemClock::default()), access.quota.clone());
            Collector::new(replica.clone(), clock, quota, &etcd.root_path, node_loads)
        };
        let etcd = etcd.guard.map(|guard| EtcdServices::new(replica.clone(), relay.clone(), guard));
        if let Some(etcd) = &etcd {
            etcd.register(&metrics, lessor.clone());
        }
        Ok(Node {
            gateway: Gateway {
                catalog: catalog.clone(),
                datacoord,
                querycoord,
                accounts: accounts.clone(),
                policy: policy.clone(),
                oracle: oracle.clone(),
                health: health.clone(),
                operations: operations.clone(),
                replication: broadcast.replication.clone(),
            },
            changes: CatalogService { catalog: catalog.clone() },
            rootcoord: RootCoordService {
                catalog,
                accounts: accounts.clone(),
                oracle: oracle.clone(),
                health: health.clone(),
                quota: quota_reports,
                operations,
                proxies: board,
            },
            timestamps: TimestampService::new(oracle.clone()),
            grants: GrantService {
                accounts,
                policy: policy.clone(),
                replica: replica.clone(),
                security: access.security.clone(),
            },
            sessions,
            loads,
            workers,
            session_task,
            admin: None,
            etcd,
            streaming,
            broadcast,
            stop_calls,
            calls_stop,
            ingress,
            replica,
            peers,
            oracle,
            health,
            metrics,
            relay,
            proposer,
            lessor,
            history,
            root,
            proxies,
            collector,
            departed,
            policy,
            cache,
            access,
        })
    }

    /// Adds the operator's API, which needs more of the host than the other services do.
    pub fn with_admin(mut self, node: Arc<dyn admin::Node>) -> Self {
        let others = Arc::new(MemberCalls::new(self.peers.clone()));
        if let Some(etcd) = &mut self.etcd {
            etcd.operate(node.clone(), others.clone(), self.peers.clone());
        }
        self.admin = Some(AdminService::new(node, others).into_server());
        self
    }

    /// Lets the node show what it was told, by name.
    pub fn with_settings(mut self, settings: BTreeMap<String, String>) -> Self {
        let operations = Operations::new(self.replica.clone(), settings);
        self.gateway.operations = operations.clone();
        self.rootcoord.operations = operations;
        self
    }

    /// Whether the client listener serves `/metrics` too, as etcd does: not to those who would need the secret.
    pub(super) fn shows_metrics_to_clients(&self) -> bool {
        self.etcd.as_ref().is_some_and(EtcdServices::is_open)
    }

    pub(super) fn leader_tasks(&self) -> Vec<Arc<dyn LeaderTask>> {
        let clocks = Arc::new(PeerClocks::new(self.replica.clone(), self.peers.clone()));
        let keeper = Keeper::new(self.oracle.clone(), self.replica.clone(), self.proposer.clone(), clocks);
        let eraser = Eraser::new(self.replica.clone(), self.proposer.clone());
        let sweeper = GrantSweeper::new(self.replica.clone(), self.proposer.clone());
        let mut tasks: Vec<Arc<dyn LeaderTask>> =
            vec![Arc::new(keeper), self.lessor.clone(), self.history.clone(), eraser, sweeper, self.root.clone()];
        tasks.push(self.session_task.clone());
        tasks.push(self.streaming.balancer.clone());
        tasks.extend(self.broadcast.leader_tasks());
        tasks.extend(self.proxies.iter().map(|task| task.clone() as Arc<dyn LeaderTask>));
        tasks.push(self.collector.clone());
        tasks
    }
}
