//! Replicas of what is loaded, and its segments. There are no query nodes and no rows yet, so replicas have no nodes
//! and no leaders, and there are no segments.

use super::QueryCoord;
use crate::error::Rejection;
use crate::failure::Failure;
use crate::handler::Asked;
use crate::pb::common;
use crate::pb::milvus::{
    GetQuerySegmentInfoRequest, GetQuerySegmentInfoResponse, GetReplicasRequest, GetReplicasResponse, ReplicaInfo,
};
use crate::rootcoord::{named_collection, validate};
use crate::state::View;

impl QueryCoord {
    /// None for a collection that is not loaded.
    pub async fn replicas(&self, asked: &Asked<GetReplicasRequest>) -> Result<GetReplicasResponse, Failure> {
        let GetReplicasRequest { collection_id, collection_name, db_name, .. } = &asked.message;
        let view = self.ledger.view(&asked.call).await?;
        let view = View::new(view.as_ref());
        let row = if collection_name.is_empty() && *collection_id != 0 {
            let missing = || Rejection::CollectionIdNotFound { id: *collection_id };
            view.collection_by_id(*collection_id)?.ok_or_else(missing)?
        } else {
            validate::collection_name(collection_name)?;
            named_collection(&view, asked.database(db_name), collection_name)?
        };
        let mut list = GetReplicasResponse { status: Some(common::Status::default()), replicas: Vec::new() };
        let Some(load) = view.load(row.id)? else { return Ok(list) };
        let partitions = view.partitions(row.id)?.into_iter().map(|partition| partition.id);
        let partition_ids: Vec<i64> = partitions.filter(|id| load.holds(*id)).collect();
        list.replicas = load
            .replicas
            .into_iter()
            .map(|replica| ReplicaInfo {
                replica_id: replica.id,
                collection_id: row.id,
                partition_ids: partition_ids.clone(),
                resource_group_name: replica.resource_group,
                ..ReplicaInfo::default()
            })
            .collect();
        Ok(list)
    }

    /// What query nodes hold of a collection, which must be there; nothing also of one that is not loaded.
    pub async fn segments(
        &self,
        asked: &Asked<GetQuerySegmentInfoRequest>,
    ) -> Result<GetQuerySegmentInfoResponse, Failure> {
        let GetQuerySegmentInfoRequest { db_name, collection_name, .. } = &asked.message;
        validate::collection_name(collection_name)?;
        self.collection(asked, db_name, collection_name).await?;
        Ok(GetQuerySegmentInfoResponse { status: Some(common::Status::default()) })
    }
}
