//! One node: the production host on a simulated disk, network and clock, with what roostd runs on it: the timestamp
//! oracle's keeper, reclaiming of history, erasing of what was dropped, and a [`Door`] for clients.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::stream;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use roost::etcd::HistoryTask;
use roost::leader;
use roost::leader::clock::{Clock, GuardedClock};
use roost::leader::tso::{Keeper, Oracle, VoterClocks};
use roost::proposer::Proposer;
use roost::replica::{HostReplica, Replica};
use roost::rootcoord::Eraser;
use roost::state::Roost;
use roost_raft::Host;
use roost_raft::host::{Environment, HostConfig};
use roost_raft::network::{Dial, Wire, divide};
use roost_raft::storage::wal::Syncing;
use roost_raft::types::{Member, NodeId};
use tokio::sync::{broadcast, mpsc};
use tonic::transport::Server;
use turmoil::net::{TcpListener, TcpStream};

use crate::disk::Disk;
use crate::door::{self, Door};
use crate::trace::Trace;

const PEER_PORT: u16 = 23125;
const SECRET: &str = "the secret of the simulation";
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// Small, so that followers which lag are sent snapshots.
const SNAPSHOT_LOG_BYTES: u64 = 256 << 10;
/// Longer than a fail-over, so that a deposed leader has timestamps left that it must not give.
const WINDOW_MS: u64 = 3000;
const MAX_CLOCK_AHEAD_MS: u64 = 60_000;
/// What the clocks show when the simulation begins: milliseconds since 1970.
pub const EPOCH_MS: u64 = 1_700_000_000_000;

/// What the one who breaks things asks of a node that is not broken.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    TransferLeadership,
    BuildSnapshot,
}

/// A node's place in the cluster: what outlives its crashes.
pub struct Place {
    pub id: NodeId,
    pub name: String,
    pub disk: Arc<Disk>,
    /// The wall clock minus the simulation's, in milliseconds.
    pub skew_ms: AtomicI64,
    /// Snapshots that the node's lives were sent and installed.
    pub installed: AtomicU64,
    /// A sync takes up to so long, in microseconds.
    pub sync_us: AtomicU64,
    pub host: Mutex<Weak<Host<Roost>>>,
    orders: Mutex<Option<mpsc::UnboundedSender<Order>>>,
    /// Why the node ended by itself.
    failure: Mutex<Option<String>>,
    dir: PathBuf,
    members: BTreeMap<NodeId, Member>,
    rng: Mutex<SmallRng>,
    trace: Trace,
}

/// The nodes `1..=count`, with their files in `dir`.
pub fn places(count: u64, dir: &std::path::Path, seed: u64, trace: &Trace) -> Vec<Arc<Place>> {
    let name = |id| format!("node{id}");
    let member = |id| {
        let at = |port| format!("{}:{port}", name(id));
        Member { peer: at(PEER_PORT), client: at(door::PORT), internal: String::new() }
    };
    let members: BTreeMap<NodeId, Member> = (1..=count).map(|id| (id, member(id))).collect();
    let place = |id| {
        Arc::new(Place {
            id,
            name: name(id),
            disk: Arc::new(Disk::new(&name(id), trace.clone())),
            skew_ms: AtomicI64::new(0),
            installed: AtomicU64::new(0),
            sync_us: AtomicU64::new(crate::run::SYNC_US),
            host: Mutex::new(Weak::new()),
            orders: Mutex::new(None),
            failure: Mutex::new(None),
            dir: dir.join(name(id)),
            members: members.clone(),
            rng: Mutex::new(SmallRng::seed_from_u64(seed ^ id << 32)),
            trace: trace.clone(),
        })
    };
    (1..=count).map(place).collect()
}

impl Place {
    /// Takes what made the node end by itself.
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().take()
    }

    pub fn order(&self, order: Order) {
        if let Some(orders) = self.orders.lock().as_ref() {
            // A node that has just ended takes no orders.
            let _ = orders.send(order);
        }
    }

    /// The running host, if it runs.
    pub fn host(&self) -> Option<Arc<Host<Roost>>> {
        self.host.lock().upgrade()
    }

    fn fail(&self, why: &str) {
        // Without power a node may end as it likes.
        if self.disk.has_power() {
            self.trace.note(format_args!("{} ended: {why}", self.name));
            self.failure.lock().get_or_insert_with(|| why.to_owned());
        }
    }

    fn environment(self: &Arc<Self>) -> Environment {
        let place = self.clone();
        let delay =
            move || Duration::from_micros(place.rng.lock().random_range(0..=place.sync_us.load(Ordering::Relaxed)));
        Environment {
            engine: self.disk.clone(),
            syncing: Syncing::Task(Arc::new(delay)),
            dial: dial(),
            // No suspensions.
            gaps: || [0, 0],
        }
    }

    fn config(&self) -> HostConfig {
        HostConfig {
            snapshot_log_bytes: SNAPSHOT_LOG_BYTES,
            keep_log_bytes: 0,
            min_free_bytes: 0,
            ballast_bytes: 0,
            ..HostConfig::new(self.id, self.dir.clone(), self.members.clone(), SECRET)
        }
    }
}

