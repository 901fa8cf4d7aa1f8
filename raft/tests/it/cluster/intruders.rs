//! What arrives at the peer port and does not belong there.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use roost_raft::apply::StateHash;
use roost_raft::codec;
use roost_raft::host::HostConfig;
use roost_raft::network::proto::peer_client::PeerClient;
use roost_raft::network::proto::{HelloRequest, Record, SnapshotChunk, VoteRequest};
use roost_raft::network::{APPENDS, Claims, SECRET_KEY, Secret};
use roost_raft::system::{Alarm, AlarmKind, SystemCommand};
use roost_raft::types::{TypeConfig, Vote};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request};

use super::harness::{Cluster, SECRET, eventually};
use crate::support::{Op, log_id};

async fn connect(cluster: &Cluster, id: u64) -> PeerClient<Channel> {
    let address = format!("http://{}", cluster.members[&id].peer);
    eventually("a connection", async || PeerClient::connect(address.clone()).await.ok()).await
}

/// A call with the metadata that a member `from` of this cluster would send to `to`.
fn signed<T>(cluster: &Cluster, secret: &str, from: u64, to: u64, message: T) -> Request<T> {
    let host = cluster.hosts.values().next().unwrap();
    let status = host.status().unwrap();
    let disk = status.members.iter().find(|member| member.id == from).and_then(|member| member.incarnation);
    let mut request = Request::new(message);
    let mut set = |key: &'static str, value: String| {
        request.metadata_mut().insert(key, MetadataValue::try_from(value).unwrap());
    };
    set(SECRET_KEY, Secret::derive(secret).token().to_string());
    set("roost-cluster", status.cluster_id.unwrap().to_string());
    set("roost-from", from.to_string());
    set("roost-to", to.to_string());
    set("roost-lease-ms", "500".into());
    set("roost-from-disk", format!("{:016x}", disk.unwrap_or(0)));
    request
}

/// What a member `from` of this cluster would claim in front of `to`.
fn claims(cluster: &Cluster, from: u64, to: u64) -> Claims {
    Claims::of(signed(cluster, SECRET, from, to, ()).metadata())
}

