//! Workers by example: both ways to register, what follows a key, and what is told of changes.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use roost_raft::kv::{KeyRange, MemTables, Read, Space, Txn, Visit};
use roost_raft::machine::{ApplyContext, Machine};

use super::*;
use crate::error::Rejection;
use crate::state::limits::MAX_WORKERS;
use crate::state::tests::keyspace::support::*;

fn ids(workers: &[store::Worker]) -> Vec<i64> {
    workers.iter().map(|worker| worker.id).collect()
}

#[test]
fn registration_takes_an_id_from_milvus_counter_and_writes_milvus_key() {
    let mut world = World::with_workers();
    let (id, lease, existed) = world.register(registration("a", WorkerRole::StreamingNode));
    assert_eq!((id, existed), (1, false));
    let counter = api::RangeRequest { key: "by-dev/meta/session/id".into(), ..Default::default() };
    assert_eq!(world.range(&counter).unwrap().kvs[0].value, b"2");
    let key = api::RangeRequest { key: session_key("streamingnode", 1).into(), ..Default::default() };
    let written = world.range(&key).unwrap().kvs.remove(0);
    assert_eq!(written.lease, lease);
    let json: serde_json::Value = serde_json::from_slice(&written.value).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "ServerID": 1, "ServerName": "streamingnode", "Address": "10.0.0.1:21123", "Exclusive": false,
            "Stopping": false, "TriggerKill": true, "Version": "2.6.18", "LeaseID": lease, "HostName": "h",
            "ServerLabels": {"zone": "a"},
            "Capacity": {"CpuMillis": 4000, "MemoryBytes": 8_u64 << 30, "DiskBytes": 0, "NetworkBytesPerS": 0},
        })
    );
    let worker = world.worker(1).unwrap();
    assert_eq!((worker.role(), worker.lease, worker.registered_ms), (WorkerRole::StreamingNode, lease, START_MS));
    assert_eq!(worker.capacity.unwrap().cpu_millis, 4000);
    // A process of Milvus has moved the counter on in the meantime, and one did not care for it.
    world.put("by-dev/meta/session/id", "41");
    world.grant(7);
    world.put_with_lease(&session_key("querynode", 41), &milvus_session(41, "querynode", "h:1", ""), 7);
    assert_eq!(world.register(registration("b", WorkerRole::QueryNode)).0, 42);
    assert_eq!(world.range(&counter).unwrap().kvs[0].value, b"43");
    assert_eq!(ids(&world.view().workers().unwrap()), [1, 41, 42]);
}

#[test]
fn a_repeated_registration_is_the_same_as_long_as_its_worker_lives() {
    let mut world = World::with_workers();
    let first = world.register(registration("a", WorkerRole::DataNode));
    let again = world.register(registration("a", WorkerRole::DataNode));
    assert_eq!((again.0, again.1, again.2), (first.0, first.1, true));
    let other = RegisterWorker { ttl_s: 60, ..registration("a", WorkerRole::DataNode) };
    match world.run(Command::Worker(WorkerCommand::Register(other))) {
        Reply::Worker(WorkerReply::Registered { server_id: 1, ttl_s: 10, existed: true, .. }) => {}
        reply => panic!("{reply:?}"),
    }
    assert_eq!(world.register(registration("b", WorkerRole::DataNode)).0, 2);
    let leave = |id| Command::Worker(WorkerCommand::Leave { id });
    let left = |existed| Reply::Worker(WorkerReply::Left { existed });
    assert_eq!(world.run(leave(1)), left(true));
    assert_eq!(world.run(leave(1)), left(false));
    let anew = world.register(registration("a", WorkerRole::DataNode));
    assert_eq!((anew.0, anew.2), (3, false), "an id is never given twice");
    assert_eq!(world.count(0xa3), 2, "requests of the dead are forgotten");
}

