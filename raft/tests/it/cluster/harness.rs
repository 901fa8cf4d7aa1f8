//! Starts, kills and restarts hosts, and talks to whoever leads.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use roost_raft::Host;
use roost_raft::error::{ProposeError, StartError};
use roost_raft::host::{Applied, HostConfig, HostStatus, Proposal};
use roost_raft::kv::{Read, Space};
use roost_raft::network::divide;
use roost_raft::types::{Member, NodeId};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

use crate::support::{Op, TestMachine, small_budget};

pub type TestHost = Arc<Host<TestMachine>>;

pub const SECRET: &str = "test secret";
/// Long enough for two busy cores.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

/// One cluster at a time: several on two cores would only see each other's elections.
static ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A few hosts and their disks.
pub struct Cluster {
    root: TempDir,
    pub hosts: BTreeMap<NodeId, TestHost>,
    pub members: BTreeMap<NodeId, Member>,
    first: BTreeMap<NodeId, Member>,
    /// Applied to the configuration of every node that is started from here on.
    pub tune: fn(&mut HostConfig),
    _one: tokio::sync::MutexGuard<'static, ()>,
}

/// Polls until `look` gives something.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < give_up, "not in time: {what}");
        sleep(PAUSE).await;
    }
}

pub fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

pub fn member(peer: String) -> Member {
    Member { client: format!("client of {peer}"), internal: format!("internal of {peer}"), peer }
}

impl Cluster {
    /// A running cluster of nodes `1..=size`.
    pub async fn start(size: u64) -> Self {
        Self::start_tuned(size, |_| {}).await
    }

    pub async fn start_tuned(size: u64, tune: fn(&mut HostConfig)) -> Self {
        let one = ONE.lock().await;
        let first: BTreeMap<NodeId, Member> = (1..=size).map(|id| (id, member(free_address()))).collect();
        let root = tempfile::tempdir().unwrap();
        let members = first.clone();
        let mut cluster = Cluster { root, hosts: BTreeMap::new(), members, first, tune, _one: one };
        for id in 1..=size {
            cluster.launch(id).await;
        }
        cluster
    }

    pub fn dir(&self, id: NodeId) -> PathBuf {
        self.root.path().join(format!("node{id}"))
    }

    /// A node that belongs to no cluster yet.
    pub async fn launch_stranger(&mut self, id: NodeId) -> Member {
        self.members.insert(id, member(free_address()));
        self.launch(id).await;
        self.members[&id].clone()
    }

    /// Starts a node on its disk, or on an empty one.
    pub async fn launch(&mut self, id: NodeId) -> TestHost {
        let first = if self.first.contains_key(&id) { self.first.clone() } else { BTreeMap::new() };
        let mut config = HostConfig::new(id, self.dir(id), first, SECRET);
        config.budget = small_budget();
        (config.min_free_bytes, config.ballast_bytes) = (0, 0);
        (self.tune)(&mut config);
        let host = eventually("the old owner lets go of the disk", async || {
            match Host::start(config.clone(), TestMachine).await {
                Ok(host) => Some(host),
                Err(StartError::Io(error)) if error.to_string().contains("/LOCK") => None,
                Err(error) => panic!("node {id} does not start: {error}"),
            }
        })
        .await;
        serve(&host, &self.members[&id].peer).await;
        self.hosts.insert(id, host.clone());
        host
    }

    /// Drops a node without telling anybody.
    pub fn kill(&mut self, id: NodeId) {
        drop(self.hosts.remove(&id).unwrap());
    }

    pub fn host(&self, id: NodeId) -> TestHost {
        self.hosts[&id].clone()
    }

    pub async fn leader(&self) -> TestHost {
        let leading = |host: &&TestHost| host.leadership().borrow().is_self;
        eventually("a leader", async || {
            let leaders = self.hosts.values().filter(leading);
            let newest = leaders.max_by_key(|host| host.leadership().borrow().term)?;
            let term = newest.leadership().borrow().term;
            let confirmed = timeout(Duration::from_secs(2), newest.confirm_leader(term)).await;
            matches!(confirmed, Ok(Ok(()))).then(|| newest.clone())
        })
        .await
    }

    /// Some node that does not lead now.
    pub async fn follower(&self) -> NodeId {
        let leader = self.leader().await.node_id();
        *self.hosts.keys().find(|id| **id != leader).unwrap()
    }

    /// Has `op` executed by whoever leads; asks again when the outcome is unknown.
    pub async fn propose(&self, op: &Op) -> Applied {
        eventually("a proposal is executed", async || match self.leader().await.propose(proposal(op)).await {
            Ok(applied) => Some(applied),
            Err(ProposeError::NotLeader { .. } | ProposeError::Unknown | ProposeError::Busy) => None,
            Err(error) => panic!("{error}"),
        })
        .await
    }

    /// A linearizable read on one node.
    pub async fn read(&self, id: NodeId, key: &str) -> Option<Vec<u8>> {
        let host = self.host(id);
        eventually("a linearizable read", async || {
            host.read_barrier(Instant::now() + Duration::from_secs(3)).await.ok()?;
            Some(host.view().unwrap().get(Space::STATE, key.as_bytes()).unwrap())
        })
        .await
    }

    /// Waits until the given nodes have applied the same index, and compares their hashes there.
    pub async fn agree(&self, ids: impl IntoIterator<Item = NodeId>) -> u64 {
        let hosts: Vec<TestHost> = ids.into_iter().map(|id| self.host(id)).collect();
        eventually("all nodes applied the same", async || {
            let all: Vec<HostStatus> = hosts.iter().map(|host| host.status().unwrap()).collect();
            let index = all[0].applied_index;
            if index == 0 || all.iter().any(|status| status.applied_index != index) {
                return None;
            }
            assert!(all.iter().all(|status| status.state_hash == all[0].state_hash), "state hashes differ at {index}");
            Some(index)
        })
        .await
    }

    /// Waits until every running member's disk is on record.
    pub async fn announced(&self) {
        eventually("all disks are on record", async || {
            let status = self.leader().await.status().unwrap();
            status.members.iter().all(|member| member.incarnation.is_some()).then_some(())
        })
        .await;
    }
}

pub fn proposal(op: &Op) -> Proposal {
    Proposal { command: op.encode(), min_apply_version: 1, urgent: false, term: None }
}

async fn serve(host: &TestHost, address: &str) {
    let listener = eventually("the port is free", async || {
        let listener = tokio::net::TcpListener::bind(address).await.ok()?;
        Some(listener.into_std().unwrap())
    })
    .await;
    let (service, appends) = (host.peer_service(), host.append_service());
    host.runtime().spawn(async move {
        let listener = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener).unwrap());
        Server::builder().add_service(service).serve_with_incoming(divide(listener, appends)).await
    });
}
