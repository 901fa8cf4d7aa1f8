//! The clients: what each of them does again and again, and writes down.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prost::Message;
use rand::Rng;
use roost::pb::etcd::api::{DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, TxnResponse};
use roost::pb::schema::{CollectionSchema, DataType, FieldSchema};
use roost::state::keyspace::{KeyspaceCommand, KeyspaceReply};
use roost::state::{
    AllocId, AlterCollectionProperties, Command, CreateCollection, DEFAULT_PARTITION, DropCollection, Limits, Reply,
};
use roost_chaos::check::order::Given;
use roost_chaos::check::{key, name};
use roost_chaos::history::{Call, Nanos};
use roost_chaos::request::{found_by, number, parse, swap, text};
use tokio::time::sleep;

use crate::client::Client;
use crate::door::{Answer, PROPERTY, Question};
use crate::trace::Trace;

/// Few, so that clients meet.
const KEYS: u64 = 5;
const NAMES: u64 = 2;
const THINK_MS: (u64, u64) = (5, 60);
const NAMES_THINK_MS: (u64, u64) = (30, 150);
const NUMBERS_THINK_MS: (u64, u64) = (10, 80);
/// Of so many requests for timestamps one begins anywhere: who follows the old leader as long as it answers never meets
/// the next one.
const ASTRAY: u32 = 3;
/// Values that make the log grow.
const BULK_BYTES: usize = 32 << 10;
const BULK_EVERY: Duration = Duration::from_millis(10);
/// Revisions that a compaction keeps.
const KEPT_REVISIONS: i64 = 100;
const COMPACT_EVERY: u64 = 60;

/// What clients saw.
#[derive(Default)]
pub struct Record {
    pub keys: BTreeMap<String, Vec<Call<key::Input, key::Output>>>,
    pub names: BTreeMap<String, Vec<Call<name::Input, name::Output>>>,
    pub timestamps: Vec<Given>,
    pub ids: Vec<Given>,
    pub answered: u64,
    pub open: u64,
}

pub struct Shared {
    pub seed: u64,
    pub trace: Trace,
    /// Where the nodes are found.
    pub nodes: Vec<String>,
    pub record: Mutex<Record>,
    pub stop: AtomicBool,
    /// While it is set, the log grows by megabytes.
    pub bulk: AtomicBool,
    values: AtomicU64,
    /// Looks at the cluster that are asked for, and that have succeeded.
    pub wanted: AtomicU64,
    pub alive: AtomicU64,
}