#[test]
fn a_key_by_the_etcd_api_is_a_worker_as_long_as_it_is_a_session() {
    let mut world = World::with_workers();
    world.grant(7);
    let key = session_key("querynode", 5);
    let good = milvus_session(5, "querynode", "10.0.0.2:21123", ",\"ServerLabels\":null");
    let row = |world: &World| world.worker(5).map(|worker| (worker.address.clone(), worker.draining));
    let shown = |draining| Some(("10.0.0.2:21123".to_owned(), draining));
    world.put_with_lease(&key, &good, 7);
    assert_eq!(row(&world), shown(false));
    let stopping = milvus_session(5, "querynode", "10.0.0.2:21123", ",\"Stopping\":true");
    world.put_with_lease(&key, &stopping, 7);
    assert_eq!(row(&world), shown(true), "it says that it stops");
    for (value, lease) in [
        ("", 7),
        ("{}", 7),
        (milvus_session(6, "querynode", "10.0.0.2:21123", "").as_str(), 7),
        (milvus_session(5, "querynode", "nowhere", "").as_str(), 7),
        (milvus_session(5, "querynode", "10.0.0.2:0", "").as_str(), 7),
        (good.as_str(), 0),
    ] {
        world.put_with_lease(&key, &good, 7);
        assert_eq!(row(&world), shown(false));
        world.put_with_lease(&key, value, lease);
        assert_eq!(row(&world), None, "{value} {lease}");
    }
    for name in ["querynode-05", "querynode-+5", "querynode-0", "querynode", "rootcoord-5", "querynode-5-5", "id"] {
        world.put_with_lease(&format!("{ROOT}/meta/session/{name}"), &good, 7);
        world.put_with_lease(&format!("other/meta/session/{name}"), &good, 7);
        assert_eq!(world.count(0xa0), 0, "{name}");
    }
    world.put_with_lease(&key, &good, 7);
    let (_, events) = world.keyspace(KeyspaceCommand::ExpireLeases { leases: vec![(7, 1)] });
    assert!(events.contains(&Event::WorkerChanged { id: 5 }), "{events:?}");
    assert_eq!((row(&world), world.view().worker_book().unwrap().workers), (None, 0));
}

#[test]
fn one_server_id_may_have_several_roles() {
    let mut world = World::with_workers();
    world.grant(7);
    for role in ["querynode", "streamingnode"] {
        world.put_with_lease(&session_key(role, 5), &milvus_session(5, role, "h:1", ""), 7);
    }
    assert_eq!(world.worker(5).unwrap().role(), WorkerRole::StreamingNode);
    let role = |world: &World, role| world.view().worker_as(5, role).unwrap();
    assert!(world.alter_worker(WorkerCommand::Drain { id: 5, draining: true }));
    assert!(role(&world, WorkerRole::QueryNode).unwrap().draining && world.worker(5).unwrap().draining);
    world.delete(&session_key("streamingnode", 5), "");
    assert_eq!(world.worker(5).unwrap().role(), WorkerRole::QueryNode);
    assert_eq!(role(&world, WorkerRole::StreamingNode), None);
}

#[test]
fn what_was_ordered_outlives_another_put_of_the_key_and_not_the_session() {
    let mut world = World::with_workers();
    let (id, ..) = world.register(registration("a", WorkerRole::StreamingNode));
    assert!(world.alter_worker(WorkerCommand::Freeze { ids: vec![id], frozen: true }));
    assert!(!world.alter_worker(WorkerCommand::Freeze { ids: vec![id, id], frozen: true }));
    assert!(world.alter_worker(WorkerCommand::Drain { id, draining: true }));
    let lease = world.worker(id).unwrap().lease;
    let stopping = milvus_session(id, "streamingnode", "h:2", ",\"Stopping\":true");
    world.put_with_lease(&session_key("streamingnode", id), &stopping, lease);
    let worker = world.worker(id).unwrap();
    assert_eq!((worker.frozen, worker.draining, worker.address.as_str()), (true, true, "h:2"));
    assert_eq!(worker.request, b"a", "it is the same registration");
    assert!(world.alter_worker(WorkerCommand::Drain { id, draining: false }));
    assert!(world.worker(id).unwrap().draining, "it stops by itself");
    world.grant(9);
    world.put_with_lease(&session_key("streamingnode", id), &milvus_session(id, "streamingnode", "h:2", ""), 9);
    let worker = world.worker(id).unwrap();
    assert_eq!((worker.frozen, worker.draining, worker.request.len()), (false, false, 0), "under another lease");
    assert_eq!(world.count(0xa3), 0);
    let missing = WorkerCommand::Freeze { ids: vec![id, 99], frozen: true };
    assert_eq!(world.rejected(Command::Worker(missing)), Rejection::NodeNotFound { node: 99 });
    assert!(!world.worker(id).unwrap().frozen, "all or none");
}

