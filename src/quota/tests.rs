//! The gate over tables in memory, with a clock of the test's; the tree that proxies are told.

mod bucket;

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;
use prost::Message;

use super::deny::{self, Denied};
use super::limits::{KINDS, limit};
use super::*;
use crate::config::{Quota, Rate};
use crate::leader::clock::GuardedClock;
use crate::leader::clock::fake::FakeClock;
use crate::metrics::Metrics;
use crate::pb::common::ErrorCode;
use crate::pb::internal::RateType;
use crate::pb::milvus::{
    AlterDatabaseRequest, CreateCollectionRequest, CreateDatabaseRequest, CreateIndexRequest, FlushRequest, QuotaState,
};
use crate::pb::proxy::LimiterNode;
use crate::pb::schema::{CollectionSchema, DataType, FieldSchema};
use crate::pb::store;
use crate::proposer::Proposer;
use crate::replica::Peer;
use crate::state::{AlterDatabase, Command, CreateCollection, CreateDatabase, Limits};
use crate::testing::SoloReplica;

fn settings(yaml: &str) -> Quota {
    serde_yaml_ng::from_str(yaml).unwrap()
}

#[test]
fn rates_are_those_of_the_configuration() {
    let unset = Quota::default();
    let set: Vec<_> = KINDS
        .into_iter()
        .flat_map(|kind| Level::ALL.map(|level| (kind, level, limit(&unset, kind, level))))
        .filter(|(.., limit)| limit.is_some())
        .collect();
    assert_eq!(set, [(RateType::DdlFlush, Level::Collection, Some(0.1))], "Milvus' defaults");
    let quota = settings(
        "{enabled: true, ddl: {enabled: true, collection: {cluster: 10, database: 2.5}}, index: {cluster: 3}, \
         flush: {enabled: false}, database: {enabled: true, cluster: 1}, \
         dml: {enabled: true, insert: {collection: 2, partition: -1}}, dql: {enabled: true, search: {cluster: 100}}}",
    );
    for (kind, level, expected) in [
        (RateType::DdlCollection, Level::Cluster, Some(10.0)),
        (RateType::DdlCollection, Level::Database, Some(2.5)),
        (RateType::DdlPartition, Level::Cluster, None),
        (RateType::DdlIndex, Level::Cluster, None),
        (RateType::DdlFlush, Level::Collection, None),
        (RateType::Ddldb, Level::Cluster, Some(1.0)),
        (RateType::DmlInsert, Level::Collection, Some(2_097_152.0)),
        (RateType::DmlInsert, Level::Partition, None),
        (RateType::DqlSearch, Level::Cluster, Some(100.0)),
    ] {
        assert_eq!(limit(&quota, kind, level), expected, "{kind:?} {level:?}");
    }
    assert_eq!(Rate::from(-1.0), Rate::UNLIMITED);
}

#[test]
fn every_method_that_is_counted_is_served() {
    let methods = crate::forward::Methods::known().unwrap();
    for (path, _) in kind::counted() {
        assert!(methods.get(&path).is_some_and(|method| method.for_clients), "{path}");
    }
}

#[test]
fn denials_cover_what_they_say() {
    let property =
        |key: &str, value: &str| store::Property { key: format!("database.force.deny.{key}"), value: value.into() };
    let what = |key: &str| deny::in_database(&[property(key, "true")]).first().map(|denial| denial.what);
    for (key, expected) in [
        ("writing", Some(Denied::Writing)),
        ("reading", Some(Denied::Reading)),
        ("ddl", Some(Denied::Ddl)),
        ("collectionDDL", Some(Denied::OneDdl(RateType::DdlCollection))),
        ("partitionDDL", Some(Denied::OneDdl(RateType::DdlPartition))),
        ("index", Some(Denied::OneDdl(RateType::DdlIndex))),
        ("flush", Some(Denied::OneDdl(RateType::DdlFlush))),
        ("compaction", Some(Denied::OneDdl(RateType::DdlCompaction))),
        ("breathing", None),
    ] {
        assert_eq!(what(key), expected, "{key}");
    }
    assert!(deny::in_database(&[property("ddl", "false")]).is_empty());
    for kind in KINDS {
        let covering = [Denied::Reading, Denied::Writing, Denied::Ddl].map(|what| what.covers(kind));
        assert_eq!(covering.iter().filter(|covers| **covers).count(), 1, "{kind:?}");
    }
    let quota = settings("{enabled: true, force_deny_writing: true}");
    let codes: Vec<_> = deny::in_cluster(&quota, true).iter().map(|denial| (denial.what, denial.code)).collect();
    assert_eq!(codes, [(Denied::Writing, ErrorCode::ForceDeny), (Denied::Ddl, ErrorCode::DiskQuotaExhausted)]);
    let off = Quota { enabled: false, ..quota };
    assert!(deny::in_cluster(&off, false).is_empty());
}

