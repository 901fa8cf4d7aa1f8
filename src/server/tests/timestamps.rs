//! Ids and timestamps over the wire: from one place, whichever node is asked, and in order.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn ids_and_timestamps_come_from_one_place() {
    let nodes = cluster().await;
    let (mut last_ts, mut last_id) = (0, 0);
    for round in 0..9u32 {
        let node = &nodes[round as usize % 3];
        let mut coordinator = node.rootcoord().await;
        let ids = AllocIdRequest { count: 1000, ..AllocIdRequest::default() };
        let ids = coordinator.alloc_id(ids).await.unwrap().into_inner();
        assert!(ids.id > last_id && ids.count == 1000);
        last_id = ids.id + 999;
        let asked = CountedRequest { count: 10, ..CountedRequest::default() };
        let first = coordinator.alloc_timestamp(asked).await.unwrap().into_inner().timestamp;
        assert!(first > last_ts);
        let one = node.milvus().await.alloc_timestamp(AllocTimestampRequest::default()).await.unwrap().into_inner();
        assert!(one.timestamp >= first + 10);
        last_ts = one.timestamp;
    }
    let mut coordinator = nodes[1].rootcoord().await;
    let block_timestamp = last_ts + (200 << 18);
    let later = CountedRequest { count: 1, block_timestamp, ..CountedRequest::default() };
    let blocked = coordinator.alloc_timestamp(later).await.unwrap().into_inner();
    assert!(blocked.timestamp > block_timestamp);
    let none = coordinator.alloc_timestamp(CountedRequest::default()).await.unwrap().into_inner();
    assert_eq!(none.status.unwrap().code, 1100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_timestamps_passes_through_a_follower() {
    let nodes = cluster().await;
    let mut client = tso::timestamp_client::TimestampClient::new(dial(&nodes[2].internal).await);
    let asked = (1..=500).map(|id| tso::AllocateRequest { id, count: (id % 7) as u32 });
    let mut answers = client.allocate(tokio_stream::iter(asked)).await.unwrap().into_inner();
    let (mut next, mut seen) = (0, 0);
    while let Some(answer) = answers.message().await.unwrap() {
        seen += 1;
        assert_eq!(answer.id, seen);
        if answer.id % 7 == 0 {
            assert!(answer.error.contains("0 timestamps"));
        } else {
            assert!(answer.first >= next);
            next = answer.first + u64::from(answer.count);
        }
    }
    assert_eq!(seen, 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_share_a_stream_that_outlives_leaders() {
    let nodes = cluster().await;
    let endpoints = nodes.iter().rev().map(|node| node.internal.clone()).collect();
    let client = crate::client::Timestamps::new(endpoints, None);
    let within = Duration::from_secs(10);
    let callers: Vec<_> = (1..=16u32)
        .map(|count| {
            let client = client.clone();
            tokio::spawn(async move {
                let mut mine = Vec::new();
                for _ in 0..200 {
                    let first = client.allocate(count, within).await.unwrap();
                    assert!(mine.last().is_none_or(|last| first > *last));
                    mine.extend(first..first + u64::from(count));
                }
                mine
            })
        })
        .collect();
    for term in 2..6 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        elect(&nodes, term, term % 3 + 1);
    }
    let mut all = std::collections::BTreeSet::new();
    for caller in callers {
        all.extend(caller.await.unwrap());
    }
    assert_eq!(all.len(), 200 * (1..=16).sum::<usize>());
    let refused = client.allocate(0, within).await;
    assert!(matches!(refused, Err(crate::client::Error::Refused(_))));
}
