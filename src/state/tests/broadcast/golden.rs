//! The bytes of what broadcasts store: entries, replies, keys and rows.

use prost::Message;

use super::*;
use crate::pb::store;
use crate::state::broadcast::{LockName, ReplicatedUpdate, UpdateReplication};
use crate::state::tests::golden::check;

#[test]
fn entries() {
    let found: Vec<_> = [
        ("submit", BroadcastCommand::Submit(Submit { vchannels: vec!["a".into()], ..submit(&[], &collection("c")) })),
        ("begin", BroadcastCommand::Begin { ids: vec![300] }),
        ("acked", BroadcastCommand::Acked(Acked { id: 300, checkpoints: vec![("a".into(), vec![7])], finish: true })),
        ("finish", BroadcastCommand::Finish { id: 300 }),
        ("abandon", BroadcastCommand::Abandon { id: 300 }),
        ("sweep", BroadcastCommand::Sweep { ids: vec![300] }),
        (
            "replicate",
            BroadcastCommand::Replicate(UpdateReplication {
                configuration: vec![1],
                cluster_id: "c".into(),
                force_promote: true,
            }),
        ),
        (
            "replicated",
            BroadcastCommand::Replicated(ReplicatedUpdate {
                broadcast_id: 300,
                configuration: vec![1],
                vchannels: vec!["a".into(), "b".into()],
                vchannel: "a".into(),
                cluster_id: "c".into(),
            }),
        ),
    ]
    .into_iter()
    .map(|(name, asked)| (name, entry(1, None, command(asked)).encode().unwrap()))
    .collect();
    check(&found, ENTRIES);
    for (_, bytes) in found {
        assert_eq!(Entry::decode(&bytes).unwrap().encode().unwrap(), bytes);
    }
}

#[test]
fn replies() {
    let found: Vec<_> = [
        ("submitted", BroadcastReply::Submitted { id: 300 }),
        ("begun", BroadcastReply::Begun { ids: vec![300] }),
        ("acked", BroadcastReply::Acked { left: Some(1) }),
        ("finished", BroadcastReply::Finished { changed: true }),
        ("abandoned", BroadcastReply::Abandoned { changed: true }),
        ("swept", BroadcastReply::Swept { count: 1 }),
        ("replicated", BroadcastReply::Replicated { changed: true }),
    ]
    .into_iter()
    .map(|(name, reply)| (name, Reply::Broadcast(reply).encode().unwrap()))
    .collect();
    check(&found, REPLIES);
}

#[test]
fn keys_and_rows() {
    let task = store::BroadcastTask {
        id: 300,
        message_type: 5,
        state: store::BroadcastState::Tombstone.into(),
        begun: true,
        channels: vec![store::BroadcastChannel { vchannel: "v".into(), acked: true, checkpoint: vec![1] }],
        keys: vec![store::ResourceKey { domain: 3, key: "d".into(), shared: true }],
        ack_sync_up: true,
        subject_id: 100,
        bytes: 6,
        created_ms: START_MS,
        tombstone_ms: START_MS + 1,
        own: true,
        creates: false,
    };
    let creation = store::BroadcastTask { creates: true, subject_id: -2, ..task.clone() };
    let property = store::Property { key: "k".into(), value: "v".into() };
    let message = store::BroadcastMessage { payload: vec![1], properties: vec![property] };
    let totals = store::BroadcastTotals { pending: 1, pending_bytes: 2, tombstones: 3 };
    let replication = store::Replication { configuration: vec![1], secondary: true, updated_ms: 2, coming: None };
    let coming =
        store::ReplicatedConfiguration { broadcast_id: 300, configuration: vec![1], vchannels: vec!["v".into()] };
    let coming = store::Replication { coming: Some(coming), ..replication.clone() };
    let name = LockName { domain: 2, key: "d:c".into() };
    let found = [
        ("broadcast key", tables::BROADCASTS.key(&258)),
        ("broadcast", task.encode_to_vec()),
        ("lock key", tables::BROADCAST_LOCKS.key(&(name, 1, 258))),
        ("state key", tables::BROADCAST_STATES.key(&(5, 258))),
        ("message key", tables::BROADCAST_MESSAGES.key(&258)),
        ("message", message.encode_to_vec()),
        ("collection key", tables::SUBJECT_BROADCASTS.key(&(257, 258))),
        ("totals key", tables::BROADCAST_TOTALS.key(&())),
        ("totals", totals.encode_to_vec()),
        ("replication key", tables::REPLICATION.key(&())),
        ("replication", replication.encode_to_vec()),
        ("creation", creation.encode_to_vec()),
        ("a named subject's key", tables::SUBJECT_BROADCASTS.key(&(-2, 258))),
        ("replication that changes", coming.encode_to_vec()),
    ];
    check(&found, ROWS);
}

const ENTRIES: &[(&str, &str)] = &[
    (
        "submit",
        "01010004726f6f740f3132372e302e302e313a343030303013000a0301020301025f74013501016102030764656661756c7401\
         020964656661756c743a630000",
    ),
    ("begin", "01010004726f6f740f3132372e302e302e313a3430303030130101fb5802"),
    ("acked", "01010004726f6f740f3132372e302e302e313a34303030301302fb5802010161010701"),
    ("finish", "01010004726f6f740f3132372e302e302e313a34303030301303fb5802"),
    ("abandon", "01010004726f6f740f3132372e302e302e313a34303030301304fb5802"),
    ("sweep", "01010004726f6f740f3132372e302e302e313a3430303030130501fb5802"),
    ("replicate", "01010004726f6f740f3132372e302e302e313a343030303013060101016301"),
    ("replicated", "01010004726f6f740f3132372e302e302e313a34303030301307fb2c010101020161016201610163"),
];

const REPLIES: &[(&str, &str)] = &[
    ("submitted", "011600fb5802"),
    ("begun", "01160101fb5802"),
    ("acked", "0116020101"),
    ("finished", "01160301"),
    ("abandoned", "01160401"),
    ("swept", "01160501"),
    ("replicated", "01160601"),
];

const ROWS: &[(&str, &str)] = &[
    ("broadcast key", "c08000000000000102"),
    (
        "broadcast",
        "08ac021005180520012a080a017610011a0101320708031201641801380140644806509887fe8eb532589987fe8eb5326001",
    ),
    ("lock key", "c1020003643a63018000000000000102"),
    ("state key", "c2058000000000000102"),
    ("message key", "c38000000000000102"),
    ("message", "0a010112060a016b120176"),
    ("collection key", "c480000000000001018000000000000102"),
    ("totals key", "c5"),
    ("totals", "080110021803"),
    ("replication key", "c8"),
    ("replication", "0a010110011802"),
    (
        "creation",
        "08ac021005180520012a080a017610011a0101320708031201641801380140feffffffffffffffff014806509887fe8eb5\
         32589987fe8eb53260016801",
    ),
    ("a named subject's key", "c47ffffffffffffffe8000000000000102"),
    ("replication that changes", "0a010110011802220908ac021201011a0176"),
];
