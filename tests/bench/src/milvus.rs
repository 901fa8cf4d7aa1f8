//! A stock Milvus that keeps its metadata in a cluster under test.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use prost::Message;
use roost::pb::common::{self, KeyValuePair};
use roost::pb::milvus::CreateCollectionRequest;
use roost::pb::milvus::milvus_service_client::MilvusServiceClient;
use roost::pb::schema::{CollectionSchema, DataType, FieldSchema};
use tempfile::TempDir;
use tonic::Status;
use tonic::transport::Channel;

use crate::cluster::Cluster;
use crate::connect::{Share, connect_all};
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
    root_coord: String,
    /// Its data, where that is not a cluster's.
    _home: Option<TempDir>,
}

impl Milvus {
    /// Starts one whose etcd is the cluster, and waits until it creates a collection.
    pub async fn start(lab: &Lab, cluster: &Cluster) -> Result<Self> {
        Self::start_in(lab, cluster.home(), Some(cluster.endpoints())).await
    }

    /// Starts one with the etcd that it embeds: a single node, in the same process.
    pub async fn start_with_its_own_etcd(lab: &Lab) -> Result<Self> {
        let home = tempfile::Builder::new().prefix("roost-bench-").tempdir_in(&lab.data)?;
        let milvus = Self::start_in(lab, home.path(), None).await?;
        Ok(Milvus { _home: Some(home), ..milvus })
    }

    async fn start_in(lab: &Lab, home: &Path, etcd: Option<&[String]>) -> Result<Self> {
        let (port, root_coord) = (ports::free()?, ports::free()?);
        // Beside the Python that it comes with, so that 300 MB are unpacked once.
        let programs = lab.milvus_python.parent().and_then(|bin| bin.parent()).unwrap_or(home);
        let mut arguments = vec![
            "-B".to_owned(),
            lab.milvus_launcher.display().to_string(),
            format!("--data={}", home.join("milvus").display()),
            format!("--port={port}"),
            format!("--health-port={}", ports::free()?),
            format!("--root-coord-port={root_coord}"),
            format!("--programs={}", programs.join("programs").display()),
        ];
        arguments.extend(etcd.map(|endpoints| format!("--etcd={}", endpoints.join(","))));
        let server = Server::start("milvus", home, &lab.milvus_python, arguments)?;
        let at = |port: u16| format!("127.0.0.1:{port}");
        let mut milvus = Milvus { server, address: at(port), root_coord: at(root_coord), _home: None };
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

    /// `host:port` of its RootCoord.
    pub fn root_coord(&self) -> &str {
        &self.root_coord
    }

    async fn first_collection(&self) -> Result<()> {
        let mut creator = self.creators(1, "first").await?.remove(0);
        tokio::time::timeout(Duration::from_secs(20), creator.call()).await??;
        Ok(())
    }

    /// [`creators`] of this server.
    pub async fn creators(&self, count: usize, prefix: &str) -> Result<Vec<Creator>> {
        creators(std::slice::from_ref(&self.address), count, prefix).await
    }
}

/// Clients that create collections of two fields and one shard, each collection under a name of its own.
pub async fn creators(endpoints: &[String], count: usize, prefix: &str) -> Result<Vec<Creator>> {
    let next = Arc::new(AtomicU64::new(0));
    let channels = connect_all(endpoints, endpoints.len()).await?;
    let creator = |index| Creator {
        clients: Share::of(&channels, index, count, MilvusServiceClient::new),
        prefix: prefix.to_owned(),
        next: next.clone(),
    };
    Ok((0..count).map(creator).collect())
}

pub struct Creator {
    clients: Share<MilvusServiceClient<Channel>>,
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
        accepted(&self.clients.next().create_collection(request).await?.into_inner())
    }
}

/// Whether a status of Milvus 2.3 or of Roost says so.
pub fn accepted(status: &common::Status) -> Result<(), Status> {
    if status.code != 0 || !status.reason.is_empty() {
        return Err(Status::unknown(format!("code {}: {}", status.code, status.reason)));
    }
    Ok(())
}

/// A key and a vector.
pub fn schema(name: &str) -> CollectionSchema {
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