/// A gate of one of three nodes, whose tables hold the databases `default` and `shelf`.
struct Site {
    gate: Gate,
    clock: Arc<FakeClock>,
    replica: Arc<SoloReplica>,
}

impl Site {
    async fn new(yaml: &str) -> Self {
        let replica = SoloReplica::new();
        replica.lead(1);
        *replica.members.lock() = (1..=3).map(|id| Peer { id, ..Peer::default() }).collect();
        let clock = FakeClock::at(1);
        let gate = Gate::new(replica.clone(), clock.clone(), Arc::new(settings(yaml)), &Metrics::new()).unwrap();
        let site = Site { gate, clock, replica };
        let shelf = CreateDatabase { name: "shelf".into(), properties: vec![], ts: 1, limits: Limits::default() };
        site.propose(Command::CreateDatabase(shelf)).await;
        site
    }

    async fn propose(&self, command: Command) {
        let clock = Arc::new(GuardedClock::new(self.clock.clone(), 60_000));
        clock.settled_for(1);
        Proposer::new(self.replica.clone(), clock).propose_internal(1, command).await.unwrap();
    }

    async fn deny(&self, key: &str, value: &str) {
        let set = vec![(format!("database.force.deny.{key}"), value.to_owned())];
        self.propose(Command::AlterDatabase(AlterDatabase { name: "shelf".into(), set, delete: vec![] })).await;
    }

    /// Milvus' code and text, or 0.
    fn call(&self, method: &str, message: &impl Message) -> (i32, String) {
        self.call_on(method, message, "")
    }

    fn call_on(&self, method: &str, message: &impl Message, connection: &str) -> (i32, String) {
        let counted = self.gate.counted(&format!("/milvus.proto.milvus.MilvusService/{method}")).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("dbname", HeaderValue::from_str(connection).unwrap());
        let refusal = self.gate.admit(counted, &message.encode_to_vec(), &headers).err().map(|no| no.to_status());
        refusal.map_or((0, String::new()), |status| {
            assert_eq!(status.retriable, status.code == 8);
            (status.code, status.reason)
        })
    }

    fn creating(&self, database: &str, calls: usize) -> usize {
        let create = CreateCollectionRequest { db_name: database.into(), ..Default::default() };
        (0..calls).filter(|_| self.call("CreateCollection", &create).0 == 0).count()
    }
}

#[tokio::test]
async fn each_node_admits_its_share_for_the_cluster_and_for_each_database() {
    let site = Site::new("{enabled: true, ddl: {enabled: true, collection: {cluster: 30, database: 12}}}").await;
    // A third of 12 in each database, and of 30 together.
    assert_eq!((site.creating("default", 20), site.creating("shelf", 20), site.creating("nowhere", 20)), (4, 4, 2));
    site.clock.pass(500);
    assert_eq!((site.creating("shelf", 20), site.creating("", 20)), (2, 2));
    let refused = site.call("CreateCollection", &CreateCollectionRequest::default());
    let text = "request is rejected by grpc RateLimiter middleware, please retry later: rate limit exceeded[rate=12]";
    assert_eq!(refused, (8, text.to_owned()));
    // The connection's database counts where the message names none.
    site.clock.pass(10_000);
    assert_eq!(site.creating("shelf", 20), 4);
    assert_eq!(site.call_on("DropCollection", &CreateCollectionRequest::default(), "shelf").0, 8);
    assert_eq!(site.call_on("DropCollection", &CreateCollectionRequest::default(), "default").0, 0);
    // Other kinds are not touched.
    assert_eq!(site.call("CreateIndex", &CreateIndexRequest::default()).0, 0);
    // Two nodes are gone: this one has all of it.
    site.replica.members.lock().truncate(1);
    site.clock.pass(10_000);
    assert_eq!(site.creating("default", 20), 12);
}