#[test]
fn a_leader_that_says_where_sessions_are_takes_in_those_that_are_there() {
    let mut world = World::default();
    let register = Command::Worker(WorkerCommand::Register(registration("a", WorkerRole::Proxy)));
    assert!(matches!(world.rejected(register), Rejection::NotReady { .. }));
    world.grant(7);
    for (root, id) in [("by-dev", 1), ("by-dev", 2), ("other", 3)] {
        let key = format!("{root}/meta/session/proxy-{id}");
        world.put_with_lease(&key, &milvus_session(id, "proxy", "h:1", ""), 7);
    }
    assert_eq!(world.count(0xa0), 0);
    world.run(found("by-dev"));
    assert_eq!(ids(&world.view().workers().unwrap()), [1, 2]);
    assert_eq!(world.run(found("by-dev")), Reply::Worker(WorkerReply::Founded { changed: false }));
    world.run(found("other"));
    assert_eq!(ids(&world.view().workers().unwrap()), [3]);
    assert_eq!(world.view().worker_book().unwrap().workers, 1);
    assert!(matches!(world.rejected(found("")), Rejection::ParameterInvalid { .. }));
}

#[test]
fn changes_are_told_from_a_revision_on() {
    let mut world = World::with_workers();
    let (first, ..) = world.register(registration("a", WorkerRole::DataNode));
    let (second, ..) = world.register(registration("b", WorkerRole::DataNode));
    let all = world.view().worker_changes(0).unwrap();
    assert_eq!((all.reset, ids(&all.changed)), (true, vec![first, second]));
    let from = all.revision;
    let none = world.view().worker_changes(from).unwrap();
    assert_eq!((none.reset, none.changed.len(), none.gone.len()), (false, 0, 0));
    world.run(Command::Worker(WorkerCommand::Leave { id: first }));
    for frozen in [true, false, true] {
        world.alter_worker(WorkerCommand::Freeze { ids: vec![second], frozen });
    }
    let (third, ..) = world.register(registration("c", WorkerRole::DataNode));
    let told = world.view().worker_changes(from).unwrap();
    assert_eq!((told.reset, told.gone), (false, vec![(first, WorkerRole::DataNode)]));
    assert_eq!(ids(&told.changed), [second, third], "each once, as it is now");
    assert!(told.changed[0].frozen && told.revision == from + 5);
    // From the future: another cluster's revision.
    assert!(world.view().worker_changes(told.revision + 1).unwrap().reset);
    for turn in 0..MAX_WORKERS as u64 {
        world.alter_worker(WorkerCommand::Freeze { ids: vec![second], frozen: turn % 2 == 1 });
    }
    let now = world.view().worker_book().unwrap();
    assert_eq!(world.count(0xa2), MAX_WORKERS);
    assert!(world.view().worker_changes(now.changes_from - 2).unwrap().reset);
    assert!(!world.view().worker_changes(now.changes_from - 1).unwrap().reset);
}

#[test]
fn there_are_no_more_workers_than_may_be() {
    let mut world = World::with_workers();
    world.grant(7);
    for id in 1..=MAX_WORKERS as i64 + 1 {
        world.put_with_lease(&session_key("proxy", id), &milvus_session(id, "proxy", "h:1", ""), 7);
    }
    assert_eq!(world.count(0xa0), MAX_WORKERS);
    let register = Command::Worker(WorkerCommand::Register(registration("a", WorkerRole::Proxy)));
    assert!(matches!(world.rejected(register.clone()), Rejection::QuotaExceeded { .. }));
    world.delete(&session_key("proxy", 1), "");
    assert!(matches!(world.run(register), Reply::Worker(WorkerReply::Registered { .. })));
}

