//! Electing, writing, reading, handing over, dying and coming back.

use std::time::Duration;

use roost_raft::error::ReadError;
use roost_raft::kv::{Read, Space};
use tokio::time::Instant;

use super::harness::{Cluster, TestHost, eventually, proposal};
use crate::support::Op;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_is_read_on_every_node() {
    let cluster = Cluster::start(3).await;
    for round in 0..20 {
        let value = format!("value{round}");
        let applied = cluster.propose(&Op::put("key", &value)).await;
        for id in [1, 2, 3] {
            assert_eq!(cluster.read(id, "key").await, Some(value.clone().into_bytes()), "node {id}");
            assert!(cluster.host(id).view().unwrap().index() >= applied.index);
        }
    }
    assert_eq!(cluster.propose(&Op::Reject(b"key".to_vec())).await.reply, b"value19");
    cluster.propose(&Op::Delete(b"key".to_vec())).await;
    assert_eq!(cluster.read(2, "key").await, None);
    cluster.agree([1, 2, 3]).await;
}

/// The count as one node shows it to a linearizable read.
async fn counted(host: &TestHost) -> u64 {
    eventually("a linearizable read", async || {
        host.read_barrier(Instant::now() + Duration::from_secs(3)).await.ok()?;
        let count = host.view().unwrap().get(Space::STATE, b"count").unwrap().unwrap();
        Some(String::from_utf8(count).unwrap().parse().unwrap())
    })
    .await
}

