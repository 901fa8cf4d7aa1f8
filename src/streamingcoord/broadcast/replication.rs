//! The configuration of replication between clusters, for Milvus' two calls about it and for StreamingCoord's.

use std::time::Instant;

use prost::Message;

use crate::call::Call;
use crate::error::Rejection;
use crate::failure::Failure;
use crate::ledger::{Ledger, reply};
use crate::limits;
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
    /// On the leader. A copy of another cluster is answered when the same configuration has come from there, in its
    /// place behind whatever was replicated before; unless it is promoted by force.
    pub async fn update(
        &self,
        call: &Call,
        configuration: Option<&ReplicateConfiguration>,
        force_promote: bool,
    ) -> Result<(), Failure> {
        let nothing = ReplicateConfiguration::default();
        let asked = configuration.or(force_promote.then_some(&nothing));
        let asked = asked.ok_or_else(|| Rejection::invalid("config cannot be nil"))?;
        if !force_promote && self.comes_from_elsewhere(call, asked).await? {
            return Ok(());
        }
        let (configuration, cluster_id) = (asked.encode_to_vec(), self.cluster.clone());
        let command = BroadcastCommand::Replicate(UpdateReplication { configuration, cluster_id, force_promote });
        let done = reply!(Reply::Broadcast(BroadcastReply::Replicated { .. }) => ());
        self.ledger.propose(call, Command::Broadcast(command), done).await
    }

    /// False if this cluster is nobody's copy, and its configuration is given here.
    async fn comes_from_elsewhere(&self, call: &Call, asked: &ReplicateConfiguration) -> Result<bool, Failure> {
        let mut was_copy = false;
        loop {
            let (row, objection) = {
                let view = self.ledger.view(call).await?;
                let broadcasts = View::new(view.as_ref()).broadcasts();
                (broadcasts.replication()?, broadcasts.objection(asked, &self.cluster)?)
            };
            let Some(row) = row else { return Ok(false) };
            if row.decoded()? == *asked {
                return Ok(row.secondary || was_copy);
            }
            if !row.secondary {
                return Ok(false);
            }
            if let Some(objection) = objection {
                return Err(objection.into());
            }
            was_copy = true;
            if Instant::now() + limits::REPLICATION_LOOK >= call.deadline {
                let detail = "the configuration has not come from the primary cluster yet".to_owned();
                return Err(Rejection::Unavailable { detail }.into());
            }
            tokio::time::sleep(limits::REPLICATION_LOOK).await;
        }
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
