//! Watchers on a node that was away so long that the leader brings it up by a snapshot, which replaces its tables under
//! them: each sees every event of its keys once and in order, or hears that they were compacted.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{Stream, StreamExt};
use roost::pb::etcd::api::watch_create_request::FilterType;
use roost::pb::etcd::api::watch_request::RequestUnion;
use roost::pb::etcd::api::{CompactionRequest, DeleteRangeRequest, WatchCreateRequest, WatchRequest, WatchResponse};
use roost::pb::etcd::kv::event::EventType;
use tonic::Streaming;

use crate::support::etcd::{EtcdClient, after_prefix, enabled, within};
use crate::support::{Cluster, ctl, soon};

/// As small as they may be, so that little is missed before the log of it is gone.
const LOG_BYTES: u64 = 64 << 10;
/// Between two messages of a watch that still has something to tell.
const SILENCE: Duration = Duration::from_secs(60);

/// Revision, key, what became of it, and what it was before.
type Seen = (i64, String, Option<String>, Option<String>);

/// A cluster, one of its followers, and clients of that one and of the leader.
struct Bench {
    cluster: Cluster,
    follower: u64,
    leader: u64,
    theirs: EtcdClient,
    leaders: EtcdClient,
    /// Everything that was written, in order.
    written: Vec<Seen>,
    values: BTreeMap<String, String>,
}

impl Bench {
    async fn start() -> Self {
        let small = |key| (key, LOG_BYTES.to_string());
        let settings = [enabled(), vec![small("ROOST_RAFT_SNAPSHOT_LOG_BYTES"), small("ROOST_RAFT_KEEP_LOG_BYTES")]];
        let mut cluster = Cluster::start_with(3, settings.concat()).await;
        let (leader, follower) = (cluster.leader().await, cluster.followers().await[0]);
        let client = |id| EtcdClient::new(&cluster.at(id).client);
        let (theirs, leaders) = (client(follower), client(leader));
        theirs.serves().await;
        let mut bench =
            Bench { follower, leader, theirs, leaders, cluster, written: Vec::new(), values: Default::default() };
        bench.write(30, 0).await;
        // Applied there too: a watcher without a revision begins with what comes next.
        bench.theirs.get("w/a/0").await.unwrap();
        bench
    }

    /// Puts and deletes keys under `w/a/` and `w/b/` through the leader; values have at least `bytes`.
    async fn write(&mut self, count: usize, bytes: usize) {
        for _ in 0..count {
            let number = self.written.len();
            let key = format!("w/{}/{}", ["a", "b"][number % 2], number % 7);
            let before = self.values.get(&key).cloned();
            if number % 5 == 4 && before.is_some() {
                let request = DeleteRangeRequest { key: key.clone().into(), ..Default::default() };
                let deleted = within(self.leaders.kv.clone().delete_range(request)).await.unwrap();
                let revision = deleted.header.unwrap().revision;
                self.values.remove(&key);
                self.written.push((revision, key, None, before));
                continue;
            }
            let value = format!("{number} {}", "x".repeat(bytes));
            let revision = self.leaders.put(&key, value.clone(), 0).await.unwrap();
            self.values.insert(key.clone(), value.clone());
            self.written.push((revision, key, Some(value), before));
        }
    }

    /// Writes until the leader no longer has the log that the follower needs.
    async fn outrun(&mut self) {
        let status = async |bench: &Bench| {
            let endpoint = [bench.cluster.at(bench.leader).internal];
            ctl::run(&endpoint, &["-o", "json", "snapshot", "status"]).await.json()
        };
        let last = status(self).await["last_log_index"].as_u64().unwrap();
        loop {
            self.write(20, 4 << 10).await;
            if status(self).await["first_log_index"].as_u64().unwrap() > last + 10 {
                return;
            }
            assert!(self.written.len() < 20_000, "the log is purged");
        }
    }