#[tokio::test]
async fn flushes_are_counted_by_collection() {
    let site = Site::new("{enabled: true}").await;
    let id = FieldSchema {
        name: "id".into(),
        data_type: DataType::Int64.into(),
        is_primary_key: true,
        ..Default::default()
    };
    let schema = |name: &str| CollectionSchema { name: name.into(), fields: vec![id.clone()], ..Default::default() };
    let create = |name: &str| CreateCollection {
        database: String::new(),
        name: name.into(),
        schema: schema(name).encode_to_vec(),
        shards: 1,
        consistency: 0,
        properties: vec![],
        partitions: vec!["_default".into()],
        ts: 1,
        limits: Limits::default(),
    };
    for name in ["a", "b"] {
        site.propose(Command::CreateCollection(create(name))).await;
    }
    let flush = |names: &[&str]| {
        let collection_names = names.iter().map(|name| name.to_string()).collect();
        site.call("Flush", &FlushRequest { collection_names, ..Default::default() }).0
    };
    assert_eq!((flush(&["a"]), flush(&["a", "b"]), flush(&["b", "b"]), flush(&["b"])), (0, 8, 0, 8));
    assert_eq!((flush(&["missing"]), flush(&["missing"])), (0, 0));
    // A third of 0.1 a second.
    site.clock.pass(29_000);
    assert_eq!(flush(&["a"]), 8);
    site.clock.pass(1_000);
    assert_eq!(flush(&["a", "b"]), 0);
}

#[tokio::test]
async fn what_is_denied_is_denied_at_once_and_let_in_again() {
    let site = Site::new("{enabled: true}").await;
    let of = |database: &str| CreateCollectionRequest { db_name: database.into(), ..Default::default() };
    let denied = (9, "quota exceeded[reason=access has been disabled by the administrator]".to_owned());
    site.deny("collectionDDL", "true").await;
    assert_eq!(site.call("CreateCollection", &of("shelf")), denied);
    assert_eq!(site.call("CreateCollection", &of("default")).0, 0);
    assert_eq!(site.call("CreateIndex", &of("shelf")).0, 0);
    site.deny("ddl", "true").await;
    let index = CreateIndexRequest { db_name: "shelf".into(), ..Default::default() };
    assert_eq!(site.call("CreateIndex", &index), denied);
    // The way back stays open.
    let alter = AlterDatabaseRequest { db_name: "shelf".into(), ..Default::default() };
    assert_eq!(site.call("AlterDatabase", &alter).0, 0);
    site.deny("ddl", "false").await;
    site.deny("collectionDDL", "false").await;
    assert_eq!(site.call("CreateCollection", &of("shelf")).0, 0);
    let closed = Site::new("{enabled: true, force_deny_ddl: true}").await;
    assert_eq!(closed.call("CreateDatabase", &CreateDatabaseRequest::default()), denied);
    let none = Site::new("{enabled: true, database: {enabled: true, cluster: 0}}").await;
    let reason = none.call("CreateDatabase", &CreateDatabaseRequest::default());
    assert_eq!(reason, (9, "quota exceeded[reason=rate type: DDLDB]".to_owned()));
}

/// Two databases, `1` with the collections 10 and 11 (two partitions), `2` empty.
fn catalogue() -> tree::Catalogue {
    let own = |rates: &[(RateType, f64)], partitions: &[i64]| tree::CollectionLimits {
        rates: rates.iter().copied().collect(),
        partitions: partitions.to_vec(),
        ..tree::CollectionLimits::default()
    };
    let collections = [(10, own(&[], &[])), (11, own(&[(RateType::DqlQuery, 9.0)], &[110, 111]))].into();
    [
        (1, tree::DatabaseLimits { denials: vec![], collections }),
        (2, tree::DatabaseLimits { denials: vec![], ..Default::default() }),
    ]
    .into()
}

fn rates_at(root: &LimiterNode, path: &[i64]) -> Option<BTreeMap<RateType, f64>> {
    let node = path.iter().try_fold(root, |node, id| node.children.get(id))?;
    Some(node.limiter.as_ref()?.rates.iter().map(|rate| (rate.rt(), rate.r)).collect())
}

#[test]
fn the_tree_names_every_database_and_what_is_limited_below() {
    let quota = settings(
        "{enabled: true, flush: {enabled: false}, dml: {enabled: true, insert: {cluster: 8, partition: 2}}, \
         dql: {enabled: true, query: {database: 30}}}",
    );
    let factors = load::Factors::new();
    let now = |proxies| tree::Situation { quota: &quota, disk_full: false, proxies, factors: &factors };
    let root = tree::build(now(2), &catalogue());
    let unlimited = f64::MAX;
    let cluster = rates_at(&root, &[]).unwrap();
    assert_eq!(cluster.len(), KINDS.len());
    assert_eq!((cluster[&RateType::DmlInsert], cluster[&RateType::DdlIndex]), (4.0 * 1_048_576.0, unlimited));
    assert_eq!(rates_at(&root, &[1]).unwrap()[&RateType::DqlQuery], 15.0);
    assert_eq!(rates_at(&root, &[2]).unwrap()[&RateType::DqlQuery], 15.0);
    assert_eq!(rates_at(&root, &[1, 10]), None, "nothing limits it");
    assert_eq!(rates_at(&root, &[1, 11]).unwrap()[&RateType::DqlQuery], 4.5);
    assert_eq!(rates_at(&root, &[1, 11]).unwrap()[&RateType::DmlInsert], unlimited);
    assert_eq!(rates_at(&root, &[1, 11, 111]).unwrap()[&RateType::DmlInsert], 1_048_576.0);
    // Without a proxy nobody shares.
    assert_eq!(rates_at(&tree::build(now(0), &catalogue()), &[1]).unwrap()[&RateType::DqlQuery], 30.0);
    let properties = [("collection.insertRate.max.mb", "2"), ("collection.queryRate.max.qps", "-1"), ("x", "1")]
        .map(|(key, value)| store::Property { key: key.into(), value: value.into() });
    assert_eq!(tree::overrides(&properties), [(RateType::DmlInsert, 2_097_152.0)].into());
}

