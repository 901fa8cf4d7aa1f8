//! The services of the etcd v3 API, for the client listener.

use std::sync::Arc;

use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;

use crate::config::Config;
use crate::etcd::access::Guard;
use crate::etcd::watch::{Hub, WatchService};
use crate::etcd::{AuthService, Headers, Keyspace, KvService, LeaseService};
use crate::limits;
use crate::pb::etcd::api::auth_server::AuthServer;
use crate::pb::etcd::api::kv_server::KvServer;
use crate::pb::etcd::api::lease_server::LeaseServer;
use crate::relay::Relay;
use crate::replica::Replica;

/// What the client listener serves, by full name.
pub(super) const NAMES: &[&str] = &["etcdserverpb.KV", "etcdserverpb.Watch", "etcdserverpb.Lease", "etcdserverpb.Auth"];

/// How the etcd API is set.
#[derive(Clone, Debug, Default)]
pub struct EtcdSettings {
    /// `None`: it is not served.
    pub guard: Option<Guard>,
    /// The newest revisions that automatic compaction keeps; 0 turns it off.
    pub auto_compaction_revisions: u64,
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
    auth: AuthService,
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
        let keyspace = Keyspace::new(replica, relay.clone(), headers.clone());
        EtcdServices {
            kv: KvService::new(keyspace.clone()),
            watch: WatchService::new(hub.clone(), headers),
            hub,
            lease: LeaseService::new(keyspace.clone(), relay),
            auth: AuthService::new(keyspace, guard.clone()),
            guard,
        }
    }

    /// What follows the applied changes for watches; to be run as long as calls are served.
    pub(super) fn hub(&self) -> Arc<Hub> {
        self.hub.clone()
    }

    pub(super) fn add_to(&self, routes: Routes) -> Routes {
        let guard = || self.guard.clone();
        routes
            .add_service(InterceptedService::new(limited!(KvServer<_>, self.kv.clone()), guard()))
            .add_service(InterceptedService::new(self.watch.clone(), guard()))
            .add_service(InterceptedService::new(limited!(LeaseServer<_>, self.lease.clone()), guard()))
            // Guards itself: whoever asks for a token has none yet.
            .add_service(limited!(AuthServer<_>, self.auth.clone()))
    }
}
