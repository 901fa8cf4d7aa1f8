//! Sessions of a node that leads, without sockets: what a keep-alive does and what it does not, and what is published.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use prost::Message;

use super::*;
use crate::call::Requests;
use crate::etcd::lessor::Lessor;
use crate::forward::Peers;
use crate::leader;
use crate::leader::clock::{GuardedClock, SystemClock};
use crate::metrics::Metrics;
use crate::pb::etcd::api::{DeleteRangeRequest, PutRequest};
use crate::pb::etcd::kv::KeyValue;
use crate::pb::relay::KeepAlive;
use crate::pb::session::LoadReport;
use crate::pb::store::WorkerRole;
use crate::proposer::Proposer;
use crate::relay::{Relay, Renewal};
use crate::replica::{Peer, Replica};
use crate::state::keyspace::{self, KeyspaceCommand};
use crate::state::worker::{Capacity, SessionValue};
use crate::state::{Command, RegisterWorker, Reply, View, WorkerCommand, WorkerReply};
use crate::testing::{SoloReplica, call};

struct Solo {
    replica: Arc<SoloReplica>,
    clock: Arc<GuardedClock>,
    relay: Arc<Relay>,
    loads: Arc<Loads>,
}

/// A node that leads term 1, whose leader has said where sessions are.
async fn solo(publish: bool) -> Solo {
    let replica = SoloReplica::new();
    let own = Peer { id: 1, voter: true, internal: "10.0.0.9:22125".into(), ..Peer::default() };
    let other = Peer { id: 2, voter: true, internal: "10.0.0.8:22125".into(), ..Peer::default() };
    *replica.members.lock() = vec![own, other];
    let clock = Arc::new(GuardedClock::new(Arc::new(SystemClock::default()), 60_000));
    let proposer = Proposer::new(replica.clone(), clock.clone());
    let lessor = Lessor::new(replica.clone(), proposer.clone(), Arc::new(SystemClock::default()));
    let loads = Arc::<Loads>::default();
    let (peers, requests) = (Arc::new(Peers::new(None)), Requests::new(1, 1));
    let metrics = Arc::new(Metrics::new());
    let relay = Relay::new(replica.clone(), proposer.clone(), lessor.clone(), loads.clone(), peers, requests, metrics);
    let task = SessionTask::new(replica.clone(), proposer, lessor.clone(), loads.clone(), "by-dev", publish);
    clock.settled_for(1);
    replica.lead(1);
    tokio::spawn(leader::run(replica.clone(), vec![lessor, task]));
    let solo = Solo { replica, clock, relay, loads };
    solo.until("sessions have a place", |view| !view.worker_book().unwrap().session_prefix.is_empty()).await;
    solo
}

impl Solo {
    async fn until(&self, what: &str, holds: impl Fn(&View<'_>) -> bool) {
        let waiting = async {
            while !holds(&View::new(self.replica.view().unwrap().as_ref())) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(30), waiting).await.is_ok(), "{what}");
    }

    /// Server id and lease.
    async fn register(&self, request: &str, ttl_s: i64) -> (i64, i64) {
        let command = RegisterWorker {
            request: request.into(),
            role: WorkerRole::StreamingNode.into(),
            address: "10.0.0.1:21123".into(),
            version: "2.6.18".into(),
            hostname: "h".into(),
            labels: Default::default(),
            capacity: Some(Capacity { cpu_millis: 1000, ..Capacity::default() }),
            ttl_s,
        };
        let submitted = self.relay.submit(&call(), Command::Worker(WorkerCommand::Register(command))).await.unwrap();
        match submitted {
            Reply::Worker(WorkerReply::Registered { server_id, lease, .. }) => (server_id, lease),
            reply => panic!("{reply:?}"),
        }
    }

    async fn keep_alive(&self, server_id: i64, lease_id: i64, load: Option<LoadReport>) -> Renewal {
        self.relay.keep_alive(&call(), KeepAlive { server_id, lease_id, load }).await.unwrap()
    }

    async fn keyspace(&self, command: KeyspaceCommand) {
        self.relay.submit(&call(), Command::Keyspace(command)).await.unwrap();
    }

    async fn put(&self, key: &str, value: &str) {
        let put = PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() };
        self.keyspace(KeyspaceCommand::Put(put.encode_to_vec())).await;
    }

    fn key(&self, key: &str) -> Option<KeyValue> {
        keyspace::get(self.replica.view().unwrap().as_ref(), key.as_bytes()).unwrap()
    }

    fn session(&self, role: &str) -> Option<SessionValue> {
        let row = self.key(&format!("by-dev/meta/session/{role}"))?;
        Some(serde_json::from_slice(&row.value).unwrap())
    }

    async fn applied(&self) -> u64 {
        self.replica.read_barrier(std::time::Instant::now()).await.unwrap()
    }
}

fn load(load: f64) -> Option<LoadReport> {
    Some(LoadReport { used: None, load: Some(load) })
}

