//! The watchers of one sequence on one server: one stream, everything it said kept in order.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use roost::pb::etcd::api::watch_request::RequestUnion;
use roost::pb::etcd::api::{
    RangeRequest, WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
};
use roost::pb::etcd::kv::Event;
use roost::pb::etcd::kv::event::EventType;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::neutral::Origin;
use crate::support::etcd::{EtcdClient, within};

const PATIENCE: Duration = Duration::from_secs(15);
/// Requests to the stream that wait to be sent: one at a time.
const REQUESTS: usize = 4;
const NO_WATCHER: i64 = -1;

/// The answer to a create request.
#[derive(Clone, Debug, PartialEq)]
pub struct Opened {
    pub watch_id: i64,
    pub canceled: bool,
    pub reason: String,
}

/// What a watcher delivered until now.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivered {
    pub events: Vec<Event>,
    /// Compaction revision and reason, if the server ended it.
    pub ended: Option<(i64, String)>,
    /// By the client: the last events may or may not have been under way.
    pub cancelled: bool,
}

struct Watcher {
    create: WatchCreateRequest,
    watch_id: i64,
    cancelled: bool,
}

#[derive(Default)]
struct Heard {
    messages: Mutex<(Vec<WatchResponse>, Option<Status>)>,
    more: Notify,
}

impl Heard {
    /// Until the stream ends; returns why it did.
    async fn listen(&self, mut answers: Streaming<WatchResponse>) -> Status {
        loop {
            match answers.message().await {
                Ok(Some(message)) => self.messages.lock().unwrap().0.push(message),
                Ok(None) => return Status::cancelled("the watch stream ended"),
                Err(status) => return status,
            }
            self.more.notify_waiters();
        }
    }
}

