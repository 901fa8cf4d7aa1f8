//! The load: clients that never stop, through every node, and write down what they asked and what they were told.
//!
//! Time is cut into epochs, one for each fault. An epoch has its own keys and names, so that its histories are short
//! enough to be searched, and its record is closed when the last of its calls is over.

mod appends;
mod broadcasts;
mod keys;
mod leases;
mod names;
mod numbers;
mod owners;
mod watchers;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use roost::pb::etcd::api::kv_client::KvClient;
use roost::pb::sim::sim_client::SimClient;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::check::append::Append;
use crate::check::broadcast::Acknowledged;
use crate::check::order::Given;
use crate::check::{ddl, key, name, watch};
use crate::history::{Call, Clock, Violation};
use crate::support::client::{Client, channel};
use crate::support::ports::Addresses;

pub use keys::{read, write};
pub use watchers::Watcher;

/// A call that is not answered by then counts as open.
const CALL: Duration = Duration::from_secs(4);
/// After a call that failed: a node that is down is not hammered.
const PAUSE: Duration = Duration::from_millis(100);
const KEY_CLIENTS: usize = 6;
const WATCHERS: usize = 3;
const PRODUCERS: usize = 3;
const BROADCASTERS: usize = 3;
/// What all keys that watchers watch begin with.
pub const WATCHED: &str = "e";

/// What clients saw in one epoch.
#[derive(Default)]
pub struct Epoch {
    pub number: u64,
    pub keys: Mutex<HashMap<String, Vec<Call<key::Input, key::Output>>>>,
    pub names: Mutex<HashMap<String, Vec<Call<name::Input, name::Output>>>>,
    pub ddl: Mutex<ddl::Names>,
    /// Revisions of writes and reads, so that they can be compared: see [`keys::revision_of_write`].
    pub revisions: Mutex<Vec<Given>>,
    pub written: Mutex<Vec<watch::Write>>,
    pub timestamps: Mutex<Vec<Given>>,
    pub ids: Mutex<Vec<Given>>,
    pub appends: Mutex<Vec<Append>>,
    pub broadcasts: Mutex<Vec<Acknowledged>>,
    /// Calls that were answered, and calls whose outcome is unknown.
    pub answered: AtomicU64,
    pub open: AtomicU64,
}

/// The one who holds a lock never panics: a poisoned one is as good.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Connections to one place.
#[derive(Clone)]
pub struct Through {
    pub place: usize,
    pub kv: KvClient<Channel>,
    /// For the other services of the etcd API.
    pub etcd: Channel,
    pub milvus: Client,
    pub internal: String,
}

/// What all clients share.
pub struct Shared {
    pub clock: Clock,
    places: Vec<Through>,
    /// The places that have a member.
    active: RwLock<Vec<usize>>,
    epoch: RwLock<Arc<Epoch>>,
    next_value: AtomicU64,
    stop: AtomicBool,
    /// What clients found wrong by themselves.
    found: Mutex<Vec<Violation>>,
}

