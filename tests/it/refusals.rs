//! What a node or a cluster must not accept: foreign disks, foreign secrets, wiped disks, bad configuration, and bytes
//! that are no request. Each gets a clear word, and the others do not notice.

use std::fs;
use std::time::Duration;

use roost::forward::secret_proof;
use roost::pb::milvus::CreateCollectionRequest;
use roost::pb::milvus::milvus_service_client::MilvusServiceClient;
use tonic::{Code, Request};

use crate::support::client::{channel, new_collection};
use crate::support::config::SECRET;
use crate::support::{Cluster, hostile, soon};

const SECRET_KEY: &str = "roost-secret";
/// Starting and finding out takes less, even on a busy machine.
const ENDS: Duration = Duration::from_secs(30);

/// The node ends by itself, not successfully, and says this.
#[track_caller]
fn assert_stops(cluster: &mut Cluster, id: u64, says: &str) {
    let node = cluster.node(id);
    let status = node.ended(ENDS);
    assert_eq!(status.code(), Some(1), "{status}");
    let log = node.log();
    assert!(log.contains(says), "expected `{says}` in:\n{log}");
    assert!(!log.contains("panicked"), "{log}");
}

async fn assert_healthy(cluster: &mut Cluster) {
    cluster.ready().await;
    let id = cluster.answering()[0];
    let name = format!("still_{}", rand::random::<u32>());
    cluster.client(id).create(&name).await.unwrap();
    for id in cluster.answering() {
        assert!(cluster.client(id).describe(&name).await.is_ok());
    }
    assert!(!cluster.ids().iter().any(|id| cluster.log_of(*id).contains("panicked")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_nodes_disk_is_refused() {
    let mut cluster = Cluster::start(3).await;
    let followers = cluster.followers().await;
    let (thief, owner) = (followers[0], followers[1]);
    cluster.node(thief).kill();
    // In use by its owner: refused as well, in other words.
    let disk = cluster.node(owner).data_dir();
    cluster.node(thief).settings = vec![("ROOST_NODE_DATA_DIR", disk.display().to_string())];
    cluster.node(thief).start();
    assert_stops(&mut cluster, thief, "lock");
    cluster.node(owner).kill();
    cluster.node(thief).start();
    assert_stops(&mut cluster, thief, &format!("belongs to node {owner}"));
    cluster.node(thief).settings.clear();
    cluster.node(thief).start();
    cluster.node(owner).start();
    assert_healthy(&mut cluster).await;
    cluster.hash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_disk_under_a_known_id_is_refused() {
    let mut cluster = Cluster::start(3).await;
    cluster.client(1).create("one").await.unwrap();
    let wiped = cluster.followers().await[0];
    soon("every disk is on record", async || {
        let list = cluster.ctl(&["-o", "json", "member", "list"]).await.json();
        list["members"].as_array().unwrap().iter().all(|member| member["incarnation"] != "").then_some(())
    })
    .await;
    cluster.node(wiped).kill();
    let disk = cluster.node(wiped).data_dir();
    fs::remove_dir_all(&disk).unwrap();
    for _ in 0..2 {
        cluster.node(wiped).start();
        assert_stops(&mut cluster, wiped, "was wiped or swapped");
        assert!(cluster.log_of(wiped).contains("member replace"), "it says what to do");
    }
    assert_healthy(&mut cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_another_secret_gets_no_vote_and_no_data() {
    let mut cluster = Cluster::start(3).await;
    let stranger = cluster.followers().await[0];
    cluster.node(stranger).kill();
    cluster.node(stranger).settings = vec![("ROOST_CLUSTER_SECRET", "not the one of the others".to_owned())];
    cluster.node(stranger).start();
    let says = "secret";
    soon("it says that the secret is wrong", async || {
        cluster.log_of(stranger).to_lowercase().contains(says).then_some(())
    })
    .await;
    assert!(cluster.client(stranger).names().await.is_err(), "it must not serve");
    cluster.node(stranger).kill();
    assert_healthy(&mut cluster).await;
    cluster.node(stranger).settings.clear();
    cluster.node(stranger).start();
    assert_healthy(&mut cluster).await;
    cluster.hash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_configuration_is_refused_by_name() {
    let mut cluster = Cluster::prepare(1, Vec::new());
    let file = cluster.node(1).home.join("roost.yaml");
    let good = fs::read_to_string(&file).unwrap();
    let bad = [
        (format!("{good}raft: {{ heartbeat: 100 }}\n"), "heartbeat"),
        (format!("{good}rafts: {{}}\n"), "rafts"),
        (format!("{good}raft: {{ heartbeat_ms: fast }}\n"), "raft.heartbeat_ms"),
        (format!("{good}raft: {{ election_min_ms: 100 }}\n"), "raft.election_min_ms"),
        (good.replace("id: 1, data_dir", "id: 0, data_dir"), "node.id"),
        (good.replace("127.0.0.1", "0.0.0.0").replace(SECRET, "short"), "cluster.secret"),
        ("[".to_owned(), "roost.yaml"),
    ];
    for (text, says) in bad {
        fs::write(&file, &text).unwrap();
        let node = cluster.node(1);
        fs::write(node.home.join("log"), "").unwrap();
        node.start();
        let status = node.ended(ENDS);
        assert_eq!(status.code(), Some(2), "{text}");
        assert!(node.log().contains(says), "expected `{says}`: {}", node.log());
        assert!(!node.data_dir().exists(), "checked before anything is opened");
    }
    fs::write(&file, &good).unwrap();
    cluster.node(1).settings = vec![("ROOST_RAFT_HEARTBEAT", "100".to_owned())];
    cluster.node(1).start();
    assert_eq!(cluster.node(1).ended(ENDS).code(), Some(2));
    assert!(cluster.log_of(1).contains("ROOST_RAFT_HEARTBEAT"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_request_harm_nobody() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    for id in cluster.ids() {
        let at = cluster.at(id);
        for address in [at.client, at.internal, at.peer, at.http] {
            hostile::attack(&address).await;
        }
    }
    assert_healthy(&mut cluster).await;
    assert_eq!(cluster.leader().await, leader, "not even an election");
    let health = cluster.ctl(&["cluster", "health", "--allow-degraded"]).await;
    assert_eq!(health.code, 0, "{health:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_100_mib_is_refused_clearly() {
    let mut cluster = Cluster::start(3).await;
    let proof = secret_proof(SECRET);
    for id in cluster.ids() {
        let at = cluster.at(id);
        for (address, what) in [(at.client, "client"), (at.peer, "peer")] {
            let mut client = MilvusServiceClient::new(channel(&address));
            let message = CreateCollectionRequest { schema: vec![7; 100 << 20], ..new_collection("big").into_inner() };
            let mut request = Request::new(message);
            if what == "peer" {
                request.metadata_mut().insert(SECRET_KEY, proof.parse().unwrap());
            }
            let status = client.create_collection(request).await.unwrap_err();
            let clear = matches!(status.code(), Code::ResourceExhausted | Code::OutOfRange | Code::InvalidArgument);
            assert!(clear, "node {id} {what}: {status:?}");
            assert!(status.message().contains("large") || status.message().contains("limit"), "{status:?}");
        }
    }
    assert_healthy(&mut cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_peer_listener_opens_to_no_stranger() {
    let mut cluster = Cluster::start(3).await;
    for shown in [None, Some("wrong".to_owned()), Some(secret_proof("another secret of 16 bytes"))] {
        let mut client = MilvusServiceClient::new(channel(&cluster.at(1).peer));
        let mut request = new_collection("smuggled");
        if let Some(shown) = &shown {
            request.metadata_mut().insert(SECRET_KEY, shown.parse().unwrap());
        }
        let status = client.create_collection(request).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{shown:?}: {status:?}");
    }
    assert!(cluster.client(2).describe("smuggled").await.is_err());
    assert_healthy(&mut cluster).await;
}
