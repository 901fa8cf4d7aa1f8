//! Three nodes of either side, in a directory of their own that goes with them.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use roost::pb::etcd::api::kv_client::KvClient;
use roost::pb::etcd::api::maintenance_client::MaintenanceClient;
use roost::pb::etcd::api::{PutRequest, StatusRequest};
use tempfile::TempDir;

use crate::connect::connect;
use crate::lab::Lab;
use crate::ports;
use crate::process::Server;

const NODES: usize = 3;
/// From the start of the processes to a write through each of them.
const READY_IN: Duration = Duration::from_secs(60);
const RETRY_EVERY: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Side {
    Roost,
    Etcd,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Roost => "Roost",
            Side::Etcd => "etcd",
        })
    }
}

/// Dropping it kills the servers, then removes their data.
pub struct Cluster {
    side: Side,
    servers: Vec<Server>,
    endpoints: Vec<String>,
    internal: Vec<String>,
    home: TempDir,
}

impl Cluster {
    /// Starts three nodes and waits until a write goes through each of them.
    pub async fn start(lab: &Lab, side: Side) -> Result<Self> {
        Self::start_with(lab, side, "").await
    }

    /// The same with further sections for Roost's configuration files.
    pub async fn start_with(lab: &Lab, side: Side, settings: &str) -> Result<Self> {
        let home = tempfile::Builder::new().prefix("roost-bench-").tempdir_in(&lab.data)?;
        let Started { servers, endpoints, internal } = match side {
            Side::Roost => start_roost(lab, home.path(), settings)?,
            Side::Etcd => start_etcd(home.path())?,
        };
        let mut cluster = Cluster { side, servers, endpoints, internal, home };
        for node in 0..NODES {
            cluster.wait_ready(node).await?;
        }
        Ok(cluster)
    }

    /// Until a write goes through a node.
    pub async fn wait_ready(&mut self, node: usize) -> Result<()> {
        let deadline = Instant::now() + READY_IN;
        while let Err(error) = write_through(&self.endpoints[node]).await {
            self.servers[node].check()?;
            if Instant::now() > deadline {
                let log = self.servers[node].log_tail();
                bail!("node {} of {} is not ready after {READY_IN:?}: {error:#}\n{log}", node + 1, self.side);
            }
            tokio::time::sleep(RETRY_EVERY).await;
        }
        Ok(())
    }

    /// `host:port` of each node's etcd API; Milvus' clients use the same of Roost's.
    pub fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// `host:port` of each of Roost's listeners for Milvus' own processes.
    pub fn internal(&self) -> &[String] {
        &self.internal
    }

    /// A node's process.
    pub fn server(&mut self, node: usize) -> &mut Server {
        &mut self.servers[node]
    }

    /// The node that leads, as that node itself says.
    pub async fn leader(&self) -> Result<usize> {
        let deadline = Instant::now() + READY_IN;
        loop {
            for (node, endpoint) in self.endpoints.iter().enumerate() {
                if leads(endpoint).await.unwrap_or(false) {
                    return Ok(node);
                }
            }
            if Instant::now() > deadline {
                bail!("no node of {} leads after {READY_IN:?}", self.side);
            }
            tokio::time::sleep(RETRY_EVERY).await;
        }
    }

    /// Bytes of memory that all nodes hold now.
    pub fn resident_bytes(&self) -> Result<u64> {
        self.servers.iter().map(Server::resident_bytes).sum()
    }

    /// CPU time of all nodes since they started.
    pub fn cpu(&self) -> Result<Duration> {
        self.servers.iter().map(Server::cpu).sum()
    }

    /// For what belongs to the cluster and should go with it.
    pub fn home(&self) -> &Path {
        self.home.path()
    }
}

/// One write of a key that no workload counts.
async fn write_through(endpoint: &str) -> Result<()> {
    let channel = connect(endpoint).await?;
    let request = PutRequest { key: b"bench/ready".to_vec(), value: b"yes".to_vec(), ..Default::default() };
    tokio::time::timeout(Duration::from_secs(5), KvClient::new(channel).put(request)).await??;
    Ok(())
}

async fn leads(endpoint: &str) -> Result<bool> {
    let mut client = MaintenanceClient::new(connect(endpoint).await?);
    let status = tokio::time::timeout(Duration::from_secs(5), client.status(StatusRequest {})).await??.into_inner();
    let own = status.header.context("a status without a header")?.member_id;
    Ok(own != 0 && own == status.leader)
}

/// What a side's start gives.
struct Started {
    servers: Vec<Server>,
    endpoints: Vec<String>,
    internal: Vec<String>,
}

fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// Two ports for each node.
fn port_pairs() -> Result<Vec<(u16, u16)>> {
    (0..NODES).map(|_| Ok((ports::free()?, ports::free()?))).collect()
}

/// Its defaults, fsync included.
fn start_etcd(home: &Path) -> Result<Started> {
    let pairs = port_pairs()?;
    let members: Vec<String> =
        pairs.iter().enumerate().map(|(node, (_, peer))| format!("n{node}=http://127.0.0.1:{peer}")).collect();
    let mut servers = Vec::new();
    for (node, (client, peer)) in pairs.iter().enumerate() {
        let client = format!("http://127.0.0.1:{client}");
        let peer = format!("http://127.0.0.1:{peer}");
        let arguments = [
            format!("--name=n{node}"),
            format!("--data-dir={}", home.join(format!("n{node}")).display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster={}", members.join(",")),
        ];
        servers.push(Server::start(&format!("etcd{}", node + 1), home, Path::new("etcd"), arguments)?);
    }
    Ok(Started { servers, endpoints: pairs.iter().map(|(client, _)| local(*client)).collect(), internal: Vec::new() })
}

/// Its defaults, the etcd API, and what else is set.
fn start_roost(lab: &Lab, home: &Path, settings: &str) -> Result<Started> {
    let clients_and_peers = port_pairs()?;
    let internal_and_http = port_pairs()?;
    let mut members = String::new();
    for (node, ((client, peer), (internal, _))) in clients_and_peers.iter().zip(&internal_and_http).enumerate() {
        members.push_str(&format!("    - {{ id: {}, peer: \"127.0.0.1:{peer}\",", node + 1));
        members.push_str(&format!(" client: \"127.0.0.1:{client}\", internal: \"127.0.0.1:{internal}\" }}\n"));
    }
    let mut servers = Vec::new();
    for (node, ((client, peer), (internal, http))) in clients_and_peers.iter().zip(&internal_and_http).enumerate() {
        let id = node + 1;
        let file = home.join(format!("roost{id}.yaml"));
        let text = format!(
            "node: {{ id: {id}, data_dir: \"{}\" }}\n\
             listen:\n  client: \"127.0.0.1:{client}\"\n  internal: \"127.0.0.1:{internal}\"\n  \
             peer: \"127.0.0.1:{peer}\"\n  http: \"127.0.0.1:{http}\"\n\
             etcd: {{ enabled: true }}\n{settings}\
             cluster:\n  secret: \"{}\"\n  initial_members:\n{members}",
            home.join(format!("data{id}")).display(),
            "b".repeat(64),
        );
        fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
        servers.push(Server::start(&format!("roost{id}"), home, &lab.roostd, ["--config".as_ref(), file.as_os_str()])?);
    }
    Ok(Started {
        servers,
        endpoints: clients_and_peers.iter().map(|(client, _)| local(*client)).collect(),
        internal: internal_and_http.iter().map(|(internal, _)| local(*internal)).collect(),
    })
}
