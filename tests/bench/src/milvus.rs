//! A stock Milvus that keeps its metadata in a cluster under test.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use prost::Message;
use roost::pb::common::KeyValuePair;
use roost::pb::milvus::CreateCollectionRequest;
use roost::pb::milvus::milvus_service_client::MilvusServiceClient;
use roost::pb::schema::{CollectionSchema, DataType, FieldSchema};
use tonic::Status;
use tonic::transport::Channel;

use crate::cluster::Cluster;
use crate::connect::connect;
use crate::lab::Lab;
use crate::load::Client;
use crate::ports;
use crate::process::Server;

/// From the start of the process to its first collection; the very first start of all also unpacks the server.
const READY_IN: Duration = Duration::from_secs(180);
const RETRY_EVERY: Duration = Duration::from_millis(200);

/// Dropping it kills the server.
pub struct Milvus {
    server: Server,
    address: String,
}

impl Milvus {
    /// Starts one whose etcd is the cluster, and waits until it creates a collection.
    pub async fn start(lab: &Lab, cluster: &Cluster) -> Result<Self> {
        let port = ports::free()?;
        // Beside the Python that it comes with, so that 300 MB are unpacked once.
        let programs = lab.milvus_python.parent().and_then(|bin| bin.parent()).unwrap_or(cluster.home());
        let arguments = [
            "-B".to_owned(),
            lab.milvus_launcher.display().to_string(),
            format!("--data={}", cluster.home().join("milvus").display()),
            format!("--etcd={}", cluster.endpoints().join(",")),
            format!("--port={port}"),
            format!("--health-port={}", ports::free()?),
            format!("--programs={}", programs.join("programs").display()),
        ];
        let server = Server::start("milvus", cluster.home(), &lab.milvus_python, arguments)?;
        let mut milvus = Milvus { server, address: format!("127.0.0.1:{port}") };
        let deadline = Instant::now() + READY_IN;
        while let Err(error) = milvus.first_collection().await {
            milvus.server.check()?;
            if Instant::now() > deadline {
                bail!("Milvus is not ready after {READY_IN:?}: {error:#}\n{}", milvus.server.log_tail());
            }
            tokio::time::sleep(RETRY_EVERY).await;
        }
        Ok(milvus)
    }

    async fn first_collection(&self) -> Result<()> {
        let mut creator = self.creators(1, "first").await?.remove(0);
        tokio::time::timeout(Duration::from_secs(20), creator.call()).await??;
        Ok(())
    }

    /// Clients that create collections of two fields and one shard, each collection under a name of its own.
    pub async fn creators(&self, count: usize, prefix: &str) -> Result<Vec<Creator>> {
        let next = Arc::new(AtomicU64::new(0));
        let channel = connect(&self.address).await?;
        let creator = |channel: Channel| Creator {
            client: MilvusServiceClient::new(channel),
            prefix: prefix.to_owned(),
            next: next.clone(),
        };
        Ok((0..count).map(|_| creator(channel.clone())).collect())
    }
}

pub struct Creator {
    client: MilvusServiceClient<Channel>,
    prefix: String,
    next: Arc<AtomicU64>,
}

impl Client for Creator {
    async fn call(&mut self) -> Result<(), Status> {
        let name = format!("{}_{}", self.prefix, self.next.fetch_add(1, Ordering::Relaxed));
        let request = CreateCollectionRequest {
            schema: schema(&name).encode_to_vec(),
            collection_name: name,
            shards_num: 1,
            ..Default::default()
        };
        let status = self.client.create_collection(request).await?.into_inner();
        if status.code != 0 || status.reason != String::new() {
            return Err(Status::unknown(format!("{}: {}", status.code, status.reason)));
        }
        Ok(())
    }
}

fn schema(name: &str) -> CollectionSchema {
    let id = FieldSchema {
        name: "id".to_owned(),
        is_primary_key: true,
        data_type: DataType::Int64 as i32,
        ..Default::default()
    };
    let embedding = FieldSchema {
        name: "embedding".to_owned(),
        data_type: DataType::FloatVector as i32,
        type_params: vec![KeyValuePair { key: "dim".to_owned(), value: "8".to_owned() }],
        ..Default::default()
    };
    CollectionSchema { name: name.to_owned(), fields: vec![id, embedding], ..Default::default() }
}