    /// Waits until the follower shows what the leader has, which must have come by a snapshot.
    async fn caught_up(&mut self) {
        self.cluster.ready().await;
        let endpoint = [self.cluster.at(self.follower).internal];
        let status = ctl::run(&endpoint, &["-o", "json", "snapshot", "status"]).await.json();
        let (first, snapshot) = (status["first_log_index"].as_u64(), status["index"].as_u64());
        assert!(first > Some(30), "it was brought up by its log: {status}");
        println!("first log index {first:?}, snapshot {snapshot:?}, {} writes", self.written.len());
    }

    fn wanted(&self, from: i64, prefix: &str, deletes_only: bool) -> Vec<Seen> {
        let mine = |seen: &&Seen| seen.0 >= from && seen.1.starts_with(prefix) && !(deletes_only && seen.2.is_some());
        self.written.iter().filter(mine).cloned().collect()
    }

    fn last(&self) -> i64 {
        self.written.last().unwrap().0
    }

    async fn watch(&self, creates: Vec<WatchCreateRequest>) -> Streaming<WatchResponse> {
        within(self.theirs.watch.clone().watch(asking(&creates))).await.unwrap()
    }
}

/// These requests; then the client's half stays open.
fn asking(creates: &[WatchCreateRequest]) -> impl Stream<Item = WatchRequest> + Send + use<> {
    let request = |create: &WatchCreateRequest| RequestUnion::CreateRequest(create.clone());
    let asked: Vec<_> = creates.iter().map(|create| WatchRequest { request_union: Some(request(create)) }).collect();
    futures::stream::iter(asked).chain(futures::stream::pending())
}

fn on(prefix: &str, watch_id: i64, start_revision: i64) -> WatchCreateRequest {
    let range_end = after_prefix(prefix);
    WatchCreateRequest { key: prefix.into(), range_end, watch_id, start_revision, prev_kv: true, ..Default::default() }
}

async fn next(stream: &mut Streaming<WatchResponse>) -> WatchResponse {
    tokio::time::timeout(SILENCE, stream.message()).await.expect("nothing came").unwrap().expect("the stream goes on")
}

fn seen(message: WatchResponse) -> Vec<Seen> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let one = |event: roost::pb::etcd::kv::Event| {
        let (put, row) = (event.r#type() == EventType::Put, event.kv.unwrap());
        let value = put.then(|| text(row.value));
        (row.mod_revision, text(row.key), value, event.prev_kv.map(|prev| text(prev.value)))
    };
    message.events.into_iter().map(one).collect()
}

