//! Pictures and plans of clusters that are a few rows.

mod interface;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use roost_raft::kv::{MemTables, Txn};

use super::failures::Failures;
use super::former::Former;
use super::interceptor::{Intended, Interceptor, Interceptors};
use super::operation::Outcome;
use super::picture::{Known, Picture};
use super::planning::examined;
use super::tenants::Tenants;
use crate::config;
use crate::limits;
use crate::pb::store::{self, PChannelState, WorkerCapacity, WorkerRole};
use crate::session::Loads;
use crate::state::View;
use crate::state::tables::{PCHANNEL_ROWS, WORKERS};
use crate::streamingcoord::policy::{Move, Plan};

/// Node 1 has `a`, node 2 takes `b`, nobody has `c`.
struct Cluster {
    tables: MemTables,
    failures: Failures,
    running: BTreeSet<(String, i64)>,
    force: bool,
    now: Instant,
}

const NOW_MS: u64 = 1_000_000;

impl Cluster {
    fn new() -> Self {
        let mut cluster = Cluster {
            tables: MemTables::default(),
            failures: Failures::default(),
            running: BTreeSet::from([("b".to_owned(), 3)]),
            force: false,
            now: Instant::now(),
        };
        cluster.write(|txn| {
            for id in 1..=3 {
                put_worker(txn, &worker(id));
            }
            put_channel(txn, "a", 2, 1, PChannelState::Assigned);
            put_channel(txn, "b", 3, 2, PChannelState::Assigning);
            put_channel(txn, "c", 4, 2, PChannelState::Unavailable);
        });
        cluster
    }

    fn write(&mut self, with: impl FnOnce(&mut Txn<'_>)) {
        let mut txn = Txn::new(&self.tables);
        with(&mut txn);
        let rows = txn.into_rows();
        self.tables.commit(rows);
    }

    fn picture(&self) -> Picture {
        let running = |name: &str, term: i64| self.running.contains(&(name.to_owned(), term));
        let known = Known {
            tenants: &Tenants::default(),
            failures: &self.failures,
            former: &Former::default(),
            running: &running,
            lagging: &BTreeSet::new(),
            loads: &Loads::default(),
            config: &config::Streaming::default(),
            now_ms: NOW_MS,
            now: self.now,
            force: self.force,
        };
        let view = View::new(&self.tables);
        Picture::take(&view, view.pchannels().unwrap(), &known).unwrap()
    }

    fn owners(&self) -> Vec<Option<i64>> {
        self.picture().view.channels.iter().map(|channel| channel.owner).collect()
    }

    fn frozen(&self) -> Vec<i64> {
        self.picture().view.nodes.iter().filter(|node| node.frozen).map(|node| node.id).collect()
    }
}

fn worker(id: i64) -> store::Worker {
    store::Worker { id, role: WorkerRole::StreamingNode.into(), address: format!("n{id}:1"), ..Default::default() }
}

fn put_worker(txn: &mut Txn<'_>, worker: &store::Worker) {
    WORKERS.put(txn, &(worker.id, WorkerRole::StreamingNode as u8), worker);
}

fn put_channel(txn: &mut Txn<'_>, name: &str, term: i64, node: i64, state: PChannelState) {
    let row = store::PChannel {
        name: name.to_owned(),
        term,
        node: Some(store::StreamingNode { server_id: node, address: format!("n{node}:1") }),
        state: state.into(),
        last_assigned_ms: NOW_MS - 1000,
        ..Default::default()
    };
    PCHANNEL_ROWS.put(txn, &name.to_owned(), &row);
}

#[test]
fn what_is_being_taken_has_an_owner_until_it_fails_and_has_waited() {
    let mut cluster = Cluster::new();
    assert_eq!(cluster.owners(), [Some(1), Some(2), None]);
    assert_eq!(cluster.picture().no_rebalance.as_deref(), Some("1 channels are being assigned"));
    cluster.running.clear();
    cluster.failures.not_taken("b", 2, cluster.now, "no");
    assert_eq!(cluster.owners(), [Some(1), Some(2), None], "it waits for its turn");
    cluster.now += limits::ASSIGN_RETRY_MIN;
    assert_eq!(cluster.owners(), [Some(1), None, None]);
    // Of a node that is gone nothing is left.
    cluster.write(|txn| WORKERS.delete(txn, &(1, WorkerRole::StreamingNode as u8)));
    assert_eq!(cluster.owners(), [None, None, None]);
}

#[test]
fn silent_nodes_get_nothing_new_unless_all_are_silent() {
    let mut cluster = Cluster::new();
    cluster.failures.unreachable(1, cluster.now, "gone");
    cluster.failures.unreachable(2, cluster.now, "gone");
    assert_eq!(cluster.frozen(), [1, 2]);
    assert_eq!(cluster.picture().suspicions.get(&2).map(String::as_str), Some("gone"));
    cluster.write(|txn| put_worker(txn, &store::Worker { frozen: true, ..worker(3) }));
    assert_eq!(cluster.frozen(), [3], "only what an operator ordered: one of the others may answer again");
    cluster.now += limits::NODE_AVOIDED_MIN;
    assert_eq!(cluster.frozen(), [3]);
}

#[test]
fn a_channel_stays_for_a_while_and_nodes_weigh_what_they_have() {
    let mut cluster = Cluster::new();
    let movable = |cluster: &Cluster| cluster.picture().view.channels.iter().map(|one| one.movable).collect::<Vec<_>>();
    assert_eq!(movable(&cluster), [false, false, false], "it was taken a second ago");
    cluster.force = true;
    assert_eq!(movable(&cluster), [true, false, false]);
    let capacity = |cpu_millis, memory_bytes| WorkerCapacity { cpu_millis, memory_bytes, ..Default::default() };
    cluster.write(|txn| {
        put_worker(txn, &store::Worker { capacity: Some(capacity(3000, 100)), ..worker(1) });
        put_worker(txn, &store::Worker { capacity: Some(capacity(1000, 300)), ..worker(2) });
    });
    let weights: Vec<f64> = cluster.picture().view.nodes.iter().map(|node| node.weight).collect();
    assert_eq!(weights, [1.0, 1.0, 1.0], "three times the one, a third of the other; the last did not say");
    cluster.write(|txn| put_worker(txn, &store::Worker { capacity: Some(capacity(3000, 0)), ..worker(1) }));
    let weights: Vec<f64> = cluster.picture().view.nodes.iter().map(|node| node.weight).collect();
    assert_eq!(weights, [1.5, 0.75, 1.0]);
}

struct Veto;

impl Interceptor for Veto {
    fn name(&self) -> &'static str {
        "veto"
    }

