//! RootCoord as Milvus' own processes call it, on the internal listener: no access rules, schemas as stored.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{Catalog, Which, allocate_after};
use crate::failure::Failure;
use crate::handler::{Asked, handlers};
use crate::health::Health;
use crate::leader::tso::Oracle;
use crate::pb::common;
use crate::pb::milvus::{
    AlterCollectionRequest, BoolResponse, CheckHealthRequest, CheckHealthResponse, ComponentStates,
    CreateCollectionRequest, DescribeCollectionRequest, DescribeCollectionResponse, DropCollectionRequest,
    GetComponentStatesRequest, HasCollectionRequest, RenameCollectionRequest, ShowCollectionsRequest,
    ShowCollectionsResponse,
};
use crate::pb::rootcoord::root_coord_server::RootCoord;
use crate::pb::rootcoord::{
    AllocIdRequest, AllocIdResponse, AllocTimestampRequest, AllocTimestampResponse, ShowCollectionIDsRequest,
    ShowCollectionIDsResponse,
};

/// The service; cheap to clone.
#[derive(Clone)]
pub struct RootCoordService {
    pub catalog: Arc<Catalog>,
    pub oracle: Arc<Oracle>,
    pub health: Arc<Health>,
}

impl RootCoordService {
    async fn timestamps(&self, asked: &Asked<AllocTimestampRequest>) -> Result<AllocTimestampResponse, Failure> {
        let AllocTimestampRequest { count, block_timestamp, .. } = asked.message;
        let timestamp = allocate_after(&self.oracle, &asked.call, count, block_timestamp).await?;
        Ok(AllocTimestampResponse { status: Some(common::Status::default()), timestamp, count })
    }
}

#[tonic::async_trait]
impl RootCoord for RootCoordService {
    async fn get_component_states(
        &self,
        _request: Request<GetComponentStatesRequest>,
    ) -> Result<Response<ComponentStates>, Status> {
        Ok(Response::new(self.health.component_states("rootcoord")))
    }

    async fn check_health(
        &self,
        _request: Request<CheckHealthRequest>,
    ) -> Result<Response<CheckHealthResponse>, Status> {
        Ok(Response::new(self.health.check_reply()))
    }

    handlers! {
        alloc_timestamp(AllocTimestampRequest) -> AllocTimestampResponse = |this, asked| this.timestamps(asked);
        alloc_id(AllocIdRequest) -> AllocIdResponse = |this, asked| this.catalog.allocate_ids(asked);

        // Collections.
        create_collection(CreateCollectionRequest) -> common::Status =
            |this, asked| this.catalog.create_collection(asked);
        drop_collection(DropCollectionRequest) -> common::Status = |this, asked| this.catalog.drop_collection(asked);
        has_collection(HasCollectionRequest) -> BoolResponse = |this, asked| this.catalog.has_collection(asked);
        describe_collection(DescribeCollectionRequest) -> DescribeCollectionResponse =
            |this, asked| this.catalog.describe_collection(asked, Which::Internal);
        describe_collection_internal(DescribeCollectionRequest) -> DescribeCollectionResponse =
            |this, asked| this.catalog.describe_collection(asked, Which::Internal);
        show_collections(ShowCollectionsRequest) -> ShowCollectionsResponse =
            |this, asked| this.catalog.show_collections(asked);
        show_collection_i_ds(ShowCollectionIDsRequest) -> ShowCollectionIDsResponse =
            |this, asked| this.catalog.show_collection_ids(asked);
        alter_collection(AlterCollectionRequest) -> common::Status = |this, asked| this.catalog.alter_collection(asked);
        rename_collection(RenameCollectionRequest) -> common::Status =
            |this, asked| this.catalog.rename_collection(asked);

        // Partitions.

        // Aliases.

        // Databases.

        // Users, roles and grants.
    }
}
