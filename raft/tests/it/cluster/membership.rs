//! Adding, promoting, swapping and removing members; catching up by snapshot.

use roost_raft::error::ChangeError;
use roost_raft::host::{HostConfig, NodeState};
use roost_raft::types::NodeId;

use super::harness::{Cluster, eventually, proposal};
use crate::support::Op;

/// Asks whoever leads, again while it is too early or leadership moves.
macro_rules! change {
    ($cluster:expr, $leader:ident => $call:expr) => {
        eventually("a membership change", async || {
            let $leader = $cluster.leader().await;
            match $call.await {
                Ok(index) => Some(index),
                Err(ChangeError::Invalid(why)) => panic!("{why}"),
                Err(_) => None,
            }
        })
        .await
    };
}

async fn caught_up(cluster: &Cluster, id: NodeId, index: u64) {
    eventually("the node catches up", async || {
        (cluster.host(id).status().unwrap().applied_index >= index).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_is_added_promoted_swapped_in_and_removed() {
    let mut cluster = Cluster::start(3).await;
    cluster.propose(&Op::put("key", "v")).await;
    cluster.announced().await;
    let four = cluster.launch_stranger(4).await;
    assert_eq!(cluster.host(4).status().unwrap().state, NodeState::Uninitialized);
    let added = change!(cluster, leader => leader.add_learner(4, four.clone()));
    change!(cluster, leader => leader.add_learner(4, four.clone()));
    caught_up(&cluster, 4, added).await;
    assert_eq!(cluster.read(4, "key").await.as_deref(), Some(&b"v"[..]), "a learner serves linearizable reads");

    let old = cluster.follower().await;
    let old = if old == 4 { 1 + cluster.leader().await.node_id() % 3 } else { old };
    change!(cluster, leader => leader.swap(old, 4));
    let voters = cluster.leader().await.voters();
    assert!(voters.contains(&4) && !voters.contains(&old), "{voters:?}");
    change!(cluster, leader => leader.remove(old));
    cluster.kill(old);
    cluster.announced().await;
    let last = cluster.propose(&Op::put("key", "w")).await.index;
    caught_up(&cluster, 4, last).await;

    // The id is closed, and the rest goes on.
    let leader = cluster.leader().await;
    let again = leader.add_learner(old, cluster.members[&old].clone()).await;
    assert!(matches!(&again, Err(ChangeError::Invalid(why)) if why.contains("never reused")), "{again:?}");
    let five = cluster.launch_stranger(5).await;
    let added = change!(cluster, leader => leader.add_learner(5, five.clone()));
    caught_up(&cluster, 5, added).await;
    change!(cluster, leader => leader.promote(5));
    assert_eq!(cluster.leader().await.voters().len(), 4);
    let all: Vec<NodeId> = cluster.hosts.keys().copied().collect();
    cluster.agree(all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_member_is_replaced_by_a_new_node_at_its_address_while_writes_go_on() {
    let mut cluster = Cluster::start(3).await;
    cluster.announced().await;
    let old = cluster.follower().await;
    cluster.kill(old);
    let address = cluster.members[&old].clone();
    cluster.members.insert(4, address.clone());
    cluster.launch(4).await;
    let added = change!(cluster, leader => leader.add_learner(4, address.clone()));
    cluster.propose(&Op::put("during", "1")).await;
    caught_up(&cluster, 4, added).await;
    change!(cluster, leader => leader.swap(old, 4));
    cluster.propose(&Op::put("during", "2")).await;
    change!(cluster, leader => leader.remove(old));
    let voters = cluster.leader().await.voters();
    assert!(voters.len() == 3 && voters.contains(&4), "{voters:?}");
    cluster.announced().await;
    assert_eq!(cluster.read(4, "during").await.as_deref(), Some(&b"2"[..]));
    let all: Vec<NodeId> = cluster.hosts.keys().copied().collect();
    cluster.agree(all).await;
    // The replaced node may come back from the dead, elsewhere; nobody listens to it.
    let elsewhere = super::harness::free_address();
    cluster.members.insert(old, super::harness::member(elsewhere));
    let term = cluster.leader().await.leadership().borrow().term;
    let ghost = cluster.launch(old).await;
    cluster.propose(&Op::put("after", "1")).await;
    let applied = ghost.status().unwrap();
    assert!(!ghost.leadership().borrow().is_self, "{applied:?}");
    assert!(cluster.leader().await.leadership().borrow().term >= term);
    cluster.kill(old);
}

#[tokio::test(flavor = "multi_thread")]
async fn senseless_changes_are_refused_by_name() {
    let mut cluster = Cluster::start(3).await;
    cluster.announced().await;
    let leader = cluster.leader().await;
    let id = leader.node_id();
    let mut refused = Vec::new();
    refused.push(leader.promote(77).await);
    refused.push(leader.remove(id).await);
    refused.push(leader.swap(77, 1).await);
    refused.push(leader.add_learner(0, super::harness::member("127.0.0.1:1".into())).await);
    // A member does not move by being added again.
    refused.push(leader.add_learner(id, super::harness::member("127.0.0.1:1".into())).await);
    for result in refused {
        assert!(matches!(result, Err(ChangeError::Invalid(_) | ChangeError::NotLeader { .. })), "{result:?}");
    }
    let follower = cluster.follower().await;
    let asked = cluster.host(follower).promote(1).await;
    assert!(matches!(asked, Err(ChangeError::NotLeader { .. })), "{asked:?}");
    cluster.kill(follower);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_node_catches_up_by_snapshot_after_a_purge() {
    fn small_logs(config: &mut HostConfig) {
        (config.snapshot_log_bytes, config.keep_log_bytes) = (1 << 20, 1 << 20);
    }
    let mut cluster = Cluster::start_tuned(1, small_logs).await;
    let leader = cluster.leader().await;
    for part in 0..34 {
        let puts = (0..500).map(|number| {
            let op = Op::put(format!("key{}", part * 500 + number), vec![b'x'; 300]);
            let leader = &leader;
            async move { leader.propose(proposal(&op)).await }
        });
        for result in futures::future::join_all(puts).await {
            result.unwrap();
        }
    }
    eventually("the log is purged", async || (leader.status().unwrap().first_log_index > 1).then_some(())).await;
    // A restarted leader has no snapshot at hand and must pin one.
    drop(leader);
    cluster.kill(1);
    cluster.launch(1).await;
    let two = cluster.launch_stranger(2).await;
    let added = change!(cluster, leader => leader.add_learner(2, two.clone()));
    caught_up(&cluster, 2, added).await;
    let status = cluster.host(2).status().unwrap();
    assert!(status.first_log_index > 1, "it got a snapshot: {status:?}");
    cluster.agree([1, 2]).await;
    change!(cluster, leader => leader.promote(2));
    // What came by snapshot survives a restart.
    cluster.kill(2);
    cluster.launch(2).await;
    cluster.propose(&Op::put("after", "1")).await;
    assert_eq!(cluster.read(2, "key0").await, Some(vec![b'x'; 300]));
    cluster.agree([1, 2]).await;
}
