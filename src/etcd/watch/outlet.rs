//! The bounded queue between the hub and one stream. What does not fit is not kept: the stream is told from which
//! revision on it must read history instead.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::change::Change;
use super::hub::Bounds;
use crate::limits;

/// Changes of one revision for one interest.
pub struct Item {
    pub change: Arc<Change>,
    pub interest: u64,
    pub hits: Hits,
}

/// Which events of a change the interest is about.
#[derive(Clone)]
pub enum Hits {
    All,
    Some(Arc<[usize]>),
}

/// What the stream takes.
pub enum Taken {
    /// In the order of their revisions.
    Items(Vec<Item>),
    /// Nothing is queued any more, and these interests lost what came from these revisions on.
    Lost(Losses),
    Nothing,
    /// The node stops.
    Closed,
}

/// What was not kept.
#[derive(Default)]
pub struct Losses {
    /// The first revision lost, by interest.
    pub interests: HashMap<u64, i64>,
    /// The first revision from which on every interest may have lost something.
    pub all: Option<i64>,
}

/// The hub's end and the stream's end share it.
pub struct Outlet {
    queue: Mutex<Queue>,
    changed: Notify,
    bounds: Bounds,
    /// Bytes queued at all outlets of the node.
    queued: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Queue {
    items: VecDeque<Item>,
    bytes: usize,
    lost: Option<Losses>,
    closed: bool,
}

impl Outlet {
    pub(super) fn new(bounds: Bounds, queued: Arc<AtomicUsize>) -> Self {
        Outlet { queue: Mutex::default(), changed: Notify::new(), bounds, queued }
    }

    /// Queues a change, or notes that it is lost. Returns whether the stream must be woken.
    pub fn push(&self, item: Item) -> bool {
        let mut queue = self.queue.lock();
        if queue.closed {
            return false;
        }
        let bytes = item.change.bytes();
        let fits = queue.lost.is_none()
            && queue.items.len() < self.bounds.queue_changes
            && queue.bytes + bytes <= self.bounds.queue_bytes
            && self.queued.load(Ordering::Relaxed) + bytes <= limits::WATCH_QUEUES_BYTES_MAX;
        let idle = queue.items.is_empty() && queue.lost.is_none();
        if fits {
            queue.bytes += bytes;
            self.queued.fetch_add(bytes, Ordering::Relaxed);
            queue.items.push_back(item);
        } else {
            let revision = item.change.revision();
            queue.lost.get_or_insert_default().interests.entry(item.interest).or_insert(revision);
        }
        idle
    }

    /// Every interest may have lost what came from `revision` on.
    pub fn lose_all(&self, revision: i64) {
        self.queue.lock().lost.get_or_insert_default().all.get_or_insert(revision);
        self.wake();
    }

    pub fn close(&self) {
        self.queue.lock().closed = true;
        self.wake();
    }

    /// Wakes whoever waits in [`Outlet::changed`], or lets the next one through.
    pub fn wake(&self) {
        self.changed.notify_one();
    }

    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The next items, some at a time.
    pub fn take(&self) -> Taken {
        let mut queue = self.queue.lock();
        if queue.closed {
            return Taken::Closed;
        }
        let mut items = Vec::new();
        let mut bytes = 0;
        while bytes < limits::WATCH_TURN_BYTES
            && let Some(item) = queue.items.pop_front()
        {
            bytes += item.change.bytes();
            items.push(item);
        }
        queue.bytes -= bytes;
        self.queued.fetch_sub(bytes, Ordering::Relaxed);
        if !items.is_empty() {
            return Taken::Items(items);
        }
        queue.lost.take().map_or(Taken::Nothing, Taken::Lost)
    }

    /// Whether there is nothing to take.
    pub fn is_idle(&self) -> bool {
        let queue = self.queue.lock();
        queue.items.is_empty() && queue.lost.is_none() && !queue.closed
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.queued.fetch_sub(self.queue.get_mut().bytes, Ordering::Relaxed);
    }
}
