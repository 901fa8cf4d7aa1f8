//! The bytes of everything that is stored: entries, replies, keys and rows. A difference here is a difference on disk
//! and in every log: it needs a new version, not a new constant.

use prost::Message;

use super::support::*;
use crate::error::Rejection;
use crate::pb::store;
use crate::state::*;

/// Compares, and on a difference prints all of what is.
fn check(found: &[(&str, Vec<u8>)], golden: &[(&str, &str)]) {
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let found: Vec<_> = found.iter().map(|(name, bytes)| (*name, hex(bytes))).collect();
    let lines: String = found.iter().map(|(name, hex)| format!("    (\"{name}\", \"{hex}\"),\n")).collect();
    let same = found.iter().map(|(name, hex)| (*name, hex.as_str())).eq(golden.iter().copied());
    assert!(same, "stored bytes changed; now:\n{lines}");
}

fn commands() -> Vec<(&'static str, Command)> {
    let database = CreateDatabase {
        name: "a".into(),
        properties: vec![("k".into(), "v".into())],
        ts: 1 << 18,
        limits: Limits::default(),
    };
    let mut collection = create_collection("a", "c");
    collection.schema = vec![1, 2, 255];
    collection.properties = vec![("k".into(), "v".into())];
    vec![
        ("create database", Command::CreateDatabase(database)),
        ("drop database", drop_database("a")),
        ("create collection", Command::CreateCollection(collection)),
        ("drop collection", drop_collection("a", "c")),
        ("create partition", create_partition("c", "p")),
        ("drop partition", drop_partition("c", "p")),
        ("alter collection properties", alter("c", &[("k", "v")], &["d"])),
        ("alloc id", alloc(300)),
        ("extend tso", extend(START_MS)),
    ]
}

#[test]
fn entries() {
    let request = RequestId { node: 1, boot: 300, sequence: 70_000, acked_below: 69_999 };
    let found: Vec<_> = commands()
        .into_iter()
        .map(|(name, command)| (name, entry(START_MS, Some(request), command).encode().unwrap()))
        .chain([("without request", entry(1, None, alloc(1)).encode().unwrap())])
        .collect();
    check(&found, ENTRIES);
    for (_, bytes) in found {
        assert_eq!(Entry::decode(&bytes).unwrap().encode().unwrap(), bytes);
    }
}

#[test]
fn replies() {
    let found: Vec<_> = [
        ("rejected", Reply::Rejected(Rejection::CollectionNotFound { database: "a".into(), collection: "c".into() })),
        ("expired", Reply::Expired),
        ("window full", Reply::WindowFull),
        ("database created", Reply::DatabaseCreated { database_id: 100 }),
        ("database dropped", Reply::DatabaseDropped { database_id: 100 }),
        ("collection created", Reply::CollectionCreated { collection_id: 100, existed: true }),
        ("collection dropped", Reply::CollectionDropped { collection_id: Some(100) }),
        ("partition created", Reply::PartitionCreated { partition_id: 100, existed: false }),
        ("partition dropped", Reply::PartitionDropped { partition_id: None }),
        ("collection altered", Reply::CollectionAltered { collection_id: 100, changed: true }),
        ("ids allocated", Reply::IdsAllocated { first: 100, count: 300 }),
        ("tso extended", Reply::TsoExtended { bound_ms: START_MS }),
    ]
    .into_iter()
    .map(|(name, reply)| (name, reply.encode().unwrap()))
    .collect();
    check(&found, REPLIES);
}

#[test]
fn keys() {
    let found = [
        ("clock", tables::CLOCK.key(&())),
        ("id counter", tables::ID_COUNTER.key(&())),
        ("tso bound", tables::TSO_BOUND.key(&())),
        ("totals", tables::TOTALS.key(&())),
        ("session", tables::SESSIONS.key(&3)),
        ("reply", tables::REPLIES.key(&(3, 7, 258))),
        ("retired", tables::RETIRED.key(&(3, 7))),
        ("database", tables::DATABASES.key(&1)),
        ("database name", tables::DATABASE_NAMES.key(&"ab".to_owned())),
        ("database use", tables::DATABASE_USE.key(&1)),
        ("collection", tables::COLLECTIONS.key(&258)),
        ("collection name", tables::COLLECTION_NAMES.key(&(1, "ab".to_owned()))),
        ("database's collection", tables::DATABASE_COLLECTIONS.key(&(1, 258))),
        ("partition", tables::PARTITIONS.key(&(258, 259))),
        ("partition name", tables::PARTITION_NAMES.key(&(258, "ab".to_owned()))),
        ("channel use", tables::CHANNEL_USE.key(&15)),
        ("below zero", tables::DATABASES.key(&-1)),
    ];
    check(&found, KEYS);
}