pub struct Watching {
    node: EtcdClient,
    requests: mpsc::Sender<WatchRequest>,
    heard: Arc<Heard>,
    watchers: Vec<Watcher>,
    reader: tokio::task::JoinHandle<()>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Watching {
    pub fn open(node: EtcdClient) -> Self {
        let (requests, receiver) = mpsc::channel(REQUESTS);
        let heard = Arc::new(Heard::default());
        let (ear, mut client) = (heard.clone(), node.watch.clone());
        // etcd opens its half of the stream with its first answer, so nobody waits for that here.
        let reader = tokio::spawn(async move {
            let ended = match client.watch(ReceiverStream::new(receiver)).await {
                Ok(answers) => ear.listen(answers.into_inner()).await,
                Err(status) => status,
            };
            ear.messages.lock().unwrap().1 = Some(ended);
            ear.more.notify_waiters();
        });
        Watching { node, requests, heard, watchers: Vec::new(), reader }
    }

    /// Waits until the stream's node has seen everything that was acknowledged.
    pub async fn catch_up(&self) -> Result<(), Status> {
        let anything = RangeRequest { key: b"a".to_vec(), count_only: true, ..RangeRequest::default() };
        within(self.node.kv.clone().range(anything)).await.map(drop)
    }

    async fn request(&self, union: RequestUnion) -> Result<(), Status> {
        let request = WatchRequest { request_union: Some(union) };
        self.requests.send(request).await.map_err(|_| Status::cancelled("the watch stream is closed"))
    }

    /// Waits until what was heard satisfies `found`.
    async fn hear<T>(&self, what: &str, found: impl Fn(&[WatchResponse]) -> Option<T>) -> Result<T, Status> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let more = self.heard.more.notified();
            tokio::pin!(more);
            more.as_mut().enable();
            {
                let messages = self.heard.messages.lock().unwrap();
                if let Some(found) = found(&messages.0) {
                    return Ok(found);
                }
                if let Some(status) = &messages.1 {
                    return Err(status.clone());
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if tokio::time::timeout(left, more).await.is_err() {
                return Err(Status::deadline_exceeded(format!("the watch stream never said: {what}")));
            }
        }
    }

    pub async fn create(&mut self, create: WatchCreateRequest) -> Result<Opened, Status> {
        self.request(RequestUnion::CreateRequest(create.clone())).await?;
        let nth = self.watchers.len();
        let answer = self
            .hear("created", |messages| messages.iter().filter(|message| message.created).nth(nth).cloned())
            .await?;
        self.watchers.push(Watcher { create, watch_id: answer.watch_id, cancelled: answer.canceled });
        Ok(Opened { watch_id: answer.watch_id, canceled: answer.canceled, reason: answer.cancel_reason })
    }

    /// Cancels the n-th watcher, if it is still there.
    pub async fn cancel(&mut self, nth: usize) -> Result<bool, Status> {
        if self.watchers.is_empty() {
            return Ok(false);
        }
        let nth = nth % self.watchers.len();
        let watch_id = self.watchers[nth].watch_id;
        if self.watchers[nth].cancelled || self.ended(watch_id) {
            return Ok(false);
        }
        self.request(RequestUnion::CancelRequest(WatchCancelRequest { watch_id })).await?;
        self.hear("cancelled", |messages| ending(messages, watch_id).map(drop)).await?;
        self.watchers[nth].cancelled = true;
        Ok(true)
    }

    /// The revision of the answer to a progress request.
    pub async fn progress(&mut self, origin: &Origin) -> Result<i64, Status> {
        let is_progress = |message: &&WatchResponse| message.watch_id == NO_WATCHER && !message.created;
        let before = self.heard.messages.lock().unwrap().0.iter().filter(is_progress).count();
        self.catch_up().await?;
        self.request(RequestUnion::ProgressRequest(WatchProgressRequest {})).await?;
        let answer = self.hear("progress", |messages| messages.iter().filter(is_progress).nth(before).cloned()).await?;
        let mut revision = answer.header.unwrap_or_default().revision;
        origin.revision_in(&mut revision);
        Ok(revision)
    }

    fn ended(&self, watch_id: i64) -> bool {
        ending(&self.heard.messages.lock().unwrap().0, watch_id).is_some()
    }

    /// The first keys of the watchers that the client has not cancelled. Also of those that the server ended: one
    /// server may do so earlier than the other, and both must be sent the same.
    pub fn first_keys(&self) -> Vec<Vec<u8>> {
        let kept = self.watchers.iter().filter(|watcher| !watcher.cancelled);
        let mut keys: Vec<Vec<u8>> = kept.map(Watcher::first_key).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Waits until each watcher delivered what it sees of the marks, or ended. A mark is a key, and the revision at
    /// which it was deleted right after it was put.
    pub async fn until(&self, marks: &[(Vec<u8>, i64)]) -> Result<(), Status> {
        for watcher in self.watchers.iter().filter(|watcher| !watcher.cancelled) {
            let seen = marks.iter().filter(|(key, _)| watcher.covers(key));
            let Some(last) = seen.filter_map(|(_, deleted)| watcher.sees(*deleted)).max() else { continue };
            self.hear(&format!("revision {last} of watcher {}", watcher.watch_id), |messages| {
                let mut own = messages.iter().filter(|message| message.watch_id == watcher.watch_id);
                let done = |message: &WatchResponse| {
                    message.canceled || message.events.iter().any(|event| mod_revision(event) >= last)
                };
                own.any(done).then_some(())
            })
            .await?;
        }
        Ok(())
    }

    pub fn delivered(&self, origin: &Origin) -> Vec<Delivered> {
        let messages = self.heard.messages.lock().unwrap();
        let of = |watcher: &Watcher| {
            let own = messages.0.iter().filter(|message| message.watch_id == watcher.watch_id);
            let mut events: Vec<Event> = own.flat_map(|message| message.events.clone()).collect();
            events.iter_mut().for_each(|event| origin.event_in(event));
            let ended = ending(&messages.0, watcher.watch_id).map(|message| {
                let mut revision = message.compact_revision;
                origin.revision_in(&mut revision);
                (revision, message.cancel_reason.clone())
            });
            Delivered { events, ended, cancelled: watcher.cancelled }
        };
        self.watchers.iter().filter(|watcher| watcher.watch_id != NO_WATCHER).map(of).collect()
    }
}

impl Watcher {
    /// A change of this key is seen, filters and start aside.
    fn first_key(&self) -> Vec<u8> {
        if self.create.key.is_empty() { vec![0] } else { self.create.key.clone() }
    }

    fn covers(&self, key: &[u8]) -> bool {
        let (first, end) = (self.first_key(), self.create.range_end.as_slice());
        match end {
            [] => key == first,
            [0] => key >= first.as_slice(),
            end => key >= first.as_slice() && key < end,
        }
    }

    /// The last revision that it delivers when a key of its own is put at `deleted - 1` and deleted at `deleted`.
    fn sees(&self, deleted: i64) -> Option<i64> {
        let filters = &self.create.filters;
        let last = match (filters.contains(&0), filters.contains(&1)) {
            (true, true) => return None,
            (false, true) => deleted - 1,
            _ => deleted,
        };
        (self.create.start_revision <= last).then_some(last)
    }
}

fn ending(messages: &[WatchResponse], watch_id: i64) -> Option<&WatchResponse> {
    messages.iter().find(|message| message.watch_id == watch_id && message.canceled && !message.created)
}

fn mod_revision(event: &Event) -> i64 {
    debug_assert!(EventType::try_from(event.r#type).is_ok());
    event.kv.as_ref().map_or(0, |kv| kv.mod_revision)
}
