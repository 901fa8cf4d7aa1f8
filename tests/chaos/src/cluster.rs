//! The cluster under test: three nodes at four places, so that one can be replaced, and the links between them.
//! Clients reach the nodes directly.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use roost::pb::admin::admin_client::AdminClient;
use roost::pb::admin::{
    Address, LeaderShowRequest, LeaderTransferRequest, MemberReplaceRequest, StateHashRequest, StateHashResponse,
};
use roost::pb::session::session_client::SessionClient;
use roost::pb::session::{DrainRequest, ListRequest, Worker};
use roost::pb::sim::{Knobs, Power};
use roost::pb::streaming::StreamingCode;
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};
use tonic::Status;
use tonic::transport::Channel;

use crate::fault::{Means, Trouble};
use crate::node::{Node, Program, data_dir};
use crate::proxy::Links;
use crate::support::client::channel;
use crate::support::config;
use crate::support::ports::{Addresses, Ports};
use crate::support::sim::Sim;

/// Voters of the cluster.
pub const VOTERS: usize = 3;
/// Places for nodes: one more, for the node that comes when another goes.
pub const PLACES: usize = VOTERS + 1;
/// The place whose disk is a small one, if it could be mounted.
pub const SMALL_DISK: usize = 0;
/// Room for the state twice, the file that it arrives in, and the write-ahead logs of all that.
const SMALL_DISK_BYTES: u64 = 256 << 20;
/// An admin call that is not answered by then is not.
const ADMIN_CALL: Duration = Duration::from_secs(2);
const ASK_EVERY: Duration = Duration::from_millis(30);
/// Small logs, so that a node that was away for seconds needs a snapshot; history is compacted while it is written.
const TUNING: &str = "raft: { snapshot_log_bytes: 262144, keep_log_bytes: 524288 }\n\
                      etcd: { enabled: true, auto_compaction_revisions: 20000 }\n\
                      streaming: { balancer_check_interval_ms: 500, balancer_min_interval_ms: 0, \
                      balancer_operation_timeout_ms: 1500 }\n";
/// Simulated streaming nodes, simulated nodes of all roles, and how long they may be silent. The streaming nodes have
/// the first numbers; those of even ones register by the etcd API.
pub const STREAMING: u32 = 4;
pub const WORKERS: u32 = STREAMING + 2;
pub const SESSION: Duration = Duration::from_secs(2);
/// Its ports are free: there are fewer places.
const SIM_PORTS: u64 = 9;

pub struct Cluster {
    // Before the directory, so that the processes are gone when it is removed.
    nodes: Vec<Option<Node>>,
    workers: Option<Sim>,
    pub links: Links,
    ports: Ports,
    home: TempDir,
    program: Program,
    newest_id: u64,
    has_small_disk: bool,
}

impl Cluster {
    /// Prepares disks, links and processes, and starts the first members.
    pub async fn start(program: Program, workers: Option<(PathBuf, bool)>, data: &Path) -> Result<Self> {
        let home = tempfile::Builder::new().prefix("roost-chaos-").tempdir_in(data)?;
        let ports = Ports::claim();
        let peers: Vec<SocketAddr> =
            (0..PLACES).map(|place| Ok(at(&ports, place).peer.parse()?)).collect::<Result<_>>()?;
        let links = Links::start(&peers).await?;
        let has_small_disk = mount_small_disk(&data_dir(&home.path().join(format!("place{SMALL_DISK}"))));
        let mut cluster = Cluster {
            nodes: (0..PLACES).map(|_| None).collect(),
            workers: None,
            links,
            ports,
            home,
            program,
            newest_id: VOTERS as u64,
            has_small_disk,
        };
        let members: Vec<(u64, Addresses)> =
            (0..VOTERS).map(|place| (place as u64 + 1, cluster.addresses(place))).collect();
        for place in 0..VOTERS {
            cluster.put(place, place as u64 + 1, &members)?;
        }
        for place in 0..VOTERS {
            cluster.node(place)?.start()?;
        }
        if let Some((sim, fenced)) = workers {
            cluster.workers = Some(cluster.start_workers(&sim, fenced)?);
        }
        Ok(cluster)
    }

    fn start_workers(&self, program: &Path, fenced: bool) -> Result<Sim> {
        let mut arguments = vec![format!("--nodes={STREAMING}"), format!("--ttl={}", SESSION.as_secs())];
        arguments.extend(["--query-nodes=1", "--data-nodes=1", "--register=both"].map(str::to_owned));
        arguments.extend((0..PLACES).map(|place| format!("--endpoint={}", self.addresses(place).internal)));
        arguments.extend((0..PLACES).map(|place| format!("--etcd-endpoint={}", self.addresses(place).client)));
        arguments.extend((!fenced).then(|| "--unfenced".to_owned()));
        let control = self.ports.of(SIM_PORTS).client;
        Sim::start(program, self.home.path(), &control, &arguments).context("starting roost-sim")
    }

    /// The simulated nodes, if they take part.
    pub fn workers(&self) -> Option<&Sim> {
        self.workers.as_ref()
    }