#[test]
fn what_is_denied_has_a_rate_of_nothing_and_says_why() {
    let quota = settings("{enabled: true, force_deny_reading: true}");
    let mut databases = catalogue();
    let property = |key: &str| store::Property { key: format!("database.force.deny.{key}"), value: "true".into() };
    databases.get_mut(&2).unwrap().denials = deny::in_database(&[property("writing"), property("index")]);
    let factors = load::Factors::new();
    let root =
        tree::build(tree::Situation { quota: &quota, disk_full: true, proxies: 3, factors: &factors }, &databases);
    let cluster = rates_at(&root, &[]).unwrap();
    assert!(cluster.values().all(|rate| *rate == 0.0), "{cluster:?}");
    let limiter = root.limiter.as_ref().unwrap();
    let states = [QuotaState::DenyToRead, QuotaState::DenyToWrite, QuotaState::DenyToDdl].map(i32::from);
    assert_eq!(limiter.states, states);
    let codes = [ErrorCode::ForceDeny, ErrorCode::DiskQuotaExhausted, ErrorCode::DiskQuotaExhausted].map(i32::from);
    assert_eq!((limiter.codes.as_slice(), limiter.reasons.len()), (&codes[..], 3));
    let shelf = rates_at(&root, &[2]).unwrap();
    let denied: Vec<_> = shelf.iter().filter(|(_, rate)| **rate == 0.0).map(|(kind, _)| *kind).collect();
    assert_eq!(denied, [RateType::DdlIndex, RateType::DmlInsert, RateType::DmlDelete, RateType::DmlBulkLoad]);
    assert_eq!(root.children[&2].limiter.as_ref().unwrap().states, [i32::from(QuotaState::DenyToWrite)]);
}

proptest! {
    /// Whatever is configured, all proxies together may admit what the cluster may, at every node and of every kind,
    /// and nothing of what is denied.
    #[test]
    fn shares_add_up(
        rates in proptest::collection::vec(prop_oneof![Just(-1.0), 0.0..1e6f64], 4),
        proxies in 1..50usize,
        denied: bool,
        own in proptest::option::of(0.0..1e6f64),
    ) {
        let yaml = format!(
            "{{enabled: true, force_deny_writing: {denied}, dml: {{enabled: true, delete: {{cluster: {}, database: {}, \
             collection: {}, partition: {}}}}}}}",
            rates[0], rates[1], rates[2], rates[3]
        );
        let quota = settings(&yaml);
        let mut databases = catalogue();
        let collection = databases.get_mut(&1).unwrap().collections.get_mut(&11).unwrap();
        collection.rates.extend(own.map(|rate| (RateType::DmlDelete, rate)));
        let factors = load::Factors::new();
        let root =
            tree::build(tree::Situation { quota: &quota, disk_full: false, proxies, factors: &factors }, &databases);
        prop_assert_eq!(root.children.len(), 2);
        for (path, level) in [(&[][..], Level::Cluster), (&[1], Level::Database), (&[1, 11], Level::Collection),
            (&[1, 11, 110], Level::Partition)]
        {
            let own = own.filter(|_| level == Level::Collection);
            let set = own.or_else(|| limit(&quota, RateType::DmlDelete, level));
            let Some(found) = rates_at(&root, path) else {
                prop_assert!(set.is_none());
                continue;
            };
            let share = found[&RateType::DmlDelete];
            match (set, denied && level == Level::Cluster) {
                (_, true) => prop_assert_eq!(share, 0.0),
                (None, _) => prop_assert_eq!(share, f64::MAX),
                (Some(rate), _) => prop_assert!((share * proxies as f64 - rate).abs() <= rate * 1e-9),
            }
        }
    }
}
