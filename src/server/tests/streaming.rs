//! Streaming nodes of a cluster of three whole servers: real manager services that share one log for each channel.

mod triggers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::transport::Server;
use tonic::{Response, Status, Streaming};

use super::etcd::kv;
use super::*;
use crate::pb::etcd::api::lease_client::LeaseClient;
use crate::pb::etcd::api::{LeaseGrantRequest, LeaseRevokeRequest, PutRequest};
use crate::pb::roost_streaming::streaming_client::StreamingClient;
use crate::pb::roost_streaming::{
    BalanceRequest, Channel as ChannelLine, DescribeChannelRequest, ListChannelsRequest, MoveChannelRequest,
    PlanRequest,
};
use crate::pb::streaming::streaming_coord_assignment_service_client::StreamingCoordAssignmentServiceClient;
use crate::pb::streaming::streaming_node_manager_service_server::{
    StreamingNodeManagerService, StreamingNodeManagerServiceServer,
};
use crate::pb::streaming::*;
use crate::state::pchannel_name;
use crate::streamingcoord::status::refusal;

/// What all nodes did, in order: `assign 3 by-dev-rootcoord-dml_0@2`.
#[derive(Default)]
struct Deeds {
    lines: Mutex<Vec<String>>,
}

/// A streaming node.
#[derive(Default)]
struct FakeNode {
    id: i64,
    deeds: Arc<Deeds>,
    /// Channels with their terms.
    has: Mutex<BTreeMap<String, i64>>,
    rejects: AtomicBool,
    hangs: AtomicBool,
}

impl FakeNode {
    async fn asked<T>(&self, request: &Request<T>, what: &str, info: &PChannelInfo) -> Result<(), Status> {
        let shown = |key: &str| request.metadata().get(key).unwrap().to_str().unwrap().to_owned();
        assert_eq!((shown("cluster"), shown("serverid")), ("by-dev".to_owned(), self.id.to_string()));
        self.deeds.lines.lock().push(format!("{what} {} {}@{}", self.id, info.name, info.term));
        while self.hangs.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        match self.rejects.load(Ordering::Relaxed) {
            true => Err(refusal(StreamingCode::Inner, "it does not want to")),
            false => Ok(()),
        }
    }
}

struct Manager(Arc<FakeNode>);

#[tonic::async_trait]
impl StreamingNodeManagerService for Manager {
    async fn assign(
        &self,
        request: Request<StreamingNodeManagerAssignRequest>,
    ) -> Result<Response<StreamingNodeManagerAssignResponse>, Status> {
        let info = request.get_ref().pchannel.clone().unwrap();
        self.0.asked(&request, "assign", &info).await?;
        match self.0.has.lock().insert(info.name, info.term) {
            Some(before) if before >= info.term => Err(refusal(StreamingCode::IgnoredOperation, "it has it")),
            _ => Ok(Response::new(StreamingNodeManagerAssignResponse {})),
        }
    }

    async fn remove(
        &self,
        request: Request<StreamingNodeManagerRemoveRequest>,
    ) -> Result<Response<StreamingNodeManagerRemoveResponse>, Status> {
        let info = request.get_ref().pchannel.clone().unwrap();
        self.0.asked(&request, "remove", &info).await?;
        match self.0.has.lock().remove(&info.name) {
            Some(_) => Ok(Response::new(StreamingNodeManagerRemoveResponse {})),
            None => Err(refusal(StreamingCode::ChannelNotExist, "it has it not")),
        }
    }

    async fn collect_status(
        &self,
        _: Request<StreamingNodeManagerCollectStatusRequest>,
    ) -> Result<Response<StreamingNodeManagerCollectStatusResponse>, Status> {
        while self.0.hangs.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let wal = |(name, term): (&String, &i64)| StreamingNodeWalMetrics {
            info: Some(PChannelInfo { name: name.clone(), term: *term, access_mode: 0 }),
            metrics: None,
        };
        let wals = self.0.has.lock().iter().map(wal).collect();
        Ok(Response::new(StreamingNodeManagerCollectStatusResponse { metrics: Some(StreamingNodeMetrics { wals }) }))
    }
}

/// A balancer that does not wait.
fn eager() -> crate::config::Streaming {
    crate::config::Streaming {
        balancer_check_interval_ms: 100,
        balancer_operation_timeout_ms: 500,
        balancer_min_interval_ms: 0,
        ..Default::default()
    }
}

