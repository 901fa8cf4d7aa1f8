//! The configuration of replication between clusters, for Milvus' two calls about it and for StreamingCoord's.

use prost::Message;

use crate::call::Call;
use crate::error::Rejection;
use crate::failure::Failure;
use crate::ledger::{Ledger, reply};
use crate::pb::common::{self, ConnectionParam, ReplicateConfiguration};
use crate::pb::milvus::GetReplicateConfigurationResponse;
use crate::state::broadcast::UpdateReplication;
use crate::state::{BroadcastCommand, BroadcastReply, Command, Reply, View};

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Replication {
    pub ledger: Ledger,
    /// What this cluster is called in configurations.
    pub cluster: String,
}

impl Replication {
    /// On the leader.
    pub async fn update(
        &self,
        call: &Call,
        configuration: Option<&ReplicateConfiguration>,
        force_promote: bool,
    ) -> Result<(), Failure> {
        let configuration = configuration.ok_or_else(|| Rejection::invalid("config cannot be nil"))?;
        let (configuration, cluster_id) = (configuration.encode_to_vec(), self.cluster.clone());
        let command = BroadcastCommand::Replicate(UpdateReplication { configuration, cluster_id, force_promote });
        let done = reply!(Reply::Broadcast(BroadcastReply::Replicated { .. }) => ());
        self.ledger.propose(call, Command::Broadcast(command), done).await
    }

    /// Behind a read barrier. Without the tokens, which are for the other clusters' doors.
    pub async fn show(&self, call: &Call) -> Result<GetReplicateConfigurationResponse, Failure> {
        let row = {
            let view = self.ledger.view(call).await?;
            View::new(view.as_ref()).broadcasts().replication()?
        };
        let configuration = row.map(|row| row.decoded()).transpose()?.map(without_tokens);
        Ok(GetReplicateConfigurationResponse { status: Some(common::Status::default()), configuration })
    }
}

fn without_tokens(mut configuration: ReplicateConfiguration) -> ReplicateConfiguration {
    for cluster in &mut configuration.clusters {
        cluster.connection_param = cluster
            .connection_param
            .take()
            .map(|ConnectionParam { uri, .. }| ConnectionParam { uri, token: String::new() });
    }
    configuration
}
