//! Handlers of Milvus' unary methods: a table of one line each. What they do stands beside its noun; what they share,
//! the unpacking of a call and the place of a refusal in each reply, stands here.

use http::HeaderMap;
use tonic::{Request, Status};

use crate::call::Call;
use crate::pb::common;
use crate::pb::milvus::{
    AllocTimestampResponse, BatchDescribeCollectionResponse, BoolResponse, CalcDistanceResults, ConnectResponse,
    DescribeAliasResponse, DescribeCollectionResponse, DescribeDatabaseResponse, GetCollectionStatisticsResponse,
    GetPartitionStatisticsResponse, ListAliasesResponse, ListDatabasesResponse, MutationResult, QueryResults,
    RunAnalyzerResponse, SearchResults, ShowCollectionsResponse, ShowPartitionsResponse, TruncateCollectionResponse,
};
use crate::pb::{catalog, internal, milvus, rootcoord};
use crate::state::DEFAULT_DATABASE;

/// A call and what it brought.
#[derive(Debug)]
pub struct Asked<T> {
    pub call: Call,
    pub message: T,
    /// The metadata `dbname`, which clients send with each call of a connection; empty for none.
    connection_database: String,
}

impl<T> Asked<T> {
    /// Fails for a call that did not enter through an ingress.
    pub fn of(request: Request<T>) -> Result<Self, Status> {
        let call = Call::of(&request)?;
        let connection_database = connection_database(request.metadata().as_ref()).to_owned();
        Ok(Asked { call, message: request.into_inner(), connection_database })
    }

    /// The same call about another message, which it brought within its own.
    pub fn about<U>(&self, message: U) -> Asked<U> {
        Asked { call: self.call.clone(), message, connection_database: self.connection_database.clone() }
    }

    /// The database that is meant: the message's own field, else the connection's, else the default one.
    pub fn database<'a>(&'a self, field: &'a str) -> &'a str {
        let named = if field.is_empty() { &self.connection_database } else { field };
        if named.is_empty() { DEFAULT_DATABASE } else { named }
    }
}

/// The metadata `dbname`; empty for none.
pub fn connection_database(headers: &HeaderMap) -> &str {
    headers.get("dbname").and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// A reply that can say that the call was refused, and why.
pub trait Reply: Default {
    fn refused(status: common::Status) -> Self;
}

impl Reply for common::Status {
    fn refused(status: common::Status) -> Self {
        status
    }
}

impl From<()> for common::Status {
    fn from((): ()) -> Self {
        common::Status::default()
    }
}

impl From<bool> for BoolResponse {
    fn from(value: bool) -> Self {
        BoolResponse { status: Some(common::Status::default()), value }
    }
}

/// Replies with their status in a field of that name.
macro_rules! replies {
    ($($reply:ty),* $(,)?) => { $(
        impl Reply for $reply {
            #[allow(clippy::needless_update, reason = "some replies have no other field")]
            fn refused(status: common::Status) -> Self {
                Self { status: Some(status), ..Self::default() }
            }
        }
    )* };
}

replies!(
    // Clients' service.
    AllocTimestampResponse,
    BatchDescribeCollectionResponse,
    BoolResponse,
    CalcDistanceResults,
    ConnectResponse,
    DescribeAliasResponse,
    DescribeCollectionResponse,
    GetCollectionStatisticsResponse,
    DescribeDatabaseResponse,
    GetPartitionStatisticsResponse,
    ListAliasesResponse,
    ListDatabasesResponse,
    milvus::DescribeIndexResponse,
    milvus::FlushResponse,
    milvus::GetFlushStateResponse,
    milvus::DescribeResourceGroupResponse,
    milvus::FlushAllResponse,
    milvus::GetCompactionPlansResponse,
    milvus::GetCompactionStateResponse,
    milvus::GetFlushAllStateResponse,
    milvus::GetImportStateResponse,
    milvus::GetPersistentSegmentInfoResponse,
    milvus::GetQuerySegmentInfoResponse,
    milvus::ImportResponse,
    milvus::ListImportTasksResponse,
    milvus::ListResourceGroupsResponse,
    milvus::ManualCompactionResponse,
    milvus::GetIndexBuildProgressResponse,
    milvus::GetIndexStateResponse,
    milvus::GetIndexStatisticsResponse,
    milvus::GetLoadStateResponse,
    milvus::GetLoadingProgressResponse,
    milvus::GetReplicasResponse,
    milvus::GetReplicateConfigurationResponse,
    MutationResult,
    QueryResults,
    RunAnalyzerResponse,
    SearchResults,
    ShowCollectionsResponse,
    ShowPartitionsResponse,
    // Users, roles and grants.
    milvus::BackupRbacMetaResponse,
    milvus::ListCredUsersResponse,
    milvus::ListPrivilegeGroupsResponse,
    milvus::SelectGrantResponse,
    milvus::SelectRoleResponse,
    milvus::SelectUserResponse,
    internal::ListPolicyResponse,
    internal::GetQuotaMetricsResponse,
    internal::BackupEzkResponse,
    catalog::InspectCollectionResponse,
    internal::ShowConfigurationsResponse,
    milvus::GetMetricsResponse,
    milvus::ShowSegmentsResponse,
    milvus::StringResponse,
    rootcoord::GetPChannelInfoResponse,
    rootcoord::GetCredentialResponse,
    TruncateCollectionResponse,
    // RootCoord's.
    rootcoord::AllocIdResponse,
    rootcoord::AllocTimestampResponse,
    rootcoord::DescribeDatabaseResponse,
    rootcoord::ShowCollectionIDsResponse,
);

/// Handlers inside an `impl` of a service: `name(Request) -> Reply = |service, asked| future;`, where the future's
/// value is a `Result<impl Into<Reply>, Failure>`. Expands to what `async_trait` makes of an `async fn`.
macro_rules! handlers {
    ($($name:ident($request:ty) -> $reply:ty = |$service:pat_param, $asked:pat_param| $body:expr;)*) => { $(
        fn $name<'s, 'async_trait>(
            &'s self,
            request: ::tonic::Request<$request>,
        ) -> ::std::pin::Pin<
            Box<dyn Future<Output = Result<::tonic::Response<$reply>, ::tonic::Status>> + Send + 'async_trait>,
        >
        where
            's: 'async_trait,
            Self: 'async_trait,
        {
            Box::pin(async move {
                let $service = self;
                let asked = $crate::handler::Asked::of(request)?;
                let $asked = &asked;
                let result: Result<_, $crate::failure::Failure> = $body.await;
                $crate::failure::answer(
                    result.map(<$reply>::from),
                    <$reply as $crate::handler::Reply>::refused,
                )
            })
        }
    )* };
}

pub(crate) use handlers;
