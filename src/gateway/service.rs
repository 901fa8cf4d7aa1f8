//! One handler for each method: unpack, ask the catalog or the oracle, answer.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::VERSION;
use super::data_plane::refusal;
use crate::call::Call;
use crate::failure::{Failure, answer};
use crate::health::Health;
use crate::leader::tso::Oracle;
use crate::pb::common::{self, ServerInfo};
use crate::pb::milvus::milvus_service_server::MilvusService;
use crate::pb::milvus::{
    AllocTimestampRequest, AllocTimestampResponse, AlterCollectionRequest, BoolResponse, CalcDistanceRequest,
    CalcDistanceResults, CheckHealthRequest, CheckHealthResponse, ComponentStates, ConnectRequest, ConnectResponse,
    CreateCollectionRequest, DeleteRequest, DescribeCollectionRequest, DescribeCollectionResponse,
    DropCollectionRequest, GetComponentStatesRequest, GetVersionRequest, GetVersionResponse, HasCollectionRequest,
    HybridSearchRequest, InsertRequest, MutationResult, QueryRequest, QueryResults, RunAnalyzerRequest,
    RunAnalyzerResponse, SearchRequest, SearchResults, ShowCollectionsRequest, ShowCollectionsResponse, UpsertRequest,
};
use crate::rootcoord::{Catalog, Which, database_of};

/// The service; cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    pub catalog: Arc<Catalog>,
    pub oracle: Arc<Oracle>,
    pub health: Arc<Health>,
}

impl Gateway {
    /// A client's identity is a timestamp: unique for ever, on whichever node it connects.
    async fn identify(&self, call: &Call, database: &str) -> Result<i64, Failure> {
        let timestamp = self.oracle.allocate(1, call.deadline).await?;
        self.catalog.require_database(call, database).await?;
        // 46 bits of milliseconds and 18 of a counter: positive until the year 4199.
        Ok(timestamp.cast_signed())
    }
}

#[tonic::async_trait]
impl MilvusService for Gateway {
    async fn connect(&self, request: Request<ConnectRequest>) -> Result<Response<ConnectResponse>, Status> {
        let call = Call::of(&request)?;
        let identifier = self.identify(&call, database_of("", request.metadata())).await;
        let server_info = ServerInfo {
            build_tags: VERSION.to_owned(),
            deploy_mode: "DISTRIBUTED".to_owned(),
            ..ServerInfo::default()
        };
        let accepted = |identifier| ConnectResponse {
            status: Some(common::Status::default()),
            server_info: Some(server_info),
            identifier,
        };
        answer(identifier.map(accepted), |status| ConnectResponse { status: Some(status), ..Default::default() })
    }

    async fn get_version(&self, _request: Request<GetVersionRequest>) -> Result<Response<GetVersionResponse>, Status> {
        let status = Some(common::Status::default());
        Ok(Response::new(GetVersionResponse { status, version: VERSION.to_owned() }))
    }

    async fn check_health(
        &self,
        _request: Request<CheckHealthRequest>,
    ) -> Result<Response<CheckHealthResponse>, Status> {
        Ok(Response::new(self.health.check_reply()))
    }

    async fn get_component_states(
        &self,
        _request: Request<GetComponentStatesRequest>,
    ) -> Result<Response<ComponentStates>, Status> {
        Ok(Response::new(self.health.component_states("proxy")))
    }

    async fn alloc_timestamp(
        &self,
        request: Request<AllocTimestampRequest>,
    ) -> Result<Response<AllocTimestampResponse>, Status> {
        let call = Call::of(&request)?;
        let result = self.oracle.allocate(1, call.deadline).await.map_err(Failure::from);
        let reply = |status, timestamp| AllocTimestampResponse { status: Some(status), timestamp };
        answer(result.map(|timestamp| reply(common::Status::default(), timestamp)), |status| reply(status, 0))
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
        let call = Call::of(&request)?;
        let database = database_of(&request.get_ref().db_name, request.metadata());
        let result = self.catalog.describe(&call, database, request.get_ref(), Which::Client).await;
        answer(result, |status| DescribeCollectionResponse { status: Some(status), ..Default::default() })
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

    async fn alter_collection(
        &self,
        request: Request<AlterCollectionRequest>,
    ) -> Result<Response<common::Status>, Status> {
        let call = Call::of(&request)?;
        let database = database_of(&request.get_ref().db_name, request.metadata());
        let result = self.catalog.alter(&call, database, request.get_ref()).await;
        answer(result.map(|()| common::Status::default()), |status| status)
    }

    async fn insert(&self, _request: Request<InsertRequest>) -> Result<Response<MutationResult>, Status> {
        Ok(Response::new(MutationResult { status: Some(refusal("Insert")) }))
    }

    async fn delete(&self, _request: Request<DeleteRequest>) -> Result<Response<MutationResult>, Status> {
        Ok(Response::new(MutationResult { status: Some(refusal("Delete")) }))
    }

    async fn upsert(&self, _request: Request<UpsertRequest>) -> Result<Response<MutationResult>, Status> {
        Ok(Response::new(MutationResult { status: Some(refusal("Upsert")) }))
    }

    async fn search(&self, _request: Request<SearchRequest>) -> Result<Response<SearchResults>, Status> {
        Ok(Response::new(SearchResults { status: Some(refusal("Search")) }))
    }

    async fn hybrid_search(&self, _request: Request<HybridSearchRequest>) -> Result<Response<SearchResults>, Status> {
        Ok(Response::new(SearchResults { status: Some(refusal("HybridSearch")) }))
    }

    async fn query(&self, _request: Request<QueryRequest>) -> Result<Response<QueryResults>, Status> {
        Ok(Response::new(QueryResults { status: Some(refusal("Query")) }))
    }

    async fn calc_distance(
        &self,
        _request: Request<CalcDistanceRequest>,
    ) -> Result<Response<CalcDistanceResults>, Status> {
        Ok(Response::new(CalcDistanceResults { status: Some(refusal("CalcDistance")) }))
    }

    async fn run_analyzer(
        &self,
        _request: Request<RunAnalyzerRequest>,
    ) -> Result<Response<RunAnalyzerResponse>, Status> {
        Ok(Response::new(RunAnalyzerResponse { status: Some(refusal("RunAnalyzer")) }))
    }
}
