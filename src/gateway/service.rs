//! One handler for each method.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::VERSION;
use super::data_plane::{not_served, refused};
use crate::access::{Accounts, PolicyBook, Sight};
use crate::datacoord::DataCoord;
use crate::failure::Failure;
use crate::handler::{Asked, Reply, handlers};
use crate::health::Health;
use crate::leader::tso::Oracle;
use crate::pb::common::{self, ServerInfo};
use crate::pb::milvus::milvus_service_server::MilvusService;
use crate::pb::milvus::{
    AddCollectionFieldRequest, AddCollectionFunctionRequest, AllocTimestampRequest, AllocTimestampResponse,
    AlterAliasRequest, AlterCollectionFieldRequest, AlterCollectionFunctionRequest, AlterCollectionRequest,
    AlterDatabaseRequest, AlterRoleRequest, BackupRbacMetaRequest, BackupRbacMetaResponse,
    BatchDescribeCollectionRequest, BatchDescribeCollectionResponse, BoolResponse, CalcDistanceRequest,
    CalcDistanceResults, CheckHealthRequest, CheckHealthResponse, ComponentStates, ConnectRequest, ConnectResponse,
    CreateAliasRequest, CreateCollectionRequest, CreateCredentialRequest, CreateDatabaseRequest,
    CreatePartitionRequest, CreatePrivilegeGroupRequest, CreateRoleRequest, DeleteCredentialRequest, DeleteRequest,
    DescribeAliasRequest, DescribeAliasResponse, DescribeCollectionRequest, DescribeCollectionResponse,
    DescribeDatabaseRequest, DescribeDatabaseResponse, DropAliasRequest, DropCollectionFunctionRequest,
    DropCollectionRequest, DropDatabaseRequest, DropPartitionRequest, DropPrivilegeGroupRequest, DropRoleRequest,
    GetCollectionStatisticsRequest, GetCollectionStatisticsResponse, GetComponentStatesRequest, GetMetricsRequest,
    GetMetricsResponse, GetPartitionStatisticsRequest, GetPartitionStatisticsResponse, GetVersionRequest,
    GetVersionResponse, HasCollectionRequest, HasPartitionRequest, HybridSearchRequest, InsertRequest,
    ListAliasesRequest, ListAliasesResponse, ListCredUsersRequest, ListCredUsersResponse, ListDatabasesRequest,
    ListDatabasesResponse, ListPrivilegeGroupsRequest, ListPrivilegeGroupsResponse, MutationResult,
    OperatePrivilegeGroupRequest, OperatePrivilegeRequest, OperatePrivilegeV2Request, OperateUserRoleRequest,
    QueryRequest, QueryResults, RenameCollectionRequest, RestoreRbacMetaRequest, RunAnalyzerRequest,
    RunAnalyzerResponse, SearchRequest, SearchResults, SelectGrantRequest, SelectGrantResponse, SelectRoleRequest,
    SelectRoleResponse, SelectUserRequest, SelectUserResponse, ShowCollectionsRequest, ShowCollectionsResponse,
    ShowPartitionsRequest, ShowPartitionsResponse, TruncateCollectionRequest, TruncateCollectionResponse,
    UpdateCredentialRequest, UpsertRequest,
};
use crate::pb::milvus::{
    AlterIndexRequest, CreateIndexRequest, DescribeIndexRequest, DescribeIndexResponse, DropIndexRequest, FlushRequest,
    FlushResponse, GetFlushStateRequest, GetFlushStateResponse, GetIndexBuildProgressRequest,
    GetIndexBuildProgressResponse, GetIndexStateRequest, GetIndexStateResponse, GetIndexStatisticsRequest,
    GetIndexStatisticsResponse, GetLoadStateRequest, GetLoadStateResponse, GetLoadingProgressRequest,
    GetLoadingProgressResponse, GetReplicasRequest, GetReplicasResponse, GetReplicateConfigurationRequest,
    GetReplicateConfigurationResponse, LoadCollectionRequest, LoadPartitionsRequest, ReleaseCollectionRequest,
    ReleasePartitionsRequest, UpdateReplicateConfigurationRequest,
};
use crate::pb::milvus::{
    CreateResourceGroupRequest, DescribeResourceGroupRequest, DescribeResourceGroupResponse, DropResourceGroupRequest,
    FlushAllRequest, FlushAllResponse, GetCompactionPlansRequest, GetCompactionPlansResponse,
    GetCompactionStateRequest, GetCompactionStateResponse, GetFlushAllStateRequest, GetFlushAllStateResponse,
    GetImportStateRequest, GetImportStateResponse, GetPersistentSegmentInfoRequest, GetPersistentSegmentInfoResponse,
    GetQuerySegmentInfoRequest, GetQuerySegmentInfoResponse, ImportRequest, ImportResponse, ListImportTasksRequest,
    ListImportTasksResponse, ListResourceGroupsRequest, ListResourceGroupsResponse, LoadBalanceRequest,
    ManualCompactionRequest, ManualCompactionResponse, TransferNodeRequest, TransferReplicaRequest,
    UpdateResourceGroupsRequest,
};
use crate::pb::store;
use crate::querycoord::QueryCoord;
use crate::rootcoord::{Catalog, Listing, Operations, Which};
use crate::streamingcoord::broadcast::Replication;

