//! A client of one node, with the calls that the tests make and a time limit on each.

use std::time::Duration;

use prost::Message;
use roost::pb::common::{self, KeyValuePair};
use roost::pb::milvus::milvus_service_client::MilvusServiceClient;
use roost::pb::milvus::{
    AllocTimestampRequest, CreateCollectionRequest, DescribeCollectionRequest, DescribeCollectionResponse,
    DropCollectionRequest, ShowCollectionsRequest,
};
use roost::pb::rootcoord::root_coord_client::RootCoordClient;
use roost::pb::rootcoord::{AllocIdRequest, AllocTimestampRequest as CountedRequest};
use roost::pb::schema::{CollectionSchema, DataType, FieldSchema};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use super::ports::Addresses;

/// Beyond the servers' own time limit: a call that is not answered by then never is.
const CALL: Duration = Duration::from_secs(15);

/// Why a call gave nothing: gRPC's error, or Milvus' status.
#[derive(Clone, Debug)]
pub enum Refusal {
    #[allow(dead_code, reason = "only printed")]
    Grpc(Status),
    Milvus(common::Status),
}

impl Refusal {
    pub fn code(&self) -> i32 {
        match self {
            Refusal::Grpc(_) => -1,
            Refusal::Milvus(status) => status.code,
        }
    }
}

#[derive(Clone)]
pub struct Client {
    pub milvus: MilvusServiceClient<Channel>,
    pub rootcoord: RootCoordClient<Channel>,
}

/// Connects when first used, and again after a loss.
pub fn channel(address: &str) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect_timeout(Duration::from_secs(1)).tcp_nodelay(true).connect_lazy()
}

impl Client {
    pub fn new(at: &Addresses) -> Self {
        Client {
            milvus: MilvusServiceClient::new(channel(&at.client)),
            rootcoord: RootCoordClient::new(channel(&at.internal)),
        }
    }

    pub async fn create(&self, name: &str) -> Result<(), Refusal> {
        let mut client = self.milvus.clone();
        let status = answered(client.create_collection(new_collection(name))).await?;
        accepted(Some(status))
    }

    pub async fn remove(&self, name: &str) -> Result<(), Refusal> {
        let request = DropCollectionRequest { collection_name: name.into(), ..Default::default() };
        accepted(Some(answered(self.milvus.clone().drop_collection(request)).await?))
    }

    pub async fn describe(&self, name: &str) -> Result<DescribeCollectionResponse, Refusal> {
        let request = DescribeCollectionRequest { collection_name: name.into(), ..Default::default() };
        let mut reply = answered(self.milvus.clone().describe_collection(request)).await?;
        accepted(reply.status.take())?;
        Ok(reply)
    }

    /// The names of all collections, sorted.
    pub async fn names(&self) -> Result<Vec<String>, Refusal> {
        let mut reply = answered(self.milvus.clone().show_collections(ShowCollectionsRequest::default())).await?;
        accepted(reply.status.take())?;
        reply.collection_names.sort_unstable();
        Ok(reply.collection_names)
    }

    pub async fn timestamp(&self) -> Result<u64, Refusal> {
        let reply = answered(self.milvus.clone().alloc_timestamp(AllocTimestampRequest::default())).await?;
        accepted(reply.status)?;
        Ok(reply.timestamp)
    }

    /// The first of `count` timestamps in a row.
    pub async fn timestamps(&self, count: u32) -> Result<u64, Refusal> {
        let request = CountedRequest { count, ..Default::default() };
        let reply = answered(self.rootcoord.clone().alloc_timestamp(request)).await?;
        accepted(reply.status)?;
        assert_eq!(reply.count, count);
        Ok(reply.timestamp)
    }

    /// The first of `count` ids in a row.
    pub async fn ids(&self, count: u32) -> Result<i64, Refusal> {
        let request = AllocIdRequest { count, ..Default::default() };
        let reply = answered(self.rootcoord.clone().alloc_id(request)).await?;
        accepted(reply.status)?;
        assert_eq!(reply.count, count);
        Ok(reply.id)
    }
}

pub async fn answered<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Refusal> {
    match tokio::time::timeout(CALL, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(Refusal::Grpc(status)),
        Err(_) => Err(Refusal::Grpc(Status::deadline_exceeded("the test waits no longer"))),
    }
}

pub fn accepted(status: Option<common::Status>) -> Result<(), Refusal> {
    let status = status.expect("every reply has a status");
    if status.code == 0 { Ok(()) } else { Err(Refusal::Milvus(status)) }
}

/// An int64 key and a small vector.
pub fn new_collection(name: &str) -> Request<CreateCollectionRequest> {
    let id = FieldSchema {
        name: "id".into(),
        is_primary_key: true,
        data_type: DataType::Int64.into(),
        ..FieldSchema::default()
    };
    let vector = FieldSchema {
        name: "vector".into(),
        data_type: DataType::FloatVector.into(),
        type_params: vec![KeyValuePair { key: "dim".into(), value: "8".into() }],
        ..FieldSchema::default()
    };
    let schema = CollectionSchema { name: name.into(), fields: vec![id, vector], ..CollectionSchema::default() };
    Request::new(CreateCollectionRequest {
        collection_name: name.into(),
        schema: schema.encode_to_vec(),
        shards_num: 1,
        ..CreateCollectionRequest::default()
    })
}