/// The software of a node, from start to crash. `all` are the places of the cluster.
pub async fn run(place: Arc<Place>, all: Vec<Weak<Place>>) -> turmoil::Result {
    place.trace.note(format_args!("{} starts", place.name));
    if let Err(error) = start(&place, all).await {
        place.fail(&format!("it does not start: {error}"));
    }
    std::future::pending().await
}

async fn start(place: &Arc<Place>, all: Vec<Weak<Place>>) -> anyhow::Result<()> {
    let host = Host::start_in(place.environment(), place.config(), Roost).await?;
    *place.host.lock() = Arc::downgrade(&host);
    watch(place, &host);

    let peers = TcpListener::bind(("0.0.0.0", PEER_PORT)).await?;
    let incoming = stream::unfold(peers, |peers| async {
        let accepted = peers.accept().await.map(|(stream, _)| stream);
        Some((accepted, peers))
    });
    let calls = divide(incoming, host.append_service());
    tokio::spawn(Server::builder().add_service(host.peer_service()).serve_with_incoming(calls));

    let replica: Arc<dyn Replica> = Arc::new(HostReplica::new(host.clone()));
    let clock = Arc::new(GuardedClock::new(Arc::new(WallClock(place.clone())), MAX_CLOCK_AHEAD_MS));
    let oracle = Oracle::new(replica.clone(), clock.clone(), WINDOW_MS);
    let proposer = Proposer::new(replica.clone(), clock);
    let clocks = Arc::new(OtherClocks { own: place.id, all });
    let keeper = Arc::new(Keeper::new(oracle.clone(), replica.clone(), proposer.clone(), clocks));
    let history = HistoryTask::new(replica.clone(), proposer.clone(), 0);
    let eraser = Eraser::new(replica.clone(), proposer.clone());
    tokio::spawn(leader::run(replica.clone(), vec![keeper, history, eraser]));

    let door = Arc::new(Door { replica, proposer, oracle });
    let clients = TcpListener::bind(("0.0.0.0", door::PORT)).await?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = clients.accept().await {
            tokio::spawn(door.clone().serve(stream));
        }
    });
    obey(place, host);
    Ok(())
}

/// Notes who leads, what is installed, and whether the node ends by itself.
fn watch(place: &Arc<Place>, host: &Arc<Host<Roost>>) {
    let (mut failure, mut leadership) = (host.failure(), host.leadership());
    let watching = place.clone();
    tokio::spawn(async move {
        if let Ok(why) = failure.wait_for(Option::is_some).await {
            watching.fail(why.as_deref().unwrap_or_default());
        }
    });
    let (watching, mut events) = (place.clone(), host.events());
    tokio::spawn(async move {
        loop {
            match events.recv().await {
                // Nothing but an index: the state was replaced.
                Ok(applied) if applied.events.is_empty() => {
                    watching.trace.note(format_args!("{} installed a snapshot of {}", watching.name, applied.index));
                    watching.installed.fetch_add(1, Ordering::Relaxed);
                }
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    });
    let watching = place.clone();
    tokio::spawn(async move {
        while leadership.changed().await.is_ok() {
            let seen = *leadership.borrow_and_update();
            watching.trace.note(format_args!("{} sees {:?} lead term {}", watching.name, seen.leader, seen.term));
        }
    });
}

fn obey(place: &Arc<Place>, host: Arc<Host<Roost>>) {
    let (orders, mut queue) = mpsc::unbounded_channel();
    *place.orders.lock() = Some(orders);
    let place = place.clone();
    tokio::spawn(async move {
        while let Some(order) = queue.recv().await {
            let done = match order {
                Order::TransferLeadership => host.start_transfer(None).await,
                Order::BuildSnapshot => host.build_snapshot().await,
            };
            place.trace.note(format_args!("{} was to {order:?}: {done:?}", place.name));
        }
    });
}

/// Connections of the simulated network.
fn dial() -> Dial {
    Arc::new(|address| {
        Box::pin(async move {
            let connecting = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address));
            let stream = connecting.await.map_err(io::Error::other)??;
            Ok(Box::new(stream) as Wire)
        })
    })
}

/// A node's wall clock, which somebody may set.
struct WallClock(Arc<Place>);

impl Place {
    fn wall_ms(&self) -> u64 {
        let elapsed = EPOCH_MS + u64::try_from(self.trace.now().as_millis()).unwrap_or(u64::MAX);
        elapsed.saturating_add_signed(self.skew_ms.load(Ordering::Relaxed))
    }
}

impl Clock for WallClock {
    fn wall_ms(&self) -> u64 {
        self.0.wall_ms()
    }

    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.0.trace.now().as_millis()).unwrap_or(u64::MAX)
    }
}

/// What the other voters' clocks show, without the way there.
struct OtherClocks {
    own: NodeId,
    all: Vec<Weak<Place>>,
}

#[tonic::async_trait]
impl VoterClocks for OtherClocks {
    async fn others_ms(&self) -> Option<Vec<u64>> {
        let others = self.all.iter().filter_map(Weak::upgrade).filter(|place| place.id != self.own);
        Some(others.map(|place| place.wall_ms()).collect())
    }
}