/// The service; cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    pub catalog: Arc<Catalog>,
    pub datacoord: DataCoord,
    pub querycoord: QueryCoord,
    pub accounts: Arc<Accounts>,
    pub policy: Arc<PolicyBook>,
    pub oracle: Arc<Oracle>,
    pub health: Arc<Health>,
    pub operations: Arc<Operations>,
    pub replication: Replication,
}

impl Gateway {
    /// A client's identity is a timestamp: unique for ever, on whichever node it connects.
    async fn identify(&self, asked: &Asked<ConnectRequest>) -> Result<ConnectResponse, Failure> {
        let timestamp = self.oracle.allocate(1, asked.call.deadline).await?;
        self.catalog.require_database(&asked.call, asked.database("")).await?;
        let server_info = ServerInfo {
            build_tags: VERSION.to_owned(),
            deploy_mode: "DISTRIBUTED".to_owned(),
            ..ServerInfo::default()
        };
        Ok(ConnectResponse {
            status: Some(common::Status::default()),
            server_info: Some(server_info),
            // 46 bits of milliseconds and 18 of a counter: positive until the year 4199.
            identifier: timestamp.cast_signed(),
        })
    }

    async fn describe_collection_seen(
        &self,
        asked: &Asked<DescribeCollectionRequest>,
    ) -> Result<DescribeCollectionResponse, Failure> {
        let described = self.catalog.describe_collection(asked, Which::Client).await?;
        self.accounts.sight(&self.policy, &asked.call)?.check(&described)?;
        Ok(described)
    }

    async fn show_collections_seen(
        &self,
        asked: &Asked<ShowCollectionsRequest>,
    ) -> Result<ShowCollectionsResponse, Failure> {
        let mut list = self.catalog.show_collections(asked).await?;
        self.accounts.sight(&self.policy, &asked.call)?.filter(asked.database(&asked.message.db_name), &mut list);
        Ok(list)
    }

    /// The reply as it goes over the wire, if it is in memory and the caller sees all of it.
    pub async fn encoded_listing(&self, asked: &Asked<ShowCollectionsRequest>) -> Option<Listing> {
        match self.accounts.sight(&self.policy, &asked.call) {
            Ok(Sight::Everything) => self.catalog.encoded_listing(asked).await,
            Ok(Sight::Of(..)) | Err(_) => None,
        }
    }

    /// What is not seen is refused in its own response.
    async fn describe_collections_seen(
        &self,
        asked: &Asked<BatchDescribeCollectionRequest>,
    ) -> Result<BatchDescribeCollectionResponse, Failure> {
        let mut described = self.catalog.describe_collections(asked).await?;
        let sight = self.accounts.sight(&self.policy, &asked.call)?;
        for one in described.responses.iter_mut().filter(|one| one.collection_id != 0) {
            if let Err(refusal) = sight.check(one) {
                *one = DescribeCollectionResponse::refused(refusal.to_status());
            }
        }
        Ok(described)
    }

    async fn list_databases_seen(&self, asked: &Asked<ListDatabasesRequest>) -> Result<ListDatabasesResponse, Failure> {
        let mut list = self.catalog.list_databases(asked).await?;
        self.accounts.sight(&self.policy, &asked.call)?.filter_databases(&mut list);
        Ok(list)
    }

    async fn describe_database_seen(&self, asked: &Asked<DescribeDatabaseRequest>) -> Result<store::Database, Failure> {
        let row = self.catalog.describe_database(&asked.call, asked.database(&asked.message.db_name)).await?;
        self.accounts.sight(&self.policy, &asked.call)?.check_database(&row.name)?;
        Ok(row)
    }

    async fn update_replication(&self, asked: &Asked<UpdateReplicateConfigurationRequest>) -> Result<(), Failure> {
        let UpdateReplicateConfigurationRequest { replicate_configuration, force_promote } = &asked.message;
        self.replication.update(&asked.call, replicate_configuration.as_ref(), *force_promote).await
    }

