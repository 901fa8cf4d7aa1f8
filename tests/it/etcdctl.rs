//! Debian's etcdctl 3.4 against three Roost nodes, as people and scripts use it.

use crate::support::config::Settings;
use crate::support::etcd::{EtcdClient, enabled};
use crate::support::{Cluster, Etcdctl, ctl, soon};

/// A cluster, an etcdctl that knows all its nodes, and one for each node.
async fn start() -> (Cluster, Etcdctl, Vec<Etcdctl>) {
    let cluster = Cluster::start_with(3, enabled()).await;
    let endpoints: Vec<String> = (1..=3).map(|id| cluster.at(id).client).collect();
    for endpoint in &endpoints {
        EtcdClient::new(endpoint).serves().await;
    }
    let each = endpoints.iter().map(|endpoint| Etcdctl { endpoints: vec![endpoint.clone()] }).collect();
    (cluster, Etcdctl { endpoints }, each)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_transactions_and_watches() {
    let (_cluster, all, each) = start().await;
    assert_eq!(all.lines(&["put", "a", "1"]).await, ["OK"]);
    let first = each[1].json(&["get", "a"]).await["header"]["revision"].as_i64().unwrap();
    assert_eq!(each[2].lines(&["put", "a", "2", "--prev-kv"]).await, ["OK", "a", "1"]);
    assert_eq!(each[0].lines(&["put", "ab", "3"]).await, ["OK"]);
    for node in &each {
        assert_eq!(node.lines(&["get", "a"]).await, ["a", "2"]);
        assert_eq!(node.lines(&["get", "a", "--prefix"]).await, ["a", "2", "ab", "3"]);
        assert_eq!(node.lines(&["get", "a", "--rev", &first.to_string()]).await, ["a", "1"]);
        let sorted = ["get", "--prefix", "a", "--sort-by=MODIFY", "--order=DESCEND", "--keys-only"];
        assert_eq!(node.lines(&sorted).await, ["ab", "", "a", ""]);
        assert_eq!(node.lines(&["get", "--from-key", "ab", "--print-value-only"]).await, ["3"]);
    }
    let found = all.json(&["get", "a"]).await;
    assert_eq!((&found["count"], &found["kvs"][0]["value"]), (&1.into(), &"Mg==".into()), "{found}");
    assert_eq!(found["kvs"][0]["version"], 2);

    // Interactive: compares, an empty line, requests of the success branch, an empty line, those of the other.
    let input = "value(\"a\") = \"2\"\nversion(\"none\") = \"0\"\n\nput a 4\nget ab\n\nput a 5\n\n";
    let ran = each[1].run_with(&["txn", "--interactive"], input).await.ok();
    let tail: Vec<&str> = ran.stdout.lines().rev().take(5).collect();
    assert_eq!(tail, ["3", "ab", "", "OK", ""], "{ran:?}");
    assert!(ran.stdout.contains("SUCCESS"), "{ran:?}");
    let input = "mod(\"a\") < \"1\"\n\nput a 6\n\nget a\n\n";
    let ran = each[2].run_with(&["txn"], input).await.ok();
    assert_eq!(ran.stdout.lines().collect::<Vec<_>>(), ["FAILURE", "", "a", "4"]);

    // From the past, and onwards, on another node than the one that writes.
    let mut watch = each[2].follow(&["watch", "a", "--prefix", "--rev", &first.to_string(), "--prev-kv"]);
    for expected in ["PUT", "a", "1", "PUT", "a", "1", "a", "2", "PUT", "ab", "3"] {
        assert_eq!(watch.line().await, expected);
    }
    for expected in ["PUT", "a", "2", "a", "4"] {
        assert_eq!(watch.line().await, expected);
    }
    assert_eq!(each[0].lines(&["del", "a", "--prefix"]).await, ["2"]);
    for expected in ["DELETE", "a", "4", "a", "", "DELETE", "ab", "3", "ab", ""] {
        assert_eq!(watch.line().await, expected);
    }
    watch.interrupt().await;

    let revision = all.json(&["get", "a"]).await["header"]["revision"].as_i64().unwrap();
    let compacted = each[1].lines(&["compaction", &revision.to_string(), "--physical"]).await;
    assert_eq!(compacted, [format!("compacted revision {revision}")]);
    let past = each[2].run(&["get", "a", "--rev", &first.to_string()]).await;
    assert_eq!(past.code, 1);
    assert!(past.stderr.contains("mvcc: required revision has been compacted"), "{past:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_locks_and_elections() {
    let (_cluster, all, each) = start().await;
    let granted = all.lines(&["lease", "grant", "300"]).await;
    let id = granted[0].split_whitespace().nth(1).unwrap().to_owned();
    assert_eq!(granted, [format!("lease {id} granted with TTL(300s)")]);
    assert_eq!(each[1].lines(&["put", "leased", "x", "--lease", &id]).await, ["OK"]);
    for node in &each {
        let left = node.lines(&["lease", "timetolive", &id, "--keys"]).await;
        assert!(left[0].starts_with(&format!("lease {id} granted with TTL(300s), remaining(")), "{left:?}");
        assert!(left[0].ends_with("attached keys([leased])"), "{left:?}");
        assert_eq!(node.lines(&["lease", "list"]).await, ["found 1 leases".to_owned(), id.clone()]);
        let kept = node.lines(&["lease", "keep-alive", &id, "--once"]).await;
        assert_eq!(kept, [format!("lease {id} keepalived with TTL(300)")]);
    }
    assert_eq!(each[2].lines(&["lease", "revoke", &id]).await, [format!("lease {id} revoked")]);
    assert!(each[0].lines(&["get", "leased"]).await.is_empty());
    let again = each[0].run(&["lease", "revoke", &id]).await;
    assert!(again.code != 0 && again.stderr.contains("requested lease not found"), "{again:?}");
    assert_eq!(each[1].lines(&["lease", "timetolive", &id]).await, [format!("lease {id} already expired")]);

    let mut holder = each[0].follow(&["lock", "door"]);
    assert!(holder.line().await.starts_with("door/"));
    let mut waiting = each[1].follow(&["lock", "door", "echo", "inside"]);
    soon("the second one waits", async || {
        let queue = all.lines(&["get", "door/", "--prefix", "--keys-only"]).await;
        (queue.iter().filter(|line| !line.is_empty()).count() == 2).then_some(())
    })
    .await;
    holder.interrupt().await;
    assert_eq!(waiting.line().await, "inside");

    let mut elected = each[0].follow(&["elect", "chair", "one"]);
    assert!(elected.line().await.starts_with("chair/"));
    assert_eq!(elected.line().await, "one");
    let mut observer = each[2].follow(&["elect", "-l", "chair"]);
    assert!(observer.line().await.starts_with("chair/"));
    assert_eq!(observer.line().await, "one");
    let mut next = each[1].follow(&["elect", "chair", "two"]);
    elected.interrupt().await;
    assert!(next.line().await.starts_with("chair/"));
    assert_eq!(next.line().await, "two");
    assert!(observer.line().await.starts_with("chair/"));
    assert_eq!(observer.line().await, "two");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_maintenance_and_a_snapshot_restored() {
    let (mut cluster, all, each) = start().await;
    for number in 0..20 {
        each[number % 3].lines(&["put", &format!("kept/{number:02}"), "value"]).await;
    }
    let healthy = all.run(&["endpoint", "health"]).await.ok();
    let said = healthy.stdout + &healthy.stderr;
    assert_eq!(said.matches("is healthy").count(), 3, "{said}");
    let leader = cluster.leader().await;
    let status = all.json(&["endpoint", "status"]).await;
    let list = each[1].json(&["member", "list"]).await;
    assert_eq!((status.as_array().unwrap().len(), list["members"].as_array().unwrap().len()), (3, 3));
    for (place, node) in status.as_array().unwrap().iter().enumerate() {
        assert_eq!(node["Status"]["leader"].as_u64(), Some(leader), "{status}");
        assert_eq!(node["Status"]["header"]["member_id"].as_u64(), Some(place as u64 + 1));
        assert!(node["Status"]["dbSize"].as_u64() > Some(0) && node["Status"]["version"].is_string(), "{status}");
    }
    for member in list["members"].as_array().unwrap() {
        let id = member["ID"].as_u64().unwrap();
        assert!(member["clientURLs"][0].as_str().unwrap().ends_with(&cluster.at(id).client), "{list}");
    }
    let hashes = all.json(&["endpoint", "hashkv"]).await;
    let of = |node: usize| (&hashes[node]["HashKV"]["hash"], &hashes[node]["HashKV"]["compact_revision"]);
    assert!(of(0) == of(1) && of(1) == of(2), "{hashes}");
    assert!(all.lines(&["alarm", "list"]).await.is_empty());
    let defragmented = all.run(&["defrag"]).await.ok();
    let said = defragmented.stdout + &defragmented.stderr;
    assert_eq!(said.matches("Finished defragmenting").count(), 3, "{said}");
    assert_eq!(all.lines(&["user", "list"]).await, ["root"]);
    for refused in [&["user", "add", "eve:secret"][..], &["role", "add", "reader"], &["auth", "enable"]] {
        let ran = all.run(refused).await;
        assert!(ran.code != 0 && ran.stderr.contains("Roost keeps no users and roles"), "{refused:?}: {ran:?}");
    }

    let next = (1..=3).find(|id| *id != leader).unwrap();
    let moved = all.run(&["move-leader", &format!("{next:x}")]).await.ok();
    assert!(moved.stdout.contains(&format!("Leadership transferred from {leader:x} to {next:x}")), "{moved:?}");
    assert_eq!(cluster.leader().await, next);

    let file = cluster.home().join("etcd.snapshot");
    let file = file.to_str().unwrap();
    let saved = each[2].run(&["snapshot", "save", file]).await.ok();
    assert!(saved.stdout.contains("Snapshot saved"), "{saved:?}");
    each[0].lines(&["put", "later", "x"]).await;

    let mut restored = Cluster::prepare(1, enabled());
    restore(&mut restored, file).await;
    restored.start_all();
    restored.ready().await;
    let single = Etcdctl { endpoints: vec![restored.at(1).client] };
    EtcdClient::new(&restored.at(1).client).serves().await;
    let keys = single.lines(&["get", "", "--prefix", "--print-value-only"]).await;
    assert_eq!(keys, vec!["value"; 20]);
    let old = all.json(&["get", "later"]).await["header"]["revision"].as_i64().unwrap();
    assert_eq!(single.lines(&["put", "new", "x"]).await, ["OK"]);
    let new = single.json(&["get", "new"]).await["header"]["revision"].as_i64().unwrap();
    assert!(new > old, "revisions of a restored cluster lie beyond those of the old one: {new}, {old}");
}

async fn restore(cluster: &mut Cluster, file: &str) {
    let at = cluster.at(1);
    let member = format!("id=1,peer={},client={},internal={}", at.peer, at.client, at.internal);
    let dir = cluster.node(1).data_dir();
    let words =
        ["snapshot", "restore", file, "--data-dir", dir.to_str().unwrap(), "--node-id", "1", "--member", &member];
    ctl::run(&[], &words).await.ok();
}

/// 10,000 keys of 1 KiB by 50 clients; memory is looked for at the client port, as etcd shows it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_of_the_datas_scale_passes() {
    let (_cluster, all, each) = start().await;
    let ran = all.run(&["check", "datascale", "--load=s"]).await.ok();
    assert!(ran.stdout.contains("PASS: Approximate system memory used"), "{ran:?}");
    println!("{}", ran.stdout);
    assert!(each[2].lines(&["get", "", "--prefix", "--limit=1"]).await.is_empty(), "it cleans up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_not_told_to_serves_no_etcd() {
    let cluster = Cluster::start_with(1, Settings::new()).await;
    let etcdctl = Etcdctl { endpoints: vec![cluster.at(1).client] };
    let ran = etcdctl.run(&["get", "a"]).await;
    assert!(ran.code != 0 && ran.stdout.is_empty(), "{ran:?}");
}
