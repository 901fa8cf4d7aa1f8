//! Proposals that are not taken, each for its own reason.

use roost_raft::error::ProposeError;
use roost_raft::host::{PROPOSAL_BYTES_MAX, Proposal};

use super::harness::{Cluster, eventually, proposal};
use crate::support::Op;

#[tokio::test(flavor = "multi_thread")]
async fn a_proposal_names_its_term_its_size_and_what_it_needs() {
    let cluster = Cluster::start(3).await;
    cluster.propose(&Op::put("key", "v")).await;
    let leader = cluster.leader().await;
    let term = leader.leadership().borrow().term;
    let fenced = |term| Proposal { term: Some(term), ..proposal(&Op::put("key", "fenced")) };
    for wrong in [term - 1, term + 1] {
        let result = leader.propose(fenced(wrong)).await;
        assert!(matches!(result, Err(ProposeError::NotLeader { .. })), "{result:?}");
    }
    let result = leader.propose(fenced(term)).await;
    let moved = leader.leadership().borrow().term != term;
    assert!(result.is_ok() || moved, "{result:?}");

    let large = Proposal { command: vec![b'p'; PROPOSAL_BYTES_MAX + 1].into(), ..proposal(&Op::put("k", "v")) };
    assert!(matches!(leader.propose(large).await, Err(ProposeError::TooLarge { .. })));
    let newer = Proposal { min_apply_version: 2, ..proposal(&Op::put("k", "v")) };
    assert_eq!(leader.propose(newer).await, Err(ProposeError::Unsupported { needed: 2, current: 1 }));
    let follower = cluster.host(cluster.follower().await);
    let result = follower.propose(proposal(&Op::put("k", "v"))).await;
    assert!(matches!(result, Err(ProposeError::NotLeader { .. })), "{result:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_proposal_reaches_every_node() {
    let cluster = Cluster::start(3).await;
    let head = Op::put("big", "").encode();
    let mut command = head.to_vec();
    command.resize(PROPOSAL_BYTES_MAX, b'x');
    eventually("a large proposal", async || {
        let leader = cluster.leader().await;
        let result = leader.propose(Proposal { command: command.clone().into(), ..proposal(&Op::put("k", "v")) }).await;
        result.ok()
    })
    .await;
    for id in [1, 2, 3] {
        assert_eq!(cluster.read(id, "big").await.map(|value| value.len()), Some(PROPOSAL_BYTES_MAX - head.len()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_than_the_limit_is_in_flight() {
    let cluster = Cluster::start_tuned(1, |config| config.max_proposal_bytes_in_flight = 10_000).await;
    let leader = cluster.leader().await;
    let all = (0..100).map(|number| {
        let op = Op::put(format!("key{number}"), vec![b'x'; 4000]);
        let leader = &leader;
        async move { leader.propose(proposal(&op)).await }
    });
    let results = futures::future::join_all(all).await;
    assert!(results.contains(&Err(ProposeError::Busy)));
    assert!(results.iter().any(Result::is_ok));
    cluster.propose(&Op::put("after", "v")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_growth_until_there_is_room_again() {
    let mut cluster = Cluster::start_tuned(1, |config| config.min_free_bytes = u64::MAX).await;
    let leader = cluster.leader().await;
    eventually("the alarm", async || (!leader.status().unwrap().alarms.is_empty()).then_some(())).await;
    let op = Op::put("key", "v");
    assert_eq!(leader.propose(proposal(&op)).await, Err(ProposeError::NoSpace));
    leader.propose(Proposal { urgent: true, ..proposal(&op) }).await.unwrap();
    drop(leader);
    cluster.kill(1);
    cluster.tune = |_| {};
    cluster.launch(1).await;
    let leader = cluster.leader().await;
    eventually("the alarm goes", async || leader.status().unwrap().alarms.is_empty().then_some(())).await;
    cluster.propose(&op).await;
}
