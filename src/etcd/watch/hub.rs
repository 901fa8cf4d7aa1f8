//! One per node: follows what is applied and hands every change to the streams that watch its keys.
//!
//! The hub's position is the revision up to which every change was handed over. Revisions of the key space follow each
//! other without a gap, so whatever is missing in the events (a lag, an installed snapshot, changes too large to be
//! held) shows as a gap, and is read from history.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{Notify, Semaphore, watch};

use super::change::Change;
use super::counts::Counts;
use super::history::{self, Chunk, Unread, Wanted};
use super::index::{Index, Target};
use super::outlet::{Hits, Item, Outlet};
use super::selector::Selector;
use super::subscription::{Lost, Subscription};
use crate::limits;
use crate::pb::etcd::kv;
use crate::replica::{AppliedEvents, Events, Replica};
use crate::shutdown::Shutdown;
use crate::state::Event;
use crate::state::keyspace::{self, KeysChanged, Revisions};

/// The watchers of one node.
pub struct Hub {
    replica: Arc<dyn Replica>,
    index: Mutex<Index>,
    outlets: Mutex<Outlets>,
    /// There is an outlet again.
    used: Notify,
    /// Every change up to here was handed over.
    position: watch::Sender<i64>,
    reads: Arc<Semaphore>,
    queued: Arc<AtomicUsize>,
    next_outlet: AtomicU64,
    bounds: Bounds,
    counts: Counts,
}

/// What a hub allows; tests have less.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub queue_changes: usize,
    pub queue_bytes: usize,
    pub history_bytes: usize,
    pub progress_interval: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            queue_changes: limits::WATCH_QUEUE_CHANGES_MAX,
            queue_bytes: limits::WATCH_QUEUE_BYTES_MAX,
            history_bytes: limits::WATCH_HISTORY_BYTES,
            progress_interval: limits::WATCH_PROGRESS_INTERVAL,
        }
    }
}

#[derive(Default)]
struct Outlets {
    open: HashMap<u64, Arc<Outlet>>,
    closed: bool,
}

/// An outlet and its interests; dropping it ends them.
pub struct Registration {
    hub: Arc<Hub>,
    number: u64,
    pub outlet: Arc<Outlet>,
    interests: HashMap<u64, Selector>,
    next_interest: u64,
}

impl Hub {
    /// Hands nothing over before [`Hub::run`] does.
    pub fn new(replica: Arc<dyn Replica>) -> Arc<Self> {
        Self::bounded(replica, Bounds::default())
    }

    pub(super) fn bounded(replica: Arc<dyn Replica>, bounds: Bounds) -> Arc<Self> {
        Arc::new(Hub {
            replica,
            index: Mutex::default(),
            outlets: Mutex::default(),
            used: Notify::new(),
            position: watch::Sender::new(0),
            reads: Arc::new(Semaphore::new(limits::WATCH_HISTORY_READS_MAX)),
            queued: Arc::default(),
            next_outlet: AtomicU64::new(0),
            bounds,
            counts: Counts::default(),
        })
    }

    /// What the streams of this node count.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Every change up to this revision was handed over.
    pub fn handed_over(&self) -> i64 {
        *self.position.borrow()
    }

    /// Bytes that wait at all outlets.
    pub fn queued_bytes(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// Follows the replica until `shutdown` is asked for or the replica is gone; then every stream ends.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) {
        tokio::select! {
            _ = shutdown.requested() => {}
            outcome = self.follow() => {
                if let Err(error) = outcome {
                    tracing::error!(%error, "watches end: cannot read the tables");
                }
            }
        }
        let mut outlets = self.outlets.lock();
        outlets.closed = true;
        outlets.open.drain().for_each(|(_, outlet)| outlet.close());
    }