    /// Brings trouble to one of them.
    pub async fn trouble(&self, number: u32, trouble: Trouble) -> Result<()> {
        let Some(sim) = &self.workers else { return Ok(()) };
        match trouble {
            Trouble::Crash => sim.power(number, Power::Crashed).await?,
            Trouble::Pause => sim.power(number, Power::Paused).await?,
            Trouble::Isolate => sim.turn(number, Knobs { isolated: true, ..Knobs::default() }).await?,
            Trouble::Slow(slow_ms) => sim.turn(number, Knobs { slow_ms, ..Knobs::default() }).await?,
            Trouble::Reject => {
                sim.turn(number, Knobs { reject: StreamingCode::Inner.into(), ..Knobs::default() }).await?;
            }
            Trouble::Leave => sim.power(number, Power::Stopped).await?,
            Trouble::Drain => {
                let nodes = sim.nodes().await?;
                let server_id = nodes.get(number as usize - 1).map_or(0, |node| node.server_id);
                // One that has no session now has nothing to be taken from it.
                self.drain(server_id, true).await;
            }
        }
        Ok(())
    }

    /// Asks node after node to order it. Whether it was.
    pub async fn drain(&self, server_id: i64, draining: bool) -> bool {
        for place in self.places() {
            let mut sessions = SessionClient::new(channel(&self.addresses(place).internal));
            let call = sessions.drain(DrainRequest { server_id, draining });
            if matches!(timeout(ADMIN_CALL, call).await, Ok(Ok(_))) {
                return true;
            }
        }
        false
    }

    /// The workers that live, as the node at `place` says.
    pub async fn sessions(&self, place: usize) -> Result<Vec<Worker>, Status> {
        let mut sessions = SessionClient::new(channel(&self.addresses(place).internal));
        let answer = timeout(ADMIN_CALL, sessions.list(ListRequest::default())).await;
        Ok(answer.map_err(|_| Status::deadline_exceeded("no answer"))??.into_inner().workers)
    }

    /// Ends every trouble of simulated nodes, but for an operator's orders.
    pub async fn heal_workers(&self) -> Result<()> {
        let Some(sim) = &self.workers else { return Ok(()) };
        for number in 1..=WORKERS {
            sim.turn(number, Knobs::default()).await?;
            sim.power(number, Power::Running).await?;
        }
        Ok(())
    }

    /// What can be arranged here, now.
    pub fn means(&self) -> Means {
        Means { small_disk: self.can_fill(), workers: self.workers.is_some() }
    }

    /// A new node with an empty disk at a free place; not started.
    fn put(&mut self, place: usize, id: u64, members: &[(u64, Addresses)]) -> Result<()> {
        let home = self.home.path().join(format!("place{place}"));
        std::fs::create_dir_all(&home)?;
        let others = (0..PLACES).filter(|other| *other != place);
        let route = |other| {
            let port = self.addresses(other).peer.rsplit_once(':').map(|(_, port)| port.to_owned());
            format!("{}={}", port.unwrap_or_default(), self.links.port(place, other))
        };
        let routes = others.map(route).collect::<Vec<_>>().join(",");
        let text = config::yaml(id, &data_dir(&home), &self.addresses(place), members) + TUNING;
        self.nodes[place] = Some(Node::new(id, &home, self.program.clone(), routes, &text)?);
        Ok(())
    }

    pub fn addresses(&self, place: usize) -> Addresses {
        at(&self.ports, place)
    }

    pub fn node(&mut self, place: usize) -> Result<&mut Node> {
        self.nodes.get_mut(place).and_then(Option::as_mut).with_context(|| format!("no node at place {place}"))
    }

    /// The places that have a node, running or not.
    pub fn places(&self) -> Vec<usize> {
        (0..PLACES).filter(|place| self.nodes[*place].is_some()).collect()
    }

    fn free_place(&self) -> Option<usize> {
        (0..PLACES).find(|place| self.nodes[*place].is_none())
    }

    /// Leaves the directory behind, for whoever wants to know why.
    pub fn keep(mut self) -> PathBuf {
        self.nodes.clear();
        self.home.disable_cleanup(true);
        if self.has_small_disk {
            // It goes with the run's mounts. What cannot be copied is not there to be looked at.
            let disk = self.small_disk();
            let _ = Command::new("cp").arg("-a").arg(&disk).arg(disk.with_extension("kept")).status();
        }
        self.home.path().to_owned()
    }

    /// Opens all links, corrects clocks and disks, resumes and starts all nodes.
    pub fn heal(&mut self) -> Result<()> {
        self.links.heal();
        for node in self.nodes.iter_mut().flatten() {
            node.slow_sync(0)?;
            node.step_clock(0)?;
            node.drift_clock(0)?;
            node.resume()?;
            node.start()?;
        }
        Ok(())
    }

    /// The nodes that ended without being told to, with their last words.
    pub fn fallen(&mut self) -> Result<Vec<String>> {
        self.nodes.iter_mut().flatten().filter_map(|node| node.ended().transpose()).collect()
    }