#[tokio::test(flavor = "multi_thread")]
async fn keep_alives_cost_no_entry_of_the_log() {
    let solo = solo(false).await;
    let (id, lease) = solo.register("a", 3600).await;
    let before = solo.applied().await;
    for number in 0..20_000_u32 {
        let renewed = solo.keep_alive(id, lease, load(f64::from(number % 100) / 100.0)).await;
        assert_eq!(renewed, Renewal::Renewed { ttl_s: 3600 });
    }
    assert_eq!(solo.applied().await, before);
    assert_eq!(solo.loads.reported(id).unwrap().load, load(0.99).unwrap(), "the last report counts");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_silent_for_its_ttl_learns_that_it_is_dead() {
    let solo = solo(false).await;
    let (id, lease) = solo.register("a", 2).await;
    assert_eq!(solo.keep_alive(id, lease, load(0.5)).await, Renewal::Renewed { ttl_s: 2 });
    solo.until("it is dead", |view| view.workers().unwrap().is_empty()).await;
    assert_eq!(solo.keep_alive(id, lease, load(0.5)).await, Renewal::NotFound);
    solo.until("its load is forgotten", |_| solo.loads.reported(id).is_none()).await;
    let (second, _) = solo.register("b", 60).await;
    assert_eq!((second, solo.keep_alive(second, lease, None).await), (2, Renewal::NotFound), "by a lease of another");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_key_was_deleted_is_dead_though_its_lease_is_not() {
    let solo = solo(false).await;
    let (id, lease) = solo.register("a", 60).await;
    let key = "by-dev/meta/session/streamingnode-1".into();
    let delete = DeleteRangeRequest { key, ..DeleteRangeRequest::default() };
    solo.keyspace(KeyspaceCommand::DeleteRange(delete.encode_to_vec())).await;
    assert!(keyspace::lease(solo.replica.view().unwrap().as_ref(), lease).unwrap().is_some());
    assert_eq!(solo.keep_alive(id, lease, load(0.5)).await, Renewal::NotFound);
    assert_eq!(solo.loads.reported(id), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_leader_knows_no_load_until_it_is_told() {
    let solo = solo(false).await;
    let (id, lease) = solo.register("a", 60).await;
    solo.keep_alive(id, lease, load(0.5)).await;
    assert!(solo.loads.reported(id).is_some());
    solo.replica.follow(2, None);
    solo.until("a deposed leader forgets", |_| solo.loads.reported(id).is_none()).await;
    solo.clock.settled_for(3);
    solo.replica.lead(3);
    assert_eq!(solo.keep_alive(id, lease, load(0.75)).await, Renewal::Renewed { ttl_s: 60 });
    solo.until("it is told", |view| {
        let worker = view.worker(id).unwrap().unwrap();
        solo.loads.load(&worker) == Some(0.75)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_publishes_where_the_coordinator_is() {
    let solo = solo(true).await;
    let address = |solo: &Solo, role| solo.session(role).map(|session| session.address);
    for role in ["rootcoord", "datacoord", "querycoord", "mixcoord", "streamingcoord"] {
        solo.until(role, |_| address(&solo, role).as_deref() == Some("10.0.0.9:22125")).await;
    }
    let session = solo.session("mixcoord").unwrap();
    assert_eq!((session.server_id, session.exclusive, session.version.as_str()), (1, true, "2.6.18"));
    let row = solo.key("by-dev/meta/session/mixcoord").unwrap();
    assert_eq!(row.lease, session.lease_id);
    assert_eq!(solo.key("by-dev/meta/session/id").unwrap().value, b"2", "its server id is nobody else's");
    // The next leader, here the same node at another address.
    solo.replica.follow(2, None);
    solo.replica.members.lock()[0].internal = "10.0.0.7:22125".into();
    solo.replica.members.lock()[1].internal = "10.0.0.9:22125".into();
    solo.clock.settled_for(3);
    solo.replica.lead(3);
    solo.until("it is the leader's", |_| address(&solo, "mixcoord").as_deref() == Some("10.0.0.7:22125")).await;
    let next = solo.session("mixcoord").unwrap();
    assert_eq!(next.server_id, 1, "the coordinator is the same one");
    assert_ne!(next.lease_id, session.lease_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_coordinators_sessions_are_left_alone() {
    let solo = solo(false).await;
    solo.put("by-dev/meta/session/rootcoord", "{\"ServerID\":9,\"Address\":\"10.9.9.9:53100\"}").await;
    let proposer = Proposer::new(solo.replica.clone(), solo.clock.clone());
    let lessor = Lessor::new(solo.replica.clone(), proposer.clone(), Arc::new(SystemClock::default()));
    let publisher = super::publish::Publisher::new(solo.replica.clone(), proposer, lessor, "by-dev");
    let mut lease = None;
    let before = solo.applied().await;
    publisher.keep(leader::Reign { term: 1 }, &mut lease).await;
    assert_eq!((lease, solo.applied().await), (None, before), "nothing is written");
    assert_eq!(solo.session("mixcoord"), None);
    // One that cannot be read is not ours because a member has no address.
    solo.put("by-dev/meta/session/rootcoord", "x").await;
    solo.replica.members.lock().push(Peer { id: 3, ..Peer::default() });
    publisher.keep(leader::Reign { term: 1 }, &mut lease).await;
    assert_eq!((lease, solo.key("by-dev/meta/session/rootcoord").unwrap().value.as_slice()), (None, b"x".as_slice()));
    solo.put("by-dev/meta/session/rootcoord", "{\"ServerID\":9,\"Address\":\"10.0.0.8:22125\"}").await;
    publisher.keep(leader::Reign { term: 1 }, &mut lease).await;
    let session = solo.session("mixcoord").unwrap();
    assert_eq!((Some(session.lease_id), session.server_id), (lease, 9), "that was one of our own nodes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_hears_what_happens_before_its_task_runs() {
    let solo = solo(false).await;
    let hub = WorkerHub::new(solo.replica.clone());
    let (_trigger, shutdown) = crate::shutdown::channel();
    let following = hub.clone().follow(shutdown.clone());
    let mut watch = Box::pin(hub.watch(0, shutdown).unwrap());
    let first = watch.next().await.unwrap().unwrap();
    let (id, _) = solo.register("a", 60).await;
    tokio::spawn(following);
    let told = tokio::time::timeout(Duration::from_secs(30), watch.next()).await.expect("it is woken");
    let told = told.unwrap().unwrap();
    assert_eq!((told.changed[0].server_id, told.revision > first.revision), (id, true));
}
