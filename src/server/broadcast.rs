//! What this node does for broadcasts: the work of a leader, and the services that ask for it.

use std::sync::Arc;

use tonic::service::Routes;

use super::services::limited;
use crate::config;
use crate::leader::LeaderTask;
use crate::ledger::Ledger;
use crate::limits;
use crate::metrics::Metrics;
use crate::pb::streaming::streaming_coord_broadcast_service_server::StreamingCoordBroadcastServiceServer;
use crate::proposer::Proposer;
use crate::replica::Replica;
use crate::streamingcoord::broadcast::{Board, BroadcastMetrics, BroadcastService, Broadcaster, Replication, Sweeper};
use crate::streamingcoord::nodes::Nodes;

/// What the internal listener serves, by full name.
pub(super) const NAME: &str = "milvus.proto.streaming.StreamingCoordBroadcastService";

/// One node's part in broadcasts.
pub(super) struct BroadcastParts {
    pub(super) board: Arc<Board>,
    pub(super) nodes: Arc<Nodes>,
    pub(super) replication: Replication,
    service: BroadcastService,
    broadcaster: Arc<Broadcaster>,
    sweeper: Arc<Sweeper>,
}

impl BroadcastParts {
    /// `cluster`: Milvus' name of the cluster.
    pub(super) fn new(
        replica: Arc<dyn Replica>,
        proposer: Arc<Proposer>,
        ledger: Ledger,
        settings: config::Broadcast,
        cluster: String,
        metrics: &Metrics,
    ) -> Self {
        let nodes = Arc::new(Nodes::new(cluster.clone()));
        let (board, settings) = (Arc::<Board>::default(), Arc::new(settings));
        let service = BroadcastService {
            ledger: ledger.clone(),
            replica: replica.clone(),
            board: board.clone(),
            cluster: cluster.clone(),
        };
        let broadcaster = Arc::new(Broadcaster {
            replica: replica.clone(),
            proposer: proposer.clone(),
            board: board.clone(),
            metrics: BroadcastMetrics::new(metrics, replica.clone()),
            settings: settings.clone(),
            nodes: nodes.clone(),
        });
        let sweeper = Arc::new(Sweeper { replica, proposer, settings });
        let replication = Replication { ledger, cluster };
        BroadcastParts { board, nodes, replication, service, broadcaster, sweeper }
    }

    pub(super) fn add_to(&self, routes: Routes) -> Routes {
        routes.add_service(limited!(StreamingCoordBroadcastServiceServer<_>, self.service.clone()))
    }

    pub(super) fn leader_tasks(&self) -> [Arc<dyn LeaderTask>; 2] {
        [self.broadcaster.clone(), self.sweeper.clone()]
    }
}