    async fn follow(&self) -> io::Result<()> {
        let mut events = self.replica.all_events();
        let mut position = self.revisions()?.current;
        self.position.send_replace(position);
        // Whoever came before the events were followed missed some.
        self.lose_all(0);
        loop {
            if events.is_empty() {
                self.pause().await;
            }
            let batch = match events.recv().await {
                Ok(batch) => Some(batch),
                Err(RecvError::Lagged(_)) => None,
                Err(RecvError::Closed) => return Ok(()),
            };
            let Some(batch) = batch else {
                position = self.resync(position).await?;
                continue;
            };
            let mut changed = Vec::new();
            let mut whole = gather(&batch.events, &mut changed);
            for _ in 0..limits::WATCH_BATCHES_PER_TURN {
                match next_of(&mut events) {
                    Some(Ok(batch)) => whole &= gather(&batch.events, &mut changed),
                    Some(Err(())) => whole = false,
                    None => break,
                }
            }
            changed.retain(|changes: &Arc<KeysChanged>| changes.revision > position);
            let follows = |(place, changes): (usize, &Arc<KeysChanged>)| {
                changes.events.is_some() && changes.revision == position + 1 + place as i64
            };
            let known = changed.iter().enumerate().take_while(|entry| follows(*entry)).count();
            whole &= known == changed.len();
            position += self.hand_over(changed.into_iter().take(known), true);
            if !whole {
                position = self.resync(position).await?;
            }
        }
    }

    /// While nobody watches, to wake for each change would cost as much as half of a put. Ends with the first outlet.
    async fn pause(&self) {
        if self.outlets.lock().open.is_empty() {
            let _ = tokio::time::timeout(limits::WATCH_UNUSED_PAUSE, self.used.notified()).await;
        }
    }

    /// Hands over what history has after `position`, and returns the new position.
    async fn resync(&self, mut position: i64) -> io::Result<i64> {
        loop {
            match self.read(&Selector::everything(), position + 1, false).await {
                Ok(Chunk { changes, next, current }) => {
                    self.hand_over(changes.into_iter(), false);
                    position = position.max(next - 1);
                    self.position.send_replace(position);
                    if next > current {
                        return Ok(position);
                    }
                }
                Err(Unread::Compacted(_)) => {
                    let lost = position + 1;
                    position = self.revisions()?.current;
                    self.position.send_replace(position);
                    // Each of them finds out for itself whether there was anything for it.
                    self.lose_all(lost);
                }
                Err(Unread::Failed(error)) => return Err(error),
            }
        }
    }

    /// Hands changes to those who watch their keys. Returns how many there were, and moves the position by that if
    /// they follow it one by one.
    fn hand_over(&self, changes: impl Iterator<Item = Arc<KeysChanged>>, consecutive: bool) -> i64 {
        let (mut count, mut wake) = (0, Vec::new());
        {
            let index = self.index.lock();
            for change in changes {
                count += 1;
                if !index.is_empty() {
                    route(&index, &change, consecutive, &mut wake);
                }
            }
        }
        if consecutive && count > 0 {
            self.position.send_modify(|position| *position += count);
        }
        wake.into_iter().for_each(|outlet| outlet.wake());
        count
    }

    fn lose_all(&self, revision: i64) {
        self.outlets.lock().open.values().for_each(|outlet| outlet.lose_all(revision));
    }

    /// Whether nobody watches anything.
    #[cfg(test)]
    pub(super) fn is_unused(&self) -> bool {
        self.index.lock().is_empty() && self.outlets.lock().open.is_empty()
    }

    /// Where the key space stands on this node.
    pub fn revisions(&self) -> io::Result<Revisions> {
        keyspace::revisions(self.replica.view()?.as_ref())
    }

    pub(super) fn progress_interval(&self) -> Duration {
        self.bounds.progress_interval
    }

    /// Follows the revision up to which every change was handed over.
    pub fn position(&self) -> watch::Receiver<i64> {
        self.position.subscribe()
    }

    /// History of a selector from a revision on, a bounded piece of it.
    pub async fn read(&self, selector: &Selector, from: i64, with_prev: bool) -> Result<Chunk, Unread> {
        let wanted = Wanted { selector: selector.clone(), from, with_prev, max_bytes: self.bounds.history_bytes };
        history::read(&self.replica, &self.reads, wanted).await
    }

