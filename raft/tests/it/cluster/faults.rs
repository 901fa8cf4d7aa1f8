//! Disks that are not the right ones.

use std::fs;

use roost_raft::error::StartError;
use roost_raft::host::HostConfig;
use roost_raft::{Host, storage::marker::Refused};

use super::harness::{Cluster, SECRET, eventually};
use crate::support::{Op, TestMachine};

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_disk_under_a_known_id_is_refused_and_the_rest_goes_on() {
    let mut cluster = Cluster::start(3).await;
    cluster.propose(&Op::put("key", "v")).await;
    cluster.announced().await;
    let victim = cluster.follower().await;
    cluster.kill(victim);
    // Somebody may still hold files open for a moment; the directory entry is what counts.
    fs::rename(cluster.dir(victim), cluster.dir(victim).with_extension("wiped")).unwrap();
    let wiped = cluster.launch(victim).await;
    let why = eventually("the node notices", async || wiped.failure().borrow().clone()).await;
    assert!(why.contains("wiped") && why.contains("roostctl member replace"), "{why}");
    cluster.kill(victim);
    drop(wiped);
    cluster.propose(&Op::put("key", "w")).await;
    // The old disk is welcome again.
    fs::remove_dir_all(cluster.dir(victim)).unwrap();
    fs::rename(cluster.dir(victim).with_extension("wiped"), cluster.dir(victim)).unwrap();
    cluster.launch(victim).await;
    assert_eq!(cluster.read(victim, "key").await.as_deref(), Some(&b"w"[..]));
    cluster.agree([1, 2, 3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_nodes_disk_is_refused_at_start() {
    let mut cluster = Cluster::start(1).await;
    cluster.propose(&Op::put("key", "v")).await;
    cluster.kill(1);
    let config = HostConfig::new(2, cluster.dir(1), Default::default(), SECRET);
    let refused = eventually("the disk is free", async || match Host::start(config.clone(), TestMachine).await {
        Err(StartError::Io(error)) if error.to_string().contains("/LOCK") => None,
        other => Some(other.err()),
    })
    .await;
    assert!(matches!(refused, Some(StartError::Refused(Refused::Node { found: 1, expected: 2 }))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_refuses_a_disk_that_lost_what_it_acknowledged() {
    let mut cluster = Cluster::start(1).await;
    for number in 0..20 {
        cluster.propose(&Op::put(format!("key{number}"), "v")).await;
    }
    cluster.host(1).stop().await;
    cluster.kill(1);
    let db = cluster.dir(1).join("db");
    for file in fs::read_dir(db).unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension().is_some_and(|extension| extension == "log") {
            let half = fs::metadata(&file).unwrap().len() / 2;
            fs::OpenOptions::new().write(true).open(file).unwrap().set_len(half).unwrap();
        }
    }
    let config = HostConfig::new(1, cluster.dir(1), Default::default(), SECRET);
    let refused = eventually("the disk is free", async || match Host::start(config.clone(), TestMachine).await {
        Err(StartError::Io(error)) if error.to_string().contains("/LOCK") => None,
        other => Some(other.err()),
    })
    .await;
    assert!(matches!(refused, Some(StartError::Log(_))), "{refused:?}");
}
