//! Watchers, by the etcd API: each sees one sequence of events, resumed at whichever node can be reached.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use roost::pb::etcd::api::watch_client::WatchClient;
use roost::pb::etcd::api::watch_request::RequestUnion;
use roost::pb::etcd::api::{WatchCreateRequest, WatchRequest, WatchResponse};
use roost::pb::etcd::kv::event::EventType;
use tonic::Status;

use super::keys::number;
use super::{PAUSE, Shared, WATCHED, lock};
use crate::check::watch::Event;
use crate::history::Checker;

/// What one watcher saw and nobody has taken yet.
pub struct Watcher {
    pub number: usize,
    events: Mutex<Vec<Event>>,
    /// The newest revision that it saw.
    seen: AtomicI64,
}

impl Watcher {
    pub fn new(number: usize) -> Self {
        Watcher { number, events: Mutex::default(), seen: AtomicI64::new(0) }
    }

    pub fn seen(&self) -> i64 {
        self.seen.load(Ordering::Acquire)
    }

    /// Takes the events up to a revision out.
    pub fn take(&self, upto: i64) -> Vec<Event> {
        let mut events = lock(&self.events);
        // In whatever order they came: what is wrong with it is for the checker to say.
        let end = events.iter().rposition(|event| event.revision <= upto).map_or(0, |place| place + 1);
        events.drain(..end).collect()
    }
}

pub async fn client(shared: Arc<Shared>, watcher: Arc<Watcher>) {
    for attempt in 0.. {
        // The next attempt asks another node.
        let through = shared.through(watcher.number + attempt);
        let from = watcher.seen() + 1;
        let create = WatchCreateRequest {
            key: WATCHED.into(),
            range_end: vec![WATCHED.as_bytes()[0] + 1],
            start_revision: from,
            ..WatchCreateRequest::default()
        };
        let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        // The client's half stays open.
        let requests = tokio_stream::StreamExt::chain(tokio_stream::iter([request]), tokio_stream::pending());
        let watching = async {
            let mut stream = WatchClient::new(through.etcd.clone()).watch(requests).await?.into_inner();
            while let Some(message) = stream.message().await? {
                if message.canceled {
                    let what = format!("watcher {}: cancelled at revision {from}: {message:?}", watcher.number);
                    // A node that stops cancels as well; only compaction loses events.
                    if message.compact_revision > 0 {
                        shared.found([Checker::Watch.found(what)]);
                    }
                    break;
                }
                watcher.saw(message);
            }
            Ok::<(), Status>(())
        };
        // However it ended, it is resumed.
        let _ = watching.await;
        tokio::time::sleep(PAUSE).await;
    }
}

impl Watcher {
    fn saw(&self, message: WatchResponse) {
        let mut events = lock(&self.events);
        for event in message.events {
            let Some(row) = &event.kv else { continue };
            let value = if event.r#type == EventType::Delete as i32 { None } else { number(row) };
            let key = String::from_utf8_lossy(&row.key).into_owned();
            events.push(Event { revision: row.mod_revision, key, value });
            self.seen.fetch_max(row.mod_revision, Ordering::AcqRel);
        }
    }
}