impl Shared {
    pub fn epoch(&self) -> Arc<Epoch> {
        self.epoch.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A value that nobody wrote before.
    fn value(&self) -> u64 {
        self.next_value.fetch_add(1, Ordering::Relaxed)
    }

    /// The connections that client `number` uses now.
    fn through(&self, number: usize) -> Through {
        let active = self.active.read().unwrap_or_else(PoisonError::into_inner);
        self.places[active[number % active.len()]].clone()
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn found(&self, found: impl IntoIterator<Item = Violation>) {
        lock(&self.found).extend(found);
    }
}

/// How a call ended.
pub enum Fate<T> {
    Answered(T),
    /// It was never sent: nobody listens there.
    Unsent,
    /// It may have been done, or be done later.
    Unknown(Status),
}

/// Waits for a call's end.
pub async fn fate<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Fate<T> {
    match tokio::time::timeout(CALL, call).await {
        Ok(Ok(response)) => Fate::Answered(response.into_inner()),
        Ok(Err(status)) if format!("{status:?}").contains("ConnectError") => Fate::Unsent,
        Ok(Err(status)) => Fate::Unknown(status),
        Err(_) => Fate::Unknown(Status::deadline_exceeded("the client waits no longer")),
    }
}

pub struct Load {
    pub shared: Arc<Shared>,
    pub watchers: Vec<Arc<Watcher>>,
    clients: JoinSet<()>,
}

impl Load {
    /// Starts all clients; those of streaming only if nodes are simulated.
    pub fn start(clock: Clock, addresses: &[Addresses], active: Vec<usize>, sim: Option<SimClient<Channel>>) -> Self {
        let through = |(place, at): (usize, &Addresses)| {
            let etcd = channel(&at.client);
            let kv = KvClient::new(etcd.clone());
            Through { place, kv, etcd, milvus: Client::new(at), internal: at.internal.clone() }
        };
        let shared = Arc::new(Shared {
            clock,
            places: addresses.iter().enumerate().map(through).collect(),
            active: RwLock::new(active),
            epoch: RwLock::default(),
            next_value: AtomicU64::new(1),
            stop: AtomicBool::new(false),
            found: Mutex::default(),
        });
        let mut clients = JoinSet::new();
        for number in 0..KEY_CLIENTS {
            clients.spawn(keys::client(shared.clone(), number));
        }
        for number in 0..3 {
            clients.spawn(names::existence(shared.clone(), number));
            clients.spawn(names::creations(shared.clone(), number));
            clients.spawn(numbers::milvus_timestamps(shared.clone(), number));
            clients.spawn(numbers::counted_timestamps(shared.clone(), number));
            clients.spawn(numbers::streamed_timestamps(shared.clone(), number));
            clients.spawn(numbers::ids(shared.clone(), number));
            clients.spawn(leases::client(shared.clone(), number));
        }
        clients.spawn(numbers::shared_timestamps(
            shared.clone(),
            addresses.iter().map(|at| at.internal.clone()).collect(),
        ));
        if let Some(sim) = sim {
            for number in 0..PRODUCERS {
                clients.spawn(appends::client(shared.clone(), number));
            }
            for number in 0..BROADCASTERS {
                clients.spawn(broadcasts::client(shared.clone(), number));
            }
            clients.spawn(owners::client(shared.clone(), sim));
        }
        let watchers: Vec<Arc<Watcher>> = (0..WATCHERS).map(|number| Arc::new(Watcher::new(number))).collect();
        for watcher in &watchers {
            clients.spawn(watchers::client(shared.clone(), watcher.clone()));
        }
        Load { shared, watchers, clients }
    }

    /// Begins an epoch; returns the one that ends. Its calls may still be on their way: see [`closed`].
    pub fn next_epoch(&self) -> Arc<Epoch> {
        let mut current = self.shared.epoch.write().unwrap_or_else(PoisonError::into_inner);
        let next = Arc::new(Epoch { number: current.number + 1, ..Epoch::default() });
        std::mem::replace(&mut current, next)
    }

    /// Clients use these places from now on.
    pub fn use_places(&self, active: Vec<usize>) {
        *self.shared.active.write().unwrap_or_else(PoisonError::into_inner) = active;
    }

    pub fn through(&self, place: usize) -> Through {
        self.shared.places[place].clone()
    }

    pub fn take_found(&self) -> Vec<Violation> {
        std::mem::take(&mut lock(&self.shared.found))
    }

    /// Ends all clients.
    pub async fn stop(mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Watchers and long waits do not look at the flag.
        let _ = tokio::time::timeout(CALL, async { while self.clients.join_next().await.is_some() {} }).await;
        self.clients.shutdown().await;
    }
}

/// The epoch's record, once its last call is over: every call holds the epoch while it is on its way.
pub async fn closed(mut epoch: Arc<Epoch>) -> Epoch {
    loop {
        match Arc::try_unwrap(epoch) {
            Ok(epoch) => return epoch,
            Err(shared) => epoch = shared,
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
