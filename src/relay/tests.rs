//! Nodes whose peer listeners stand on loopback, over replicas in memory that the test leads, stalls and deafens.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::join_all;
use tokio::net::TcpListener;
use tokio::runtime::{Handle, Runtime};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tower::ServiceBuilder;

use super::*;
use crate::forward::{ArrivalLayer, CLUSTER, DoorLayer, retry};
use crate::leader::clock::{GuardedClock, SystemClock};
use crate::pb::relay::SubmitBatch;
use crate::pb::relay::relay_client::RelayClient;
use crate::pb::relay::relay_server::RelayServer;
use crate::replica::Peer;
use crate::state::{AllocId, RequestId};
use crate::testing::SoloReplica;

const SECRET: &str = "one for all";

struct TestNode {
    replica: Arc<SoloReplica>,
    relay: Arc<Relay>,
    clock: Arc<GuardedClock>,
    address: SocketAddr,
    /// Ends with all its connections.
    listener: Option<Runtime>,
}

impl TestNode {
    async fn serve(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let arrival = ArrivalLayer::new(self.replica.clone(), Handle::current());
        let layers = ServiceBuilder::new().layer(DoorLayer::new(Some(SECRET))).layer(arrival).into_inner();
        let routes = Server::builder().layer(layers).add_service(RelayServer::new(self.relay.service()));
        let address = self.address;
        let bound = runtime.spawn(TcpListener::bind(address)).await.unwrap().unwrap();
        self.address = bound.local_addr().unwrap();
        runtime.spawn(routes.serve_with_incoming(TcpListenerStream::new(bound)));
        self.listener = Some(runtime);
    }

    fn cut(&mut self) {
        self.listener.take().unwrap().shutdown_background();
    }

    async fn alloc(&self, within: Duration) -> Result<i64, Failure> {
        let reply = self.relay.submit(&call(within), Command::AllocId(AllocId { count: 1 })).await?;
        let Reply::IdsAllocated { first, count: 1 } = reply else { panic!("{reply:?}") };
        Ok(first)
    }

    /// Whether so many questions wait for nothing but the leader.
    fn has_sent(&self, questions: usize) -> bool {
        self.relay.link.lock().as_ref().is_some_and(|link| link.open_and_unsent() == (questions, 0))
    }

    /// Proposals that were executed.
    async fn executed(&self) -> u64 {
        self.replica.read_barrier(Instant::now()).await.unwrap()
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        if let Some(runtime) = self.listener.take() {
            runtime.shutdown_background();
        }
    }
}

fn call(within: Duration) -> Call {
    let deadline = Instant::now() + within;
    Call { request: RequestId::default(), principal: "root".into(), source: "10.0.0.1:5".into(), deadline }
}

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(200);

/// Three nodes, of which the first leads term 1.
async fn cluster() -> Vec<TestNode> {
    let tables = Arc::default();
    let mut nodes = Vec::new();
    for id in 1..=3 {
        let replica = SoloReplica::sharing(id, Arc::clone(&tables));
        let clock = Arc::new(GuardedClock::new(Arc::new(SystemClock::default()), 60_000));
        let proposer = Proposer::new(replica.clone(), clock.clone());
        let lessor = Lessor::new(replica.clone(), proposer.clone(), Arc::new(SystemClock::default()));
        let (peers, requests) = (Arc::new(Peers::new(Some(SECRET))), Requests::new(id, 1));
        let relay =
            Relay::new(replica.clone(), proposer, lessor, Arc::default(), peers, requests, Arc::new(Metrics::new()));
        let address = "127.0.0.1:0".parse().unwrap();
        let mut node = TestNode { replica, relay, clock, address, listener: None };
        node.serve().await;
        nodes.push(node);
    }
    let member =
        |node: &TestNode| Peer { id: node.replica.id, voter: true, peer: node.address.to_string(), ..Peer::default() };
    let members: Vec<Peer> = nodes.iter().map(member).collect();
    nodes.iter().for_each(|node| *node.replica.members.lock() = members.clone());
    elect(&nodes, 1, 1);
    nodes
}

fn elect(nodes: &[TestNode], term: u64, leader: u64) {
    for node in nodes {
        match node.replica.id == leader {
            true => {
                node.clock.settled_for(term);
                node.replica.lead(term);
            }
            false => node.replica.follow(term, Some(leader)),
        }
    }
}

