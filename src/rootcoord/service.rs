//! RootCoord as Milvus' own processes call it, on the internal listener: no access rules, schemas as stored.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{Catalog, Operations, Which, allocate_after};
use crate::access::Accounts;
use crate::failure::Failure;
use crate::handler::{Asked, handlers};
use crate::health::Health;
use crate::leader::tso::Oracle;
use crate::pb::common;
use crate::pb::internal::{
    BackupEzkRequest, BackupEzkResponse, ChannelTimeTickMsg, CredentialInfo, GetQuotaMetricsRequest,
    GetQuotaMetricsResponse, GetStatisticsChannelRequest, GetTimeTickChannelRequest, ListPolicyRequest,
    ListPolicyResponse, ShowConfigurationsRequest, ShowConfigurationsResponse,
};
use crate::pb::milvus::{
    AddCollectionFieldRequest, AddCollectionFunctionRequest, AlterAliasRequest, AlterCollectionFieldRequest,
    AlterCollectionFunctionRequest, AlterCollectionRequest, AlterRoleRequest, BackupRbacMetaRequest,
    BackupRbacMetaResponse, BoolResponse, CheckHealthRequest, CheckHealthResponse, ComponentStates, CreateAliasRequest,
    CreateCollectionRequest, CreateDatabaseRequest, CreatePartitionRequest, CreatePrivilegeGroupRequest,
    CreateRoleRequest, DeleteCredentialRequest, DescribeAliasRequest, DescribeAliasResponse, DescribeCollectionRequest,
    DescribeCollectionResponse, DropAliasRequest, DropCollectionFunctionRequest, DropCollectionRequest,
    DropDatabaseRequest, DropPartitionRequest, DropPrivilegeGroupRequest, DropRoleRequest, GetComponentStatesRequest,
    GetMetricsRequest, GetMetricsResponse, HasCollectionRequest, HasPartitionRequest, ListAliasesRequest,
    ListAliasesResponse, ListCredUsersRequest, ListCredUsersResponse, ListDatabasesRequest, ListDatabasesResponse,
    ListPrivilegeGroupsRequest, ListPrivilegeGroupsResponse, OperatePrivilegeGroupRequest, OperatePrivilegeRequest,
    OperateUserRoleRequest, RenameCollectionRequest, RestoreRbacMetaRequest, SelectGrantRequest, SelectGrantResponse,
    SelectRoleRequest, SelectRoleResponse, SelectUserRequest, SelectUserResponse, ShowCollectionsRequest,
    ShowCollectionsResponse, ShowPartitionsRequest, ShowPartitionsResponse, ShowSegmentsRequest, ShowSegmentsResponse,
    StringResponse, TruncateCollectionRequest, TruncateCollectionResponse,
};
use crate::pb::proxy::InvalidateCollMetaCacheRequest;
use crate::pb::rootcoord::root_coord_server::RootCoord;
use crate::pb::rootcoord::{
    AllocIdRequest, AllocIdResponse, AllocTimestampRequest, AllocTimestampResponse, AlterDatabaseRequest,
    DescribeDatabaseRequest, DescribeDatabaseResponse, GetCredentialRequest, GetCredentialResponse,
    GetPChannelInfoRequest, GetPChannelInfoResponse, ShowCollectionIDsRequest, ShowCollectionIDsResponse,
};
use crate::proxies::ProxyBoard;
use crate::quota::QuotaReports;

/// The service; cheap to clone.
#[derive(Clone)]
pub struct RootCoordService {
    pub catalog: Arc<Catalog>,
    pub accounts: Arc<Accounts>,
    pub oracle: Arc<Oracle>,
    pub health: Arc<Health>,
    pub quota: Arc<QuotaReports>,
    pub operations: Arc<Operations>,
    pub proxies: Arc<ProxyBoard>,
}

/// Deprecated: segments are DataCoord's, and Milvus answers that there are none too.
async fn no_segments() -> Result<ShowSegmentsResponse, Failure> {
    Ok(ShowSegmentsResponse { status: Some(common::Status::default()), segment_i_ds: Vec::new() })
}