#[test]
fn registrations_out_of_bounds_are_refused() {
    let mut world = World::with_workers();
    let good = || registration("a", WorkerRole::QueryNode);
    let long = |bytes: usize| "x".repeat(bytes);
    let bad = [
        RegisterWorker { request: vec![], ..good() },
        RegisterWorker { request: vec![1; 65], ..good() },
        RegisterWorker { role: 0, ..good() },
        RegisterWorker { role: 9, ..good() },
        RegisterWorker { address: "here".into(), ..good() },
        RegisterWorker { address: format!("{}:1", long(300)), ..good() },
        RegisterWorker { version: long(1025), ..good() },
        RegisterWorker { hostname: long(256), ..good() },
        RegisterWorker { ttl_s: 1, ..good() },
        RegisterWorker { ttl_s: 3601, ..good() },
        RegisterWorker { labels: (0..65).map(|n| (n.to_string(), String::new())).collect(), ..good() },
        RegisterWorker { labels: [(long(256), String::new())].into(), ..good() },
        RegisterWorker { labels: [("a".into(), long(1025))].into(), ..good() },
        // Quotes take two bytes each in JSON.
        RegisterWorker { labels: (0..40).map(|n| (n.to_string(), "\"".repeat(1000))).collect(), ..good() },
    ];
    for command in bad {
        let shown = format!("{command:?}");
        world.rejected(Command::Worker(WorkerCommand::Register(command)));
        assert_eq!(world.count(0xa0), 0, "{shown}");
    }
    world.put("by-dev/meta/session/id", "many");
    assert!(matches!(world.rejected(Command::Worker(WorkerCommand::Register(good()))), Rejection::Internal { .. }));
}

#[test]
fn a_restored_cluster_gives_other_ids_and_has_watchers_begin_anew() {
    let mut world = World::with_workers();
    let (first, ..) = world.register(registration("a", WorkerRole::DataNode));
    let before = world.view().worker_book().unwrap().revision;
    let mut txn = Txn::new(&world.tables);
    worker::skip_revisions(&mut txn, 1_000_000_000).unwrap();
    let rows = txn.into_rows();
    world.tables.commit(rows);
    let after = world.view().worker_changes(before).unwrap();
    assert_eq!((after.reset, after.revision, ids(&after.changed)), (true, before + 1_000_000_000, vec![first]));
    let (second, ..) = world.register(registration("b", WorkerRole::DataNode));
    assert_eq!(second, 1_000_002, "the old cluster may have given out the next ones");
    let told = world.view().worker_changes(after.revision).unwrap();
    assert_eq!((told.reset, ids(&told.changed)), (false, vec![second]));
    // One that has no workers yet.
    let empty = World::default();
    let mut txn = Txn::new(&empty.tables);
    worker::skip_revisions(&mut txn, 1).unwrap();
    assert!(txn.into_rows().is_empty());
}

/// Counts what is read of the tables.
struct Counting<'a>(&'a MemTables, AtomicUsize);

impl Read for Counting<'_> {
    fn get(&self, space: Space, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.get(space, key)
    }

    fn scan(&self, space: Space, range: KeyRange<'_>, reverse: bool, visit: &mut Visit<'_>) -> io::Result<()> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.scan(space, range, reverse, visit)
    }
}

#[test]
fn a_put_of_an_ordinary_key_reads_nothing_for_workers() {
    let reads = |world: &World, key: &str| {
        let tables = Counting(&world.tables, AtomicUsize::new(0));
        let mut txn = Txn::new(&tables);
        let context = ApplyContext { index: 99, term: 1, leader: 1, apply_version: Roost::APPLY_VERSION };
        let put = put_command(&api::PutRequest { key: key.into(), ..Default::default() });
        let entry = entry(START_MS, None, Command::Keyspace(put)).encode().unwrap();
        Roost.apply(&context, &entry, &mut txn, &mut Vec::new()).unwrap();
        tables.1.load(Ordering::Relaxed)
    };
    let mut world = World::default();
    world.run(alloc(1));
    let before = reads(&world, "by-dev/meta/root-coord/x");
    world.run(found(ROOT));
    for key in ["x", "by-dev/meta/root-coord/x", "by-dev/meta/session", "by-dev/kv/gid/timestamp"] {
        assert_eq!(reads(&world, key), before, "{key}");
    }
    assert!(reads(&world, &session_key("proxy", 1)) > before, "the count sees reads");
}