impl Shared {
    pub fn new(seed: u64, nodes: Vec<String>, trace: Trace) -> Arc<Self> {
        Arc::new(Shared {
            seed,
            trace,
            nodes,
            record: Mutex::default(),
            stop: AtomicBool::new(false),
            bulk: AtomicBool::new(false),
            values: AtomicU64::new(0),
            wanted: AtomicU64::new(0),
            alive: AtomicU64::new(0),
        })
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn now(&self) -> Nanos {
        u64::try_from(self.trace.now().as_nanos()).unwrap_or(u64::MAX)
    }

    /// A value that nobody else writes.
    fn value(&self) -> u64 {
        self.values.fetch_add(1, Ordering::Relaxed)
    }
}

/// A client's work until the load is stopped.
pub type Work = std::pin::Pin<Box<dyn Future<Output = ()>>>;

/// All clients.
pub fn clients(shared: &Arc<Shared>) -> Vec<Work> {
    let mut number = 0;
    let mut client = || {
        number += 1;
        Client::new(shared.clone(), number)
    };
    let mut all: Vec<Work> = Vec::new();
    for _ in 0..4 {
        all.push(Box::pin(keys(client())));
    }
    for _ in 0..2 {
        all.push(Box::pin(names(client())));
        all.push(Box::pin(timestamps(client())));
    }
    all.push(Box::pin(ids(client())));
    all.push(Box::pin(bulk(client())));
    all.push(Box::pin(probe(client())));
    all
}

/// Writes a call and its answer down.
fn note<I: std::fmt::Debug, O: std::fmt::Debug>(
    client: &Client,
    what: &str,
    called: Nanos,
    input: I,
    output: Option<O>,
    into: impl FnOnce(&mut Record) -> &mut Vec<Call<I, O>>,
) {
    let shared = &client.shared;
    shared.trace.note(format_args!("{what} {input:?} since {called}: {output:?}"));
    let mut record = shared.record.lock();
    *(if output.is_some() { &mut record.answered } else { &mut record.open }) += 1;
    let answer = output.map(|output| (shared.now(), output));
    into(&mut record).push(Call { called, answer, input, by: String::new() });
}

async fn keys(mut client: Client) {
    let mut believed: BTreeMap<u64, Option<u64>> = BTreeMap::new();
    while !client.shared.stopped() {
        let number = client.rng.random_range(0..KEYS);
        let belief = believed.get(&number).copied().flatten();
        let input = match client.rng.random_range(0..100) {
            0..40 => key::Input::Get,
            40..65 => key::Input::Put(client.shared.value()),
            65..90 => key::Input::Swap { expected: belief, new: client.shared.value() },
            _ => key::Input::Delete,
        };
        let (key, called) = (format!("k{number}"), client.shared.now());
        let output = key_call(&mut client, &key, &input).await;
        if let Some(key::Output::Got(value) | key::Output::Swapped { found: value, .. }) = &output {
            believed.insert(number, *value);
        }
        if output.is_some() || input != key::Input::Get {
            note(&client, &key, called, input, output, |record| record.keys.entry(key.clone()).or_default());
        }
        client.think(THINK_MS).await;
    }
}

async fn key_call(client: &mut Client, key: &str, input: &key::Input) -> Option<key::Output> {
    let command = match input {
        key::Input::Get => {
            return match client.read(&Question::Get { key: key.into() }).await? {
                Answer::Value(value) => Some(key::Output::Got(value.as_deref().and_then(parse))),
                _ => None,
            };
        }
        key::Input::Put(new) => {
            let request = PutRequest { key: key.into(), value: text(*new), prev_kv: true, ..PutRequest::default() };
            KeyspaceCommand::Put(request.encode_to_vec())
        }
        key::Input::Delete => {
            let request = DeleteRangeRequest { key: key.into(), prev_kv: true, ..DeleteRangeRequest::default() };
            KeyspaceCommand::DeleteRange(request.encode_to_vec())
        }
        key::Input::Swap { expected, new } => KeyspaceCommand::Txn(swap(key, *expected, *new).encode_to_vec()),
    };
    let Reply::Keyspace(KeyspaceReply::Done(reply)) = client.propose(Command::Keyspace(command)).await? else {
        return None;
    };
    match input {
        key::Input::Get => None,
        key::Input::Put(_) => {
            let was = PutResponse::decode(reply.as_slice()).ok()?.prev_kv;
            Some(key::Output::Was(was.as_ref().and_then(number)))
        }
        key::Input::Delete => {
            let was = DeleteRangeResponse::decode(reply.as_slice()).ok()?.prev_kvs;
            Some(key::Output::Was(was.first().and_then(number)))
        }
        key::Input::Swap { .. } => {
            let reply = TxnResponse::decode(reply.as_slice()).ok()?;
            Some(key::Output::Swapped { done: reply.succeeded, found: found_by(&reply) })
        }
    }
}

async fn names(mut client: Client) {
    while !client.shared.stopped() {
        let name = format!("c{}", client.rng.random_range(0..NAMES));
        let input = match client.rng.random_range(0..12) {
            0..3 => name::Input::Create,
            3..5 => name::Input::Drop,
            5..8 => name::Input::Alter(client.shared.value()),
            _ => name::Input::Look,
        };
        let called = client.shared.now();
        let output = name_call(&mut client, &name, &input).await;
        if output.is_some() || input != name::Input::Look {
            note(&client, &name, called, input, output, |record| record.names.entry(name.clone()).or_default());
        }
        client.think(NAMES_THINK_MS).await;
    }
}

async fn name_call(client: &mut Client, name: &str, input: &name::Input) -> Option<name::Output> {
    let (database, collection) = (String::new(), name.to_owned());
    let ts = client.shared.now();
    let command = match input {
        name::Input::Look => {
            return match client.read(&Question::Look { name: collection }).await? {
                Answer::Collection(Some(property)) => Some(name::Output::There(property)),
                Answer::Collection(None) => Some(name::Output::Missing),
                _ => None,
            };
        }
        name::Input::Create => Command::CreateCollection(new_collection(name, ts)),
        name::Input::Drop => Command::DropCollection(DropCollection { database, name: collection }),
        name::Input::Alter(value) => {
            let set = vec![(PROPERTY.to_owned(), value.to_string())];
            let change = AlterCollectionProperties { database, collection, set, delete: Vec::new(), ts };
            Command::AlterCollectionProperties(change)
        }
    };
    match client.propose(command).await? {
        Reply::CollectionCreated { .. } | Reply::CollectionDropped { .. } | Reply::CollectionAltered { .. } => {
            Some(name::Output::Done)
        }
        Reply::Rejected(roost::error::Rejection::CollectionDiffers { .. }) => Some(name::Output::Differs),
        Reply::Rejected(roost::error::Rejection::CollectionNotFound { .. }) => Some(name::Output::Missing),
        other => {
            client.shared.trace.note(format_args!("{name} {input:?}: unexpected {other:?}"));
            None
        }
    }
}

fn new_collection(name: &str, ts: u64) -> CreateCollection {
    let field = |field_id, name: &str, data_type: DataType| FieldSchema {
        field_id,
        name: name.to_owned(),
        data_type: data_type.into(),
        ..FieldSchema::default()
    };
    let id = FieldSchema { is_primary_key: true, ..field(100, "id", DataType::Int64) };
    let fields = vec![id, field(101, "vector", DataType::FloatVector)];
    CreateCollection {
        database: String::new(),
        name: name.to_owned(),
        schema: CollectionSchema { name: name.to_owned(), fields, ..CollectionSchema::default() }.encode_to_vec(),
        shards: 1,
        consistency: 2,
        properties: Vec::new(),
        partitions: vec![DEFAULT_PARTITION.to_owned()],
        ts,
        limits: Limits::default(),
    }
}

async fn timestamps(mut client: Client) {
    while !client.shared.stopped() {
        let (count, called) = (client.rng.random_range(1..50), client.shared.now());
        if client.rng.random_ratio(1, ASTRAY) {
            client.forget_leader();
        }
        let question = Question::Timestamps { count };
        let first = client.answered(&question, |answer| match answer {
            Answer::Timestamp(first) => Some(first),
            _ => None,
        });
        if let Some(first) = first.await {
            given(&client, "timestamps", called, first, count, |record| &mut record.timestamps);
        }
        client.think(NUMBERS_THINK_MS).await;
    }
}

async fn ids(mut client: Client) {
    while !client.shared.stopped() {
        let (count, called) = (client.rng.random_range(1..20), client.shared.now());
        match client.propose(Command::AllocId(AllocId { count })).await {
            Some(Reply::IdsAllocated { first, count }) => {
                given(&client, "ids", called, first.unsigned_abs(), count, |record| &mut record.ids);
            }
            _ => client.shared.record.lock().open += 1,
        }
        client.think(NUMBERS_THINK_MS).await;
    }
}

fn given(
    client: &Client,
    what: &str,
    called: Nanos,
    first: u64,
    count: u32,
    into: impl FnOnce(&mut Record) -> &mut Vec<Given>,
) {
    let shared = &client.shared;
    shared.trace.note(format_args!("{what}: {count} from {first} since {called}"));
    let mut record = shared.record.lock();
    record.answered += 1;
    let returned = shared.now();
    into(&mut record).push(Given { called, returned, first, count: count.into(), by: what.to_owned() });
}

/// Makes the log grow when it is to, and history go again.
async fn bulk(mut client: Client) {
    let mut revision = 0;
    for count in 0u64.. {
        while !client.shared.bulk.load(Ordering::Relaxed) {
            if client.shared.stopped() {
                return;
            }
            sleep(BULK_EVERY).await;
        }
        let command = if count % COMPACT_EVERY == COMPACT_EVERY - 1 && revision > KEPT_REVISIONS {
            KeyspaceCommand::Compact { revision: revision - KEPT_REVISIONS }
        } else {
            let (key, value) = (format!("bulk{}", count % 4).into_bytes(), vec![b'x'; BULK_BYTES]);
            KeyspaceCommand::Put(PutRequest { key, value, ..PutRequest::default() }.encode_to_vec())
        };
        if let Some(Reply::Keyspace(KeyspaceReply::Done(reply))) = client.propose(Command::Keyspace(command)).await {
            let header = PutResponse::decode(reply.as_slice()).ok().and_then(|reply| reply.header);
            revision = header.map_or(revision, |header| header.revision);
        }
        sleep(BULK_EVERY).await;
    }
}

/// Shows that the cluster takes a write and that every node serves it.
async fn probe(mut client: Client) {
    while !client.shared.stopped() {
        let wanted = client.shared.wanted.load(Ordering::Relaxed);
        if client.shared.alive.load(Ordering::Relaxed) < wanted {
            let put = PutRequest { key: b"alive".to_vec(), value: text(wanted), ..PutRequest::default() };
            let mut alive =
                client.propose(Command::Keyspace(KeyspaceCommand::Put(put.encode_to_vec()))).await.is_some();
            for node in 0..client.shared.nodes.len() {
                let question = Question::Get { key: b"alive".to_vec() };
                let answer = client.ask(node, &question).await;
                alive &= matches!(answer, Ok(Answer::Value(Some(value))) if value == text(wanted));
            }
            if alive {
                client.shared.alive.store(wanted, Ordering::Relaxed);
            }
        }
        sleep(BULK_EVERY).await;
    }
}
