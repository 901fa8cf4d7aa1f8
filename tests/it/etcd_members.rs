//! Members come, are promoted, lead and go by Debian's etcdctl 3.4, asked at any node, while real processes serve.

use serde_json::Value;

use crate::support::etcd::{EtcdClient, enabled};
use crate::support::{Cluster, Etcdctl, soon};

/// Keys that are there before the fourth node is.
const KEYS: usize = 40;
const BAD_PROMOTION: &str = "can only promote a learner member which is in sync with leader";

/// etcdctl for one node.
fn of(cluster: &Cluster, id: u64) -> Etcdctl {
    Etcdctl { endpoints: vec![cluster.at(id).client] }
}

/// Three nodes with [`KEYS`] keys, of which one hangs on a lease of 300 s, and some history that was compacted.
async fn start() -> Cluster {
    let cluster = Cluster::start_with(3, enabled()).await;
    for id in 1..=3 {
        EtcdClient::new(&cluster.at(id).client).serves().await;
    }
    let client = EtcdClient::new(&cluster.at(1).client);
    let mut revision = 0;
    for number in 0..KEYS * 2 {
        let value = format!("value {number}");
        revision = client.put(&format!("kept/{:02}", number % KEYS), value, 0).await.unwrap();
    }
    of(&cluster, 2).lines(&["compaction", &(revision - 5).to_string()]).await;
    let granted = of(&cluster, 3).lines(&["lease", "grant", "300"]).await;
    let lease = granted[0].split_whitespace().nth(1).unwrap();
    of(&cluster, 1).lines(&["put", "leased", "x", "--lease", lease]).await;
    cluster
}

fn url(cluster: &Cluster, id: u64) -> String {
    format!("--peer-urls=http://{}", cluster.at(id).peer)
}

/// `id voter` or `id learner` of each member, as any node lists them.
async fn members(asked: &Etcdctl) -> Vec<String> {
    let list = asked.json(&["member", "list"]).await;
    let role = |member: &Value| if member["isLearner"] == true { "learner" } else { "voter" };
    list["members"].as_array().unwrap().iter().map(|member| format!("{} {}", member["ID"], role(member))).collect()
}

/// All keys with their revisions, versions and leases, as one node shows them.
async fn rows(asked: &Etcdctl) -> Value {
    asked.json(&["get", "", "--prefix"]).await["kvs"].clone()
}

async fn promote(asked: &Etcdctl, id: &str) -> String {
    soon("a learner that caught up is promoted", async || {
        let ran = asked.run(&["member", "promote", id]).await;
        assert!(ran.code == 0 || ran.stderr.contains(BAD_PROMOTION), "{ran:?}");
        (ran.code == 0).then_some(ran.stdout)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_learner_is_added_promoted_led_by_and_removed_with_etcdctl() {
    let mut cluster = start().await;
    let before = rows(&of(&cluster, 1)).await;
    assert_eq!(before.as_array().unwrap().len(), KEYS + 1);
    let followers = cluster.followers().await;
    let (asked, other) = (of(&cluster, followers[0]), of(&cluster, followers[1]));
    let to = url(&cluster, 4);
    let early = asked.run(&["member", "add", "four", "--learner", &to]).await;
    assert!(early.code != 0 && early.stderr.contains("start the new node first"), "{early:?}");

    cluster.start_stranger(4);
    let added = soon("a node that runs is added", async || {
        let ran = asked.run(&["member", "add", "four", "--learner", &to]).await;
        (ran.code == 0).then_some(ran.stdout)
    })
    .await;
    assert!(added.contains("Member") && added.contains("4 added to cluster"), "{added}");
    assert_eq!(members(&other).await, ["1 voter", "2 voter", "3 voter", "4 learner"]);
    let again = other.run(&["member", "add", "four", "--learner", &to]).await;
    assert!(again.code != 0 && again.stderr.contains("Peer URLs already exists"), "{again:?}");
    let promoted = promote(&other, "4").await;
    assert!(promoted.contains("4 promoted in cluster"), "{promoted}");
    assert_eq!(members(&asked).await, ["1 voter", "2 voter", "3 voter", "4 voter"]);
    let twice = asked.run(&["member", "promote", "4"]).await;
    assert!(twice.code != 0 && twice.stderr.contains("can only promote a learner member"), "{twice:?}");

    cluster.ready().await;
    let new = of(&cluster, 4);
    EtcdClient::new(&cluster.at(4).client).serves().await;
    assert_eq!(rows(&new).await, before, "values, revisions, versions and leases");
    let all = Etcdctl { endpoints: (1..=4).map(|id| cluster.at(id).client).collect() };
    let hashes = all.json(&["endpoint", "hashkv"]).await;
    let hashes: Vec<&Value> = hashes.as_array().unwrap().iter().map(|node| &node["HashKV"]["hash"]).collect();
    assert!(hashes.len() == 4 && hashes.iter().all(|hash| *hash == hashes[0] && hash.is_number()), "{hashes:?}");
    cluster.hash().await;

    // Of four voters three must live: the new one counts.
    cluster.node(followers[0]).kill();
    assert_eq!(new.lines(&["put", "with the new one", "x"]).await, ["OK"]);
    cluster.node(followers[0]).start();
    cluster.ready().await;
    let leader = cluster.leader().await;
    let moved = of(&cluster, leader).run(&["move-leader", "4"]).await.ok();
    assert!(moved.stdout.contains(&format!("Leadership transferred from {leader:x} to 4")), "{moved:?}");
    assert_eq!(cluster.leader().await, 4);
    let elsewhere = of(&cluster, leader).run(&["move-leader", "4"]).await;
    assert!(elsewhere.code != 0, "only the leader is asked: {elsewhere:?}");

    // The member that is removed leads.
    let removed = other.run(&["member", "remove", "4"]).await.ok();
    assert!(removed.stdout.contains("4 removed from cluster"), "{removed:?}");
    cluster.node(4).kill();
    cluster.ready().await;
    assert_eq!(members(&asked).await, ["1 voter", "2 voter", "3 voter"]);
    let unknown = asked.run(&["member", "remove", "4"]).await;
    assert!(unknown.code != 0 && unknown.stderr.contains("member not found"), "{unknown:?}");
    assert_eq!(other.lines(&["get", "with the new one", "--print-value-only"]).await, ["x"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_is_added_in_the_place_of_one_that_was_removed_with_etcdctl() {
    let mut cluster = start().await;
    let before = rows(&of(&cluster, 1)).await;
    let lost = cluster.followers().await[0];
    cluster.node(lost).kill();
    let alive = cluster.answering();
    let asked = of(&cluster, alive[1]);
    asked.run(&["member", "remove", &format!("{lost:x}")]).await.ok();
    cluster.start_stranger(4);
    let to = url(&cluster, 4);
    soon("the new voter has joined and caught up", async || {
        let ran = asked.run(&["member", "add", "four", &to]).await;
        (ran.code == 0).then_some(())
    })
    .await;
    let expected: Vec<String> = (1..=4).filter(|id| *id != lost).map(|id| format!("{id} voter")).collect();
    assert_eq!(members(&asked).await, expected);
    cluster.ready().await;
    EtcdClient::new(&cluster.at(4).client).serves().await;
    assert_eq!(rows(&of(&cluster, 4)).await, before);
    cluster.hash().await;
    // One of the old two is lost as well; what is left is a majority.
    let second = cluster.answering().into_iter().find(|id| *id != 4).unwrap();
    cluster.node(second).kill();
    cluster.ready().await;
    assert_eq!(of(&cluster, 4).lines(&["put", "later", "x"]).await, ["OK"]);
}
