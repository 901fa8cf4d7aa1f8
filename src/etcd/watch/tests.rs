//! A node of its own, streams that are read when the test says so, and what they must have been sent.

mod exact;
mod protocol;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures::FutureExt;
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Status;

use super::hub::{Bounds, Hub};
use super::stream::WatchStream;
use crate::encoded::Encoded;
use crate::etcd::Headers;
use crate::pb::etcd::api::request_op::Request as Op;
use crate::pb::etcd::api::watch_request::RequestUnion;
use crate::pb::etcd::api::*;
use crate::pb::etcd::kv;
use crate::replica::{Proposal, Replica};
use crate::shutdown::{self, Trigger};
use crate::state::keyspace::{KeyspaceCommand, KeyspaceReply};
use crate::state::{Command, Entry, Reply};
use crate::testing::SoloReplica;

/// Longer than anything takes here unless it hangs.
const HANGS: Duration = Duration::from_secs(30);

/// One node, its hub, and every change that it made.
struct Node {
    replica: Arc<SoloReplica>,
    hub: Arc<Hub>,
    stop: Trigger,
    rows: BTreeMap<Vec<u8>, kv::KeyValue>,
    revision: i64,
    /// Changes by revision, previous values included.
    changes: BTreeMap<i64, Vec<kv::Event>>,
    written: usize,
}

impl Node {
    async fn start(bounds: Bounds) -> Self {
        let replica = SoloReplica::new();
        replica.lead(1);
        let hub = Hub::bounded(replica.clone(), bounds);
        let (stop, stopped) = shutdown::channel();
        tokio::spawn(hub.clone().run(stopped));
        let (rows, changes) = (BTreeMap::new(), BTreeMap::new());
        Node { replica, hub, stop, rows, revision: 1, changes, written: 0 }
    }

    async fn submit(&self, command: KeyspaceCommand) -> KeyspaceReply {
        let (request, principal, source) = (None, String::new(), String::new());
        let entry = Entry { at_ms: 1, request, principal, source, command: Command::Keyspace(command) };
        let command = entry.encode().unwrap().into();
        let proposal = Proposal { command, min_apply_version: 0, urgent: false, term: None };
        let applied = self.replica.propose(proposal).await.unwrap();
        match Reply::decode(&applied.reply).unwrap() {
            Reply::Keyspace(reply) => reply,
            other => panic!("{other:?}"),
        }
    }

    /// Puts (`true`) and deletes keys in one revision. Returns the newest revision.
    async fn write(&mut self, writes: &[(&[u8], bool)]) -> i64 {
        self.write_sized(writes, 0).await
    }

    /// The same with values of at least `bytes`.
    async fn write_sized(&mut self, writes: &[(&[u8], bool)], bytes: usize) -> i64 {
        let (mut success, mut events) = (Vec::new(), Vec::new());
        let revision = self.revision + 1;
        let writes: BTreeMap<&[u8], bool> = writes.iter().copied().collect();
        for (key, put) in writes {
            let (key, prev_kv) = (key.to_vec(), self.rows.get(key).cloned());
            if !put {
                success.push(Op::RequestDeleteRange(DeleteRangeRequest { key: key.clone(), ..Default::default() }));
                if self.rows.remove(&key).is_some() {
                    let kv = Some(kv::KeyValue { key, mod_revision: revision, ..Default::default() });
                    events.push(kv::Event { r#type: 1, kv, prev_kv });
                }
                continue;
            }
            self.written += 1;
            let number = self.written.to_string();
            let value = ["0".repeat(bytes).as_bytes(), number.as_bytes()].concat();
            success.push(Op::RequestPut(PutRequest { key: key.clone(), value: value.clone(), ..Default::default() }));
            let row = kv::KeyValue {
                key: key.clone(),
                create_revision: prev_kv.as_ref().map_or(revision, |prev| prev.create_revision),
                mod_revision: revision,
                version: prev_kv.as_ref().map_or(1, |prev| prev.version + 1),
                value,
                lease: 0,
            };
            self.rows.insert(key, row.clone());
            events.push(kv::Event { r#type: 0, kv: Some(row), prev_kv });
        }
        let success = success.into_iter().map(|request| RequestOp { request: Some(request) }).collect();
        let request = TxnRequest { success, ..Default::default() };
        let reply = self.submit(KeyspaceCommand::Txn(request.encode_to_vec())).await;
        assert!(matches!(reply, KeyspaceReply::Done(_)), "{reply:?}");
        if !events.is_empty() {
            self.revision = revision;
            self.changes.insert(revision, events);
        }
        self.revision
    }

    async fn compact(&self, revision: i64) {
        let reply = self.submit(KeyspaceCommand::Compact { revision }).await;
        assert!(matches!(reply, KeyspaceReply::Compacted { .. }), "{reply:?}");
        while let KeyspaceReply::HistoryReclaimed { more: true } = self.submit(KeyspaceCommand::ReclaimHistory).await {}
    }

    fn open(&self) -> Client {
        let (ask, asked) = mpsc::unbounded_channel();
        let registration = self.hub.register().unwrap();
        let inbound = UnboundedReceiverStream::new(asked);
        Client { ask, stream: WatchStream::new(Headers::new(self.replica.clone()), registration, inbound) }
    }

    /// Waits until the hub has handed everything over.
    async fn settle(&self) {
        let mut position = self.hub.position();
        let reached = position.wait_for(|position| *position >= self.revision);
        timeout(HANGS, reached).await.unwrap().unwrap();
    }
}

/// One client's stream.
struct Client {
    ask: mpsc::UnboundedSender<Result<WatchRequest, Status>>,
    stream: WatchStream<UnboundedReceiverStream<Result<WatchRequest, Status>>>,
}

impl Client {
    fn ask(&self, union: RequestUnion) {
        self.ask.send(Ok(WatchRequest { request_union: Some(union) })).unwrap();
    }

    fn create(&self, request: WatchCreateRequest) {
        self.ask(RequestUnion::CreateRequest(request));
    }

    fn cancel(&self, watch_id: i64) {
        self.ask(RequestUnion::CancelRequest(WatchCancelRequest { watch_id }));
    }

    fn progress(&self) {
        self.ask(RequestUnion::ProgressRequest(WatchProgressRequest {}));
    }

    async fn next(&mut self) -> WatchResponse {
        let frame = timeout(HANGS, self.stream.next()).await.expect("nothing came").unwrap().unwrap();
        decoded(frame)
    }

    /// Creates a watcher and takes the answer.
    async fn watch(&mut self, request: WatchCreateRequest) -> WatchResponse {
        self.create(request);
        self.next().await
    }

    /// Whether nothing is ready now.
    async fn is_silent(&mut self) -> bool {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        self.stream.next().now_or_never().is_none()
    }
}

fn decoded(frame: super::deliver::Frame) -> WatchResponse {
    let length = frame.encoded_len();
    let mut buffer = BytesMut::new();
    frame.put(&mut buffer);
    assert_eq!(buffer.len(), length);
    WatchResponse::decode(buffer).unwrap()
}

fn on(key: &[u8], range_end: &[u8], start_revision: i64) -> WatchCreateRequest {
    let (key, range_end) = (key.to_vec(), range_end.to_vec());
    WatchCreateRequest { key, range_end, start_revision, ..Default::default() }
}

fn revision(response: &WatchResponse) -> i64 {
    response.header.as_ref().map_or(0, |header| header.revision)
}