/// Servers and streaming nodes.
struct Site {
    nodes: Vec<Running>,
    deeds: Arc<Deeds>,
}

impl Site {
    async fn start(streaming: crate::config::Streaming) -> Self {
        let security = Security { bcrypt_cost: 4, ..Security::default() };
        let nodes = cluster_balanced(Some(Guard::open()), security, Quota::default(), streaming).await;
        Site { nodes, deeds: Arc::default() }
    }

    /// A streaming node that serves and registers as Milvus' do; its lease has its id.
    async fn join(&self, id: i64) -> Arc<FakeNode> {
        let fake = Arc::new(FakeNode { id, deeds: self.deeds.clone(), ..FakeNode::default() });
        self.register(&fake).await;
        fake
    }

    async fn register(&self, fake: &Arc<FakeNode>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, id) = (listener.local_addr().unwrap(), fake.id);
        let service = StreamingNodeManagerServiceServer::new(Manager(fake.clone()));
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
        let client = dial(&self.nodes[1].client).await;
        LeaseClient::new(client).lease_grant(LeaseGrantRequest { id, ttl: 600 }).await.unwrap();
        let value = format!(
            r#"{{"ServerID":{id},"ServerName":"streamingnode","Address":"{address}","Version":"2.6.9","LeaseID":{id}}}"#
        );
        let key = format!("by-dev/meta/session/streamingnode-{id}");
        let request = PutRequest { key: key.into(), value: value.into(), lease: id, ..Default::default() };
        kv(&self.nodes[1]).await.put(request).await.unwrap();
    }

    /// Its lease runs out.
    async fn dies(&self, id: i64) {
        let client = dial(&self.nodes[1].client).await;
        LeaseClient::new(client).lease_revoke(LeaseRevokeRequest { id }).await.unwrap();
    }

    async fn operator(&self) -> StreamingClient<tonic::transport::Channel> {
        StreamingClient::new(dial(&self.nodes[2].internal).await)
    }

    async fn channels(&self) -> Vec<ChannelLine> {
        self.operator().await.list_channels(ListChannelsRequest {}).await.unwrap().into_inner().channels
    }

    /// Waits until every channel is assigned to one of these, each of which has some, and returns them.
    async fn settled(&self, owners: &[i64]) -> Vec<ChannelLine> {
        let owners: BTreeSet<i64> = owners.iter().copied().collect();
        let waiting = async {
            loop {
                let channels = self.channels().await;
                let have: BTreeSet<i64> = channels.iter().map(|one| one.server_id).collect();
                if channels.len() == 16 && channels.iter().all(|one| one.state == "assigned") && have == owners {
                    return channels;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        match tokio::time::timeout(Duration::from_secs(30), waiting).await {
            Ok(channels) => channels,
            Err(_) => panic!("not settled on {owners:?}: {:#?}", self.channels().await),
        }
    }

    async fn listen(&self, server: usize) -> Listener {
        let (requests, stream) = mpsc::unbounded_channel();
        let mut client = StreamingCoordAssignmentServiceClient::new(dial(&self.nodes[server].internal).await);
        let told = client.assignment_discover(UnboundedReceiverStream::new(stream)).await.unwrap().into_inner();
        Listener { requests, told, version: 0 }
    }
}

/// A client of AssignmentDiscover.
struct Listener {
    requests: mpsc::UnboundedSender<AssignmentDiscoverRequest>,
    told: Streaming<AssignmentDiscoverResponse>,
    version: i64,
}

type Picture = BTreeMap<i64, BTreeMap<String, i64>>;

impl Listener {
    async fn next(&mut self) -> Option<assignment_discover_response::Response> {
        let message = tokio::time::timeout(Duration::from_secs(30), self.told.message()).await.unwrap();
        message.unwrap().map(|message| message.response.unwrap())
    }

    /// The next picture: channels with their terms by node. Its version is above all before.
    async fn picture(&mut self) -> Picture {
        let full = match self.next().await {
            Some(assignment_discover_response::Response::FullAssignment(full)) => full,
            other => panic!("no picture: {other:?}"),
        };
        let version = full.version_by_revision.unwrap();
        assert_eq!((full.version, version.global), (Some(version), 1));
        assert!(version.local > self.version || self.version == 0, "{} after {}", version.local, self.version);
        self.version = version.local;
        assert_eq!(full.cchannel.unwrap().meta.unwrap().pchannel, pchannel_name(0));
        let of_node = |node: StreamingNodeAssignment| {
            let channels = node.channels.into_iter().map(|channel| (channel.name, channel.term)).collect();
            (node.node.unwrap().server_id, channels)
        };
        full.assignments.into_iter().map(of_node).collect()
    }

    /// Takes pictures until one is so.
    async fn until(&mut self, holds: impl Fn(&Picture) -> bool) -> Picture {
        loop {
            let picture = self.picture().await;
            if holds(&picture) {
                return picture;
            }
        }
    }

    fn say(&self, command: assignment_discover_request::Command) {
        self.requests.send(AssignmentDiscoverRequest { command: Some(command) }).unwrap();
    }

    fn report(&self, name: &str, term: i64) {
        let pchannel = Some(PChannelInfo { name: name.into(), term, access_mode: 0 });
        let err = Some(StreamingError { code: StreamingCode::ChannelFenced.into(), cause: "test".into() });
        self.say(assignment_discover_request::Command::ReportError(ReportAssignmentErrorRequest { pchannel, err }));
    }
}

fn count(picture: &Picture) -> usize {
    picture.values().map(BTreeMap::len).sum()
}

fn told_of(channels: &[ChannelLine]) -> Picture {
    let mut picture = Picture::new();
    for one in channels {
        picture.entry(one.server_id).or_default().insert(one.name.clone(), one.term);
    }
    picture
}

/// Whether the facts are what the nodes hold.
fn agrees(channels: &[ChannelLine], nodes: &[&Arc<FakeNode>]) -> bool {
    nodes.iter().all(|node| {
        let given = channels.iter().filter(|one| one.server_id == node.id).map(|one| (one.name.clone(), one.term));
        *node.has.lock() == given.collect::<BTreeMap<_, _>>()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_are_spread_over_nodes_and_leave_one_that_dies() {
    let site = Site::start(eager()).await;
    let mut listener = site.listen(1).await;
    assert_eq!(listener.picture().await, Picture::new(), "nothing yet, and said at once");
    let one = site.join(901).await;
    let first = site.settled(&[901]).await;
    assert!(agrees(&first, &[&one]) && first.iter().all(|channel| channel.term == 2));
    let told = listener.until(|picture| count(picture) == 16).await;
    assert_eq!(told, told_of(&first));
    // For balance, three at a time.
    let two = site.join(902).await;
    let spread = async || site.channels().await.iter().filter(|one| one.server_id == 902).count() == 8;
    while !spread().await {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let second = site.settled(&[901, 902]).await;
    assert!(agrees(&second, &[&one, &two]), "{second:#?}");
    let told = listener.until(|picture| *picture == told_of(&second)).await;
    assert_eq!(told.len(), 2);
    site.dies(901).await;
    let third = site.settled(&[902]).await;
    assert!(agrees(&third, &[&two]));
    listener.until(|picture| *picture == told_of(&third)).await;
    for channel in &third {
        let before = second.iter().find(|one| one.name == channel.name).unwrap();
        assert_eq!(channel.term > before.term, before.server_id == 901, "only what moved has a new term");
    }
    let metrics = get(&site.nodes[0].http, "/metrics").await;
    for line in ["roost_streaming_channels{state=\"assigned\"} 16", "roost_streaming_nodes_silent 0"] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_owner_lets_go_before_the_new_one_takes_and_an_order_lasts() {
    let site = Site::start(eager()).await;
    let (one, two) = (site.join(911).await, site.join(912).await);
    let settled = site.settled(&[911, 912]).await;
    let channel = settled.iter().find(|channel| channel.server_id == 911).unwrap();
    let mut operator = site.operator().await;
    let order = |server_id| MoveChannelRequest { channel: channel.name.clone(), server_id };
    assert!(operator.move_channel(order(912)).await.unwrap().into_inner().changed);
    let moved = loop {
        let asked = DescribeChannelRequest { name: channel.name.clone() };
        let found = operator.describe_channel(asked).await.unwrap().into_inner();
        let now = found.channel.clone().unwrap();
        if (now.server_id, now.state.as_str()) == (912, "assigned") {
            break found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let now = moved.channel.unwrap();
    assert_eq!((now.pinned, now.removing.len()), (912, 0));
    assert_eq!(moved.terms.last().unwrap().term, now.term);
    let lines = site.deeds.lines.lock().clone();
    let place = |line: String| lines.iter().position(|other| *other == line).unwrap_or_else(|| panic!("{line}"));
    let removed = place(format!("remove 911 {}@{}", channel.name, channel.term));
    assert!(removed < place(format!("assign 912 {}@{}", channel.name, now.term)));
    assert!(agrees(&site.settled(&[911, 912]).await, &[&one, &two]));
    assert!(!operator.move_channel(order(912)).await.unwrap().into_inner().changed);
    assert!(operator.move_channel(order(0)).await.unwrap().into_inner().changed);
    let refused = operator.move_channel(order(999)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_rejects_or_hangs_is_gone_round() {
    let site = Site::start(eager()).await;
    let (rejecting, hanging) = (site.join(921).await, site.join(922).await);
    site.settled(&[921, 922]).await;
    rejecting.rejects.store(true, Ordering::Relaxed);
    hanging.hangs.store(true, Ordering::Relaxed);
    let good = site.join(923).await;
    // What the two have is lost, and neither takes it again.
    let mut listener = site.listen(0).await;
    let picture = listener.picture().await;
    for (name, term) in picture.values().flatten() {
        listener.report(name, *term);
    }
    let settled = site.settled(&[923]).await;
    assert!(agrees(&settled, &[&good]));
    rejecting.rejects.store(false, Ordering::Relaxed);
    hanging.hangs.store(false, Ordering::Relaxed);
    let spread = site.settled(&[921, 922, 923]).await;
    assert_eq!(spread.len(), 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_leader_goes_on_where_the_last_one_was() {
    let site = Site::start(crate::config::Streaming { balancer_operation_timeout_ms: 60_000, ..eager() }).await;
    let mut listener = site.listen(2).await;
    let node = Arc::new(FakeNode { id: 931, deeds: site.deeds.clone(), ..FakeNode::default() });
    node.hangs.store(true, Ordering::Relaxed);
    site.register(&node).await;
    let asked = |line: &str| site.deeds.lines.lock().iter().filter(|other| *other == line).count();
    let line = format!("assign 931 {}@2", pchannel_name(3));
    while asked(&line) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    elect(&site.nodes, 2, 3);
    while asked(&line) == 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    node.hangs.store(false, Ordering::Relaxed);
    let settled = site.settled(&[931]).await;
    assert!(settled.iter().all(|channel| channel.term == 2), "no term was wasted");
    listener.until(|picture| count(picture) == 16).await;
    let told = listener.version;
    elect(&site.nodes, 3, 1);
    site.join(932).await;
    site.settled(&[931, 932]).await;
    // Its versions are checked as they come.
    listener.until(|picture| picture.len() == 2 && picture[&932].len() == 8).await;
    let mut other = site.listen(0).await;
    other.picture().await;
    assert!(told < listener.version && other.version >= listener.version, "the same versions on every node");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_moves_a_channel_once_and_a_listener_says_goodbye() {
    let site = Site::start(eager()).await;
    site.join(941).await;
    site.settled(&[941]).await;
    let (mut listener, second) = (site.listen(1).await, site.listen(1).await);
    let channel = pchannel_name(5);
    listener.until(|picture| count(picture) == 16).await;
    // Of other terms and other channels nothing comes.
    listener.report(&channel, 1);
    listener.report(&channel, 3);
    listener.report("nonsense", 2);
    for _ in 0..20 {
        listener.report(&channel, 2);
        second.report(&channel, 2);
    }
    let picture = listener.until(|picture| count(picture) == 16 && picture[&941][&channel] > 2).await;
    assert_eq!(picture[&941][&channel], 3);
    assert!(picture[&941].iter().all(|(name, term)| *name == channel || *term == 2));
    listener.say(assignment_discover_request::Command::Close(CloseAssignmentDiscoverRequest {}));
    loop {
        match listener.next().await {
            Some(assignment_discover_response::Response::Close(_)) => break,
            Some(_) => {}
            None => panic!("it ended without a word"),
        }
    }
    assert!(listener.next().await.is_none());
    let mut rude = site.listen(1).await;
    rude.picture().await;
    rude.requests.send(AssignmentDiscoverRequest { command: None }).unwrap();
    let refused = tokio::time::timeout(Duration::from_secs(30), rude.told.message()).await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    // A stopping node sends its listeners away.
    let mut last = site.listen(2).await;
    last.picture().await;
    site.nodes[2].trigger.fire("test");
    let refused = tokio::time::timeout(Duration::from_secs(30), last.told.message()).await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_plans_and_set_the_policy() {
    let site = Site::start(crate::config::Streaming { balancer_min_interval_ms: 600_000, ..eager() }).await;
    site.join(951).await;
    site.settled(&[951]).await;
    site.join(952).await;
    let mut operator = site.operator().await;
    let plan = async |operator: &mut StreamingClient<_>, force| {
        operator.plan(PlanRequest { force }).await.unwrap().into_inner()
    };
    let mut idle = plan(&mut operator, false).await;
    while idle.nodes.len() < 2 {
        idle = plan(&mut operator, false).await;
    }
    assert_eq!((idle.policy.as_str(), idle.moves.len()), ("vchannelFair", 0), "they were moved a moment ago");
    let forced = plan(&mut operator, true).await;
    assert_eq!(forced.moves.len(), 3);
    assert!(forced.moves.iter().all(|one| (one.from, one.to) == (951, 952) && !one.reason.is_empty()));
    assert!(forced.cost_after < forced.cost_before);
    assert_eq!((forced.nodes[0].channels_before, forced.nodes[0].channels_after), (16, 13));
    assert!(site.channels().await.iter().all(|one| one.server_id == 951), "nothing was done");
    let done = operator.balance(BalanceRequest::default()).await.unwrap().into_inner().plan.unwrap();
    assert_eq!(done.moves, forced.moves);
    site.settled(&[951, 952]).await;
    // Milvus' own call, at another node than the leader.
    let mut milvus = StreamingCoordAssignmentServiceClient::new(dial(&site.nodes[1].internal).await);
    let policy = |allow: bool, paths: &[&str], freeze: &[i64], defreeze: &[i64]| UpdateWalBalancePolicyRequest {
        config: Some(WalBalancePolicyConfig { allow_rebalance: allow }),
        nodes: Some(WalBalancePolicyNodes { freeze_node_ids: freeze.into(), defreeze_node_ids: defreeze.into() }),
        update_mask: Some(prost_types::FieldMask { paths: paths.iter().map(ToString::to_string).collect() }),
    };
    let mut set = async |request| {
        let answer = milvus.update_wal_balance_policy(request).await?.into_inner();
        Ok::<_, Status>((answer.config.unwrap().allow_rebalance, answer.freeze_node_ids))
    };
    assert_eq!(set(policy(false, &[], &[], &[])).await.unwrap(), (true, vec![]), "the mask does not name it");
    assert_eq!(set(policy(false, &["config.allow_rebalance"], &[952], &[])).await.unwrap(), (false, vec![952]));
    let off = plan(&mut operator, true).await;
    assert_eq!((off.moves.len(), off.no_rebalance.as_str()), (0, "an operator turned it off"));
    assert!(off.nodes[1].frozen);
    assert_eq!(set(policy(true, &["config.allow_rebalance"], &[], &[952])).await.unwrap(), (true, vec![]));
    assert_eq!(plan(&mut operator, true).await.moves.len(), 3);
    assert_eq!(set(policy(true, &["x"], &[], &[])).await.unwrap_err().code(), Code::InvalidArgument);
    assert!(set(policy(true, &[], &[999], &[])).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_its_node_forgot_is_given_anew() {
    let site = Site::start(eager()).await;
    let node = site.join(961).await;
    site.settled(&[961]).await;
    let channel = pchannel_name(7);
    node.has.lock().remove(&channel);
    node.has.lock().insert(pchannel_name(8), 1);
    let healed = async || {
        let channels = site.channels().await;
        let anew = channels.iter().find(|one| one.name == channel).is_some_and(|one| one.term > 2);
        anew && channels.iter().all(|one| one.state == "assigned") && agrees(&channels, &[&node])
    };
    let waiting = async {
        while !healed().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap();
}