/// A node may show an entry before another one does, and the leader needs no word from Raft to know that it leads.
#[tokio::test(flavor = "multi_thread")]
async fn each_node_shows_whatever_another_has_shown() {
    const READS: usize = 2_000;
    let cluster = Cluster::start(3).await;
    let (leader, follower) = (cluster.leader().await, cluster.host(cluster.follower().await));
    cluster.propose(&Op::put("count", "0")).await;
    let counting = {
        let leader = leader.clone();
        tokio::spawn(async move {
            for count in 1u64.. {
                // Whatever becomes of it: the counts that are seen only grow.
                let _ = leader.propose(proposal(&Op::put("count", count.to_string()))).await;
            }
        })
    };
    let mut shown = 0;
    for _ in 0..READS {
        for (host, which) in [(&follower, "a follower"), (&leader, "the leader")] {
            let now = counted(host).await;
            assert!(now >= shown, "{which} shows {now} after another node showed {shown}");
            shown = now;
        }
    }
    counting.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_proposals_at_once_share_entries_and_each_gets_its_own_reply() {
    const MANY: usize = 500;
    let cluster = Cluster::start(3).await;
    let puts = |round: &'static str| {
        let cluster = &cluster;
        let one = move |number| async move {
            cluster.propose(&Op::put(format!("key{number}"), format!("{round}{number}"))).await
        };
        futures::future::join_all((0..MANY).map(one))
    };
    puts("first").await;
    let leader = cluster.leader().await;
    let mut events = leader.events();
    let second = puts("second").await;
    for (number, applied) in second.iter().enumerate() {
        assert_eq!(applied.reply, format!("first{number}").into_bytes(), "the reply is the value before");
    }
    let mut indexes: Vec<u64> = second.iter().map(|applied| applied.index).collect();
    indexes.sort_unstable();
    let newest = indexes[MANY - 1];
    indexes.dedup();
    assert!(indexes.len() < MANY / 2, "{} entries for {MANY} proposals", indexes.len());
    let (mut last, mut seen) = (0, 0);
    while last < newest && leader.node_id() == cluster.leader().await.node_id() {
        let event = tokio::time::timeout(Duration::from_secs(30), events.recv()).await.unwrap().unwrap();
        assert!(event.index > last, "events come in the order of the log");
        (last, seen) = (event.index, seen + event.events.len());
    }
    assert!(last < newest || seen == MANY, "an event for each command");
    cluster.agree([1, 2, 3]).await;
    let lines = leader.log_lines(indexes[0], indexes.len()).unwrap();
    let batch = lines.iter().find(|line| line.kind == "batch").unwrap();
    assert!(batch.text.matches("Put").count() > 1, "{batch:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_write_more_than_an_entry_may_go_on_in_the_next_one() {
    let cluster = Cluster::start(3).await;
    // Copies of 3 MiB each: an entry may write 16 MiB.
    cluster.propose(&Op::put("source", vec![b'x'; 3 << 20])).await;
    let copies = (0..20).map(|number| {
        let cluster = &cluster;
        async move { cluster.propose(&Op::Copy(b"source".to_vec(), format!("copy{number}").into_bytes())).await }
    });
    let all = futures::future::join_all(copies).await;
    assert!(all.iter().all(|applied| applied.reply.is_empty()), "each was executed once: nothing stood there before");
    for id in [1, 2, 3] {
        for number in 0..20 {
            assert_eq!(cluster.read(id, &format!("copy{number}")).await.map(|value| value.len()), Some(3 << 20));
        }
    }
    cluster.agree([1, 2, 3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_handed_over_on_request() {
    let cluster = Cluster::start(3).await;
    cluster.propose(&Op::put("key", "before")).await;
    for _ in 0..3 {
        let old = cluster.leader().await;
        let term = old.leadership().borrow().term;
        let target = cluster.follower().await;
        // The leader may lose its place by itself on a busy machine; then there is nothing to hand over.
        let asked = old.start_transfer(Some(target)).await;
        eventually("another leader", async || {
            let leader = cluster.leader().await;
            (leader.leadership().borrow().term > term || asked.is_err()).then_some(())
        })
        .await;
        assert_ne!(old.confirm_leader(term).await, Ok(()), "the old term is over");
        cluster.propose(&Op::put("key", "after")).await;
    }
    let invalid = cluster.leader().await.start_transfer(Some(99)).await;
    assert!(invalid.is_err());
    cluster.agree([1, 2, 3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_is_replaced_and_catches_up_when_it_returns() {
    let mut cluster = Cluster::start(3).await;
    for round in 0..4 {
        cluster.propose(&Op::put(format!("before{round}"), "1")).await;
        let victim = cluster.leader().await.node_id();
        cluster.kill(victim);
        let last = cluster.propose(&Op::put(format!("without{round}"), "2")).await;
        cluster.launch(victim).await;
        eventually("the restarted node catches up", async || {
            (cluster.host(victim).status().unwrap().applied_index >= last.index).then_some(())
        })
        .await;
        assert_eq!(cluster.read(victim, &format!("before{round}")).await.as_deref(), Some(&b"1"[..]));
        cluster.agree([1, 2, 3]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_cluster_restarts_with_everything_it_acknowledged() {
    let mut cluster = Cluster::start(3).await;
    for number in 0..50 {
        cluster.propose(&Op::put(format!("key{number}"), format!("{number}"))).await;
    }
    for id in [1, 2, 3] {
        if id == 2 {
            cluster.host(id).stop().await;
        }
        cluster.kill(id);
    }
    for id in [1, 2, 3] {
        cluster.launch(id).await;
    }
    for number in 0..50 {
        assert_eq!(cluster.read(1 + number % 3, &format!("key{number}")).await, Some(number.to_string().into_bytes()));
    }
    cluster.agree([1, 2, 3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_without_a_quorum_confirms_nothing() {
    let mut cluster = Cluster::start(3).await;
    cluster.propose(&Op::put("key", "v")).await;
    let leader = cluster.leader().await;
    let term = leader.leadership().borrow().term;
    for id in [1, 2, 3] {
        if id != leader.node_id() {
            cluster.kill(id);
        }
    }
    // Within its lease it may answer; after that never again, until there is a quorum.
    eventually("the lease runs out", async || leader.confirm_leader(term).await.err()).await;
    for _ in 0..5 {
        assert!(leader.confirm_leader(term).await.is_err());
        let read = leader.read_barrier(Instant::now() + Duration::from_millis(300)).await;
        assert!(matches!(read, Err(ReadError::NoQuorum | ReadError::Behind)), "{read:?}");
    }
    let write = tokio::time::timeout(Duration::from_millis(300), leader.propose(proposal(&Op::put("key", "w")))).await;
    assert!(!matches!(write, Ok(Ok(_))), "a write without a quorum");
    let back = *cluster.members.keys().find(|id| !cluster.hosts.contains_key(id)).unwrap();
    cluster.launch(back).await;
    cluster.propose(&Op::put("key", "x")).await;
    assert_eq!(cluster.read(back, "key").await.as_deref(), Some(&b"x"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_can_be_read_by_people() {
    let cluster = Cluster::start(1).await;
    let applied = cluster.propose(&Op::put("key", "v")).await;
    let lines = cluster.host(1).log_lines(0, 100).unwrap();
    let line = lines.iter().find(|line| line.index == applied.index).unwrap();
    assert_eq!(line.kind, "command");
    assert!(line.text.contains("Put"), "{line:?}");
    assert!(lines.iter().any(|line| line.kind == "membership"));
    let (header, data) = cluster.host(1).pin_snapshot().await.unwrap();
    let mut bytes = Vec::new();
    data.write_to(&mut bytes).unwrap();
    assert!(header.last_log_id.is_some_and(|id| id.index >= applied.index));
    assert_eq!(roost_raft::snapshot::SnapshotReader::open(&bytes[..]).unwrap().header(), &header);
    let _ = cluster.host(1).view().unwrap().get(roost_raft::kv::Space::STATE, b"key").unwrap();
}