/// What each watcher of a stream sees up to a revision of its own.
async fn collect(stream: &mut Streaming<WatchResponse>, until: &[(i64, i64)]) -> Vec<Vec<Seen>> {
    let mut all: Vec<Vec<Seen>> = until.iter().map(|_| Vec::new()).collect();
    let over = |all: &[Vec<Seen>], place: usize| all[place].last().is_some_and(|last| last.0 >= until[place].1);
    while (0..until.len()).any(|place| !over(&all, place)) {
        let message = next(stream).await;
        assert!(!message.canceled, "{message:?}");
        let place = until.iter().position(|(id, _)| *id == message.watch_id).unwrap();
        all[place].extend(seen(message));
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_of_a_node_that_was_stopped_misses_nothing_of_a_snapshot() {
    let mut bench = Bench::start().await;
    let from = bench.last() + 1;
    let deletes = WatchCreateRequest { filters: vec![FilterType::Noput.into()], ..on("w/", 3, 0) };
    let mut stream = bench.watch(vec![on("w/", 1, 0), on("w/b/", 2, 0), deletes]).await;
    for id in 1..=3 {
        let created = next(&mut stream).await;
        assert!(created.created && created.watch_id == id, "{created:?}");
    }
    bench.write(20, 0).await;
    let place = bench.follower;
    bench.cluster.node(place).pause();
    bench.outrun().await;
    bench.cluster.node(place).resume();
    bench.write(20, 0).await;
    bench.caught_up().await;
    bench.write(20, 0).await;

    let expected = [bench.wanted(from, "w/", false), bench.wanted(from, "w/b/", false), bench.wanted(from, "w/", true)];
    let until: Vec<(i64, i64)> = (1..=3).zip(expected.iter().map(|wanted| wanted.last().unwrap().0)).collect();
    let found = collect(&mut stream, &until).await;
    for (place, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert_equal(found, expected, &format!("watcher {}", place + 1));
    }
    bench.cluster.hash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_that_comes_back_to_a_killed_node_goes_on_where_it_was() {
    let mut bench = Bench::start().await;
    let from = bench.last() + 1;
    let mut stream = bench.watch(vec![on("w/", 1, 0)]).await;
    assert!(next(&mut stream).await.created);
    bench.write(20, 0).await;
    let mut all = collect(&mut stream, &[(1, bench.last())]).await.remove(0);
    let place = bench.follower;
    bench.cluster.node(place).kill();
    drop(stream);
    bench.outrun().await;
    let missed = bench.last();
    bench.cluster.node(place).start();
    // It serves before it has caught up: one watcher goes on, one begins at a revision that the node does not know yet.
    let creates = vec![on("w/", 1, all.last().unwrap().0 + 1), on("w/", 2, missed + 1)];
    let mut stream = soon("the node takes watches again", async || {
        let mut stream = bench.theirs.watch.clone().watch(asking(&creates)).await.ok()?.into_inner();
        stream.message().await.ok()??.created.then_some(stream)
    })
    .await;
    bench.write(20, 0).await;
    bench.caught_up().await;
    bench.write(20, 0).await;
    let created = next(&mut stream).await;
    let mut rest = if created.created { Vec::new() } else { seen(created) };
    let found = collect(&mut stream, &[(1, bench.last()), (2, bench.last())]).await;
    rest.extend(found[0].iter().cloned());
    all.extend(rest);
    assert_equal(&all, &bench.wanted(from, "w/", false), "the one that goes on");
    assert_equal(&found[1], &bench.wanted(missed + 1, "w/", false), "the one of the future");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_whose_events_were_compacted_meanwhile_hears_so() {
    let mut bench = Bench::start().await;
    let from = bench.last() + 1;
    let mut stream = bench.watch(vec![on("w/", 1, 0)]).await;
    assert!(next(&mut stream).await.created);
    bench.write(20, 0).await;
    let place = bench.follower;
    bench.cluster.node(place).pause();
    bench.outrun().await;
    let begin = bench.last() - 10;
    let compact = CompactionRequest { revision: begin, physical: true };
    within(bench.leaders.kv.clone().compact(compact)).await.unwrap();
    bench.write(20, 4 << 10).await;
    // What is in the log from the compaction on must be in the snapshot too.
    bench.outrun().await;
    bench.cluster.node(place).resume();
    bench.caught_up().await;
    bench.write(5, 0).await;
    let mut found = Vec::new();
    let ended = loop {
        let message = next(&mut stream).await;
        if message.canceled {
            break message;
        }
        found.extend(seen(message));
    };
    assert_eq!((ended.watch_id, ended.compact_revision), (1, begin), "{ended:?}");
    let expected = bench.wanted(from, "w/", false);
    assert!(found.len() >= 20 && found.len() < expected.len(), "{} of {}", found.len(), expected.len());
    assert_equal(&found, &expected[..found.len()], "what came before");

    let mut stream = bench.watch(vec![on("w/", 1, begin)]).await;
    assert!(next(&mut stream).await.created);
    let found = collect(&mut stream, &[(1, bench.last())]).await.remove(0);
    let revisions = |seen: &[Seen]| seen.iter().map(|seen| seen.0).collect::<Vec<_>>();
    assert_eq!(revisions(&found), revisions(&bench.wanted(begin, "w/", false)), "from there on all is there");
}

/// Without pages of values when they differ.
#[track_caller]
fn assert_equal(found: &[Seen], expected: &[Seen], who: &str) {
    let differs = found.iter().zip(expected).position(|(one, other)| one != other);
    let short = |seen: Option<&Seen>| seen.map(|seen| (seen.0, seen.1.clone(), seen.2.is_some(), seen.3.is_some()));
    if let Some(place) = differs {
        panic!("{who}, event {place}: {:?} instead of {:?}", short(found.get(place)), short(expected.get(place)));
    }
    assert_eq!(found.len(), expected.len(), "{who}");
}
