//! A replica for unit tests: one node, in memory, whose leadership the test decides; and what stands on it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use roost_raft::kv::{MemTables, Read, Txn};
use roost_raft::machine::{ApplyContext, Machine};
use roost_raft::types::Leadership;
use tokio::sync::{broadcast, watch};

use crate::call::{Call, RequestId, Requests};
use crate::etcd::lessor::Lessor;
use crate::etcd::{Headers, Keyspace};
use crate::forward::Peers;
use crate::leader::clock::{GuardedClock, SystemClock};
use crate::metrics::Metrics;
use crate::proposer::Proposer;
use crate::relay::Relay;
use crate::replica::{Applied, AppliedEvents, Error, Events, Peer, Proposal, Replica};
use crate::state::{Event, Roost};

/// Batches that a subscriber may fall behind: few, so that tests see it happen.
const EVENTS_MAX: usize = 64;

/// Applies what is proposed to in-memory tables, which may be shared by several of them.
pub struct SoloReplica {
    pub id: u64,
    tables: Arc<Mutex<Tables>>,
    leadership: watch::Sender<Leadership>,
    /// While set, proposals are executed and then reported as unknown.
    pub lose_answers: AtomicBool,
    /// While set, proposals wait for ever.
    pub stall: AtomicBool,
    /// While set, proposals are refused as by a cluster with a member that is too old.
    pub outdated: AtomicBool,
    /// How many were refused so.
    pub refused: AtomicU64,
    /// As if a member had raised NOSPACE.
    pub disk_full: AtomicBool,
    pub members: Mutex<Vec<Peer>>,
    pub cluster: Mutex<String>,
}

pub struct Tables {
    rows: MemTables,
    index: u64,
    /// The term that leads, so that a deposed replica's proposals and checks fail even before it notices.
    term: u64,
    events: broadcast::Sender<Arc<AppliedEvents<Event>>>,
    all_events: broadcast::Sender<Arc<AppliedEvents<Event>>>,
}

impl Default for Tables {
    fn default() -> Self {
        let (events, all_events) = (broadcast::Sender::new(EVENTS_MAX), broadcast::Sender::new(EVENTS_MAX));
        Tables { rows: MemTables::default(), index: 0, term: 0, events, all_events }
    }
}

impl Tables {
    fn publish(&self, events: Vec<Event>) {
        let common = !events.is_empty() && events.iter().all(Event::is_of_plain_keys);
        let batch = Arc::new(AppliedEvents { index: self.index, events });
        let _ = self.all_events.send(batch.clone());
        if !common {
            let _ = self.events.send(batch);
        }
    }
}

impl SoloReplica {
    pub fn new() -> Arc<Self> {
        Self::sharing(1, Arc::default())
    }

    pub fn sharing(id: u64, tables: Arc<Mutex<Tables>>) -> Arc<Self> {
        Arc::new(SoloReplica {
            id,
            tables,
            leadership: watch::Sender::new(Leadership::default()),
            lose_answers: AtomicBool::new(false),
            stall: AtomicBool::new(false),
            outdated: AtomicBool::new(false),
            refused: AtomicU64::new(0),
            disk_full: AtomicBool::new(false),
            members: Mutex::default(),
            cluster: Mutex::new("solo".into()),
        })
    }

    pub fn lead(&self, term: u64) {
        self.tables.lock().term = term;
        self.leadership.send_replace(Leadership { term, leader: Some(self.id), is_self: true });
    }

    pub fn follow(&self, term: u64, leader: Option<u64>) {
        self.leadership.send_replace(Leadership { term, leader, is_self: false });
    }

    /// Tells whoever follows that rows were replaced as a whole.
    pub fn installed(&self) {
        self.tables.lock().publish(Vec::new());
    }

    fn leading(&self) -> Option<u64> {
        let seen = *self.leadership.borrow();
        (seen.is_self && self.tables.lock().term == seen.term).then_some(seen.term)
    }
}

#[tonic::async_trait]
impl Replica for SoloReplica {
    fn node_id(&self) -> u64 {
        self.id
    }

    async fn propose(&self, proposal: Proposal) -> Result<Applied, Error> {
        while self.stall.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if self.outdated.load(Ordering::Relaxed) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Error::Refused("a member is too old".into()));
        }
        let term = self.leading().ok_or(Error::NotLeader)?;
        if proposal.term.is_some_and(|named| named != term) {
            return Err(Error::NotLeader);
        }
        let mut tables = self.tables.lock();
        tables.index += 1;
        let context = ApplyContext { index: tables.index, term, leader: self.id, apply_version: Roost::APPLY_VERSION };
        let mut events = Vec::new();
        let (reply, rows) = {
            let mut txn = Txn::new(&tables.rows);
            let reply = Roost.apply(&context, &proposal.command, &mut txn, &mut events).unwrap();
            (reply, txn.into_rows())
        };
        tables.rows.commit(rows);
        if !events.is_empty() {
            tables.publish(events);
        }
        if self.lose_answers.load(Ordering::Relaxed) {
            return Err(Error::Unknown("the test lost the answer".into()));
        }
        Ok(Applied { index: context.index, term, reply })
    }

    async fn read_barrier(&self, _deadline: Instant) -> Result<u64, Error> {
        if self.leadership.borrow().leader.is_none() {
            return Err(Error::NoQuorum("no leader".into()));
        }
        Ok(self.tables.lock().index)
    }

    fn view(&self) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(self.tables.lock().rows.clone()))
    }

    fn events(&self) -> Events {
        self.tables.lock().events.subscribe()
    }

    fn all_events(&self) -> Events {
        self.tables.lock().all_events.subscribe()
    }

    fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.subscribe()
    }

    async fn confirm_leader(&self, term: u64) -> Result<(), Error> {
        tokio::task::yield_now().await;
        if self.leading() == Some(term) { Ok(()) } else { Err(Error::NotLeader) }
    }

    fn members(&self) -> Vec<Peer> {
        self.members.lock().clone()
    }

    fn alarms(&self) -> Vec<String> {
        Vec::new()
    }

    fn disk_full(&self) -> bool {
        self.disk_full.load(Ordering::Relaxed)
    }

    fn cluster_id(&self) -> String {
        self.cluster.lock().clone()
    }

    async fn hand_over(&self) {}

    async fn failed(&self) -> String {
        std::future::pending().await
    }

    async fn close(&self) {}
}

/// A call that nobody stamped.
pub fn call() -> Call {
    let deadline = Instant::now() + Duration::from_secs(20);
    Call { request: RequestId::default(), principal: String::new(), source: "test".into(), deadline }
}

/// The key space of a node that leads, and its way to the leader. Must be called within a tokio runtime.
pub fn keyspace() -> (Keyspace, Arc<Relay>) {
    let replica = SoloReplica::new();
    let clock = Arc::new(GuardedClock::new(Arc::new(SystemClock::default()), 60_000));
    let proposer = Proposer::new(replica.clone(), clock.clone());
    let lessor = Lessor::new(replica.clone(), proposer.clone(), Arc::new(SystemClock::default()));
    let (peers, requests) = (Arc::new(Peers::new(None)), Requests::new(1, 1));
    let (loads, metrics) = (Arc::default(), Arc::new(Metrics::new()));
    let relay = Relay::new(replica.clone(), proposer, lessor.clone(), loads, peers, requests, metrics);
    clock.settled_for(1);
    replica.lead(1);
    tokio::spawn(crate::leader::run(replica.clone(), vec![lessor]));
    (Keyspace::new(replica.clone(), relay.clone(), Headers::new(replica)), relay)
}