    fn before(&self, intended: &Intended, _: bool) -> Result<(), String> {
        if intended.for_balance { Err("not today".into()) } else { Ok(()) }
    }

    fn after(&self, _: &str, _: i64, _: i64, _: &Outcome, _: Duration) {}
}

fn to_of(channel: &str, from: Option<i64>, to: i64) -> Move {
    Move { channel: channel.into(), from, to, reason: "test".into() }
}

/// Else the channel went to that node and back, and every time somebody had to let go of it.
#[test]
fn an_order_for_a_node_that_refuses_is_void_for_a_while() {
    let mut cluster = Cluster::new();
    cluster.write(|txn| {
        let mut row = PCHANNEL_ROWS.get(txn, &"a".to_owned()).unwrap().unwrap();
        row.pinned = 3;
        PCHANNEL_ROWS.put(txn, &"a".to_owned(), &row);
    });
    let pinned = |cluster: &Cluster| cluster.picture().view.channels[0].pinned;
    assert_eq!(pinned(&cluster), Some(3));
    cluster.failures.not_taken("a", 3, cluster.now, "no");
    cluster.failures.taken("a", cluster.now);
    assert_eq!(pinned(&cluster), None, "also when another has taken it");
    cluster.now += limits::NODE_AVOIDED_MIN;
    assert_eq!(pinned(&cluster), Some(3));
}

#[test]
fn refused_places_are_gone_round_and_vetoes_hold() {
    let mut cluster = Cluster::new();
    cluster.failures.not_taken("c", 1, cluster.now, "no");
    let waits = Plan { moves: vec![to_of("c", None, 1)], ..Plan::default() };
    let interceptors = Interceptors::default();
    let waiting = examined("test", waits, cluster.picture(), &cluster.failures, &interceptors, cluster.now, false);
    assert!(waiting.orders().is_empty());
    assert_eq!(waiting.plan.notes, ["1 channels wait before they are ordered again"]);
    cluster.now += limits::ASSIGN_RETRY_MIN;
    let plan = Plan { moves: vec![to_of("a", Some(1), 2), to_of("c", None, 1)], ..Plan::default() };
    interceptors.add(std::sync::Arc::new(Veto));
    let planned = examined("test", plan, cluster.picture(), &cluster.failures, &interceptors, cluster.now, false);
    assert_eq!(planned.plan.moves[1].to, 3, "node 2 will have two");
    assert!(planned.plan.moves[1].reason.contains("node 1 did not take it: no"));
    assert_eq!(planned.vetoes, BTreeMap::from([("a".to_owned(), "veto: not today".to_owned())]));
    let orders: Vec<_> = planned.orders().into_iter().map(|order| (order.name, order.term, order.node)).collect();
    assert_eq!(orders, [("c".to_owned(), 4, 3)]);
    let shown = super::report::planned(&planned);
    let counts: Vec<_> = shown.nodes.iter().map(|node| (node.channels_before, node.channels_after)).collect();
    assert_eq!(counts, [(1, 1), (1, 1), (0, 1)], "what is vetoed stays");
    assert_eq!(shown.moves[0].veto, "veto: not today");
}
