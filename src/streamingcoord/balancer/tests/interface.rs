//! What others call of a balancer: notifiers, where a channel is, assignments to watch, marks, triggers, its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::failure::Failure;
use crate::leader::LeaderTask;
use crate::leader::clock::{GuardedClock, SystemClock};
use crate::metrics::Metrics;
use crate::pb::streaming::PChannelInfo;
use crate::proposer::Proposer;
use crate::relay::Relay;
use crate::replica;
use crate::state::worker::RegisterWorker;
use crate::state::{AssignOrder, Command, PChannelCommand, Reply, WorkerCommand, WorkerReply, pchannel_name};
use crate::streamingcoord::balancer::{Balancer, Parts};
use crate::streamingcoord::discovery::Assignments;
use crate::streamingcoord::nodes::Nodes;
use crate::streamingcoord::policy::Registry;
use crate::testing::{SoloReplica, call};

/// A leader of term 1 without streaming nodes, and its balancer, which nobody runs yet.
struct Leader {
    replica: Arc<SoloReplica>,
    proposer: Arc<Proposer>,
    assignments: Arc<Assignments>,
    balancer: Arc<Balancer>,
}

impl Leader {
    async fn new() -> Self {
        let replica = SoloReplica::new();
        let clock = Arc::new(GuardedClock::new(Arc::new(SystemClock::default()), 60_000));
        let proposer = Proposer::new(replica.clone(), clock.clone());
        let lessor =
            crate::etcd::lessor::Lessor::new(replica.clone(), proposer.clone(), Arc::new(SystemClock::default()));
        let (peers, requests) = (Arc::new(crate::forward::Peers::new(None)), crate::call::Requests::new(1, 1));
        let (loads, metrics) = (Arc::<Loads>::default(), Arc::new(Metrics::new()));
        let relay = Relay::new(replica.clone(), proposer.clone(), lessor, loads.clone(), peers, requests, metrics);
        clock.settled_for(1);
        replica.lead(1);
        let assignments = Assignments::new(replica.clone());
        let balancer = Balancer::new(Parts {
            replica: replica.clone(),
            proposer: proposer.clone(),
            relay,
            clock: Arc::new(SystemClock::default()),
            nodes: Arc::new(Nodes::new("by-dev".into())),
            loads,
            assignments: assignments.clone(),
            config: Arc::new(config::Streaming::default()),
            policies: Registry::default(),
        });
        let leader = Leader { replica, proposer, assignments, balancer };
        leader.propose(Command::Worker(WorkerCommand::Found { root: "by-dev".into() })).await;
        leader
    }

    async fn propose(&self, command: Command) -> Reply {
        self.proposer.propose_internal(1, command).await.unwrap()
    }

    async fn join(&self) -> i64 {
        let register = RegisterWorker {
            request: b"one".to_vec(),
            role: WorkerRole::StreamingNode.into(),
            address: "127.0.0.1:1".into(),
            version: "2.6.0".into(),
            hostname: "h".into(),
            labels: BTreeMap::new(),
            capacity: None,
            ttl_s: 60,
        };
        match self.propose(Command::Worker(WorkerCommand::Register(register))).await {
            Reply::Worker(WorkerReply::Registered { server_id, .. }) => server_id,
            reply => panic!("{reply:?}"),
        }
    }

    /// Gives the first channel to a node, which takes it under term 2.
    async fn assign(&self, node: i64) {
        let name = pchannel_name(0);
        self.propose(Command::PChannel(PChannelCommand::Add { names: vec![name.clone()] })).await;
        let orders = vec![AssignOrder { name: name.clone(), term: 1, node }];
        self.propose(Command::PChannel(PChannelCommand::Assign { orders })).await;
        self.propose(Command::PChannel(PChannelCommand::AssignDone { taken: vec![(name, 2)] })).await;
        self.assignments.refresh().unwrap();
    }