#[test]
fn rows() {
    let properties = vec![store::Property { key: "k".into(), value: "v".into() }];
    let database = store::Database { id: 1, name: "a".into(), properties: properties.clone(), created_ts: TS };
    let collection = store::Collection {
        id: 100,
        database_id: 1,
        name: "c".into(),
        schema: vec![1, 2, 255],
        shards: 1,
        consistency: 2,
        properties,
        partitions: 1,
        vchannels: vec!["by-dev-rootcoord-dml_0_100v0".into()],
        pchannels: vec!["by-dev-rootcoord-dml_0".into()],
        created_ts: TS,
        updated_ts: TS + 1,
        schema_version: 3,
        state: store::CollectionState::Dropping.into(),
    };
    let partition = store::Partition {
        id: 101,
        collection_id: 100,
        name: "p".into(),
        created_ts: TS,
        state: store::PartitionState::Dropping.into(),
    };
    let session =
        store::Session { boot: 7, acked_below: 5, forgotten_below: 4, next_sequence: 9, last_active_ms: START_MS };
    let clock = store::Clock { now_ms: START_MS, next_sweep_ms: START_MS + 1, sweep_cursor: 2, retired: 1 };
    let found = [
        ("clock", clock.encode_to_vec()),
        ("id counter", store::IdCounter { next: 100 }.encode_to_vec()),
        ("tso bound", store::TsoBound { bound_ms: START_MS }.encode_to_vec()),
        ("totals", store::Totals { databases: 1, collections: 2, general_capacity: 3 }.encode_to_vec()),
        ("session", session.encode_to_vec()),
        ("reply", store::StoredReply { reply: vec![1, 1] }.encode_to_vec()),
        ("retired", store::RetiredReplies { next_sequence: 4, end_sequence: 9 }.encode_to_vec()),
        ("reference", store::Reference { id: 100 }.encode_to_vec()),
        ("present", store::Present {}.encode_to_vec()),
        ("database", database.encode_to_vec()),
        ("database use", store::DatabaseUse { collections: 2 }.encode_to_vec()),
        ("collection", collection.encode_to_vec()),
        ("partition", partition.encode_to_vec()),
        ("channel use", store::ChannelUse { vchannels: 2 }.encode_to_vec()),
    ];
    check(&found, ROWS);
}

const ENTRIES: &[(&str, &str)] = &[
    (
        "create database",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a343030303000016101\
         016b0176fc0000040040fc00000100fc00000100fb000410fc00000100",
    ),
    (
        "drop database",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a3430303030010161",
    ),
    (
        "create collection",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a343030303002016101\
         63030102ff010401016b017601085f64656661756c74fd0000600e7e474d0640fc00000100fc00000100fb000410fc000001\
         00",
    ),
    (
        "drop collection",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a343030303003016101\
         63",
    ),
    (
        "create partition",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a343030303004000163\
         0170fd0000600e7e474d0640fc00000100fc00000100fb000410fc00000100",
    ),
    (
        "drop partition",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a343030303005000163\
         0170",
    ),
    (
        "alter collection properties",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a343030303006000163\
         01016b0176010164fd0100600e7e474d06",
    ),
    (
        "alloc id",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a343030303007fb2c01",
    ),
    (
        "extend tso",
        "01fd9883df51930100000101fb2c01fc70110100fc6f11010004726f6f740f3132372e302e302e313a343030303008fd9883\
         df519301000000",
    ),
    ("without request", "01010004726f6f740f3132372e302e302e313a34303030300701"),
];

const REPLIES: &[(&str, &str)] = &[
    ("rejected", "01000a01610163"),
    ("expired", "0101"),
    ("window full", "0102"),
    ("database created", "0103c8"),
    ("database dropped", "0104c8"),
    ("collection created", "0105c801"),
    ("collection dropped", "010601c8"),
    ("partition created", "0107c800"),
    ("partition dropped", "010800"),
    ("collection altered", "0109c801"),
    ("ids allocated", "010ac8fb2c01"),
    ("tso extended", "010bfd9883df5193010000"),
];

const KEYS: &[(&str, &str)] = &[
    ("clock", "01"),
    ("id counter", "02"),
    ("tso bound", "03"),
    ("totals", "04"),
    ("session", "100000000000000003"),
    ("reply", "11000000000000000300000000000000070000000000000102"),
    ("retired", "1200000000000000030000000000000007"),
    ("database", "208000000000000001"),
    ("database name", "216162"),
    ("database use", "228000000000000001"),
    ("collection", "308000000000000102"),
    ("collection name", "3180000000000000016162"),
    ("database's collection", "3280000000000000018000000000000102"),
    ("partition", "4080000000000001028000000000000103"),
    ("partition name", "4180000000000001026162"),
    ("channel use", "50000f"),
    ("below zero", "207fffffffffffffff"),
];

const ROWS: &[(&str, &str)] = &[
    ("clock", "089887fe8eb532109987fe8eb53218022001"),
    ("id counter", "0864"),
    ("tso bound", "089887fe8eb532"),
    ("totals", "080110021803"),
    ("session", "0807100518042009289887fe8eb532"),
    ("reply", "0a020101"),
    ("retired", "08041009"),
    ("reference", "0864"),
    ("present", ""),
    ("database", "08011201611a060a016b12017620808080f3e0efd1a606"),
    ("database use", "0802"),
    (
        "collection",
        "086410011a016322030102ff280130023a060a016b12017640014a1c62792d6465762d726f6f74636f6f72642d646d6c5f30\
         5f3130307630521662792d6465762d726f6f74636f6f72642d646d6c5f3058808080f3e0efd1a60660818080f3e0efd1a606\
         68037002",
    ),
    ("partition", "086510641a017020808080f3e0efd1a6062802"),
    ("channel use", "0802"),
];