async fn until(mut what: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !what().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LONG, waiting).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_questions_from_every_node_are_each_executed_once() {
    let nodes = cluster().await;
    let all = nodes.iter().flat_map(|node| (0..500).map(|_| node.alloc(LONG)));
    let mut ids: Vec<i64> = join_all(all).await.into_iter().map(Result::unwrap).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), ids[1499] - ids[0]), (1500, 1499));
    assert_eq!(nodes[0].executed().await, 1500);
    for node in &nodes {
        assert_eq!(node.relay.questions.available_permits(), limits::RELAY_QUESTIONS_MAX);
        assert_eq!(node.relay.bytes.available_permits(), limits::RELAY_BYTES_MAX);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_does_not_know_a_command_yet_is_given_time() {
    let nodes = cluster().await;
    nodes[0].replica.outdated.store(true, Ordering::Relaxed);
    for asker in [&nodes[0], &nodes[1]] {
        let refused = asker.alloc(SHORT).await.unwrap_err();
        assert!(matches!(refused, Failure::Rejected(Rejection::NotSupported { .. })), "{refused:?}");
    }
    let refused = || nodes[0].replica.refused.load(Ordering::Relaxed);
    let before = refused();
    let asked = join_all(nodes.iter().map(|node| node.alloc(LONG)));
    let upgraded = async {
        until(async || refused() >= before + 3).await;
        nodes[0].replica.outdated.store(false, Ordering::Relaxed);
    };
    assert!(tokio::join!(asked, upgraded).0.iter().all(Result::is_ok));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_asked_for_again_and_not_executed_again() {
    let nodes = cluster().await;
    for asker in [&nodes[0], &nodes[1]] {
        nodes[0].replica.lose_answers.store(true, Ordering::Relaxed);
        let before = nodes[0].executed().await;
        let (found, ()) = tokio::join!(asker.alloc(LONG), async {
            until(async || nodes[0].executed().await >= before + 2).await;
            nodes[0].replica.lose_answers.store(false, Ordering::Relaxed);
        });
        let (found, next) = (found.unwrap(), asker.alloc(LONG).await.unwrap());
        assert_eq!(next, found + 1, "the copies took no id");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_move_to_the_next_leader_when_the_old_one_hangs() {
    let nodes = cluster().await;
    nodes[0].replica.stall.store(true, Ordering::Relaxed);
    let asked = join_all((0..20).map(|_| nodes[1].alloc(LONG)));
    let (ids, ()) = tokio::join!(asked, async {
        until(async || nodes[1].has_sent(20)).await;
        assert_eq!(nodes[1].executed().await, 0);
        elect(&nodes, 2, 3);
    });
    let mut ids: Vec<i64> = ids.into_iter().map(Result::unwrap).collect();
    ids.sort_unstable();
    assert_eq!(ids[19] - ids[0], 19);
    elect(&nodes, 3, 2);
    assert_eq!(nodes[1].alloc(LONG).await.unwrap(), ids[19] + 1, "now at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_stream_is_made_again_and_its_questions_too() {
    let mut nodes = cluster().await;
    nodes[0].replica.stall.store(true, Ordering::Relaxed);
    let relay = nodes[1].relay.clone();
    let asked = tokio::spawn(async move {
        let submit = || async { relay.submit(&call(LONG), Command::AllocId(AllocId { count: 1 })).await };
        join_all((0..20).map(|_| submit())).await
    });
    until(async || nodes[1].has_sent(20)).await;
    let first = nodes[1].relay.link.lock().clone().unwrap();
    nodes[0].cut();
    until(async || first.broken().is_some()).await;
    nodes[0].replica.stall.store(false, Ordering::Relaxed);
    nodes[0].serve().await;
    for reply in asked.await.unwrap() {
        reply.unwrap();
    }
    let id = nodes[0].alloc(LONG).await.unwrap();
    assert_eq!(nodes[2].alloc(LONG).await.unwrap(), id + 1);
    assert_eq!(id, crate::state::limits::FIRST_ID + 20, "each was executed once");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_time_is_up_the_caller_knows_what_is_known() {
    let nodes = cluster().await;
    let not_done = |failure| matches!(failure, Failure::Again(replica::Error::NoQuorum(_)));
    let unknown = |failure| matches!(failure, Failure::Again(replica::Error::Unknown(_)));
    nodes[0].replica.stall.store(true, Ordering::Relaxed);
    assert!(unknown(nodes[0].alloc(SHORT).await.unwrap_err()));
    assert!(unknown(nodes[1].alloc(SHORT).await.unwrap_err()), "it was sent");
    nodes[0].replica.stall.store(false, Ordering::Relaxed);
    nodes[1].replica.follow(2, None);
    assert!(not_done(nodes[1].alloc(SHORT).await.unwrap_err()), "nobody was asked");
    nodes[1].replica.follow(2, Some(3));
    // Long enough to connect on a busy machine: an attempt that the time cuts off is unknown.
    let refused = nodes[1].alloc(Duration::from_secs(2)).await.unwrap_err();
    assert!(not_done(refused), "node 3 does not lead");
    nodes[1].replica.members.lock()[2].peer = "127.0.0.1:1".into();
    nodes[1].replica.follow(3, Some(1));
    nodes[1].alloc(LONG).await.unwrap();
    nodes[1].replica.follow(4, Some(3));
    assert!(not_done(nodes[1].alloc(SHORT).await.unwrap_err()), "node 3 is not there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_given_up_question_leaves_nothing_behind() {
    let nodes = cluster().await;
    nodes[0].replica.stall.store(true, Ordering::Relaxed);
    let asking = nodes[1].alloc(LONG);
    assert!(tokio::time::timeout(SHORT, asking).await.is_err(), "the caller went away");
    let link = nodes[1].relay.link.lock().clone().unwrap();
    assert_eq!(link.open_and_unsent(), (0, 0));
    assert_eq!(nodes[1].relay.bytes.available_permits(), limits::RELAY_BYTES_MAX);
    nodes[0].replica.stall.store(false, Ordering::Relaxed);
    nodes[1].alloc(LONG).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn too_much_is_refused_at_once() {
    let nodes = cluster().await;
    let refused = |failure| matches!(failure, Failure::Rejected(Rejection::RateLimited { .. }));
    let all = u32::try_from(limits::RELAY_QUESTIONS_MAX).unwrap();
    let taken = nodes[1].relay.questions.acquire_many(all).await.unwrap();
    assert!(refused(nodes[1].alloc(LONG).await.unwrap_err()));
    drop(taken);
    let all = u32::try_from(limits::RELAY_BYTES_MAX).unwrap();
    let taken = nodes[1].relay.bytes.acquire_many(all).await.unwrap();
    assert!(refused(nodes[1].alloc(LONG).await.unwrap_err()));
    drop(taken);
    nodes[1].alloc(LONG).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_turned_away() {
    let nodes = cluster().await;
    *nodes[1].replica.cluster.lock() = "another".into();
    let failure = nodes[1].alloc(SHORT).await.unwrap_err();
    // What the time cut off in the middle of an attempt is rightly unknown to the caller.
    assert!(matches!(failure, Failure::Again(replica::Error::NoQuorum(_) | replica::Error::Unknown(_))), "{failure:?}");
    assert_eq!(nodes[0].executed().await, 0);

    let open = async |secret: Option<&str>, cluster: Option<&'static str>| {
        let peers = Peers::new(secret);
        let channel = peers.channel(&nodes[0].address.to_string()).unwrap();
        let mut request = tonic::Request::new(futures::stream::pending::<SubmitBatch>());
        if let Some(cluster) = cluster {
            request.metadata_mut().insert(CLUSTER, cluster.parse().unwrap());
        }
        RelayClient::new(peers.authenticated(channel)).submit(request).await.map(|_| ())
    };
    open(Some(SECRET), Some("solo")).await.unwrap();
    for cluster in [None, Some("another")] {
        let refusal = open(Some(SECRET), cluster).await.unwrap_err();
        assert_eq!(refusal.metadata().get(retry::MARK).unwrap(), "not-done");
    }
    for secret in [None, Some("another")] {
        assert_eq!(open(secret, Some("solo")).await.unwrap_err().code(), tonic::Code::Unauthenticated);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_decode_is_answered_not_executed() {
    use crate::pb::relay::{Propose, Question, answer};
    let nodes = cluster().await;
    let asked = |ask| Question { id: 7, time_left_ms: 1000, ask };
    let garbage = Propose { command: vec![9; 20].into(), ..Propose::default() };
    let asks = [None, Some(question::Ask::Propose(Propose::default())), Some(question::Ask::Propose(garbage))];
    let questions = asks.into_iter().map(asked).collect();
    let peers = Peers::new(Some(SECRET));
    let channel = peers.channel(&nodes[0].address.to_string()).unwrap();
    let batch = futures::stream::iter([SubmitBatch { questions }]);
    let mut request = tonic::Request::new(futures::StreamExt::chain(batch, futures::stream::pending()));
    request.metadata_mut().insert(CLUSTER, "solo".parse().unwrap());
    let mut answers = RelayClient::new(peers.authenticated(channel)).submit(request).await.unwrap().into_inner();
    // All bear one id, so one answer may replace another.
    for answer in answers.message().await.unwrap().unwrap().answers {
        assert!(matches!(answer.is.unwrap(), answer::Is::Again(_) | answer::Is::Refused(_)));
    }
    assert_eq!(nodes[0].executed().await, 0);
}
