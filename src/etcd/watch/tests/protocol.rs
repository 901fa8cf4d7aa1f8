//! The answers' shapes, as a real etcd gave them.

use super::*;
use crate::etcd::watch::Lost;

#[tokio::test]
async fn ids_are_given_chosen_and_refused() {
    let node = Node::start(Bounds::default()).await;
    let mut client = node.open();
    let mut id_of = async |watch_id| {
        let response = client.watch(WatchCreateRequest { watch_id, ..on(b"a", b"", 0) }).await;
        assert!(response.created);
        (response.watch_id, response.cancel_reason)
    };
    for (chosen, given) in [(0, 0), (0, 1), (3, 3), (0, 2), (0, 4), (-5, -5)] {
        assert_eq!(id_of(chosen).await, (given, String::new()));
    }
    let refused = "mvcc: duplicate watch ID provided on the WatchStream".to_owned();
    assert_eq!(id_of(3).await, (-1, refused));
    client.cancel(3);
    let canceled = client.next().await;
    assert_eq!((canceled.watch_id, canceled.canceled, revision(&canceled)), (3, true, 1));
    client.cancel(3);
    client.cancel(99);
    assert!(client.is_silent().await, "an id that is not there is not answered");
    let empty = client.watch(on(b"b", b"a", 0)).await;
    assert_eq!((empty.watch_id, empty.created, empty.canceled), (-1, true, true));
    assert_eq!(empty.cancel_reason, "mvcc: watcher range is empty");
}

#[tokio::test]
async fn compacted_starts_are_canceled_with_the_revision() {
    let mut node = Node::start(Bounds::default()).await;
    for _ in 0..5 {
        node.write(&[(b"a", true)]).await;
    }
    node.compact(4).await;
    let mut client = node.open();
    assert!(client.watch(on(b"a", b"", 3)).await.created);
    let canceled = client.next().await;
    assert_eq!((canceled.canceled, canceled.compact_revision, revision(&canceled)), (true, 4, 0));
    let created = client.watch(on(b"a", b"", 4)).await;
    assert_eq!((created.watch_id, revision(&created)), (1, 6));
    let events = client.next().await.events;
    let revisions: Vec<i64> = events.iter().map(|event| event.kv.as_ref().unwrap().mod_revision).collect();
    assert_eq!(revisions, [4, 5, 6]);
}

#[tokio::test]
async fn future_starts_wait_and_progress_tells_the_revision() {
    let mut node = Node::start(Bounds::default()).await;
    let mut client = node.open();
    client.watch(on(b"a", b"", 4)).await;
    node.write(&[(b"a", true)]).await;
    node.write(&[(b"a", true)]).await;
    client.progress();
    client.progress();
    for _ in 0..2 {
        let progress = client.next().await;
        assert_eq!((progress.watch_id, revision(&progress), progress.events.len()), (-1, 3, 0));
    }
    node.write(&[(b"a", true)]).await;
    let response = client.next().await;
    assert_eq!((revision(&response), response.events.len()), (4, 1));
}

#[tokio::test]
async fn idle_watchers_hear_of_the_revision_if_they_ask_for_it() {
    let bounds = Bounds { progress_interval: Duration::from_millis(20), ..Default::default() };
    let mut node = Node::start(bounds).await;
    let mut client = node.open();
    client.watch(on(b"a", b"", 0)).await;
    client.watch(WatchCreateRequest { progress_notify: true, ..on(b"b", b"", 0) }).await;
    node.write(&[(b"c", true)]).await;
    node.settle().await;
    loop {
        let notice = client.next().await;
        assert_eq!((notice.watch_id, notice.events.len()), (1, 0));
        if revision(&notice) == 2 {
            break;
        }
    }
}

#[tokio::test]
async fn large_responses_are_split_for_those_who_ask() {
    let mut node = Node::start(Bounds::default()).await;
    let keys: [&[u8]; 3] = [b"a1", b"a2", b"a3"];
    for key in keys {
        node.write_sized(&[(key, true)], 900_000).await;
    }
    let mut client = node.open();
    client.watch(WatchCreateRequest { fragment: true, prev_kv: true, ..on(b"a", b"b", 0) }).await;
    client.watch(WatchCreateRequest { prev_kv: true, ..on(b"a", b"b", 0) }).await;
    node.write(&keys.map(|key| (key, false))).await;
    let mut pieces = Vec::new();
    for _ in 0..3 {
        let response = client.next().await;
        pieces.push((response.watch_id, response.fragment, response.events.len()));
    }
    pieces.sort_by_key(|piece| piece.0);
    assert_eq!(pieces, [(0, true, 2), (0, false, 1), (1, false, 3)]);
}

#[tokio::test]
async fn a_stopping_node_ends_its_streams() {
    let node = Node::start(Bounds::default()).await;
    let mut client = node.open();
    client.watch(on(b"a", b"", 0)).await;
    let mut inside = node.hub.subscribe(b"a", b"", 0).unwrap();
    node.stop.fire("test");
    let end = timeout(HANGS, client.stream.next()).await.unwrap().unwrap().unwrap_err();
    assert_eq!((end.code(), end.message()), (tonic::Code::Unavailable, "etcdserver: server stopped"));
    assert!(timeout(HANGS, client.stream.next()).await.unwrap().is_none());
    assert!(matches!(timeout(HANGS, inside.next()).await.unwrap(), Err(Lost::Closed)));
    assert!(node.hub.register().is_none());
}

#[tokio::test]
async fn half_closed_streams_go_on_and_dropped_ones_leave_nothing() {
    let mut node = Node::start(Bounds::default()).await;
    let Client { ask, stream } = node.open();
    let mut client = Client { ask, stream };
    client.watch(on(b"a", b"", 0)).await;
    client.watch(on(b"a", b"c", 0)).await;
    let Client { ask, mut stream } = client;
    drop(ask);
    node.write(&[(b"a", true)]).await;
    for _ in 0..2 {
        let frame = timeout(HANGS, stream.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(decoded(frame).events.len(), 1);
    }
    assert!(!node.hub.is_unused());
    drop(stream);
    assert!(node.hub.is_unused());
}

#[tokio::test]
async fn subscriptions_in_the_process_are_exact_too() {
    let bounds = Bounds { queue_changes: 4, history_bytes: 300, ..Default::default() };
    let mut node = Node::start(bounds).await;
    for _ in 0..10 {
        node.write(&[(b"a", true)]).await;
    }
    let mut changes = node.hub.subscribe(b"a", b"b", 3).unwrap();
    for _ in 0..200 {
        node.write(&[(b"a", true)]).await;
    }
    for wanted in 3..=node.revision {
        let (revision, events) = timeout(HANGS, changes.next()).await.unwrap().unwrap();
        assert_eq!((revision, &events), (wanted, &node.changes[&wanted]));
    }
    assert!(matches!(node.hub.subscribe(b"b", b"a", 0), Err(Lost::EmptyRange)));
}
