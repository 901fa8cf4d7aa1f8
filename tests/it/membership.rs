//! Members come, vote, go and are replaced by `roostctl` while clients write; leaders move and stop politely.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::support::config::Settings;
use crate::support::writers::Writers;
use crate::support::{Cluster, ctl, soon};

/// The arguments that name a node's listeners.
fn address(cluster: &Cluster, id: u64) -> Vec<String> {
    let at = cluster.at(id);
    [("--peer", at.peer), ("--client", at.client), ("--internal", at.internal)]
        .into_iter()
        .flat_map(|(flag, address)| [flag.to_owned(), address])
        .collect()
}

fn with_address<'a>(words: &[&'a str], address: &'a [String]) -> Vec<&'a str> {
    words.iter().copied().chain(address.iter().map(String::as_str)).collect()
}

/// `id role` of each member.
fn roles(list: &Value) -> Vec<String> {
    let members = list["members"].as_array().unwrap().iter();
    members.map(|member| format!("{} {}", member["id"], member["role"].as_str().unwrap())).collect()
}

async fn members(cluster: &Cluster) -> Vec<String> {
    roles(&cluster.ctl(&["-o", "json", "member", "list"]).await.json())
}

async fn promote(cluster: &Cluster, id: u64) {
    let id = id.to_string();
    soon("a caught-up learner becomes a voter", async || {
        let ran = cluster.ctl(&["-o", "json", "member", "promote", &id]).await;
        assert!(ran.code == 0 || ran.code == 1, "{ran:?}");
        (ran.code == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fourth_node_is_added_promoted_and_removed() {
    let mut cluster = Cluster::start(3).await;
    for number in 0..20 {
        cluster.client(1).create(&format!("before_{number}")).await.unwrap();
    }
    cluster.start_stranger(4);
    let to = address(&cluster, 4);
    let added = cluster.ctl(&with_address(&["-o", "json", "member", "add", "4"], &to)).await.json();
    assert_eq!(roles(&added), ["1 voter", "2 voter", "3 voter", "4 learner"]);
    let again = cluster.ctl(&with_address(&["-o", "json", "member", "add", "4"], &to)).await.json();
    assert_eq!(roles(&again), roles(&added), "repeating changes nothing");
    promote(&cluster, 4).await;
    cluster.ready().await;
    assert_eq!(members(&cluster).await, ["1 voter", "2 voter", "3 voter", "4 voter"]);
    cluster.client(4).create("through_4").await.unwrap();
    assert_eq!(cluster.client(4).names().await.unwrap().len(), 21);
    cluster.hash().await;

    cluster.ctl(&["member", "remove", "4"]).await.refused(5, "--yes");
    let removed = cluster.ctl(&["-o", "json", "--yes", "member", "remove", "4"]).await.json();
    assert_eq!(roles(&removed), ["1 voter", "2 voter", "3 voter"]);
    cluster.node(4).kill();
    cluster.ready().await;
    assert_eq!(cluster.client(1).names().await.unwrap().len(), 21);
    let twice = cluster.ctl(&with_address(&["member", "add", "4"], &to)).await;
    assert_eq!(twice.code, 1, "{twice:?}");
    assert!(twice.stderr.contains("never reused"), "{twice:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_can_be_removed_and_unknown_members_cannot() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let id = leader.to_string();
    cluster.ctl(&["--yes", "member", "remove", &id]).await.ok();
    cluster.node(leader).kill();
    assert!(!members(&cluster).await.iter().any(|member| member.starts_with(&id)));
    cluster.ready().await;
    let alive = cluster.answering();
    cluster.client(alive[0]).create("with_two").await.unwrap();
    cluster.ctl(&["--yes", "member", "remove", "9"]).await.refused(1, "9");
    cluster.ctl(&["member", "promote", "9"]).await.refused(1, "9");
    cluster.ctl(&["leader", "transfer", "9"]).await.refused(1, "9");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_member_is_replaced_while_clients_write() {
    let mut cluster = Cluster::start(3).await;
    let lost = cluster.followers().await[0];
    let nodes: Vec<u64> = cluster.ids().into_iter().filter(|id| *id != lost).collect();
    let writers = Writers::start(&cluster, &nodes, 2);
    soon("writers get on", async || (writers.count() > 30).then_some(())).await;
    cluster.node(lost).kill();

    // The new node does not run yet, so the command waits; then it is interrupted.
    let (old, to) = (lost.to_string(), address(&cluster, 4));
    let words = with_address(&["--yes", "-o", "json", "member", "replace", &old, "4"], &to);
    let mut first =
        ctl::command(&cluster.endpoints(), &words).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut said = BufReader::new(first.stderr.take().unwrap()).lines();
    while let Some(line) = said.next_line().await.unwrap() {
        if line.contains("waiting for node 4") {
            break;
        }
    }
    first.kill().await.unwrap();
    let learner = "4 learner".to_owned();
    soon("node 4 is a learner", async || members(&cluster).await.contains(&learner).then_some(())).await;
    // However few entries there are, a node that never answered has not caught up with them.
    cluster.ctl(&["member", "promote", "4"]).await.refused(1, "has not answered");

    cluster.start_stranger(4);
    let done = cluster.ctl(&words).await.json();
    let mut expected: Vec<String> = nodes.iter().map(|id| format!("{id} voter")).collect();
    expected.push("4 voter".to_owned());
    assert_eq!(roles(&done), expected);
    let again = cluster.ctl(&words).await.json();
    assert_eq!(roles(&again), expected, "a finished replacement is finished");
    cluster.ready().await;
    assert_eq!(writers.refusals(&nodes), Vec::<String>::new());
    let acknowledged = writers.finish().await;
    let names = cluster.client(4).names().await.unwrap();
    assert!(acknowledged.iter().all(|name| names.contains(name)));
    cluster.hash().await;

    // The new member counts: with one of the two old ones down there is still a majority.
    cluster.node(nodes[0]).kill();
    cluster.ready().await;
    cluster.client(4).create("with_the_new_one").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_node_that_comes_back_disturbs_nobody() {
    let mut cluster = Cluster::start(3).await;
    let gone = cluster.followers().await[0];
    cluster.node(gone).kill();
    cluster.ctl(&["--yes", "member", "remove", &gone.to_string()]).await.ok();
    let alive = cluster.answering();
    let writers = Writers::start(&cluster, &alive, 1);
    soon("writers get on", async || (writers.count() > 10).then_some(())).await;
    let before = cluster.leader_of(alive[0]).await.unwrap();
    cluster.node(gone).start();
    // Long enough for many campaigns; what is asserted is what happens meanwhile.
    let until = Instant::now() + Duration::from_secs(4);
    let written = writers.count();
    soon("time passes", async || (Instant::now() > until).then_some(())).await;
    assert_eq!(cluster.leader_of(alive[0]).await, Some(before), "neither term nor leader changed");
    assert!(writers.count() > written + 10);
    assert_eq!(writers.refusals(&alive), Vec::<String>::new());
    writers.finish().await;
    let log = cluster.node(gone).log();
    assert!(log.contains("no longer a member") || log.contains("removed"), "it says why it is alone:\n{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_node_catches_up_by_a_snapshot() {
    // As small as they may be; the log is purged in steps of 10,000 entries.
    let small = |key| (key, (64 << 10).to_string());
    let settings = Settings::from([small("ROOST_RAFT_SNAPSHOT_LOG_BYTES"), small("ROOST_RAFT_KEEP_LOG_BYTES")]);
    let mut cluster = Cluster::start_with(3, settings).await;
    for number in 0..20 {
        cluster.client(1).create(&format!("old_{number}")).await.unwrap();
    }
    let leader = cluster.leader().await;
    let client = cluster.client(leader);
    let started = Instant::now();
    let mut given = 0;
    soon("the leader has purged the beginning of its log", async || {
        let calls = (0..2000).map(|_| client.ids(1));
        given += futures::future::join_all(calls).await.into_iter().filter(Result::is_ok).count();
        let endpoint = [cluster.at(leader).internal];
        let status = ctl::run(&endpoint, &["-o", "json", "snapshot", "status"]).await.json();
        (status["first_log_index"].as_u64().unwrap() > 1000).then_some(())
    })
    .await;
    println!("{given} id commands in {:?}", started.elapsed());
    cluster.start_stranger(4);
    let to = address(&cluster, 4);
    cluster.ctl(&with_address(&["member", "add", "4"], &to)).await.ok();
    promote(&cluster, 4).await;
    cluster.ready().await;
    let endpoint = [cluster.at(4).internal];
    let status = ctl::run(&endpoint, &["-o", "json", "snapshot", "status"]).await.json();
    assert!(status["first_log_index"].as_u64().unwrap() > 1, "it never had the beginning: {status}");
    assert_eq!(cluster.client(4).names().await.unwrap().len(), 20);
    cluster.hash().await;
    // What it got survives it.
    cluster.restart(4);
    cluster.ready().await;
    cluster.hash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_moves_on_request() {
    let mut cluster = Cluster::start(3).await;
    let nodes = cluster.ids();
    let writers = Writers::start(&cluster, &nodes, 1);
    soon("writers get on", async || (writers.count() > 10).then_some(())).await;
    for _ in 0..2 {
        for to in &nodes {
            let from = cluster.leader().await;
            let moved = cluster.ctl(&["-o", "json", "leader", "transfer", &to.to_string()]).await.json();
            assert_eq!((moved["from"].as_u64(), moved["to"].as_u64()), (Some(from), Some(*to)), "{moved}");
            assert_eq!(cluster.leader().await, *to);
            println!("transfer {from} -> {to}: {} ms", moved["took_ms"]);
        }
    }
    let from = cluster.leader().await;
    let moved = cluster.ctl(&["-o", "json", "leader", "transfer"]).await.json();
    assert_ne!(moved["to"].as_u64(), Some(from), "the leader chooses another");
    assert_eq!(writers.refusals(&nodes), Vec::<String>::new());
    writers.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stops_politely_is_not_noticed() {
    let mut cluster = Cluster::start(3).await;
    for _ in 0..2 {
        let leader = cluster.leader().await;
        let others = cluster.followers().await;
        let writers = Writers::start(&cluster, &others, 2);
        soon("writers get on", async || (writers.count() > 10).then_some(())).await;
        let asked = Instant::now();
        cluster.stop(leader).await;
        println!("node {leader} stopped after {:?}", asked.elapsed());
        let stopped = Instant::now();
        soon("the others go on", async || writers.first_after(stopped, &others)).await;
        assert_eq!(writers.refusals(&others), Vec::<String>::new());
        writers.finish().await;
        cluster.node(leader).start();
        cluster.ready().await;
    }
    cluster.hash().await;
}
