//! The etcd v3 API of three whole servers, spoken to as etcd's clients do.

use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;

use super::*;
use crate::admin::Node as _;
use crate::admin::tests::MemoryNode;
use crate::pb::etcd::api::auth_client::AuthClient;
use crate::pb::etcd::api::cluster_client::ClusterClient;
use crate::pb::etcd::api::kv_client::KvClient;
use crate::pb::etcd::api::maintenance_client::MaintenanceClient;
use crate::pb::etcd::api::watch_client::WatchClient;
use crate::pb::etcd::api::*;

pub(super) async fn kv(node: &Running) -> KvClient<Channel> {
    KvClient::new(dial(&node.client).await).max_decoding_message_size(limits::ETCD_REPLY_BYTES_MAX)
}

fn put(key: &str, value: impl Into<Vec<u8>>) -> PutRequest {
    PutRequest { key: key.into(), value: value.into(), ..Default::default() }
}

fn get(key: &str) -> RangeRequest {
    RangeRequest { key: key.into(), ..Default::default() }
}

fn op(request: request_op::Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

#[track_caller]
pub(super) fn assert_told<T: std::fmt::Debug>(answer: Result<T, tonic::Status>, code: Code, text: &str) {
    let status = answer.unwrap_err();
    assert_eq!((status.code(), status.message()), (code, text));
}

#[tokio::test(flavor = "multi_thread")]
async fn any_node_serves_the_key_space() {
    let nodes = cluster().await;
    let mut revision = 1;
    for node in &nodes {
        let key = format!("key{}", node.replica.id);
        let written = kv(node).await.put(put(&key, "v")).await.unwrap().into_inner().header.unwrap();
        revision += 1;
        assert_eq!((written.revision, written.member_id, written.raft_term), (revision, node.replica.id, 1));
        for other in &nodes {
            let read = kv(other).await.range(get(&key)).await.unwrap().into_inner();
            let header = read.header.unwrap();
            assert_eq!((header.revision, header.cluster_id), (revision, written.cluster_id));
            assert_eq!((read.count, read.kvs[0].mod_revision, read.kvs[0].version), (1, revision, 1));
        }
    }
    let mut client = kv(&nodes[2]).await;
    let all = RangeRequest { key: b"key".into(), range_end: b"kez".into(), ..Default::default() };
    assert_eq!(client.range(all.clone()).await.unwrap().into_inner().kvs.len(), 3);
    let compare =
        Compare { key: b"key1".into(), target_union: Some(compare::TargetUnion::Version(1)), ..Default::default() };
    let moved = TxnRequest {
        compare: vec![compare],
        success: vec![
            op(request_op::Request::RequestPut(put("key1", "w"))),
            op(request_op::Request::RequestRange(all.clone())),
        ],
        failure: vec![op(request_op::Request::RequestPut(put("never", "")))],
    };
    let done = client.txn(moved.clone()).await.unwrap().into_inner();
    assert!(done.succeeded && done.responses.len() == 2);
    let undone = client.txn(moved).await.unwrap().into_inner();
    assert!(!undone.succeeded && undone.header.unwrap().revision == revision + 2);
    let gone = DeleteRangeRequest { key: b"key".into(), range_end: b"kez".into(), prev_kv: true };
    let gone = client.delete_range(gone).await.unwrap().into_inner();
    assert_eq!((gone.deleted, gone.prev_kvs.len()), (3, 3));
    assert_eq!(gone.prev_kvs[0].value, b"w");
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_never_reach_the_log() {
    let nodes = cluster().await;
    let mut client = kv(&nodes[1]).await;
    client.put(put("a", "1")).await.unwrap();
    for node in &nodes {
        node.replica.stall.store(true, Ordering::Relaxed);
    }
    let reads = TxnRequest { success: vec![op(request_op::Request::RequestRange(get("a")))], ..Default::default() };
    let answer = client.txn(reads).await.unwrap().into_inner();
    assert!(answer.succeeded && answer.header.unwrap().revision == 2);
    client.range(get("a")).await.unwrap();
    for node in &nodes {
        node.replica.stall.store(false, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_keep_etcds_codes_and_texts() {
    let nodes = cluster().await;
    for node in &nodes[..2] {
        let mut client = kv(node).await;
        let no_key = "etcdserver: key is not provided";
        assert_told(client.put(PutRequest::default()).await, Code::InvalidArgument, no_key);
        assert_told(client.range(RangeRequest::default()).await, Code::InvalidArgument, no_key);
        let future = RangeRequest { revision: 1000, ..get("a") };
        let text = "etcdserver: mvcc: required revision is a future revision";
        assert_told(client.range(future).await, Code::OutOfRange, text);
        assert_told(
            client.compact(CompactionRequest { revision: 1000, ..Default::default() }).await,
            Code::OutOfRange,
            text,
        );
        let leased = PutRequest { lease: 77, ..put("a", "1") };
        assert_told(client.put(leased).await, Code::NotFound, "etcdserver: requested lease not found");
        let large = put("a", vec![0; limits::ETCD_REQUEST_BYTES_MAX]);
        assert_told(client.put(large).await, Code::InvalidArgument, "etcdserver: request is too large");
        let larger = put("a", vec![0; limits::ETCD_MESSAGE_BYTES_MAX]);
        assert_eq!(client.put(larger).await.unwrap_err().code(), Code::ResourceExhausted);
        let most = put("a", vec![0; limits::ETCD_REQUEST_BYTES_MAX - 100]);
        client.put(most).await.unwrap();
    }
    let mut client = kv(&nodes[2]).await;
    client.compact(CompactionRequest { revision: 3, physical: true }).await.unwrap();
    let text = "etcdserver: mvcc: required revision has been compacted";
    assert_told(client.range(RangeRequest { revision: 2, ..get("a") }).await, Code::OutOfRange, text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_may_be_larger_than_any_of_milvus() {
    let nodes = cluster().await;
    let mut client = kv(&nodes[0]).await;
    for n in 0..60 {
        client.put(put(&format!("k{n:02}"), vec![n; 1_500_000])).await.unwrap();
    }
    let all = RangeRequest { key: b"k".into(), range_end: b"l".into(), ..Default::default() };
    let reply = client.range(all).await.unwrap().into_inner();
    assert_eq!((reply.count, reply.kvs.iter().map(|kv| kv.value.len()).sum::<usize>()), (60, 90_000_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_leader_etcds_clients_hear_so_in_time() {
    let nodes = cluster().await;
    let mut client = kv(&nodes[1]).await;
    client.put(put("a", "1")).await.unwrap();
    for node in &nodes {
        node.replica.follow(2, None);
    }
    // A later answer than that would be the client's own, with another code.
    let within = Duration::from_secs(2);
    let timed_out = "etcdserver: request timed out";
    let mut write = Request::new(put("a", "2"));
    write.set_timeout(within);
    assert_told(client.put(write).await, Code::Unavailable, timed_out);
    let mut read = Request::new(get("a"));
    read.set_timeout(within);
    assert_told(client.range(read).await, Code::Unavailable, timed_out);
    let local = RangeRequest { serializable: true, ..get("a") };
    assert_eq!(client.range(local).await.unwrap().into_inner().kvs[0].value, b"1");
}

#[derive(Clone)]
struct Token(String);

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, tonic::Status> {
        request.metadata_mut().insert("token", MetadataValue::try_from(&self.0).unwrap());
        Ok(request)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guarded_api_wants_the_secret() {
    let nodes = cluster_with(Some(Guard::with_secret(SECRET))).await;
    let channel = dial(&nodes[1].client).await;
    let mut auth = AuthClient::new(channel.clone());
    let empty = "etcdserver: user name is empty";
    assert_told(kv(&nodes[1]).await.range(get("a")).await, Code::InvalidArgument, empty);
    assert_told(auth.user_list(AuthUserListRequest {}).await, Code::InvalidArgument, empty);
    let watched = WatchClient::new(channel.clone()).watch(tokio_stream::pending::<WatchRequest>()).await;
    assert_eq!(watched.err().unwrap().message(), empty);
    let wrong = AuthenticateRequest { name: "root".into(), password: "one for al".into() };
    let failed = "etcdserver: authentication failed, invalid user ID or password";
    assert_told(auth.authenticate(wrong).await, Code::InvalidArgument, failed);
    assert!(auth.auth_status(AuthStatusRequest {}).await.unwrap().into_inner().enabled);

    let right = AuthenticateRequest { name: "anybody".into(), password: SECRET.into() };
    let token = auth.authenticate(right).await.unwrap().into_inner().token;
    // The token of one node opens another.
    let channel = dial(&nodes[2].client).await;
    let mut known = KvClient::new(InterceptedService::new(channel.clone(), Token(token.clone())));
    known.put(put("a", "1")).await.unwrap();
    let mut stranger = KvClient::new(InterceptedService::new(channel.clone(), Token(token[1..].into())));
    assert_told(stranger.put(put("a", "1")).await, Code::Unauthenticated, "etcdserver: invalid auth token");
    let mut auth = AuthClient::new(InterceptedService::new(channel, Token(token)));
    assert_eq!(auth.user_list(AuthUserListRequest {}).await.unwrap().into_inner().users, ["root"]);
    let added = auth.user_add(AuthUserAddRequest { name: "u".into(), ..Default::default() }).await.unwrap_err();
    assert!(added.code() == Code::FailedPrecondition && added.message().contains("cluster.secret"), "{added}");
    let unknown = AuthUserGetRequest { name: "u".into() };
    assert_told(auth.user_get(unknown).await, Code::FailedPrecondition, "etcdserver: user name not found");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_is_not_enabled_is_not_there() {
    let nodes = cluster_with(None).await;
    assert_eq!(kv(&nodes[0]).await.range(get("a")).await.unwrap_err().code(), Code::Unimplemented);
    let nodes = cluster().await;
    let mut open = AuthClient::new(dial(&nodes[0].client).await);
    let token = AuthenticateRequest { name: "root".into(), password: "x".into() };
    let disabled = "etcdserver: authentication is not enabled";
    assert_told(open.authenticate(token).await, Code::FailedPrecondition, disabled);
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_listed_and_changed_by_the_leader() {
    let nodes = cluster().await;
    let mut client = ClusterClient::new(dial(&nodes[1].client).await);
    let listed = client.member_list(MemberListRequest { linearizable: true }).await.unwrap().into_inner().members;
    let names: Vec<&str> = listed.iter().map(|member| member.name.as_str()).collect();
    assert_eq!(names, ["node-1", "node-2", "node-3"]);
    assert_eq!(listed[2].client_ur_ls, [format!("http://{}", nodes[2].client)]);
    assert_eq!(listed[0].peer_ur_ls, [format!("http://{}", nodes[0].peer)]);

    let add = |url: &str| MemberAddRequest { peer_ur_ls: vec![url.to_owned()], is_learner: false };
    for bad in ["h:1", "https://h:1", "http://h", "http://a@h:1"] {
        let refused = client.member_add(add(bad)).await;
        assert_told(refused, Code::InvalidArgument, "etcdserver: given member URLs are invalid");
    }
    let taken = client.member_add(add(&listed[0].peer_ur_ls[0])).await;
    assert_told(taken, Code::FailedPrecondition, "etcdserver: Peer URLs already exists");
    let dead = client.member_add(add("http://127.0.0.1:1")).await.unwrap_err();
    assert!(dead.code() == Code::FailedPrecondition && dead.message().contains("start the new node first"), "{dead}");

    let new = MemoryNode::leading();
    new.change(|status| {
        (status.node_id, status.address) = (4, Some(crate::admin::tests::address(4)));
        status.members.clear();
        status.cluster_id.clear();
    });
    let at = crate::admin::tests::serve(new.clone()).await;
    let added = client.member_add(add(&format!("http://{at}"))).await.unwrap().into_inner();
    let member = added.member.unwrap();
    assert!(member.id == 4 && !member.is_learner && added.members.len() == 4, "{member:?}");
    assert_eq!(nodes[0].admin.status().unwrap().members.len(), 4);

    let removed = client.member_remove(MemberRemoveRequest { id: 4 }).await.unwrap().into_inner();
    assert_eq!(removed.members.len(), 3);
    let unknown = || "etcdserver: member not found";
    assert_told(client.member_remove(MemberRemoveRequest { id: 9 }).await, Code::NotFound, unknown());
    assert_told(client.member_promote(MemberPromoteRequest { id: 9 }).await, Code::NotFound, unknown());
    let voter = client.member_promote(MemberPromoteRequest { id: 2 }).await;
    assert_told(voter, Code::FailedPrecondition, "etcdserver: can only promote a learner member");
    let moved = MemberUpdateRequest { id: 2, peer_ur_ls: vec!["http://h:9".into()] };
    assert!(client.member_update(moved).await.unwrap_err().message().contains("roostctl member replace"));

    new.change(|status| status.cluster_id = "another".into());
    let foreign = client.member_add(add(&format!("http://{at}"))).await.unwrap_err();
    assert!(foreign.message().contains("belongs to another cluster"), "{foreign}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_is_maintained() {
    let nodes = cluster().await;
    let mut client = MaintenanceClient::new(dial(&nodes[0].client).await);
    let status = client.status(StatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.leader, status.raft_term, status.raft_applied_index, status.db_size), (1, 5, 30, 4096));
    assert_eq!((status.version.as_str(), status.is_learner), ("3.5.21", false));
    assert_eq!(status.errors, ["memberID:2 alarm:NOSPACE "]);

    let ask = |action, member_id| AlarmRequest { action, member_id, alarm: 0 };
    let raised = client.alarm(ask(0, 0)).await.unwrap().into_inner().alarms;
    assert_eq!(raised, [AlarmMember { member_id: 2, alarm: AlarmType::Nospace.into() }]);
    assert_eq!(client.alarm(ask(0, 3)).await.unwrap().into_inner().alarms, []);
    assert_eq!(client.alarm(ask(1, 3)).await.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(client.alarm(ask(7, 0)).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(client.alarm(ask(2, 2)).await.unwrap().into_inner().alarms, raised);
    assert_eq!(client.alarm(ask(0, 0)).await.unwrap().into_inner().alarms, []);

    client.defragment(DefragmentRequest {}).await.unwrap();
    assert_eq!(client.hash(HashRequest {}).await.unwrap().into_inner().hash, 0x0707_0707);
    kv(&nodes[0]).await.put(put("a", "1")).await.unwrap();
    let mut hashes = Vec::new();
    for node in &nodes {
        let mut client = MaintenanceClient::new(dial(&node.client).await);
        let hashed = client.hash_kv(HashKvRequest { revision: 0 }).await.unwrap().into_inner();
        assert_eq!((hashed.header.unwrap().revision, hashed.hash_revision), (2, 2));
        hashes.push(hashed.hash);
    }
    assert!(hashes[0] != 0 && hashes.iter().all(|hash| *hash == hashes[0]));
    let future = client.hash_kv(HashKvRequest { revision: 99 }).await;
    assert_told(future, Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision");
    assert_eq!(client.downgrade(DowngradeRequest::default()).await.unwrap_err().code(), Code::FailedPrecondition);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saved_snapshot_is_what_both_tools_take() {
    let nodes = cluster().await;
    let mut client = MaintenanceClient::new(dial(&nodes[0].client).await);
    let mut blobs = client.snapshot(SnapshotRequest {}).await.unwrap().into_inner();
    let mut file = Vec::new();
    while let Some(part) = blobs.message().await.unwrap() {
        assert!(part.blob.len() <= limits::SNAPSHOT_CHUNK_BYTES);
        file.extend(part.blob);
    }
    assert_eq!(file.len() % 512, 32);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("saved");
    std::fs::write(&path, file).unwrap();
    assert_eq!(roost_raft::snapshot::SnapshotFile::verify(&path).unwrap().rows, 2500);
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_moved_by_the_leader_only() {
    let nodes = cluster().await;
    let mut client = MaintenanceClient::new(dial(&nodes[0].client).await);
    let unknown = client.move_leader(MoveLeaderRequest { target_id: 9 }).await;
    assert_told(unknown, Code::FailedPrecondition, "etcdserver: bad leader transferee");
    client.move_leader(MoveLeaderRequest { target_id: 3 }).await.unwrap();
    nodes[0].admin.change(|status| status.state = crate::pb::admin::NodeState::Follower.into());
    let follower = client.move_leader(MoveLeaderRequest { target_id: 2 }).await;
    assert_told(follower, Code::FailedPrecondition, "etcdserver: not leader");
}
