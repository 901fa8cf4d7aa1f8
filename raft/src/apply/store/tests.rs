//! What the store says it shows, and whom it tells.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::*;
use crate::kv::{KeyRange, Visit};
use crate::storage::mem::MemEngine;
use crate::types::{Command, CommittedLeaderId};

struct Idle;

/// Its events are the bytes of its commands; `c` is a common one.
impl Machine for Idle {
    type Event = u8;

    const APPLY_VERSION: u32 = 1;

    fn apply(&self, _: &ApplyContext, bytes: &[u8], _: &mut Txn<'_>, events: &mut Vec<u8>) -> io::Result<Vec<u8>> {
        events.extend_from_slice(bytes);
        Ok(Vec::new())
    }

    fn is_common(event: &u8) -> bool {
        *event == b'c'
    }

    fn describe(&self, _: &[u8]) -> String {
        String::new()
    }

    fn restored(&self, _: &dyn Read) -> io::Result<()> {
        Ok(())
    }
}

/// Looks at each write before it can be read.
#[derive(Default)]
struct Watched {
    engine: MemEngine,
    state: Mutex<Option<Arc<StateShared<Idle>>>>,
    /// What was said to be shown when the last batch was written, and what counted as applied.
    shown: AtomicU64,
    applied: AtomicU64,
    memberships: AtomicU64,
}

impl Read for Watched {
    fn get(&self, space: Space, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.engine.get(space, key)
    }

    fn scan(&self, space: Space, range: KeyRange<'_>, reverse: bool, visit: &mut Visit<'_>) -> io::Result<()> {
        self.engine.scan(space, range, reverse, visit)
    }
}

impl Engine for Watched {
    fn write(&self, batch: Batch) -> io::Result<()> {
        if let Some(state) = self.state.lock().as_ref() {
            self.shown.store(state.shown(), Ordering::Relaxed);
            self.applied.store(state.applied.borrow().map_or(0, |id| id.index()), Ordering::Relaxed);
            let memberships = batch.ops.iter().filter(|(_, key, _)| key == b"membership").count();
            self.memberships.fetch_add(memberships as u64, Ordering::Relaxed);
        }
        self.engine.write(batch)
    }

    fn sync(&self) -> io::Result<()> {
        self.engine.sync()
    }

    fn pin(&self) -> Arc<dyn Read> {
        self.engine.pin()
    }

    fn reclaim(&self, space: Space, from: &[u8], to: &[u8]) -> io::Result<()> {
        self.engine.reclaim(space, from, to)
    }

    fn size(&self, space: Space) -> u64 {
        self.engine.size(space)
    }

    fn stalled(&self) -> bool {
        false
    }
}

fn opened(engine: &Arc<Watched>) -> (tempfile::TempDir, StateStore<Idle>) {
    let dir = tempfile::tempdir().unwrap();
    let wal = Wal::start(engine.clone(), &dir.path().join("synced.mark")).unwrap();
    let store = StateStore::open(engine.clone(), wal, dir.path().into(), Idle).unwrap();
    (dir, store)
}

fn entry(index: u64, payload: Payload) -> EntryResponder<TypeConfig> {
    (Entry { log_id: LogId::new(CommittedLeaderId::new(1), index), payload }, None)
}

#[tokio::test]
async fn an_index_is_said_to_be_shown_before_its_rows_are_and_applied_after() {
    let engine = Arc::<Watched>::default();
    let (_dir, mut store) = opened(&engine);
    *engine.state.lock() = Some(store.shared());
    let seen = || (engine.shown.load(Ordering::Relaxed), engine.applied.load(Ordering::Relaxed));
    let members = openraft::Membership::new_with_defaults(vec![[1].into()], []);
    for (index, payload) in [(1, Payload::Membership(members)), (2, Payload::Blank), (3, Payload::Blank)] {
        store.apply(futures::stream::iter([Ok(entry(index, payload))])).await.unwrap();
        assert_eq!(seen(), (index, index - 1));
        assert_eq!(Position::read(engine.as_ref()).unwrap(), store.position);
    }
    assert_eq!(store.position.membership.voter_ids().collect::<Vec<_>>(), [1]);
    assert_eq!(engine.memberships.load(Ordering::Relaxed), 1, "members are written when they change");
}

#[tokio::test]
async fn entries_of_common_events_wake_only_those_who_listen_to_all() {
    let (_dir, mut store) = opened(&Arc::default());
    let shared = store.shared();
    let (mut all, mut some) = (shared.all_events.subscribe(), shared.events.subscribe());
    for (index, data) in (1..).zip(["c", "", "cc", "xc", "x"]) {
        let command = Command { kind: CommandKind::App, term: 1, proposer: 1, data: data.into() };
        store.apply(futures::stream::iter([Ok(entry(index, Payload::Normal(command)))])).await.unwrap();
    }
    shared.publish(store.position.applied, vec![AppliedEvents { index: 5, events: Vec::new() }]);
    let told = |feed: &mut tokio::sync::broadcast::Receiver<Arc<AppliedEvents<u8>>>| {
        std::iter::from_fn(|| feed.try_recv().ok())
            .map(|batch| (batch.index, String::from_utf8(batch.events.clone()).unwrap()))
            .collect::<Vec<_>>()
    };
    let batches = |told: &[(u64, &str)]| told.iter().map(|(at, what)| (*at, (*what).to_owned())).collect::<Vec<_>>();
    assert_eq!(told(&mut all), batches(&[(1, "c"), (3, "cc"), (4, "xc"), (5, "x"), (5, "")]));
    assert_eq!(told(&mut some), batches(&[(4, "xc"), (5, "x"), (5, "")]), "and that rows were replaced");
}
