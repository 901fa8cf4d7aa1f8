//! Releasing: what is not loaded is released already.

use super::QueryCoord;
use super::progress::partition_ids;
use crate::error::Rejection;
use crate::failure::Failure;
use crate::handler::Asked;
use crate::ledger::reply;
use crate::pb::milvus::{ReleaseCollectionRequest, ReleasePartitionsRequest};
use crate::rootcoord::validate;
use crate::state::{Command, LoadCommand, LoadReply, ReleaseCollection, ReleasePartitions, Reply};

impl QueryCoord {
    /// On the leader.
    pub async fn release_collection(&self, asked: &Asked<ReleaseCollectionRequest>) -> Result<(), Failure> {
        let request = &asked.message;
        validate::collection_name(&request.collection_name)?;
        let row = self.collection(asked, &request.db_name, &request.collection_name).await?;
        let command = LoadCommand::ReleaseCollection(ReleaseCollection { collection_id: row.id });
        let done = reply!(Reply::Load(LoadReply::Released { .. }) => ());
        self.ledger.propose(&asked.call, Command::Load(command), done).await
    }

    /// On the leader. With the last partition the collection is released.
    pub async fn release_partitions(&self, asked: &Asked<ReleasePartitionsRequest>) -> Result<(), Failure> {
        let request = &asked.message;
        validate::collection_name(&request.collection_name)?;
        let found = self.look(asked, &request.db_name, &request.collection_name, |view, row| {
            if row.decoded_schema()?.fields.iter().any(|field| field.is_partition_key) {
                return Err(Rejection::invalid("disable release partitions if partition key mode is used").into());
            }
            if request.partition_names.is_empty() {
                return Err(Rejection::ParameterUnexpected {
                    expected: "any partition".to_owned(),
                    actual: "empty partition list".to_owned(),
                    detail: "no partition to release".to_owned(),
                }
                .into());
            }
            Ok((row.id, partition_ids(view, row.id, &request.partition_names)?))
        });
        let (collection_id, partitions) = found.await?;
        let command = ReleasePartitions { collection_id, partitions, ts: self.ledger.timestamp(&asked.call).await? };
        let done = reply!(Reply::Load(LoadReply::Released { .. }) => ());
        self.ledger.propose(&asked.call, Command::Load(LoadCommand::ReleasePartitions(command)), done).await
    }
}