fn frame(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

/// Greets a node as a leader does that wants to append; returns what it says, if it says anything.
async fn greet(cluster: &Cluster, id: u64, claims: &Claims) -> (TcpStream, Option<Result<(), (i32, String)>>) {
    let mut socket = TcpStream::connect(&cluster.members[&id].peer).await.unwrap();
    socket.write_all(&frame(&codec::encode(&(APPENDS, claims)).unwrap())).await.unwrap();
    let Ok(length) = socket.read_u32().await else { return (socket, None) };
    let mut answer = vec![0; length as usize];
    socket.read_exact(&mut answer).await.unwrap();
    (socket, Some(codec::decode(&answer).unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_appends() {
    let cluster = Cluster::start(3).await;
    cluster.announced().await;
    let refused = async |change: fn(&mut Claims)| {
        let mut claims = claims(&cluster, 2, 1);
        change(&mut claims);
        let (mut socket, answer) = greet(&cluster, 1, &claims).await;
        assert_eq!(socket.read(&mut [0]).await.unwrap(), 0, "the connection has ended");
        let (code, why) = answer.unwrap().unwrap_err();
        (Code::from_i32(code), why)
    };
    let (code, _) = refused(|claims| claims.secret = Secret::derive("guess").token().to_owned()).await;
    assert_eq!(code, Code::Unauthenticated);
    let (code, why) = refused(|claims| claims.cluster = "7".parse().ok()).await;
    assert!(code == Code::FailedPrecondition && why.contains("belongs to cluster"), "{why}");
    let (code, why) = refused(|claims| claims.to = Some(3)).await;
    assert!(code == Code::FailedPrecondition && why.contains("meant for node 3"), "{why}");
    let (code, why) = refused(|claims| claims.lease_ms = Some(7)).await;
    assert!(code == Code::FailedPrecondition && why.contains("equal on all nodes"), "{why}");
    let (code, why) = refused(|claims| claims.from_disk = Some(7)).await;
    assert!(code == Code::PermissionDenied && why.contains("another disk"), "{why}");
    assert_eq!(*cluster.host(1).failure().borrow(), None);
    // Somebody of the cluster knows this node on another disk: it has lost what it promised.
    let (code, why) = refused(|claims| claims.to_disk = Some(7)).await;
    assert!(code == Code::FailedPrecondition && why.contains("wiped or swapped"), "{why}");
    assert!(cluster.host(1).failure().borrow().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_greeted_and_sends_no_append_is_hung_up_on() {
    let cluster = Cluster::start(3).await;
    cluster.announced().await;
    let too_long = u32::MAX.to_be_bytes().to_vec();
    for nonsense in [frame(b""), frame(b"?"), frame(&frame(b"?")), too_long] {
        let (mut socket, answer) = greet(&cluster, 1, &claims(&cluster, 2, 1)).await;
        assert_eq!(answer, Some(Ok(())));
        socket.write_all(&nonsense).await.unwrap();
        assert!(matches!(socket.read(&mut [0]).await, Ok(0) | Err(_)), "{nonsense:?} was answered");
    }
    // Half a frame waits for the rest and holds up nobody.
    let (mut socket, _) = greet(&cluster, 1, &claims(&cluster, 2, 1)).await;
    socket.write_all(&[0, 0, 1, 0, 7]).await.unwrap();
    let _silent = TcpStream::connect(&cluster.members[&1].peer).await.unwrap();
    cluster.propose(&Op::put("key", "v")).await;
    assert_eq!(cluster.read(1, "key").await.as_deref(), Some(&b"v"[..]));
}

/// A vote request as openraft encodes it: the newest term, a log that nobody can beat.
fn vote_request(pre_vote: bool) -> VoteRequest {
    let request = openraft::raft::VoteRequest::<TypeConfig> {
        vote: Vote::new(1000, 2),
        last_log_id: Some(log_id(1000, 1_000_000)),
        leadership_transfer: false,
    };
    VoteRequest { record: codec::encode(&request).unwrap().into(), pre_vote }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_members_of_this_cluster_are_heard() {
    let cluster = Cluster::start(3).await;
    cluster.announced().await;
    let mut one = connect(&cluster, 1).await;
    let secretless = one.vote(Request::new(vote_request(false))).await.unwrap_err();
    assert_eq!(secretless.code(), Code::Unauthenticated);
    let guessed = one.vote(signed(&cluster, "guess", 2, 1, vote_request(false))).await.unwrap_err();
    assert_eq!(guessed.code(), Code::Unauthenticated);
    assert_eq!(one.hello(Request::new(HelloRequest {})).await.unwrap_err().code(), Code::Unauthenticated);
    let misdirected = one.vote(signed(&cluster, SECRET, 2, 3, vote_request(false))).await.unwrap_err();
    assert!(misdirected.message().contains("meant for node 3"), "{misdirected}");
    let mut foreign = signed(&cluster, SECRET, 2, 1, vote_request(false));
    foreign.metadata_mut().insert("roost-cluster", MetadataValue::from_static("00000000000000000000000000000007"));
    let foreign = one.vote(foreign).await.unwrap_err();
    assert!(foreign.message().contains("belongs to cluster"), "{foreign}");
    let mut other_disk = signed(&cluster, SECRET, 2, 1, vote_request(false));
    other_disk.metadata_mut().insert("roost-from-disk", MetadataValue::from_static("0000000000000007"));
    let other_disk = one.vote(other_disk).await.unwrap_err();
    assert!(other_disk.message().contains("another disk"), "{other_disk}");
    cluster.propose(&Op::put("key", "v")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_voter_helps_nobody_into_office_before_its_lease_has_run_out() {
    fn patient(config: &mut HostConfig) {
        (config.election_min_ms, config.election_max_ms, config.quorum_loss_probe_ms) = (50_000, 60_000, 200_000);
    }
    let mut cluster = Cluster::start(3).await;
    cluster.propose(&Op::put("key", "v")).await;
    cluster.announced().await;
    let voter = cluster.follower().await;
    let candidate = *cluster.members.keys().find(|id| **id != voter).unwrap();
    cluster.kill(voter);
    // A run that grants a lease which surely lasts until the end of the questions.
    let before = cluster.tune;
    cluster.tune = patient;
    cluster.launch(voter).await;
    cluster.kill(voter);
    cluster.tune = before;
    cluster.launch(voter).await;
    let mut rpc = connect(&cluster, voter).await;
    for pre_vote in [false, true] {
        let refused = rpc.vote(signed(&cluster, SECRET, candidate, voter, vote_request(pre_vote))).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
        assert!(refused.message().contains("lease"), "{refused}");
    }
    let garbage = Record { record: Bytes::from_static(b"?") };
    let refused = rpc.transfer_leader(signed(&cluster, SECRET, candidate, voter, garbage)).await.unwrap_err();
    assert!(refused.message().contains("lease"), "{refused}");
    // Replication goes on all the same.
    let last = cluster.propose(&Op::put("key", "w")).await;
    eventually("the voter follows", async || {
        (cluster.host(voter).status().unwrap().applied_index >= last.index).then_some(())
    })
    .await;
    cluster.kill(voter);
    cluster.launch(voter).await;
    // Later it answers votes again, whatever the answer.
    let mut rpc = connect(&cluster, voter).await;
    eventually("an answered pre-vote", async || {
        rpc.vote(signed(&cluster, SECRET, candidate, voter, vote_request(true))).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_state_differs_from_the_leaders_says_so() {
    let cluster = Cluster::start(3).await;
    cluster.announced().await;
    cluster.propose(&Op::put("key", "v")).await;
    cluster.agree([1, 2, 3]).await;
    let compare = async |at: u64, hash: StateHash| {
        let record = Bytes::from(codec::encode(&SystemCommand::CompareHash { at, hash }).unwrap());
        eventually("a comparison", async || {
            let leader = cluster.leader().await.node_id();
            let from = 1 + leader % 3;
            let mut rpc = connect(&cluster, leader).await;
            let record = Record { record: record.clone() };
            rpc.propose_system(signed(&cluster, SECRET, from, leader, record)).await.ok()
        })
        .await;
        cluster.agree([1, 2, 3]).await;
    };
    let (at, hash) = cluster.host(1).recent_hashes()[0];
    compare(at, hash).await;
    assert_eq!(cluster.host(1).status().unwrap().alarms, [], "equal states raise no alarm");
    compare(at, StateHash::default()).await;
    eventually("the alarm", async || {
        let alarms = cluster.leader().await.status().unwrap().alarms;
        alarms.contains(&Alarm { kind: AlarmKind::Corrupt, node: 1 }).then_some(())
    })
    .await;
}

static RAFT_PANICS: AtomicUsize = AtomicUsize::new(0);

fn count_panics_of_raft_threads() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let next = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if std::thread::current().name() == Some("raft") {
                RAFT_PANICS.fetch_add(1, Ordering::SeqCst);
            }
            next(info);
        }));
    });
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn random_bytes_change_nothing_and_panic_nowhere() {
    count_panics_of_raft_threads();
    let cluster = Cluster::start(3).await;
    cluster.propose(&Op::put("key", "v")).await;
    cluster.announced().await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for seed in 1..40u64 {
        let mut socket = TcpStream::connect(&cluster.members[&(1 + seed % 3)].peer).await.unwrap();
        let head: &[u8] = [&b""[..], preface, b"\0\0"][seed as usize % 3];
        // The other side may close at any byte.
        let _ = socket.write_all(&[head, &noise(seed, 3000)].concat()).await;
        let _ = tokio::time::timeout(Duration::from_millis(50), socket.read(&mut [0; 100])).await;
    }
    // The same from somebody who knows the secret: the records are nonsense.
    for (seed, id) in (1..40u64).zip([1, 2, 3].into_iter().cycle()) {
        let mut rpc = connect(&cluster, id).await;
        let from = 1 + id % 3;
        let junk = || Bytes::from(noise(seed, (seed * 7) as usize % 90));
        let vote = VoteRequest { record: junk(), pre_vote: seed % 2 == 0 };
        assert!(rpc.vote(signed(&cluster, SECRET, from, id, vote)).await.is_err());
        assert!(rpc.transfer_leader(signed(&cluster, SECRET, from, id, Record { record: junk() })).await.is_err());
        assert!(rpc.propose_system(signed(&cluster, SECRET, from, id, Record { record: junk() })).await.is_err());
        let (mut socket, _) = greet(&cluster, id, &claims(&cluster, from, id)).await;
        let append = frame(&[frame(&junk()), frame(&junk())].concat());
        let _ = socket.write_all(&append).await;
        assert!(matches!(socket.read(&mut [0]).await, Ok(0) | Err(_)), "nonsense was appended");
        let vote = codec::encode(&Vote::new_committed(1_000_000, 1)).unwrap().into();
        let chunks = [SnapshotChunk { record: vote, data: junk() }, SnapshotChunk { record: junk(), data: junk() }];
        let install = signed(&cluster, SECRET, from, id, futures::stream::iter(chunks));
        assert!(rpc.install_snapshot(install).await.is_err(), "nonsense was installed");
    }
    assert_eq!(RAFT_PANICS.load(Ordering::SeqCst), 0);
    cluster.propose(&Op::put("key", "w")).await;
    for id in [1, 2, 3] {
        assert_eq!(cluster.read(id, "key").await.as_deref(), Some(&b"w"[..]));
        assert_eq!(*cluster.host(id).failure().borrow(), None);
        let left = std::fs::read_dir(cluster.dir(id).join("snapshots")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "refused snapshots leave no files");
    }
    cluster.agree([1, 2, 3]).await;
}
