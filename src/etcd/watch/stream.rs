//! One Watch stream: its watchers, the responses that are ready, and those of its watchers that read history.
//!
//! Everything happens in turns, one after the other, when the client has room for more: requests, queued changes, one
//! piece of history, notices of progress. That nothing else is taken from the queue while history is read is what makes
//! the way back exact: the interest was added to the hub's index before the view of the read was taken, so whatever is
//! newer than that view is in the queue, or is known to be lost.

mod requests;

use std::collections::{HashMap, VecDeque};

use futures::{FutureExt, StreamExt};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior};
use tonic::Status;

use super::counts::Counted;
use super::deliver::{Frame, Watcher, deliver};
use super::history::Unread;
use super::hub::Registration;
use super::outlet::{Hits, Item, Losses, Taken};
use super::selector::Selector;
use super::{Inbound, change::Change};
use crate::etcd::{Headers, error};
use crate::limits;
use crate::pb::etcd::api::{WatchRequest, WatchResponse};

/// Refused watchers and answers to a progress request bear it.
const NO_WATCH_ID: i64 = -1;
/// One client's stream.
pub struct WatchStream<I> {
    headers: Headers,
    registration: Registration,
    position: watch::Receiver<i64>,
    /// `None` once the client said that it asks nothing more.
    inbound: Option<I>,
    interests: HashMap<u64, Interest>,
    by_selector: HashMap<Selector, u64>,
    /// Which interest a watch id belongs to.
    ids: HashMap<i64, u64>,
    next_id: i64,
    key_bytes: usize,
    /// Interests with watchers that read history.
    behind: VecDeque<u64>,
    ready: VecDeque<Frame>,
    /// Progress requests without an answer, and the revision that it must have reached.
    asked: (usize, i64),
    notices: Interval,
    noticed: usize,
    over: bool,
    counted: Counted,
}

/// Watchers of one stream with the same keys.
struct Interest {
    selector: Selector,
    watchers: Vec<Watcher>,
    /// It is in [`WatchStream::behind`].
    queued: bool,
}

impl Interest {
    /// What its watchers that are behind need of history: of which keys, from where on, with previous values or not.
    fn missing(&self) -> Option<(&Selector, i64, bool)> {
        let behind = || self.watchers.iter().filter(|watcher| watcher.behind);
        let from = behind().map(|watcher| watcher.next).min()?;
        Some((&self.selector, from, behind().any(|watcher| watcher.wants.prev_kv)))
    }
}

impl<I: Inbound> WatchStream<I> {
    pub fn new(headers: Headers, registration: Registration, inbound: I) -> Self {
        let period = registration.hub().progress_interval();
        let mut notices = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
        notices.set_missed_tick_behavior(MissedTickBehavior::Delay);
        WatchStream {
            headers,
            position: registration.hub().position(),
            counted: Counted::new(registration.hub().counts()),
            registration,
            inbound: Some(inbound),
            interests: HashMap::new(),
            by_selector: HashMap::new(),
            ids: HashMap::new(),
            next_id: 0,
            key_bytes: 0,
            behind: VecDeque::new(),
            ready: VecDeque::new(),
            asked: (0, 0),
            notices,
            noticed: 0,
            over: false,
        }
    }

