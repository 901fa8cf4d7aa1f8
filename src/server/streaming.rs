//! What this node does for streaming: the balancer of a leader, and what every node tells clients.

use std::sync::Arc;

use tonic::service::Routes;

use super::broadcast::BroadcastParts;
use super::services::limited;
use crate::config;
use crate::leader::clock::SystemClock;
use crate::ledger::Ledger;
use crate::limits;
use crate::metrics::Metrics;
use crate::pb::roost_streaming::streaming_server::StreamingServer;
use crate::proposer::Proposer;
use crate::relay::Relay;
use crate::replica::Replica;
use crate::session::Loads;
use crate::shutdown::Shutdown;
use crate::streamingcoord::balancer::{Balancer, ChannelGauges, Parts};
use crate::streamingcoord::discovery::{Assignments, DiscoveryService, ListenerGauges, Reports};
use crate::streamingcoord::policy::Registry;
use crate::streamingcoord::service::{PolicyApi, StreamingService};

/// What the internal listener serves, by full name.
pub(super) const NAMES: [&str; 2] =
    ["milvus.proto.streaming.StreamingCoordAssignmentService", "roost.streaming.v1.Streaming"];

/// One node's part in streaming.
pub(super) struct StreamingParts {
    pub(super) balancer: Arc<Balancer>,
    assignments: Arc<Assignments>,
    reports: Arc<Reports>,
    discovery: DiscoveryService,
    operators: StreamingService,
}

impl StreamingParts {
    #[allow(clippy::too_many_arguments, reason = "parts of a node, each with a type of its own")]
    pub(super) fn new(
        replica: Arc<dyn Replica>,
        proposer: Arc<Proposer>,
        relay: Arc<Relay>,
        ledger: Ledger,
        loads: Arc<Loads>,
        config: config::Streaming,
        broadcast: &BroadcastParts,
        metrics: &Metrics,
    ) -> Self {
        let assignments = Assignments::new(replica.clone());
        let balancer = Balancer::new(Parts {
            replica: replica.clone(),
            proposer,
            relay,
            clock: Arc::new(SystemClock::default()),
            nodes: broadcast.nodes.clone(),
            loads,
            assignments: assignments.clone(),
            config: Arc::new(config),
            policies: Registry::default(),
        });
        let reports = Reports::new(balancer.clone());
        metrics.register(|registry| {
            balancer.metrics().register(registry);
            registry.register_collector(Box::new(ChannelGauges(replica.clone())));
            registry.register_collector(Box::new(ListenerGauges(assignments.clone())));
        });
        let discovery = DiscoveryService {
            replica,
            assignments: assignments.clone(),
            balancer: balancer.clone(),
            reports: reports.clone(),
            policy: PolicyApi { ledger: ledger.clone() },
            replication: broadcast.replication.clone(),
        };
        StreamingParts {
            discovery,
            operators: StreamingService { ledger, balancer: balancer.clone(), board: broadcast.board.clone() },
            balancer,
            assignments,
            reports,
        }
    }

    pub(super) fn add_to(&self, routes: Routes) -> Routes {
        routes.add_service(self.discovery.clone()).add_service(limited!(StreamingServer<_>, self.operators.clone()))
    }

    /// Keeps clients told, until `shutdown` is asked for; then nothing is balanced here any more.
    pub(super) fn serve(&self, shutdown: Shutdown) -> impl Future<Output = ()> + Send + 'static {
        let (assignments, reports) = (self.assignments.clone(), self.reports.clone());
        let balancer = self.balancer.clone();
        balancer.register_streaming_enabled_notifier(|| {
            tracing::info!("streaming is enabled: a node was given a channel");
        });
        async move {
            tokio::join!(assignments.follow(shutdown.clone()), reports.send(shutdown));
            balancer.close();
        }
    }
}
