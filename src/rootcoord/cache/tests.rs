//! What is in memory is what the tables say, whatever happens meanwhile.

mod changes;
mod independence;
mod warm_up;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tonic::Request;

use super::*;
use crate::call::{Call, RequestId};
use crate::handler::Asked;
use crate::leader::clock::{GuardedClock, SystemClock};
use crate::leader::tso::{Keeper, Oracle, PeerClocks};
use crate::ledger::Ledger;
use crate::limits::Limits;
use crate::pb::common::KeyValuePair;
use crate::pb::milvus::*;
use crate::pb::schema::{CollectionSchema, DataType, FieldSchema};
use crate::proposer::Proposer;
use crate::rootcoord::Catalog;
use crate::testing::SoloReplica;

struct Desk {
    tables: Arc<SoloReplica>,
    catalog: Arc<Catalog>,
    cache: Arc<MetadataCache>,
}

async fn desk(settings: config::Cache) -> Desk {
    let tables = SoloReplica::new();
    desk_on(tables.clone(), tables, settings).await
}

/// `replica` is `tables` or something around them.
async fn desk_on(tables: Arc<SoloReplica>, replica: Arc<dyn Replica>, settings: config::Cache) -> Desk {
    tables.lead(1);
    let clock = Arc::new(GuardedClock::new(Arc::new(SystemClock::default()), 60_000));
    clock.settled_for(1);
    let oracle = Oracle::new(replica.clone(), clock.clone(), 3000);
    let proposer = Proposer::new(replica.clone(), clock);
    let peers = Arc::new(crate::forward::Peers::new(None));
    let clocks = Arc::new(PeerClocks::new(replica.clone(), peers));
    let keeper = Keeper::new(oracle.clone(), replica.clone(), proposer.clone(), clocks);
    tokio::spawn(crate::leader::run(replica.clone(), vec![Arc::new(keeper)]));
    let ledger = Ledger::new(replica.clone(), proposer, oracle, Limits::default());
    let cache = MetadataCache::new(replica.clone(), &settings);
    Desk { tables, catalog: Catalog::new(ledger, cache.clone()), cache }
}

fn ask<T>(message: T) -> Asked<T> {
    static SEQUENCE: AtomicU64 = AtomicU64::new(1);
    let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed);
    let mut request = Request::new(message);
    request.extensions_mut().insert(Call {
        request: RequestId { node: 9, boot: 1, sequence, acked_below: 0 },
        principal: String::new(),
        source: String::new(),
        deadline: Instant::now() + Duration::from_secs(20),
    });
    Asked::of(request).unwrap()
}

fn new_collection(name: &str) -> CreateCollectionRequest {
    let dim = KeyValuePair { key: "dim".into(), value: "8".into() };
    let field = |name: &str, data_type: DataType| FieldSchema {
        name: name.into(),
        data_type: data_type.into(),
        ..FieldSchema::default()
    };
    let id = FieldSchema { is_primary_key: true, ..field("id", DataType::Int64) };
    let vector = FieldSchema { type_params: vec![dim], ..field("vector", DataType::FloatVector) };
    let schema = CollectionSchema { name: name.into(), fields: vec![id, vector], ..CollectionSchema::default() };
    let (collection_name, schema) = (name.to_owned(), schema.encode_to_vec());
    CreateCollectionRequest { collection_name, schema, ..Default::default() }
}

fn set(name: &str, value: u64) -> AlterCollectionRequest {
    let properties = vec![KeyValuePair { key: "count".into(), value: value.to_string() }];
    AlterCollectionRequest { collection_name: name.into(), properties, ..Default::default() }
}

impl Desk {
    async fn create(&self, name: &str) {
        self.catalog.create_collection(&ask(new_collection(name))).await.unwrap();
    }

    async fn describe(&self, name: &str, which: Which) -> Option<DescribeCollectionResponse> {
        let request = DescribeCollectionRequest { collection_name: name.into(), ..Default::default() };
        self.catalog.describe_collection(&ask(request), which).await.ok()
    }

    /// What the tables say, without a cache.
    fn truth(&self, name: &str) -> Option<Described> {
        let view = self.tables.view().unwrap();
        let view = View::new(view.as_ref());
        let row = view.collection(1, name).unwrap()?;
        Some(Described::read(&view, row, &view.database_by_id(1).unwrap().unwrap()).unwrap())
    }

    async fn listed(&self, database: &str) -> Option<ShowCollectionsResponse> {
        let request = ShowCollectionsRequest { db_name: database.into(), ..Default::default() };
        self.catalog.show_collections(&ask(request)).await.ok()
    }

    /// A listing, once from the tables if it has to be, and once from memory.
    async fn check_listing(&self, database: &str) {
        let truth = {
            let view = self.tables.view().unwrap();
            let view = View::new(view.as_ref());
            let rows = view.database(database).unwrap().map(|row| view.collections(row.id, None, 100).unwrap());
            rows.map(|rows| rows.into_iter().map(|row| (row.name, row.id, row.created_ts)).collect::<Vec<_>>())
        };
        for _ in 0..2 {
            let found = self.listed(database).await.map(|list| {
                let names = list.collection_names.into_iter().zip(list.collection_ids);
                names.zip(list.created_timestamps).map(|((name, id), ts)| (name, id, ts)).collect()
            });
            assert_eq!(found, truth, "{database}");
        }
        let request = ShowCollectionsRequest { db_name: database.into(), ..Default::default() };
        let encoded = self.catalog.encoded_listing(&ask(request)).await;
        assert_eq!(encoded.map(|listing| listing.reply().unwrap()), self.listed(database).await, "{database}");
    }