    pub fn admin(&self, place: usize) -> AdminClient<Channel> {
        AdminClient::new(channel(&self.addresses(place).internal))
    }

    /// The leader, as the node of the newest term sees it, and its term.
    pub async fn leader_now(&self) -> Option<(usize, u64)> {
        let mut newest: Option<(u64, u64)> = None;
        for place in self.places() {
            let mut admin = self.admin(place);
            let asked = timeout(Duration::from_millis(500), admin.leader_show(LeaderShowRequest {})).await;
            if let Ok(Ok(answer)) = asked
                && let answer = answer.into_inner()
                && let Some(leader) = answer.leader
            {
                newest = newest.max(Some((answer.term, leader)));
            }
        }
        let (term, leader) = newest?;
        let place = self.nodes.iter().position(|node| node.as_ref().is_some_and(|node| node.id == leader))?;
        Some((place, term))
    }

    /// Waits for a leader.
    pub async fn leader(&self, within: Duration) -> Result<usize> {
        let deadline = Instant::now() + within;
        loop {
            if let Some((place, _)) = self.leader_now().await {
                return Ok(place);
            }
            if Instant::now() > deadline {
                bail!("no leader within {within:?}");
            }
            sleep(ASK_EVERY).await;
        }
    }

    /// Asks the leader to hand over to the node at `place`. Whether it did is no matter of this.
    pub async fn transfer(&self, place: usize) -> Result<()> {
        let to = self.nodes[place].as_ref().map(|node| node.id);
        for asked in self.places() {
            let mut admin = self.admin(asked);
            let call = admin.leader_transfer(LeaderTransferRequest { to, timeout_ms: 2000 });
            if matches!(timeout(Duration::from_secs(3), call).await, Ok(Ok(_))) {
                break;
            }
        }
        Ok(())
    }

    /// Replaces the node at `place` by a new one at the free place, repeating the call until it is done.
    pub async fn replace(&mut self, place: usize, within: Duration) -> Result<()> {
        let free = self.free_place().context("no free place")?;
        let old_id = self.node(place)?.id;
        self.newest_id += 1;
        let new_id = self.newest_id;
        self.put(free, new_id, &[])?;
        self.node(free)?.start()?;
        let to = self.addresses(free);
        let new_address = Some(Address { peer: to.peer, client: to.client, internal: to.internal });
        let request = MemberReplaceRequest { old_id, new_id, new_address };
        let deadline = Instant::now() + within;
        let mut why = String::new();
        while Instant::now() < deadline {
            for asked in self.places().into_iter().filter(|asked| *asked != free) {
                let mut admin = self.admin(asked);
                match timeout(deadline - Instant::now(), follow(&mut admin, request.clone())).await {
                    Ok(Ok(())) => {
                        // Its process may still run, and is nobody's any more.
                        self.node(place)?.kill()?;
                        self.nodes[place] = None;
                        return Ok(());
                    }
                    Ok(Err(status)) => why = status.to_string(),
                    Err(_) => why = "no end".into(),
                }
                if Instant::now() > deadline {
                    break;
                }
            }
            sleep(ASK_EVERY).await;
        }
        bail!("node {old_id} was not replaced by node {new_id} within {within:?}: {why}")
    }

    /// The hashes that a node remembers, if it answers.
    pub async fn hashes(&self, place: usize, min_index: u64) -> Option<StateHashResponse> {
        let mut admin = self.admin(place);
        Some(timeout(ADMIN_CALL, admin.state_hash(StateHashRequest { min_index })).await.ok()?.ok()?.into_inner())
    }

    /// Whether there is a disk that can be filled, with a node on it.
    pub fn can_fill(&self) -> bool {
        self.has_small_disk && self.nodes[SMALL_DISK].is_some()
    }

    /// Where the small disk can be filled.
    pub fn small_disk(&self) -> PathBuf {
        data_dir(&self.home.path().join(format!("place{SMALL_DISK}")))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Processes first, then what they stand on; the rest goes by itself.
        self.nodes.clear();
        if self.has_small_disk {
            let _ = Command::new("umount").arg(self.small_disk()).status();
        }
    }
}

fn at(ports: &Ports, place: usize) -> Addresses {
    ports.of(place as u64 + 1)
}

/// Follows a replacement to its end.
async fn follow(admin: &mut AdminClient<Channel>, request: MemberReplaceRequest) -> Result<(), tonic::Status> {
    let mut progress = admin.member_replace(request).await?.into_inner();
    while progress.message().await?.is_some() {}
    Ok(())
}

/// Needs the right to mount: scripts/chaos gives it where it can, in a name space that ends with the run.
fn mount_small_disk(directory: &Path) -> bool {
    let made = std::fs::create_dir_all(directory).is_ok();
    let size = format!("size={SMALL_DISK_BYTES}");
    let allowed = std::env::var_os("ROOST_CHAOS_MAY_MOUNT").is_some();
    let mount = || Command::new("mount").args(["-t", "tmpfs", "-o", &size, "roost-chaos"]).arg(directory).output();
    made && allowed && mount().is_ok_and(|done| done.status.success())
}
