//! The bytes of what indexes and loads store: entries, replies, keys and rows.

use prost::Message;

use super::*;
use crate::pb::store;
use crate::state::tests::golden::check;

#[test]
fn entries() {
    let found: Vec<_> = [
        ("create index", create(index_of(100, 101, "i"))),
        ("alter index", alter_index(100, 102, &[("k", "v")], &["d"])),
        ("drop index", drop_index(100, "i")),
        ("load collection", load(load_of(100))),
        ("load partitions", load_partitions(100, &[101], 1)),
        ("release collection", release(100)),
        ("release partitions", release_partitions(100, &[101])),
    ]
    .into_iter()
    .map(|(name, command)| (name, entry(1, None, command).encode().unwrap()))
    .collect();
    check(&found, ENTRIES);
    for (_, bytes) in found {
        assert_eq!(Entry::decode(&bytes).unwrap().encode().unwrap(), bytes);
    }
}

#[test]
fn replies() {
    let found: Vec<_> = [
        ("index created", Reply::Index(IndexReply::Created { index_id: 300, existed: true })),
        ("index altered", Reply::Index(IndexReply::Altered { changed: true })),
        ("index dropped", Reply::Index(IndexReply::Dropped { index_id: Some(300) })),
        ("loaded", Reply::Load(LoadReply::Loaded { changed: true })),
        ("released", Reply::Load(LoadReply::Released { changed: false })),
    ]
    .into_iter()
    .map(|(name, reply)| (name, reply.encode().unwrap()))
    .collect();
    check(&found, REPLIES);
}

#[test]
fn keys_and_rows() {
    let param = |key: &str| vec![store::Property { key: key.into(), value: "v".into() }];
    let index = store::Index {
        id: 102,
        collection_id: 100,
        field_id: 101,
        name: "i".into(),
        type_params: param("t"),
        index_params: param("p"),
        user_params: param("u"),
        is_auto: true,
        created_ts: TS,
        updated_ts: TS + 1,
    };
    let load = store::Load {
        collection_id: 100,
        r#type: store::LoadType::Collection.into(),
        partitions: vec![101],
        fields: vec![100, 101],
        replicas: vec![store::Replica { id: 103, resource_group: "g".into() }],
        created_ts: TS,
        updated_ts: TS + 1,
    };
    let found = [
        ("index key", tables::INDEXES.key(&(258, 259))),
        ("index", index.encode_to_vec()),
        ("load key", tables::LOADS.key(&258)),
        ("load", load.encode_to_vec()),
    ];
    check(&found, ROWS);
}

const ENTRIES: &[(&str, &str)] = &[
    (
        "create index",
        "01010004726f6f740f3132372e302e302e313a34303030300d00c8ca016906766563746f72010364696d0138020a696e6465\
         785f7479706504484e53570b6d65747269635f74797065024c32020a696e6465785f7479706504484e53570b6d6574726963\
         5f74797065024c320000fd0000600e7e474d06",
    ),
    ("alter index", "01010004726f6f740f3132372e302e302e313a34303030300d01c8cc016901016b0176010164fd0100600e7e474d06"),
    ("drop index", "01010004726f6f740f3132372e302e302e313a34303030300d02c80169"),
    ("load collection", "01010004726f6f740f3132372e302e302e313a34303030300e00c801016702c8cafd0000600e7e474d06"),
    ("load partitions", "01010004726f6f740f3132372e302e302e313a34303030300e01c801ca01016702c8cafd0000600e7e474d06"),
    ("release collection", "01010004726f6f740f3132372e302e302e313a34303030300e02c8"),
    ("release partitions", "01010004726f6f740f3132372e302e302e313a34303030300e03c801cafd0100600e7e474d06"),
];

const REPLIES: &[(&str, &str)] = &[
    ("index created", "011100fb580201"),
    ("index altered", "01110101"),
    ("index dropped", "01110201fb5802"),
    ("loaded", "01120001"),
    ("released", "01120100"),
];

const ROWS: &[(&str, &str)] = &[
    ("index key", "8080000000000001028000000000000103"),
    (
        "index",
        "0866106418652201692a060a017412017632060a01701201763a060a0175120176400148808080f3e0efd1a60650818080f3\
         e0efd1a606",
    ),
    ("load key", "908000000000000102"),
    ("load", "086410021a0165220264652a05086712016730808080f3e0efd1a60638818080f3e0efd1a606"),
];