    /// A new outlet without interests. `None`: the node stops, or has as many as it may.
    pub fn register(self: &Arc<Self>) -> Option<Registration> {
        let number = self.next_outlet.fetch_add(1, Ordering::Relaxed);
        let outlet = Arc::new(Outlet::new(self.bounds, self.queued.clone()));
        let mut outlets = self.outlets.lock();
        if outlets.closed || outlets.open.len() >= limits::WATCH_OUTLETS_MAX {
            return None;
        }
        outlets.open.insert(number, outlet.clone());
        self.used.notify_one();
        Some(Registration { hub: self.clone(), number, outlet, interests: HashMap::new(), next_interest: 0 })
    }

    /// The changes of a key or range (in etcd's form) from `start_revision` on (0: from now on), for use within this
    /// process.
    pub fn subscribe(
        self: &Arc<Self>,
        key: &[u8],
        range_end: &[u8],
        start_revision: i64,
    ) -> Result<Subscription, Lost> {
        let selector = Selector::new(key.to_vec(), range_end.to_vec()).ok_or(Lost::EmptyRange)?;
        Subscription::new(self, selector, start_revision)
    }
}

impl Registration {
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// From now on changes of `selector` are queued under the number that is returned.
    pub fn add(&mut self, selector: Selector) -> u64 {
        let interest = self.next_interest;
        self.next_interest += 1;
        self.hub.index.lock().add(&selector, Target { outlet: self.outlet.clone(), interest });
        self.interests.insert(interest, selector);
        interest
    }

    pub fn remove(&mut self, interest: u64) {
        if let Some(selector) = self.interests.remove(&interest) {
            self.hub.index.lock().remove(&selector, &self.outlet, interest);
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.hub.outlets.lock().open.remove(&self.number);
        let mut index = self.hub.index.lock();
        self.interests.iter().for_each(|(interest, selector)| index.remove(selector, &self.outlet, *interest));
    }
}

/// The next batch, if it is here already; an error if some were missed.
fn next_of(events: &mut Events) -> Option<Result<Arc<AppliedEvents<Event>>, ()>> {
    match events.try_recv() {
        Ok(batch) => Some(Ok(batch)),
        Err(TryRecvError::Lagged(_)) => Some(Err(())),
        Err(TryRecvError::Empty | TryRecvError::Closed) => None,
    }
}

/// Collects what is said of keys. False: rows were replaced as a whole.
fn gather(events: &[Event], changed: &mut Vec<Arc<KeysChanged>>) -> bool {
    let keys = |event: &Event| match event {
        Event::KeysChanged(keys) => Some(keys.clone()),
        _ => None,
    };
    changed.extend(events.iter().filter_map(keys));
    !events.is_empty()
}

fn key_of(event: &kv::Event) -> &[u8] {
    event.kv.as_ref().map(|row| row.key.as_slice()).unwrap_or_default()
}

/// Queues one revision's changes where they are wanted.
fn route(index: &Index, keys: &Arc<KeysChanged>, has_prev: bool, wake: &mut Vec<Arc<Outlet>>) {
    let events = keys.events.as_deref().unwrap_or_default();
    let mut change: Option<Arc<Change>> = None;
    let mut push = |target: &Target, hits: Hits| {
        let change = change.get_or_insert_with(|| Arc::new(Change::new(keys.clone(), has_prev))).clone();
        if target.outlet.push(Item { change, interest: target.interest, hits }) {
            wake.push(target.outlet.clone());
        }
    };
    if let [event] = events {
        index.visit(key_of(event), |target| push(target, Hits::All));
        return;
    }
    let mut hits: HashMap<(*const Outlet, u64), (Target, Vec<usize>)> = HashMap::new();
    for (place, event) in events.iter().enumerate() {
        index.visit(key_of(event), |target| {
            let of = (Arc::as_ptr(&target.outlet), target.interest);
            hits.entry(of).or_insert_with(|| (target.clone(), Vec::new())).1.push(place);
        });
    }
    for (target, places) in hits.into_values() {
        let all = places.len() == events.len();
        push(&target, if all { Hits::All } else { Hits::Some(places.into()) });
    }
}