impl RootCoordService {
    /// Whoever asks does not wait for the proxies, as with every change of the catalogue.
    async fn invalidate(&self, asked: &Asked<InvalidateCollMetaCacheRequest>) -> Result<(), Failure> {
        Ok(self.proxies.forget(asked.message.clone())?)
    }

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
        request: Request<CheckHealthRequest>,
    ) -> Result<Response<CheckHealthResponse>, Status> {
        Ok(Response::new(self.health.check(&request).await))
    }

    handlers! {
        show_configurations(ShowConfigurationsRequest) -> ShowConfigurationsResponse =
            |this, asked| this.operations.configurations(asked);
        get_metrics(GetMetricsRequest) -> GetMetricsResponse = |this, asked| this.operations.coordinator_metrics(asked);
        get_time_tick_channel(GetTimeTickChannelRequest) -> StringResponse =
            |this, _| this.operations.time_tick_channel();
        get_statistics_channel(GetStatisticsChannelRequest) -> StringResponse =
            |this, _| this.operations.statistics_channel();
        update_channel_time_tick(ChannelTimeTickMsg) -> common::Status = |this, asked| this.operations.time_tick(asked);
        invalidate_collection_meta_cache(InvalidateCollMetaCacheRequest) -> common::Status =
            |this, asked| this.invalidate(asked);
        get_p_channel_info(GetPChannelInfoRequest) -> GetPChannelInfoResponse =
            |this, asked| this.catalog.channel_info(asked);
        show_segments(ShowSegmentsRequest) -> ShowSegmentsResponse = |_, _| no_segments();
        backup_ezk(BackupEzkRequest) -> BackupEzkResponse = |this, asked| this.catalog.encryption_key(asked);

        alloc_timestamp(AllocTimestampRequest) -> AllocTimestampResponse = |this, asked| this.timestamps(asked);
        alloc_id(AllocIdRequest) -> AllocIdResponse = |this, asked| this.catalog.allocate_ids(asked);

        get_quota_metrics(GetQuotaMetricsRequest) -> GetQuotaMetricsResponse = |this, asked| this.quota.metrics(asked);

        // Collections.
        create_collection(CreateCollectionRequest) -> common::Status =
            |this, asked| this.catalog.create_collection(asked);
        drop_collection(DropCollectionRequest) -> common::Status = |this, asked| this.catalog.drop_collection(asked);
        has_collection(HasCollectionRequest) -> BoolResponse = |this, asked| this.catalog.has_collection(asked);
        describe_collection(DescribeCollectionRequest) -> DescribeCollectionResponse =
            |this, asked| this.catalog.describe_collection(asked, Which::Internal);
        describe_collection_internal(DescribeCollectionRequest) -> DescribeCollectionResponse =
            |this, asked| this.catalog.describe_collection(asked, Which::AnyState);
        show_collections(ShowCollectionsRequest) -> ShowCollectionsResponse =
            |this, asked| this.catalog.show_collections(asked);
        show_collection_i_ds(ShowCollectionIDsRequest) -> ShowCollectionIDsResponse =
            |this, asked| this.catalog.show_collection_ids(asked);
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
            |this, asked| this.catalog.show_partitions(asked, Which::Internal);
        show_partitions_internal(ShowPartitionsRequest) -> ShowPartitionsResponse =
            |this, asked| this.catalog.show_partitions(asked, Which::AnyState);

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
            |this, asked| this.catalog.list_databases(asked);
        describe_database(DescribeDatabaseRequest) -> DescribeDatabaseResponse =
            |this, asked| this.catalog.describe_database(&asked.call, asked.database(&asked.message.db_name));
        alter_database(AlterDatabaseRequest) -> common::Status = |this, asked| {
            let AlterDatabaseRequest { db_name, properties, delete_keys, .. } = &asked.message;
            this.catalog.alter_database(&asked.call, db_name, properties, delete_keys)
        };

        // Users, roles and grants.
        create_credential(CredentialInfo) -> common::Status = |this, asked| this.accounts.create_hashed(asked);
        update_credential(CredentialInfo) -> common::Status = |this, asked| this.accounts.update_hashed(asked);
        delete_credential(DeleteCredentialRequest) -> common::Status =
            |this, asked| this.accounts.delete_credential(asked);
        list_cred_users(ListCredUsersRequest) -> ListCredUsersResponse = |this, asked| this.accounts.list_users(asked);
        get_credential(GetCredentialRequest) -> GetCredentialResponse =
            |this, asked| this.accounts.get_credential(asked);
        create_role(CreateRoleRequest) -> common::Status = |this, asked| this.accounts.create_role(asked);
        alter_role(AlterRoleRequest) -> common::Status = |this, asked| this.accounts.alter_role(asked);
        drop_role(DropRoleRequest) -> common::Status = |this, asked| this.accounts.drop_role(asked);
        operate_user_role(OperateUserRoleRequest) -> common::Status =
            |this, asked| this.accounts.operate_user_role(asked);
        select_role(SelectRoleRequest) -> SelectRoleResponse = |this, asked| this.accounts.select_role(asked);
        select_user(SelectUserRequest) -> SelectUserResponse = |this, asked| this.accounts.select_user(asked);
        operate_privilege(OperatePrivilegeRequest) -> common::Status =
            |this, asked| this.accounts.operate_prepared(asked);
        select_grant(SelectGrantRequest) -> SelectGrantResponse = |this, asked| this.accounts.select_grant(asked);
        list_policy(ListPolicyRequest) -> ListPolicyResponse = |this, asked| this.accounts.list_policy(asked);
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
    }
}