    /// The next response; `None` or an error at the end.
    pub async fn next(&mut self) -> Option<Result<Frame, Status>> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Some(Ok(frame));
            }
            if self.over {
                return None;
            }
            let turned = self.turn().await;
            self.counted.now(self.ids.len(), self.behind.len());
            match turned {
                Ok(true) => {}
                Ok(false) => self.over = true,
                Err(status) => {
                    self.over = true;
                    return Some(Err(status));
                }
            }
        }
    }

    /// Does a bounded piece of everything there is to do, or waits. False: the client has gone.
    async fn turn(&mut self) -> Result<bool, Status> {
        for _ in 0..limits::WATCH_REQUESTS_PER_TURN {
            match self.inbound.as_mut().map(|inbound| inbound.next().now_or_never()) {
                Some(Some(message)) => {
                    if !self.take_request(message)? {
                        return Ok(false);
                    }
                }
                None | Some(None) => break,
            }
        }
        let took = self.registration.outlet.take();
        let mut busy = !matches!(took, Taken::Nothing);
        match took {
            Taken::Items(items) => self.live(items),
            Taken::Lost(losses) => self.fall_behind(&losses),
            Taken::Nothing => {}
            Taken::Closed => return Err(error::STOPPED.status()),
        }
        if let Some(interest) = self.behind.front().copied() {
            busy = true;
            self.catch_up(interest).await?;
        }
        self.answer_progress();
        if busy || !self.ready.is_empty() {
            return Ok(true);
        }
        self.wait().await
    }

    async fn wait(&mut self) -> Result<bool, Status> {
        let (asked, target) = self.asked;
        let message = tokio::select! {
            message = next_of(&mut self.inbound) => Some(message),
            () = self.registration.outlet.changed() => return Ok(true),
            () = reached(&mut self.position, target), if asked > 0 => return Ok(true),
            _ = self.notices.tick(), if self.noticed > 0 => None,
        };
        match message {
            Some(message) => self.take_request(message),
            None => {
                self.notice();
                Ok(true)
            }
        }
    }

    fn say(&mut self, response: WatchResponse) {
        self.ready.push_back(Frame::whole(&response));
    }

    fn current(&self) -> Result<i64, Status> {
        Ok(self.registration.hub().revisions().map_err(unreadable)?.current)
    }

    /// Delivers what the hub queued to the watchers that are not behind.
    fn live(&mut self, mut items: Vec<Item>) {
        // Stable: the items of an interest stay in the order of their revisions.
        items.sort_by_key(|item| item.interest);
        for items in items.chunk_by(|one, other| one.interest == other.interest) {
            let Some(number) = items.first().map(|item| item.interest) else { continue };
            if let Some(interest) = self.interests.get_mut(&number) {
                let sent = deliver(&self.headers, items, &mut interest.watchers, false, None, &mut self.ready);
                self.counted.sent(sent);
                self.queue_if_behind(number);
            }
        }
    }

    fn fall_behind(&mut self, losses: &Losses) {
        let numbers: Vec<u64> = match losses.all {
            Some(_) => self.interests.keys().copied().collect(),
            None => losses.interests.keys().copied().collect(),
        };
        for number in numbers {
            let lost = [losses.interests.get(&number).copied(), losses.all].into_iter().flatten().min();
            let (Some(interest), Some(lost)) = (self.interests.get_mut(&number), lost) else { continue };
            for watcher in interest.watchers.iter_mut().filter(|watcher| !watcher.behind) {
                watcher.next = watcher.next.max(lost);
                watcher.behind = true;
            }
            self.queue_if_behind(number);
        }
    }

    fn queue_if_behind(&mut self, number: u64) {
        let Some(interest) = self.interests.get_mut(&number) else { return };
        if !interest.queued && interest.watchers.iter().any(|watcher| watcher.behind) {
            interest.queued = true;
            self.behind.push_back(number);
        }
    }

    /// Reads a piece of history for those watchers of an interest that are behind, the first in the row. It leaves the
    /// row once the read is done, so that nothing is lost if the read is given up.
    async fn catch_up(&mut self, number: u64) -> Result<(), Status> {
        let wanted = self.interests.get(&number).and_then(Interest::missing);
        let read = match wanted {
            Some((selector, from, with_prev)) => {
                Some((from, with_prev, self.registration.hub().read(selector, from, with_prev).await))
            }
            None => None,
        };
        self.behind.pop_front();
        let Some(interest) = self.interests.get_mut(&number) else { return Ok(()) };
        interest.queued = false;
        let Some((from, with_prev, chunk)) = read else { return Ok(()) };
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(Unread::Compacted(begin)) => {
                self.cancel_compacted(number, from, begin);
                self.queue_if_behind(number);
                return Ok(());
            }
            Err(Unread::Failed(error)) => return Err(unreadable(error)),
        };
        let item = |source| Item { change: Change::new(source, with_prev).into(), interest: number, hits: Hits::All };
        let items: Vec<Item> = chunk.changes.into_iter().map(item).collect();
        let complete = chunk.next > chunk.current;
        let current = if complete { chunk.current } else { chunk.next - 1 };
        let sent = deliver(&self.headers, &items, &mut interest.watchers, true, Some(current), &mut self.ready);
        self.counted.sent(sent);
        for watcher in interest.watchers.iter_mut().filter(|watcher| watcher.behind) {
            watcher.next = watcher.next.max(chunk.next);
            watcher.behind = watcher.next <= chunk.current;
        }
        self.queue_if_behind(number);
        Ok(())
    }

    /// Ends the watchers whose changes are gone. At least the one that asked for `from` is.
    fn cancel_compacted(&mut self, number: u64, from: i64, begin: i64) {
        let Some(interest) = self.interests.get(&number) else { return };
        let gone = |watcher: &&Watcher| watcher.behind && (watcher.next < begin || watcher.next == from);
        let ids: Vec<i64> = interest.watchers.iter().filter(gone).map(|watcher| watcher.id).collect();
        for watch_id in ids {
            self.remove(watch_id);
            // etcd's header bears no revision here.
            let (header, canceled, compact_revision) = (Some(self.headers.stamp(0)), true, begin);
            self.say(WatchResponse { header, watch_id, canceled, compact_revision, ..Default::default() });
        }
    }

    /// The revision up to which every watcher has got everything, if there is nothing on its way.
    fn progress(&self) -> Option<i64> {
        // In this order: what is handed over up to the position was queued before.
        let position = *self.position.borrow();
        self.registration.outlet.is_idle().then_some(position)
    }

    fn answer_progress(&mut self) {
        let (asked, target) = self.asked;
        if asked == 0 || !self.behind.is_empty() {
            return;
        }
        if let Some(position) = self.progress().filter(|position| *position >= target) {
            self.asked = (0, 0);
            let header = Some(self.headers.stamp(position));
            for _ in 0..asked {
                self.say(WatchResponse { header, watch_id: NO_WATCH_ID, ..Default::default() });
            }
        }
    }

    /// Tells idle watchers that asked for it where they are.
    fn notice(&mut self) {
        let Some(position) = self.progress() else { return };
        let header = Some(self.headers.stamp(position));
        for watcher in self.interests.values_mut().flat_map(|interest| &mut interest.watchers) {
            if watcher.progress_notify && watcher.quiet && !watcher.behind {
                let response = WatchResponse { header, watch_id: watcher.id, ..Default::default() };
                self.ready.push_back(Frame::whole(&response));
            }
            watcher.quiet = true;
        }
    }
}

async fn next_of<I: Inbound>(inbound: &mut Option<I>) -> Option<Result<WatchRequest, Status>> {
    match inbound {
        Some(inbound) => inbound.next().await,
        None => std::future::pending().await,
    }
}

async fn reached(position: &mut watch::Receiver<i64>, target: i64) {
    // The hub, which holds the sender, lives as long as its streams.
    let _ = position.wait_for(|position| *position >= target).await;
}

fn unreadable(error: std::io::Error) -> Status {
    tracing::error!(%error, "cannot read the key space");
    error::STOPPED.status()
}
