//! Nodes of one cluster on loopback, each a process with a directory of its own. Everything dies and goes with it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use roost::pb::admin::LeaderShowRequest;
use roost::pb::admin::admin_client::AdminClient;
use tempfile::TempDir;

use super::client::{Client, channel};
use super::config::{self, Settings};
use super::ctl::{self, Ran};
use super::node::Node;
use super::ports::{Addresses, Ports};
use super::wait::soon;

/// How long a node may take to stop when it was asked to.
const STOP: Duration = Duration::from_secs(30);

pub struct Cluster {
    // Before the directory, so that the processes are gone when it is removed.
    nodes: BTreeMap<u64, Node>,
    ports: Ports,
    settings: Settings,
    home: TempDir,
}

impl Cluster {
    /// `size` nodes with ids from 1, started and led.
    pub async fn start(size: u64) -> Self {
        Self::start_with(size, Settings::new()).await
    }

    pub async fn start_with(size: u64, settings: Settings) -> Self {
        let mut cluster = Self::prepare(size, settings);
        cluster.start_all();
        cluster.ready().await;
        cluster
    }

    /// Directories and configuration, and no process yet.
    pub fn prepare(size: u64, settings: Settings) -> Self {
        let home = tempfile::Builder::new().prefix("roost-it-").tempdir().unwrap();
        let mut cluster = Cluster { nodes: BTreeMap::new(), ports: Ports::claim(), settings, home };
        let members: Vec<(u64, Addresses)> = (1..=size).map(|id| (id, cluster.ports.of(id))).collect();
        for (id, _) in &members {
            cluster.make(*id, &members);
        }
        cluster
    }

    fn make(&mut self, id: u64, members: &[(u64, Addresses)]) {
        let (home, at) = (self.home.path().join(format!("node{id}")), self.ports.of(id));
        let yaml = config::yaml(id, &home.join("data"), &at, members);
        let mut node = Node::new(id, home, &yaml);
        node.settings = self.settings.clone();
        self.nodes.insert(id, node);
    }

    /// A node with an empty disk that is in nobody's configuration, started: it waits to be added.
    pub fn start_stranger(&mut self, id: u64) {
        self.make(id, &[]);
        self.node(id).start();
    }

    pub fn node(&mut self, id: u64) -> &mut Node {
        self.nodes.get_mut(&id).unwrap()
    }

    pub fn log_of(&self, id: u64) -> String {
        self.nodes[&id].log()
    }

    pub fn ids(&self) -> Vec<u64> {
        self.nodes.keys().copied().collect()
    }

    /// The nodes that run and are not paused.
    pub fn answering(&mut self) -> Vec<u64> {
        self.nodes.values_mut().filter_map(|node| node.answers().then_some(node.id)).collect()
    }

    pub fn at(&self, id: u64) -> Addresses {
        self.ports.of(id)
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    pub fn start_all(&mut self) {
        for node in self.nodes.values_mut() {
            node.start();
        }
    }

    pub fn kill_all(&mut self) {
        for node in self.nodes.values_mut() {
            node.kill();
        }
    }

    pub fn restart(&mut self, id: u64) {
        self.node(id).kill();
        self.node(id).start();
    }

    /// SIGTERM, and the end of the process in good order.
    pub async fn stop(&mut self, id: u64) {
        let node = self.node(id);
        node.terminate();
        soon("a stopping node ends", async || (!node.runs()).then_some(())).await;
        assert!(node.ended(STOP).success(), "node {id} stops with exit code 0");
    }

    pub fn client(&self, id: u64) -> Client {
        Client::new(&self.at(id))
    }

    /// Waits until every node that answers follows one leader and serves a linearizable read.
    pub async fn ready(&mut self) {
        self.leader().await;
        for id in self.answering() {
            let client = self.client(id);
            soon(&format!("node {id} serves"), async || client.names().await.ok()).await;
        }
    }

    /// Waits until all nodes that answer name the same leader, which is one of them.
    pub async fn leader(&mut self) -> u64 {
        let mut dead = None;
        let leader = soon("the nodes agree on a leader", async || {
            let answering = self.answering();
            if let Some(node) =
                self.nodes.values_mut().find_map(|node| (!node.paused && node.has_ended()).then_some(node.id))
            {
                dead = Some(node);
                return Some(0);
            }
            let mut said = Vec::new();
            for id in &answering {
                said.push(self.leader_of(*id).await?);
            }
            let (first, others) = said.split_first()?;
            (answering.contains(&first.1) && others.iter().all(|other| other == first)).then_some(first.1)
        })
        .await;
        assert!(dead.is_none(), "node {dead:?} ended by itself");
        leader
    }

    /// Term and leader, as a node sees them.
    pub async fn leader_of(&self, id: u64) -> Option<(u64, u64)> {
        let mut client = AdminClient::new(channel(&self.at(id).internal));
        let asked = tokio::time::timeout(Duration::from_secs(1), client.leader_show(LeaderShowRequest {}));
        let answer = asked.await.ok()?.ok()?.into_inner();
        Some((answer.term, answer.leader?))
    }

    /// Two nodes of three that do not lead, or however many there are.
    pub async fn followers(&mut self) -> Vec<u64> {
        let leader = self.leader().await;
        self.answering().into_iter().filter(|id| *id != leader).collect()
    }

    /// The internal addresses of all nodes, dead ones too: roostctl finds one that answers.
    pub fn endpoints(&self) -> Vec<String> {
        self.nodes.keys().map(|id| self.at(*id).internal).collect()
    }

    pub async fn ctl(&self, args: &[&str]) -> Ran {
        ctl::run(&self.endpoints(), args).await
    }

    /// The state hash on which all members agree at one index.
    pub async fn hash(&self) -> String {
        let hashes = self.ctl(&["-o", "json", "--timeout", "30s", "state", "hash", "--all"]).await.json();
        assert_eq!(hashes["equal"], true, "{hashes}");
        hashes["nodes"][0]["hash"].as_str().unwrap().to_owned()
    }
}
