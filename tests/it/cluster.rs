//! Three nodes: what was acknowledged stays and is seen everywhere, whichever node dies, and when all die.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::support::writers::Writers;
use crate::support::{Cluster, eventually, soon};

/// What nobody may exceed, whatever else the machine does. The promise is 1.5 s on an unloaded one.
const FAIL_OVER_MAX: Duration = Duration::from_secs(10);

#[track_caller]
fn assert_all_there(acknowledged: &[String], found: &[String], on: u64) {
    let found: BTreeSet<&String> = found.iter().collect();
    let lost: Vec<&String> = acknowledged.iter().filter(|name| !found.contains(name)).collect();
    assert!(lost.is_empty(), "node {on} lost {} of {}: {lost:?}", lost.len(), acknowledged.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_create_through_one_node_is_seen_through_the_others_at_once() {
    let cluster = Cluster::start(3).await;
    let ids = cluster.ids();
    for round in 0..10 {
        for through in &ids {
            let name = format!("by_{through}_{round}");
            cluster.client(*through).create(&name).await.unwrap();
            for reader in &ids {
                let seen = cluster.client(*reader).describe(&name).await;
                assert_eq!(seen.unwrap().collection_name, name, "written by {through}, read by {reader}");
            }
            if round % 2 == 1 {
                cluster.client(*through).remove(&name).await.unwrap();
                for reader in &ids {
                    let gone = cluster.client(*reader).describe(&name).await.unwrap_err();
                    assert_eq!(gone.code(), 100, "dropped by {through}, read by {reader}: {gone:?}");
                }
            }
        }
    }
    let hash = cluster.hash().await;
    assert_eq!(hash, cluster.hash().await, "reading changes nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_loses_no_acknowledged_collection() {
    let mut cluster = Cluster::start(3).await;
    let nodes = cluster.ids();
    let writers = Writers::start(&cluster, &nodes, 2);
    for round in 1..=3 {
        let before = writers.count();
        soon("writers get on", async || (writers.count() > before + 30).then_some(())).await;
        let leader = cluster.leader().await;
        cluster.node(leader).kill();
        let killed = Instant::now();
        let alive: Vec<u64> = nodes.iter().copied().filter(|id| *id != leader).collect();
        let first = eventually("a write is acknowledged after the leader died", FAIL_OVER_MAX, async || {
            writers.first_after(killed, &alive)
        });
        let took = first.await - killed;
        println!("fail-over {round}: node {leader} killed, next write acknowledged after {took:?}");
        cluster.node(leader).start();
        let back = Instant::now();
        soon("the old leader takes writes again", async || writers.first_after(back, &[leader])).await;
    }
    let leader = cluster.leader().await;
    let refused = writers.refusals(&nodes);
    let acknowledged = writers.finish().await;
    println!("{} collections acknowledged, {} calls refused, last leader {leader}", acknowledged.len(), refused.len());
    for id in nodes {
        assert_all_there(&acknowledged, &cluster.client(id).names().await.unwrap(), id);
    }
    cluster.hash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_of_the_survivors_wait_out_a_dead_leader() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let alive = cluster.followers().await;
    let writers = Writers::start(&cluster, &alive, 4);
    soon("writers get on", async || (writers.count() > 30).then_some(())).await;
    cluster.node(leader).kill();
    let killed = Instant::now();
    for id in &alive {
        soon("both survivors take writes", async || writers.first_after(killed, &[*id])).await;
    }
    assert_eq!(writers.refusals(&alive), Vec::<String>::new(), "the servers wait and retry, not the callers");
    let acknowledged = writers.finish().await;
    for id in alive {
        assert_all_there(&acknowledged, &cluster.client(id).names().await.unwrap(), id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_killed_at_once_come_back_with_everything() {
    let mut cluster = Cluster::start(3).await;
    let nodes = cluster.ids();
    let mut acknowledged = Vec::new();
    for round in 0..2 {
        let writers = Writers::start(&cluster, &nodes, 2);
        soon("writers get on", async || (writers.count() > 60).then_some(())).await;
        cluster.kill_all();
        let killed = Instant::now();
        // Names repeat from round to round, and a repeated create of the same collection succeeds.
        acknowledged = writers.finish().await;
        cluster.start_all();
        cluster.ready().await;
        println!("round {round}: all killed and ready again after {:?}", killed.elapsed());
        for id in &nodes {
            assert_all_there(&acknowledged, &cluster.client(*id).names().await.unwrap(), *id);
        }
        cluster.hash().await;
    }
    cluster.client(1).create("after").await.unwrap();
    assert!(cluster.client(2).describe("after").await.is_ok());
    assert!(!acknowledged.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_node_catches_up() {
    let mut cluster = Cluster::start(3).await;
    let away = cluster.followers().await[0];
    cluster.node(away).kill();
    let killed = Instant::now();
    let alive = cluster.answering();
    for number in 0..50 {
        cluster.client(alive[number % 2]).create(&format!("meanwhile_{number}")).await.unwrap();
    }
    // A leader once knocked at its dead peer ten thousand times a second, and said so each time.
    let said = alive.iter().map(|id| cluster.log_of(*id).lines().count()).max().unwrap_or(0);
    let most = 200.0 + killed.elapsed().as_secs_f64() * 100.0;
    assert!((said as f64) < most, "{said} lines of log");
    cluster.node(away).start();
    cluster.ready().await;
    let names = cluster.client(away).names().await.unwrap();
    assert_eq!(names.len(), 50);
    cluster.hash().await;
}
