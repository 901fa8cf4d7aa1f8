//! The bytes of what workers store: entries, replies, keys and rows.

use prost::Message;

use super::*;
use crate::state::tests::golden::check;

#[test]
fn entries() {
    let found: Vec<_> = [
        ("found", WorkerCommand::Found { root: "r".into() }),
        ("register", WorkerCommand::Register(registration("a", WorkerRole::QueryNode))),
        ("drain", WorkerCommand::Drain { id: 300, draining: true }),
        ("freeze", WorkerCommand::Freeze { ids: vec![300], frozen: true }),
        ("leave", WorkerCommand::Leave { id: 300 }),
    ]
    .into_iter()
    .map(|(name, command)| (name, entry(1, None, Command::Worker(command)).encode().unwrap()))
    .collect();
    check(&found, ENTRIES);
    for (_, bytes) in found {
        assert_eq!(Entry::decode(&bytes).unwrap().encode().unwrap(), bytes);
    }
}

#[test]
fn replies() {
    let registered = WorkerReply::Registered { server_id: 300, lease: 7, ttl_s: 10, revision: 5, existed: true };
    let found: Vec<_> = [
        ("founded", WorkerReply::Founded { changed: true }),
        ("registered", registered),
        ("altered", WorkerReply::Altered { revision: 5, changed: true }),
        ("left", WorkerReply::Left { existed: true }),
    ]
    .into_iter()
    .map(|(name, reply)| (name, Reply::Worker(reply).encode().unwrap()))
    .collect();
    check(&found, REPLIES);
}

#[test]
fn keys_and_rows() {
    let worker = store::Worker {
        id: 300,
        role: WorkerRole::QueryNode.into(),
        address: "h:1".into(),
        version: "2".into(),
        hostname: "h".into(),
        labels: [("k".to_owned(), "v".to_owned())].into(),
        capacity: Some(store::WorkerCapacity { cpu_millis: 1, memory_bytes: 2, disk_bytes: 3, network_bytes_per_s: 4 }),
        lease: 7,
        key: b"k".to_vec(),
        draining: true,
        frozen: true,
        registered_ms: START_MS,
        revision: 5,
        created_revision: 9,
        drain_ordered: true,
        request: b"a".to_vec(),
        stopping: true,
    };
    let book = store::WorkerBook { session_prefix: "r/meta/session/".into(), revision: 5, workers: 1, changes_from: 2 };
    let name = store::WorkerName { id: 300, role: WorkerRole::QueryNode.into() };
    check(
        &[
            ("worker's key", tables::WORKERS.key(&(300, 2))),
            ("worker", worker.encode_to_vec()),
            ("book's key", tables::WORKER_BOOK.key(&())),
            ("book", book.encode_to_vec()),
            ("change's key", tables::WORKER_CHANGES.key(&5)),
            ("request's key", tables::WORKER_REQUESTS.key(&b"a".to_vec())),
            ("name", name.encode_to_vec()),
        ],
        ROWS,
    );
}

const ENTRIES: &[(&str, &str)] = &[
    ("found", "01010004726f6f740f3132372e302e302e313a343030303010000172"),
    (
        "register",
        "01010004726f6f740f3132372e302e302e313a343030303010010161040e31302e302e302e313a323131323306322e362e3138016801\
         047a6f6e65016101fba00ffd0000000002000000000014",
    ),
    ("drain", "01010004726f6f740f3132372e302e302e313a34303030301002fb580201"),
    ("freeze", "01010004726f6f740f3132372e302e302e313a3430303030100301fb580201"),
    ("leave", "01010004726f6f740f3132372e302e302e313a34303030301004fb5802"),
];

const REPLIES: &[(&str, &str)] =
    &[("founded", "01140001"), ("registered", "011401fb58020e140501"), ("altered", "0114020501"), ("left", "01140301")];

const ROWS: &[(&str, &str)] = &[
    ("worker's key", "a0800000000000012c02"),
    (
        "worker",
        "08ac0210021a03683a312201322a016832060a016b1201763a08080110021803200440074a016b50015801609887fe8eb53268057009\
         780182010161880101",
    ),
    ("book's key", "a1"),
    ("book", "0a0f722f6d6574612f73657373696f6e2f100518012002"),
    ("change's key", "a20000000000000005"),
    ("request's key", "a361"),
    ("name", "08ac021002"),
];