    async fn check(&self, name: &str) {
        let truth = self.truth(name);
        // The first may be read from the tables; the second is in memory.
        for _ in 0..2 {
            for which in [Which::Client, Which::Internal] {
                let found = self.describe(name, which).await;
                assert_eq!(found.as_ref(), truth.as_ref().map(|truth| truth.reply(which)), "{name}");
            }
        }
        let has = HasCollectionRequest { collection_name: name.into(), ..Default::default() };
        assert_eq!(self.catalog.has_collection(&ask(has)).await.unwrap(), truth.is_some(), "{name}");
        if let Some(truth) = truth {
            let request =
                DescribeCollectionRequest { collection_id: truth.internal.collection_id, ..Default::default() };
            let found = self.catalog.describe_collection(&ask(request), Which::Internal).await.unwrap();
            assert_eq!(found, truth.internal);
        }
    }
}

#[tokio::test]
async fn what_was_read_before_a_change_is_not_kept() {
    let desk = desk(config::Cache::default()).await;
    desk.create("a").await;
    let reading = desk.cache.reading();
    let old = Arc::new(desk.truth("a").unwrap());
    desk.catalog.alter_collection(&ask(set("a", 1))).await.unwrap();
    assert!(!desk.cache.keep(&reading, "a", &old), "its change came first");
    let reading = desk.cache.reading();
    assert!(desk.cache.keep(&reading, "a", &Arc::new(desk.truth("a").unwrap())));
    desk.check("a").await;
    // Nor is it, if the change was taken in by somebody else meanwhile.
    let reading = desk.cache.reading();
    let old = Arc::new(desk.truth("a").unwrap());
    desk.catalog.alter_collection(&ask(set("a", 2))).await.unwrap();
    desk.check("a").await;
    assert!(!desk.cache.keep(&reading, "a", &old));
    desk.check("a").await;
}

/// Readers never see less than what was acknowledged before they asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_acknowledged_change_is_seen_by_everybody() {
    const ROUNDS: u64 = 300;
    let desk = Arc::new(desk(config::Cache::default()).await);
    desk.create("a").await;
    let acknowledged = Arc::new(AtomicU64::new(0));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (desk, acknowledged) = (desk.clone(), acknowledged.clone());
            tokio::spawn(async move {
                loop {
                    let before = acknowledged.load(Ordering::SeqCst);
                    let seen = desk.describe("a", Which::Client).await.unwrap().properties;
                    let seen =
                        seen.iter().find(|pair| pair.key == "count").map_or(0, |pair| pair.value.parse().unwrap());
                    assert!(seen >= before, "{seen} after {before}");
                    if before == ROUNDS {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for round in 1..=ROUNDS {
        desk.catalog.alter_collection(&ask(set("a", round))).await.unwrap();
        acknowledged.store(round, Ordering::SeqCst);
        tokio::task::yield_now().await;
    }
    for reader in readers {
        reader.await.unwrap();
    }
}

#[tokio::test]
async fn a_listing_that_was_read_before_a_change_is_not_kept() {
    let desk = desk(config::Cache::default()).await;
    desk.create("a").await;
    let database = {
        let view = desk.tables.view().unwrap();
        View::new(view.as_ref()).database("default").unwrap().unwrap()
    };
    let of = |names: &[&str]| {
        let collection_names = names.iter().map(ToString::to_string).collect();
        Listing::of(&ShowCollectionsResponse { collection_names, ..Default::default() }).unwrap()
    };
    let reading = desk.cache.reading();
    desk.create("b").await;
    assert!(!desk.cache.keep_listing(&reading, &database, of(&["a"])), "its change came first");
    assert!(desk.cache.listing("default").is_none());
    // What changes no listing does not come in its way.
    let reading = desk.cache.reading();
    desk.catalog.alter_collection(&ask(set("a", 1))).await.unwrap();
    assert!(desk.cache.keep_listing(&reading, &database, of(&["a", "b"])));
    desk.catalog.alter_collection(&ask(set("a", 2))).await.unwrap();
    assert!(desk.cache.listing("default").is_some());
    let request = DropCollectionRequest { collection_name: "a".into(), ..Default::default() };
    desk.catalog.drop_collection(&ask(request)).await.unwrap();
    assert!(desk.cache.listing("default").is_none());
    desk.check_listing("default").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_acknowledged_collection_is_listed_for_everybody() {
    const CREATED: usize = 200;
    let desk = Arc::new(desk(config::Cache::default()).await);
    let acknowledged = Arc::new(AtomicU64::new(0));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (desk, acknowledged) = (desk.clone(), acknowledged.clone());
            tokio::spawn(async move {
                loop {
                    let before = acknowledged.load(Ordering::SeqCst) as usize;
                    // Before the first collection there may be no database.
                    let seen = desk.listed("default").await.map_or(0, |list| list.collection_names.len());
                    assert!(seen >= before, "{seen} after {before}");
                    if before == CREATED {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for number in 1..=CREATED {
        desk.create(&format!("c{number}")).await;
        acknowledged.store(number as u64, Ordering::SeqCst);
        tokio::task::yield_now().await;
    }
    for reader in readers {
        reader.await.unwrap();
    }
}
