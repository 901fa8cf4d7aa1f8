//! Whatever happens between, every watcher gets exactly its events, once and in order, or is told why it does not.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<(u8, bool)>),
    /// Many revisions without giving the hub a turn: more than it may fall behind.
    Burst(u8, usize),
    /// Stream, first key, length of the range (0: the one key, 20: no end), start (back from now), wishes.
    Create(usize, u8, u8, Option<i64>, [bool; 4]),
    Cancel(usize, i64),
    Read(usize, usize),
    Compact(i64),
    Yield,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let write = vec((0u8..12, prop::bool::weighted(0.7)), 1..4).prop_map(Step::Write);
    let create = (0usize..3, 0u8..12, 0u8..21, prop::option::of(-5i64..40), any::<[bool; 4]>());
    vec(
        prop_oneof![
            8 => write,
            1 => (0u8..12, 20usize..150).prop_map(|(key, count)| Step::Burst(key, count)),
            4 => create.prop_map(|(stream, key, length, back, wants)| Step::Create(stream, key, length, back, wants)),
            1 => (0usize..3, 0i64..6).prop_map(|(stream, id)| Step::Cancel(stream, id)),
            4 => (0usize..3, 1usize..20).prop_map(|(stream, count)| Step::Read(stream, count)),
            1 => (0i64..60).prop_map(Step::Compact),
            4 => Just(Step::Yield),
        ],
        1..60,
    )
}

/// What one watcher asked for and got.
struct Watched {
    request: WatchCreateRequest,
    start: i64,
    got: Vec<kv::Event>,
    /// Revisions of complete responses.
    last: i64,
    in_fragment: bool,
    compacted: Option<i64>,
    canceled: bool,
}

struct Reader {
    client: Client,
    asked: std::collections::VecDeque<WatchCreateRequest>,
    watched: BTreeMap<i64, Watched>,
    ended: Vec<Watched>,
}

impl Reader {
    fn take(&mut self, response: WatchResponse) {
        let id = response.watch_id;
        if response.created {
            let request = self.asked.pop_front().unwrap();
            assert!(!response.canceled, "{response:?}");
            let start = if request.start_revision == 0 { revision(&response) + 1 } else { request.start_revision };
            let (got, last, in_fragment, compacted, canceled) = (Vec::new(), 0, false, None, false);
            let watched = Watched { request, start, got, last, in_fragment, compacted, canceled };
            assert!(self.watched.insert(id, watched).is_none());
            return;
        }
        let Some(watched) = self.watched.get_mut(&id) else { panic!("nobody watches: {response:?}") };
        if response.canceled {
            watched.canceled = true;
            watched.compacted = Some(response.compact_revision).filter(|revision| *revision != 0);
            self.ended.extend(self.watched.remove(&id));
            return;
        }
        let first = response.events[0].kv.as_ref().unwrap().mod_revision;
        let last = response.events.last().unwrap().kv.as_ref().unwrap().mod_revision;
        assert!(revision(&response) >= last, "the header is older than its events");
        assert!(first > watched.last || watched.in_fragment, "a revision was split");
        assert!(watched.request.fragment || !response.fragment);
        (watched.last, watched.in_fragment) = (last, response.fragment);
        watched.got.extend(response.events);
    }
}

