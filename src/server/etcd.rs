//! The services of the etcd v3 API, for the client listener.

use std::sync::Arc;

use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;

use crate::admin::{AskMember, Node as OperatedNode};
use crate::config::Config;
use crate::etcd::access::Guard;
use crate::etcd::lessor::Lessor;
use crate::etcd::watch::{Hub, WatchService};
use crate::etcd::{
    AuthService, ClusterService, ElectionService, EtcdGauges, Headers, Keyspace, KvService, LeaseService, LockService,
    MaintenanceService, Operator, Turns,
};
use crate::forward::Peers;
use crate::limits;
use crate::metrics::Metrics;
use crate::pb::etcd::api::auth_server::AuthServer;
use crate::pb::etcd::api::cluster_server::ClusterServer;
use crate::pb::etcd::api::kv_server::KvServer;
use crate::pb::etcd::api::lease_server::LeaseServer;
use crate::pb::etcd::api::maintenance_server::MaintenanceServer;
use crate::pb::etcd::election::election_server::ElectionServer;
use crate::pb::etcd::lock::lock_server::LockServer;
use crate::relay::Relay;
use crate::replica::Replica;

/// What the client listener serves, by full name.
pub(super) const NAMES: &[&str] = &[
    "etcdserverpb.KV",
    "etcdserverpb.Watch",
    "etcdserverpb.Lease",
    "etcdserverpb.Cluster",
    "etcdserverpb.Maintenance",
    "etcdserverpb.Auth",
    "v3lockpb.Lock",
    "v3electionpb.Election",
];

/// How the etcd API is set.
#[derive(Clone, Debug, Default)]
pub struct EtcdSettings {
    /// `None`: it is not served.
    pub guard: Option<Guard>,
    /// The newest revisions that automatic compaction keeps; 0 turns it off.
    pub auto_compaction_revisions: u64,
    /// Before the keys of Milvus' processes.
    pub root_path: String,
    /// Write there where the coordinator is.
    pub publish_coordinators: bool,
}

impl EtcdSettings {
    pub fn of(config: &Config) -> Self {
        let secret = config.cluster.secret.as_ref().map(|secret| secret.expose()).unwrap_or_default();
        let guard = match config.etcd_needs_secret() {
            true => Guard::with_secret(secret),
            false => Guard::open(),
        };
        EtcdSettings {
            guard: config.etcd.enabled.then_some(guard),
            auto_compaction_revisions: config.etcd.auto_compaction_revisions,
            root_path: config.etcd.root_path.clone(),
            publish_coordinators: config.etcd.publish_coordinators,
        }
    }
}

/// One node's services.
pub(super) struct EtcdServices {
    guard: Guard,
    kv: KvService,
    watch: WatchService,
    hub: Arc<Hub>,
    lease: LeaseService,
    lock: LockService,
    election: ElectionService,
    auth: AuthService,
    keyspace: Keyspace,
    replica: Arc<dyn Replica>,
    /// Absent in tests without a host.
    operated: Option<(ClusterService, MaintenanceService)>,
}

/// With the API's message limits.
macro_rules! limited {
    ($server:ty, $service:expr) => {
        <$server>::new($service)
            .max_decoding_message_size(limits::ETCD_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::ETCD_REPLY_BYTES_MAX)
    };
}

impl EtcdServices {
    pub(super) fn new(replica: Arc<dyn Replica>, relay: Arc<Relay>, guard: Guard) -> Self {
        let headers = Headers::new(replica.clone());
        let hub = Hub::new(replica.clone());
        let keyspace = Keyspace::new(replica.clone(), relay.clone(), headers.clone());
        let turns = Turns::new(keyspace.clone(), hub.clone());
        EtcdServices {
            kv: KvService::new(keyspace.clone()),
            watch: WatchService::new(hub.clone(), headers),
            hub,
            lease: LeaseService::new(keyspace.clone(), relay),
            lock: LockService::new(turns.clone()),
            election: ElectionService::new(turns),
            auth: AuthService::new(keyspace.clone(), guard.clone()),
            guard,
            keyspace,
            replica,
            operated: None,
        }
    }

    /// Adds what speaks of this node and of the membership.
    pub(super) fn operate(&mut self, node: Arc<dyn OperatedNode>, others: Arc<dyn AskMember>, peers: Arc<Peers>) {
        let operator = Operator::new(self.replica.clone(), peers);
        let headers = self.keyspace.headers().clone();
        let cluster = ClusterService::new(self.replica.clone(), headers, operator.clone(), others);
        self.operated = Some((cluster, MaintenanceService::new(node, self.keyspace.clone(), operator)));
    }

    /// Whether every caller is let in.
    pub(super) fn is_open(&self) -> bool {
        self.guard.is_open()
    }

    /// Adds what these services count to the registry.
    pub(super) fn register(&self, metrics: &Metrics, lessor: Arc<Lessor>) {
        metrics.register(|registry| {
            self.hub.counts().register(registry);
            let renewed = self.lease.renewed().clone();
            registry.register("lease_keep_alives", "Renewals of leases answered by this node", renewed);
            let (hub, replica) = (self.hub.clone(), self.replica.clone());
            registry.register_collector(Box::new(EtcdGauges { hub, replica, lessor }));
        });
    }

    /// What follows the applied changes for watches; to be run as long as calls are served.
    pub(super) fn hub(&self) -> Arc<Hub> {
        self.hub.clone()
    }

    pub(super) fn add_to(&self, routes: Routes) -> Routes {
        let guard = || self.guard.clone();
        let routes = routes
            .add_service(InterceptedService::new(limited!(KvServer<_>, self.kv.clone()), guard()))
            .add_service(InterceptedService::new(self.watch.clone(), guard()))
            .add_service(InterceptedService::new(limited!(LeaseServer<_>, self.lease.clone()), guard()))
            .add_service(InterceptedService::new(limited!(LockServer<_>, self.lock.clone()), guard()))
            .add_service(InterceptedService::new(limited!(ElectionServer<_>, self.election.clone()), guard()))
            // Guards itself: whoever asks for a token has none yet.
            .add_service(limited!(AuthServer<_>, self.auth.clone()));
        let Some((cluster, maintenance)) = &self.operated else { return routes };
        routes
            .add_service(InterceptedService::new(limited!(ClusterServer<_>, cluster.clone()), guard()))
            .add_service(InterceptedService::new(limited!(MaintenanceServer<_>, maintenance.clone()), guard()))
    }
}
