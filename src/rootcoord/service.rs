//! RootCoord as Milvus' own processes call it, on the internal listener: no access rules, schemas as stored.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{Catalog, Which, allocate_after, database_of};
use crate::call::Call;
use crate::failure::{Failure, answer};
use crate::health::Health;
use crate::leader::tso::Oracle;
use crate::pb::common;
use crate::pb::milvus::{
    AlterCollectionRequest, BoolResponse, CheckHealthRequest, CheckHealthResponse, ComponentStates,
    CreateCollectionRequest, DescribeCollectionRequest, DescribeCollectionResponse, DropCollectionRequest,
    GetComponentStatesRequest, HasCollectionRequest, ShowCollectionsRequest, ShowCollectionsResponse,
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
    async fn described(
        &self,
        request: Request<DescribeCollectionRequest>,
    ) -> Result<Response<DescribeCollectionResponse>, Status> {
        let call = Call::of(&request)?;
        let database = database_of(&request.get_ref().db_name, request.metadata());
        let result = self.catalog.describe(&call, database, request.get_ref(), Which::Internal).await;
        answer(result, |status| DescribeCollectionResponse { status: Some(status), ..Default::default() })
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

    async fn create_collection(
        &self,
        request: Request<CreateCollectionRequest>,
    ) -> Result<Response<common::Status>, Status> {
        let call = Call::of(&request)?;
        let database = database_of(&request.get_ref().db_name, request.metadata());
        let result = self.catalog.create(&call, database, request.get_ref()).await;
        answer(result.map(|()| common::Status::default()), |status| status)
    }

    async fn drop_collection(
        &self,
        request: Request<DropCollectionRequest>,
    ) -> Result<Response<common::Status>, Status> {
        let call = Call::of(&request)?;
        let database = database_of(&request.get_ref().db_name, request.metadata());
        let result = self.catalog.remove(&call, database, &request.get_ref().collection_name).await;
        answer(result.map(|()| common::Status::default()), |status| status)
    }

    async fn has_collection(&self, request: Request<HasCollectionRequest>) -> Result<Response<BoolResponse>, Status> {
        let call = Call::of(&request)?;
        let database = database_of(&request.get_ref().db_name, request.metadata());
        let result = self.catalog.has(&call, database, &request.get_ref().collection_name).await;
        let reply = |value, status| BoolResponse { status: Some(status), value };
        answer(result.map(|value| reply(value, common::Status::default())), |status| reply(false, status))
    }

    async fn describe_collection(
        &self,
        request: Request<DescribeCollectionRequest>,
    ) -> Result<Response<DescribeCollectionResponse>, Status> {
        self.described(request).await
    }

    async fn describe_collection_internal(
        &self,
        request: Request<DescribeCollectionRequest>,
    ) -> Result<Response<DescribeCollectionResponse>, Status> {
        self.described(request).await
    }

    async fn show_collections(
        &self,
        request: Request<ShowCollectionsRequest>,
    ) -> Result<Response<ShowCollectionsResponse>, Status> {
        let call = Call::of(&request)?;
        let database = database_of(&request.get_ref().db_name, request.metadata());
        let result = self.catalog.show(&call, database, request.get_ref()).await;
        answer(result, |status| ShowCollectionsResponse { status: Some(status), ..Default::default() })
    }

    async fn show_collection_i_ds(
        &self,
        request: Request<ShowCollectionIDsRequest>,
    ) -> Result<Response<ShowCollectionIDsResponse>, Status> {
        let call = Call::of(&request)?;
        let result = self.catalog.show_ids(&call, request.into_inner()).await;
        let reply = |status, db_collections| ShowCollectionIDsResponse { status: Some(status), db_collections };
        answer(result.map(|ids| reply(common::Status::default(), ids)), |status| reply(status, Vec::new()))
    }

    async fn alter_collection(
        &self,
        request: Request<AlterCollectionRequest>,
    ) -> Result<Response<common::Status>, Status> {
        let call = Call::of(&request)?;
        let database = database_of(&request.get_ref().db_name, request.metadata());
        let result = self.catalog.alter(&call, database, request.get_ref()).await;
        answer(result.map(|()| common::Status::default()), |status| status)
    }

    async fn alloc_timestamp(
        &self,
        request: Request<AllocTimestampRequest>,
    ) -> Result<Response<AllocTimestampResponse>, Status> {
        let call = Call::of(&request)?;
        let AllocTimestampRequest { count, block_timestamp, .. } = *request.get_ref();
        let result = allocate_after(&self.oracle, &call, count, block_timestamp).await;
        let reply = |status, timestamp, count| AllocTimestampResponse { status: Some(status), timestamp, count };
        answer(result.map(|first| reply(common::Status::default(), first, count)), |status| reply(status, 0, 0))
    }

    async fn alloc_id(&self, request: Request<AllocIdRequest>) -> Result<Response<AllocIdResponse>, Status> {
        let call = Call::of(&request)?;
        let count = request.get_ref().count;
        let result: Result<i64, Failure> = self.catalog.allocate_ids(&call, count).await;
        let reply = |status, id, count| AllocIdResponse { status: Some(status), id, count };
        answer(result.map(|first| reply(common::Status::default(), first, count)), |status| reply(status, 0, 0))
    }

    async fn check_health(
        &self,
        _request: Request<CheckHealthRequest>,
    ) -> Result<Response<CheckHealthResponse>, Status> {
        Ok(Response::new(self.health.check_reply()))
    }
}