    async fn timestamp(&self, asked: &Asked<AllocTimestampRequest>) -> Result<AllocTimestampResponse, Failure> {
        let timestamp = self.oracle.allocate(1, asked.call.deadline).await?;
        Ok(AllocTimestampResponse { status: Some(common::Status::default()), timestamp })
    }
}

#[tonic::async_trait]
impl MilvusService for Gateway {
    async fn get_version(&self, _request: Request<GetVersionRequest>) -> Result<Response<GetVersionResponse>, Status> {
        let status = Some(common::Status::default());
        Ok(Response::new(GetVersionResponse { status, version: VERSION.to_owned() }))
    }

    async fn check_health(
        &self,
        request: Request<CheckHealthRequest>,
    ) -> Result<Response<CheckHealthResponse>, Status> {
        Ok(Response::new(self.health.check(&request).await))
    }

    async fn get_component_states(
        &self,
        _request: Request<GetComponentStatesRequest>,
    ) -> Result<Response<ComponentStates>, Status> {
        Ok(Response::new(self.health.component_states("proxy")))
    }

    handlers! {
        get_metrics(GetMetricsRequest) -> GetMetricsResponse = |this, asked| this.operations.system_metrics(asked);
        connect(ConnectRequest) -> ConnectResponse = |this, asked| this.identify(asked);
        alloc_timestamp(AllocTimestampRequest) -> AllocTimestampResponse = |this, asked| this.timestamp(asked);

        // Collections.
        create_collection(CreateCollectionRequest) -> common::Status =
            |this, asked| this.catalog.create_collection(asked);
        drop_collection(DropCollectionRequest) -> common::Status = |this, asked| this.catalog.drop_collection(asked);
        has_collection(HasCollectionRequest) -> BoolResponse = |this, asked| this.catalog.has_collection(asked);
        describe_collection(DescribeCollectionRequest) -> DescribeCollectionResponse =
            |this, asked| this.describe_collection_seen(asked);
        show_collections(ShowCollectionsRequest) -> ShowCollectionsResponse =
            |this, asked| this.show_collections_seen(asked);
        batch_describe_collection(BatchDescribeCollectionRequest) -> BatchDescribeCollectionResponse =
            |this, asked| this.describe_collections_seen(asked);
        get_collection_statistics(GetCollectionStatisticsRequest) -> GetCollectionStatisticsResponse =
            |this, asked| this.catalog.collection_statistics(asked);
        alter_collection(AlterCollectionRequest) -> common::Status = |this, asked| this.catalog.alter_collection(asked);
        alter_collection_field(AlterCollectionFieldRequest) -> common::Status =
            |this, asked| this.catalog.alter_collection_field(asked);
        add_collection_field(AddCollectionFieldRequest) -> common::Status =
            |this, asked| this.catalog.add_collection_field(asked);
        add_collection_function(AddCollectionFunctionRequest) -> common::Status =
            |this, asked| this.catalog.add_collection_function(asked);
        alter_collection_function(AlterCollectionFunctionRequest) -> common::Status =
            |this, asked| this.catalog.alter_collection_function(asked);
        drop_collection_function(DropCollectionFunctionRequest) -> common::Status =
            |this, asked| this.catalog.drop_collection_function(asked);
        truncate_collection(TruncateCollectionRequest) -> TruncateCollectionResponse =
            |this, asked| this.catalog.truncate_collection(asked);
        rename_collection(RenameCollectionRequest) -> common::Status =
            |this, asked| this.catalog.rename_collection(asked);

        // Partitions.
        create_partition(CreatePartitionRequest) -> common::Status =
            |this, asked| this.catalog.create_partition(asked);
        drop_partition(DropPartitionRequest) -> common::Status = |this, asked| this.catalog.drop_partition(asked);
        has_partition(HasPartitionRequest) -> BoolResponse = |this, asked| this.catalog.has_partition(asked);
        show_partitions(ShowPartitionsRequest) -> ShowPartitionsResponse =
            |this, asked| this.catalog.show_partitions(asked, Which::Client);
        get_partition_statistics(GetPartitionStatisticsRequest) -> GetPartitionStatisticsResponse =
            |this, asked| this.catalog.partition_statistics(asked);

        // Aliases.
        create_alias(CreateAliasRequest) -> common::Status = |this, asked| this.catalog.create_alias(asked);
        drop_alias(DropAliasRequest) -> common::Status = |this, asked| this.catalog.drop_alias(asked);
        alter_alias(AlterAliasRequest) -> common::Status = |this, asked| this.catalog.alter_alias(asked);
        describe_alias(DescribeAliasRequest) -> DescribeAliasResponse =
            |this, asked| this.catalog.describe_alias(asked);
        list_aliases(ListAliasesRequest) -> ListAliasesResponse = |this, asked| this.catalog.list_aliases(asked);

        // Databases.
        create_database(CreateDatabaseRequest) -> common::Status = |this, asked| this.catalog.create_database(asked);
        drop_database(DropDatabaseRequest) -> common::Status = |this, asked| this.catalog.drop_database(asked);
        list_databases(ListDatabasesRequest) -> ListDatabasesResponse =
            |this, asked| this.list_databases_seen(asked);
        describe_database(DescribeDatabaseRequest) -> DescribeDatabaseResponse =
            |this, asked| this.describe_database_seen(asked);
        alter_database(AlterDatabaseRequest) -> common::Status = |this, asked| {
            let AlterDatabaseRequest { db_name, properties, delete_keys, .. } = &asked.message;
            this.catalog.alter_database(&asked.call, db_name, properties, delete_keys)
        };

        // Users, roles and grants.
        update_replicate_configuration(UpdateReplicateConfigurationRequest) -> common::Status =
            |this, asked| this.update_replication(asked);
        get_replicate_configuration(GetReplicateConfigurationRequest) -> GetReplicateConfigurationResponse =
            |this, asked| this.replication.show(&asked.call);
        create_credential(CreateCredentialRequest) -> common::Status =
            |this, asked| this.accounts.create_credential(asked);
        update_credential(UpdateCredentialRequest) -> common::Status =
            |this, asked| this.accounts.update_credential(asked);
        delete_credential(DeleteCredentialRequest) -> common::Status =
            |this, asked| this.accounts.delete_credential(asked);
        list_cred_users(ListCredUsersRequest) -> ListCredUsersResponse = |this, asked| this.accounts.list_users(asked);
        create_role(CreateRoleRequest) -> common::Status = |this, asked| this.accounts.create_role(asked);
        alter_role(AlterRoleRequest) -> common::Status = |this, asked| this.accounts.alter_role(asked);
        drop_role(DropRoleRequest) -> common::Status = |this, asked| this.accounts.drop_role(asked);
        operate_user_role(OperateUserRoleRequest) -> common::Status =
            |this, asked| this.accounts.operate_user_role(asked);
        select_role(SelectRoleRequest) -> SelectRoleResponse = |this, asked| this.accounts.select_role(asked);
        select_user(SelectUserRequest) -> SelectUserResponse = |this, asked| this.accounts.select_user(asked);
        operate_privilege(OperatePrivilegeRequest) -> common::Status =
            |this, asked| this.accounts.operate_privilege(asked);
        operate_privilege_v2(OperatePrivilegeV2Request) -> common::Status =
            |this, asked| this.accounts.operate_privilege_v2(asked);
        select_grant(SelectGrantRequest) -> SelectGrantResponse = |this, asked| this.accounts.select_grant(asked);
        backup_rbac(BackupRbacMetaRequest) -> BackupRbacMetaResponse = |this, asked| this.accounts.backup(asked);
        restore_rbac(RestoreRbacMetaRequest) -> common::Status = |this, asked| this.accounts.restore(asked);
        create_privilege_group(CreatePrivilegeGroupRequest) -> common::Status =
            |this, asked| this.accounts.create_privilege_group(asked);
        drop_privilege_group(DropPrivilegeGroupRequest) -> common::Status =
            |this, asked| this.accounts.drop_privilege_group(asked);
        list_privilege_groups(ListPrivilegeGroupsRequest) -> ListPrivilegeGroupsResponse =
            |this, asked| this.accounts.list_privilege_groups(asked);
        operate_privilege_group(OperatePrivilegeGroupRequest) -> common::Status =
            |this, asked| this.accounts.operate_privilege_group(asked);

        // Indexes.
        create_index(CreateIndexRequest) -> common::Status = |this, asked| this.datacoord.create_index(asked);
        alter_index(AlterIndexRequest) -> common::Status = |this, asked| this.datacoord.alter_index(asked);
        drop_index(DropIndexRequest) -> common::Status = |this, asked| this.datacoord.drop_index(asked);
        describe_index(DescribeIndexRequest) -> DescribeIndexResponse =
            |this, asked| this.datacoord.describe_index(asked);
        get_index_statistics(GetIndexStatisticsRequest) -> GetIndexStatisticsResponse =
            |this, asked| this.datacoord.index_statistics(asked);
        get_index_state(GetIndexStateRequest) -> GetIndexStateResponse =
            |this, asked| this.datacoord.index_state(asked);
        get_index_build_progress(GetIndexBuildProgressRequest) -> GetIndexBuildProgressResponse =
            |this, asked| this.datacoord.index_progress(asked);

        // Load and release.
        load_collection(LoadCollectionRequest) -> common::Status = |this, asked| this.querycoord.load_collection(asked);
        load_partitions(LoadPartitionsRequest) -> common::Status = |this, asked| this.querycoord.load_partitions(asked);
        release_collection(ReleaseCollectionRequest) -> common::Status =
            |this, asked| this.querycoord.release_collection(asked);
        release_partitions(ReleasePartitionsRequest) -> common::Status =
            |this, asked| this.querycoord.release_partitions(asked);
        get_loading_progress(GetLoadingProgressRequest) -> GetLoadingProgressResponse =
            |this, asked| this.querycoord.loading_progress(asked);
        get_load_state(GetLoadStateRequest) -> GetLoadStateResponse = |this, asked| this.querycoord.load_state(asked);
        get_replicas(GetReplicasRequest) -> GetReplicasResponse = |this, asked| this.querycoord.replicas(asked);
        flush(FlushRequest) -> FlushResponse = |this, asked| this.datacoord.flush(asked);
        get_flush_state(GetFlushStateRequest) -> GetFlushStateResponse =
            |this, asked| this.datacoord.flush_state(asked);
        flush_all(FlushAllRequest) -> FlushAllResponse = |this, asked| this.datacoord.flush_all(asked);
        get_flush_all_state(GetFlushAllStateRequest) -> GetFlushAllStateResponse =
            |this, asked| this.datacoord.flush_all_state(asked);
        get_persistent_segment_info(GetPersistentSegmentInfoRequest) -> GetPersistentSegmentInfoResponse =
            |this, asked| this.datacoord.persistent_segments(asked);
        get_query_segment_info(GetQuerySegmentInfoRequest) -> GetQuerySegmentInfoResponse =
            |this, asked| this.querycoord.segments(asked);

        // The data plane.
        insert(InsertRequest) -> MutationResult = |this, asked| this.refuse_rows(asked);
        delete(DeleteRequest) -> MutationResult = |this, asked| this.refuse_rows(asked);
        upsert(UpsertRequest) -> MutationResult = |this, asked| this.refuse_rows(asked);
        search(SearchRequest) -> SearchResults = |this, asked| this.refuse_rows(asked);
        hybrid_search(HybridSearchRequest) -> SearchResults = |this, asked| this.refuse_rows(asked);
        query(QueryRequest) -> QueryResults = |this, asked| this.refuse_rows(asked);
        calc_distance(CalcDistanceRequest) -> CalcDistanceResults = |_, _| refused("CalcDistance");
        run_analyzer(RunAnalyzerRequest) -> RunAnalyzerResponse = |_, _| refused("RunAnalyzer");

        // What QueryCoord and DataCoord will decide.
        manual_compaction(ManualCompactionRequest) -> ManualCompactionResponse = |_, _| not_served("ManualCompaction");
        get_compaction_state(GetCompactionStateRequest) -> GetCompactionStateResponse =
            |_, _| not_served("GetCompactionState");
        get_compaction_state_with_plans(GetCompactionPlansRequest) -> GetCompactionPlansResponse =
            |_, _| not_served("GetCompactionStateWithPlans");
        import(ImportRequest) -> ImportResponse = |_, _| not_served("Import");
        get_import_state(GetImportStateRequest) -> GetImportStateResponse = |_, _| not_served("GetImportState");
        list_import_tasks(ListImportTasksRequest) -> ListImportTasksResponse = |_, _| not_served("ListImportTasks");
        load_balance(LoadBalanceRequest) -> common::Status = |_, _| not_served::<()>("LoadBalance");
        create_resource_group(CreateResourceGroupRequest) -> common::Status =
            |_, _| not_served::<()>("CreateResourceGroup");
        drop_resource_group(DropResourceGroupRequest) -> common::Status = |_, _| not_served::<()>("DropResourceGroup");
        update_resource_groups(UpdateResourceGroupsRequest) -> common::Status =
            |_, _| not_served::<()>("UpdateResourceGroups");
        transfer_node(TransferNodeRequest) -> common::Status = |_, _| not_served::<()>("TransferNode");
        transfer_replica(TransferReplicaRequest) -> common::Status = |_, _| not_served::<()>("TransferReplica");
        list_resource_groups(ListResourceGroupsRequest) -> ListResourceGroupsResponse =
            |_, _| not_served("ListResourceGroups");
        describe_resource_group(DescribeResourceGroupRequest) -> DescribeResourceGroupResponse =
            |_, _| not_served("DescribeResourceGroup");
    }
}