    fn located(&self) -> Option<(i64, i64)> {
        self.balancer.latest_wal_located(&pchannel_name(0)).unwrap()
    }
}

async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap();
}

#[tokio::test]
async fn notifiers_are_called_once_when_a_node_was_given_a_channel() {
    let leader = Leader::new().await;
    let calls: Arc<[AtomicUsize; 2]> = Arc::default();
    let notify = |which: usize| {
        let calls = calls.clone();
        leader.balancer.register_streaming_enabled_notifier(move || _ = calls[which].fetch_add(1, Ordering::SeqCst));
    };
    let called = |which: usize| calls[which].load(Ordering::SeqCst);
    notify(0);
    let node = leader.join().await;
    leader.assignments.refresh().unwrap();
    tokio::task::yield_now().await;
    assert_eq!(called(0), 0, "a node alone is not enough");
    leader.assign(node).await;
    until(|| called(0) == 1).await;
    leader.assignments.refresh().unwrap();
    // It was so already.
    notify(1);
    until(|| called(1) == 1).await;
    assert_eq!(called(0), 1);
}

#[tokio::test]
async fn it_says_where_a_channel_is_and_marks_it_lost_under_its_term() {
    let leader = Leader::new().await;
    let mut told = leader.balancer.watch_channel_assignments();
    let node = leader.join().await;
    assert_eq!((leader.located(), leader.balancer.latest_wal_located("nonsense").unwrap()), (None, None));
    leader.assign(node).await;
    assert_eq!(leader.located(), Some((node, 2)));
    assert!(told.has_changed().unwrap());
    let version = told.borrow_and_update().version;
    let lost = |term| PChannelInfo { name: pchannel_name(0), term, access_mode: 0 };
    leader.balancer.mark_as_unavailable(&call(), &[lost(1)]).await.unwrap();
    assert_eq!(leader.located(), Some((node, 2)), "that term is over");
    leader.balancer.mark_as_unavailable(&call(), &[lost(2)]).await.unwrap();
    assert_eq!(leader.located(), None);
    leader.assignments.refresh().unwrap();
    assert!(told.has_changed().unwrap() && told.borrow().version > version);
}

fn is_not_leader(failure: &Failure) -> bool {
    matches!(failure, Failure::Again(replica::Error::NotLeader))
}

#[tokio::test]
async fn it_is_triggered_while_it_leads_and_rests_once_it_is_closed() {
    let leader = Leader::new().await;
    assert!(leader.balancer.trigger().is_err_and(|failure| is_not_leader(&failure)), "nobody runs it");
    let tasks: Vec<Arc<dyn LeaderTask>> = vec![leader.balancer.clone()];
    let running = tokio::spawn(crate::leader::run(leader.replica.clone(), tasks));
    until(|| leader.balancer.trigger().is_ok()).await;
    assert!(leader.balancer.plan(&call(), true).await.unwrap().moves.is_empty());
    leader.balancer.close();
    until(|| leader.balancer.trigger().is_err()).await;
    assert!(leader.balancer.plan(&call(), true).await.is_err_and(|failure| is_not_leader(&failure)));
    // Nor does it begin again with another reign.
    leader.replica.follow(1, None);
    leader.replica.lead(2);
    tokio::time::sleep(limits::BALANCER_RETRY * 2).await;
    assert!(leader.balancer.trigger().is_err());
    running.abort();
}

#[test]
fn so_many_may_listen_and_no_more() {
    let assignments = Assignments::new(SoloReplica::new());
    let mut held: Vec<_> = (0..limits::ASSIGNMENT_LISTENERS_MAX).map(|_| assignments.listen().unwrap()).collect();
    assert_eq!(assignments.listeners(), limits::ASSIGNMENT_LISTENERS_MAX);
    let refused = assignments.listen().unwrap_err();
    assert_eq!((refused.code(), refused.message()), (tonic::Code::ResourceExhausted, "10000 listeners on this node"));
    held.pop();
    assert!(assignments.listen().is_ok(), "one has gone");
}