impl Watched {
    fn wanted(&self, node: &Node) -> Vec<kv::Event> {
        let request = &self.request;
        let selects = |key: &[u8]| match request.range_end.as_slice() {
            [] => key == request.key,
            [0] => key >= request.key.as_slice(),
            end => key >= request.key.as_slice() && key < end,
        };
        let wants =
            |event: &&kv::Event| selects(&event.kv.as_ref().unwrap().key) && !request.filters.contains(&event.r#type);
        let prev = |event: &kv::Event| kv::Event {
            prev_kv: event.prev_kv.clone().filter(|_| request.prev_kv),
            ..event.clone()
        };
        node.changes.range(self.start.max(0)..).flat_map(|(_, events)| events.iter().filter(wants).map(prev)).collect()
    }

    /// `compactions`: at these revisions previous values are not known.
    fn check(&self, node: &Node, compactions: &[i64]) {
        let forget = |events: Vec<kv::Event>| -> Vec<kv::Event> {
            let forget = |mut event: kv::Event| {
                if compactions.contains(&event.kv.as_ref().unwrap().mod_revision) {
                    event.prev_kv = None;
                }
                event
            };
            events.into_iter().map(forget).collect()
        };
        let (mut wanted, got) = (forget(self.wanted(node)), forget(self.got.clone()));
        if let Some(compacted) = self.compacted {
            let known = got.last().map_or(self.start - 1, |event| event.kv.as_ref().unwrap().mod_revision);
            assert!(known < compacted || compacted == -1, "canceled though nothing was lost: {known} {compacted}");
        }
        if self.canceled {
            wanted.truncate(got.len());
        }
        assert_eq!(got, wanted, "{:?} from {}", self.request, self.start);
    }
}

async fn run(steps: Vec<Step>) {
    let bounds = Bounds { queue_changes: 8, queue_bytes: 4096, history_bytes: 600, ..Default::default() };
    let mut node = Node::start(bounds).await;
    let mut readers: Vec<Reader> = (0..3)
        .map(|_| Reader { client: node.open(), asked: Default::default(), watched: BTreeMap::new(), ended: Vec::new() })
        .collect();
    let (mut compacted, mut compactions) = (0, Vec::new());
    for step in steps {
        match step {
            Step::Write(writes) => {
                let writes: Vec<([u8; 1], bool)> = writes.into_iter().map(|(key, put)| ([b'a' + key], put)).collect();
                let writes: Vec<(&[u8], bool)> = writes.iter().map(|(key, put)| (key.as_slice(), *put)).collect();
                node.write(&writes).await;
            }
            Step::Burst(key, count) => {
                for _ in 0..count {
                    node.write(&[(&[b'a' + key], true)]).await;
                }
            }
            Step::Create(stream, key, length, back, [no_put, no_delete, prev_kv, fragment]) => {
                let range_end = match length {
                    0 => Vec::new(),
                    20 => vec![0],
                    length => vec![b'a' + key + length],
                };
                let start_revision = back.map_or(0, |back| (node.revision - back).max(1));
                let mut filters = Vec::new();
                // Seldom both, so that most watchers hear something.
                if no_put && !no_delete {
                    filters.push(0);
                }
                if no_delete && no_put && prev_kv {
                    filters.push(1);
                }
                let key = vec![b'a' + key];
                let request = WatchCreateRequest {
                    key,
                    range_end,
                    start_revision,
                    filters,
                    prev_kv,
                    fragment,
                    ..Default::default()
                };
                readers[stream].client.create(request.clone());
                readers[stream].asked.push_back(request);
            }
            Step::Cancel(stream, id) => readers[stream].client.cancel(id),
            Step::Read(stream, count) => {
                for _ in 0..count {
                    let reader = &mut readers[stream];
                    // A read of history is given its time; a silent stream is not waited for.
                    let waited = timeout(Duration::from_millis(2), reader.client.stream.next()).await;
                    let Ok(frame) = waited else { break };
                    let response = decoded(frame.unwrap().unwrap());
                    reader.take(response);
                }
            }
            Step::Compact(back) => {
                let at = node.revision - back;
                if at > compacted {
                    node.compact(at).await;
                    compacted = at;
                    compactions.push(at);
                }
            }
            Step::Yield => tokio::task::yield_now().await,
        }
    }
    for reader in &mut readers {
        reader.client.progress();
        loop {
            let response = reader.client.next().await;
            if response.watch_id == -1 {
                assert!(revision(&response) >= node.revision);
                break;
            }
            reader.take(response);
        }
        assert!(reader.asked.is_empty());
        reader.watched.values().chain(&reader.ended).for_each(|watched| watched.check(&node, &compactions));
    }
    node.stop.fire("done");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn every_watcher_gets_exactly_its_events(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(steps));
    }
}
