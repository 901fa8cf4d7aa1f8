//! Collections of 16 fields, as Milvus' clients declare them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use prost::Message;
use roost::pb::common::KeyValuePair;
use roost::pb::milvus::CreateCollectionRequest;
use roost::pb::milvus::milvus_service_client::MilvusServiceClient;
use roost::pb::schema::{CollectionSchema, DataType, FieldSchema};
use tonic::Status;
use tonic::transport::Channel;

use crate::connect::Share;
use crate::load::{self, Amount, Client};
use crate::milvus::accepted;

/// A key, a vector and so many others make 16.
const VARCHARS: usize = 14;
const CREATORS: usize = 16;

pub fn name(collection: usize) -> String {
    format!("bench_{collection:08}")
}

/// Creates collections, each under the next name.
pub struct Creator {
    clients: Share<MilvusServiceClient<Channel>>,
    next: Arc<AtomicUsize>,
}

impl Creator {
    /// `count` callers that share the names from `first` on.
    pub fn many(count: usize, channels: &[Channel], first: usize) -> Vec<Self> {
        let next = Arc::new(AtomicUsize::new(first));
        let creator = |index| Creator {
            clients: Share::of(channels, index, count, MilvusServiceClient::new),
            next: next.clone(),
        };
        (0..count).map(creator).collect()
    }
}

impl Client for Creator {
    async fn call(&mut self) -> Result<(), Status> {
        let name = name(self.next.fetch_add(1, Ordering::Relaxed));
        let request = CreateCollectionRequest {
            schema: schema(&name).encode_to_vec(),
            collection_name: name,
            shards_num: 1,
            ..Default::default()
        };
        accepted(&self.clients.next().create_collection(request).await?.into_inner())
    }
}

/// Creates the first `count`.
pub async fn create(channels: &[Channel], count: usize) -> Result<()> {
    let creators = Creator::many(CREATORS, channels, 0);
    load::run(creators, Amount::Calls(count as u64), || Ok(Duration::ZERO)).await?;
    Ok(())
}

fn schema(name: &str) -> CollectionSchema {
    let field = |name: &str, data_type: DataType, parameter: Option<(&str, &str)>| FieldSchema {
        name: name.to_owned(),
        data_type: data_type as i32,
        type_params: parameter
            .into_iter()
            .map(|(key, value)| KeyValuePair { key: key.to_owned(), value: value.to_owned() })
            .collect(),
        ..Default::default()
    };
    let id = FieldSchema { is_primary_key: true, ..field("id", DataType::Int64, None) };
    let mut fields = vec![id, field("embedding", DataType::FloatVector, Some(("dim", "768")))];
    let varchar = |index| field(&format!("field_{index:02}"), DataType::VarChar, Some(("max_length", "256")));
    fields.extend((0..VARCHARS).map(varchar));
    CollectionSchema { name: name.to_owned(), fields, ..Default::default() }
}
