//! The lessor over a replica in memory, with hands that the test turns.

use std::sync::atomic::Ordering;

use prost::Message;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::leader::clock::fake::FakeClock;
use crate::leader::clock::{GuardedClock, SystemClock};
use crate::pb::etcd::api::PutRequest;
use crate::testing::{SoloReplica, Tables};

struct Bench {
    replica: Arc<SoloReplica>,
    proposer: Arc<Proposer>,
    lessor: Arc<Lessor>,
    clock: Arc<FakeClock>,
    guarded: Arc<GuardedClock>,
    tasks: tokio::task::JoinHandle<()>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.tasks.abort();
    }
}

impl Bench {
    fn new(id: u64, tables: &Arc<Mutex<Tables>>) -> Self {
        let replica = SoloReplica::sharing(id, tables.clone());
        let guarded = Arc::new(GuardedClock::new(Arc::new(SystemClock::default()), 60_000));
        let proposer = Proposer::new(replica.clone(), guarded.clone());
        let clock = FakeClock::at(0);
        let lessor = Lessor::new(replica.clone(), proposer.clone(), clock.clone());
        let tasks = tokio::spawn(crate::leader::run(replica.clone(), vec![lessor.clone()]));
        Bench { replica, proposer, lessor, clock, guarded, tasks }
    }

    async fn leading(term: u64) -> Self {
        let bench = Bench::new(1, &Arc::default());
        bench.lead(term).await;
        bench
    }

    async fn lead(&self, term: u64) {
        self.guarded.settled_for(term);
        self.replica.lead(term);
        until(async || self.lessor.reigning.lock().as_ref().is_some_and(|reigning| reigning.term == term)).await;
    }

    async fn execute(&self, command: KeyspaceCommand) -> KeyspaceReply {
        let reply = self.proposer.propose_internal(self.term(), Command::Keyspace(command)).await.unwrap();
        let Reply::Keyspace(reply) = reply else { panic!("{reply:?}") };
        reply
    }

    async fn grant(&self, id: i64, ttl_s: i64) {
        let granted = self.execute(KeyspaceCommand::GrantLease { id, ttl_s }).await;
        assert!(matches!(granted, KeyspaceReply::LeaseGranted { .. }), "{granted:?}");
    }

    /// Waits until the lessor knows so many leases: their time begins then.
    async fn known(&self, count: usize) {
        until(async || self.lessor.reigning.lock().as_ref().is_some_and(|reigning| reigning.book.len() == count)).await;
    }

    async fn put(&self, key: &str, lease: i64) {
        let request = PutRequest { key: key.into(), lease, ..PutRequest::default() };
        let done = self.execute(KeyspaceCommand::Put(request.encode_to_vec())).await;
        assert!(matches!(done, KeyspaceReply::Done(_)), "{done:?}");
    }

    fn term(&self) -> u64 {
        self.replica.leadership().borrow().term
    }

    /// Time passes as it does in a process that runs.
    fn pass(&self, ms: u64) {
        for step in (0..ms).step_by(500) {
            self.clock.pass((ms - step).min(500));
            self.lessor.in_reign(self.term(), |_, _| ()).unwrap();
        }
    }

    fn lease(&self, id: i64) -> Option<Lease> {
        keyspace::lease(self.replica.view().unwrap().as_ref(), id).unwrap()
    }

    async fn left_s(&self, id: i64) -> Option<i64> {
        self.lessor.time_to_live(id).await.unwrap().map(|time| time.remaining_s)
    }

    async fn gone(&self, id: i64) {
        until(async || self.lease(id).is_none()).await;
    }
}

async fn until(mut what: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !what().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap();
}

fn renewed(ttl_s: i64) -> Result<Option<LeaseTime>, Failure> {
    Ok(Some(LeaseTime { remaining_s: ttl_s, granted_s: ttl_s }))
}

#[tokio::test]
async fn a_lease_lives_as_long_as_it_is_renewed() {
    let bench = Bench::leading(1).await;
    bench.grant(7, 10).await;
    bench.grant(8, 10).await;
    bench.put("a", 7).await;
    bench.put("b", 8).await;
    assert_eq!(bench.lessor.renew(7).await, renewed(10), "at once, whether or not its grant was followed");
    assert_eq!(bench.lessor.renew(9).await, Ok(None));
    bench.known(2).await;
    for _ in 0..3 {
        bench.pass(4000);
        assert_eq!(bench.lessor.renew(7).await, renewed(10));
    }
    bench.gone(8).await;
    assert_eq!(bench.lessor.renew(8).await, Ok(None));
    assert_eq!(bench.left_s(8).await, None);
    bench.pass(4001);
    assert_eq!(bench.left_s(7).await, Some(5));
    bench.pass(6000);
    assert_eq!(bench.lessor.renew(7).await, Ok(None), "too late, even before it is gone");
    bench.gone(7).await;
    let keys = keyspace::lease_keys(bench.replica.view().unwrap().as_ref(), 7, None, 10).unwrap();
    assert_eq!(keys, Vec::<Vec<u8>>::new());
}

#[tokio::test]
async fn a_revoked_lease_is_not_renewed() {
    let bench = Bench::leading(1).await;
    bench.grant(7, 10).await;
    assert_eq!(bench.lessor.renew(7).await, renewed(10));
    bench.execute(KeyspaceCommand::RevokeLease { id: 7 }).await;
    assert_eq!(bench.lessor.renew(7).await, Ok(None), "at once");
    bench.grant(7, 20).await;
    assert_eq!(bench.lessor.renew(7).await, renewed(20), "another one of that id");
}

#[tokio::test]
async fn only_the_leader_renews() {
    let tables = Arc::default();
    let (first, second) = (Bench::new(1, &tables), Bench::new(2, &tables));
    let elsewhere = Err(Failure::Again(replica::Error::NotLeader));
    assert_eq!(first.lessor.renew(7).await, elsewhere);
    first.lead(1).await;
    first.grant(7, 10).await;
    assert_eq!(first.lessor.renew(7).await, renewed(10));
    second.lead(2).await;
    assert!(first.replica.leadership().borrow().is_self, "it does not know yet");
    assert_eq!(first.lessor.renew(7).await, elsewhere, "a renewal counts only if the leader still led after it");
    assert_eq!(first.lessor.time_to_live(7).await, elsewhere);
    assert_eq!(second.lessor.renew(7).await, renewed(10));
    first.replica.follow(2, Some(2));
    until(async || first.lessor.reigning.lock().is_none()).await;
    assert_eq!(first.lessor.renew(7).await, elsewhere);
}

#[tokio::test]
async fn a_new_leader_gives_the_whole_time_or_what_was_noted() {
    let tables = Arc::default();
    let (first, second) = (Bench::new(1, &tables), Bench::new(2, &tables));
    first.lead(1).await;
    first.grant(7, 60).await;
    first.grant(8, 60).await;
    first.known(2).await;
    first.pass(20_000);
    assert_eq!(first.lessor.renew(8).await, renewed(60));
    first.pass(10_000);
    until(async || first.lease(7).unwrap().remaining_ttl_s == 30).await;
    assert_eq!(first.lease(8).unwrap().remaining_ttl_s, 0);
    first.replica.follow(2, Some(2));
    second.lead(2).await;
    assert_eq!((second.left_s(7).await, second.left_s(8).await), (Some(30), Some(60)));
    second.pass(30_000);
    second.gone(7).await;
    assert!(second.lease(8).is_some());
}

#[tokio::test]
async fn a_renewal_is_answered_after_its_note_was_taken_back() {
    let bench = Bench::leading(1).await;
    bench.grant(7, 60).await;
    bench.known(1).await;
    bench.pass(30_000);
    until(async || bench.lease(7).unwrap().remaining_ttl_s == 30).await;
    bench.replica.lose_answers.store(true, Ordering::Relaxed);
    let renewal = bench.lessor.renew(7);
    let patience = Duration::from_millis(50);
    assert!(tokio::time::timeout(patience, renewal).await.is_err(), "whether it was taken back is unknown");
    bench.replica.lose_answers.store(false, Ordering::Relaxed);
    assert_eq!(bench.lessor.renew(7).await, renewed(60));
    assert_eq!(bench.lease(7).unwrap().remaining_ttl_s, 0);
    assert_eq!(bench.left_s(7).await, Some(60));
}

#[tokio::test]
async fn time_that_nobody_saw_is_not_taken_from_leases() {
    let bench = Bench::leading(1).await;
    bench.grant(7, 10).await;
    bench.known(1).await;
    bench.pass(3000);
    assert_eq!(bench.left_s(7).await, Some(7));
    bench.clock.pass(1_000_000);
    assert_eq!(bench.left_s(7).await, Some(7), "the process was suspended");
    assert_eq!(bench.lessor.renew(7).await, renewed(10));
    bench.pass(10_000);
    bench.gone(7).await;
}

#[tokio::test]
async fn grants_that_were_missed_are_found() {
    let bench = Bench::leading(1).await;
    // The test's thread is the only one, and nothing here waits: the lessor falls behind.
    for id in 1..=300 {
        bench.grant(id, 10).await;
    }
    bench.known(300).await;
    bench.pass(10_000);
    for id in 1..=300 {
        bench.gone(id).await;
    }
}

#[tokio::test]
async fn expiry_is_repeated_until_it_is_done() {
    let bench = Bench::leading(1).await;
    bench.grant(7, 10).await;
    for key in 0..=crate::state::limits::EXPIRE_KEYS {
        bench.put(&format!("{key}"), 7).await;
    }
    bench.known(1).await;
    bench.replica.lose_answers.store(true, Ordering::Relaxed);
    bench.pass(10_000);
    until(async || bench.lease(7).is_none_or(|lease| lease.ending)).await;
    bench.replica.lose_answers.store(false, Ordering::Relaxed);
    bench.gone(7).await;
    bench.known(0).await;
    let view = bench.replica.view().unwrap();
    assert_eq!(keyspace::lease_keys(view.as_ref(), 7, None, 10).unwrap(), Vec::<Vec<u8>>::new());
}

#[tokio::test]
async fn a_command_ends_only_so_many_keys_and_bytes_of_keys() {
    let bench = Bench::leading(1).await;
    for (lease, keys, length) in [(1, 40, 3), (2, 1, 100), (3, 0, 0), (4, 1, 100), (5, 1, 1)] {
        bench.grant(lease, 10).await;
        for key in 0..keys {
            bench.put(&format!("{lease}/{key:0length$}"), lease).await;
        }
    }
    let fitting = |leases: &[i64], keys, bytes| {
        steps::fitting(bench.replica.view().unwrap().as_ref(), leases, keys, bytes).unwrap()
    };
    let all = [1, 2, 3, 4, 5];
    assert_eq!(fitting(&all, 43, 1000), 5);
    assert_eq!(fitting(&all, 42, 1000), 4, "the last one is a key too much");
    assert_eq!(fitting(&all, 40, 1000), 1);
    assert_eq!(fitting(&all, 1, 1), 1, "the first one goes in any case, in steps");
    assert_eq!(fitting(&all, 99, 303), 3, "40 keys of 5 bytes, one of 102, none");
    assert_eq!(fitting(&all, 99, 404), 4);
    assert_eq!(fitting(&[9], 1, 1), 1, "a lease that is gone has none");
    // All of them go, whatever the steps.
    bench.known(5).await;
    bench.pass(10_000);
    for lease in all {
        bench.gone(lease).await;
    }
}

/// Leaders that come and go, each for so many milliseconds of the leases' own time. Lease 8 is renewed by each of them,
/// lease 7 by nobody; neither is over before its time.
async fn reigns(tables: &Arc<Mutex<Tables>>, ttl_s: i64, lengths_ms: &[u64]) -> Vec<Bench> {
    let benches: Vec<Bench> = (1..=3).map(|id| Bench::new(id, tables)).collect();
    let ttl_ms = u64::try_from(ttl_s).unwrap() * 1000;
    benches[0].lead(1).await;
    benches[0].grant(7, ttl_s).await;
    benches[0].grant(8, ttl_s).await;
    benches[0].known(2).await;
    let (mut lived_ms, mut unrenewed_ms) = (0, 0);
    for (term, length_ms) in (1..).zip(lengths_ms) {
        let bench = &benches[term as usize % 3];
        if term > 1 {
            benches[(term as usize - 1) % 3].replica.follow(term, Some(bench.replica.id));
        }
        bench.lead(term).await;
        if unrenewed_ms < ttl_ms && bench.lessor.renew(8).await.unwrap().is_some() {
            unrenewed_ms = 0;
        }
        bench.pass(*length_ms);
        lived_ms += length_ms;
        unrenewed_ms += length_ms;
        // The tasks of this leader look at once, and have the time to do what they would.
        bench.lessor.outdated.notify_one();
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(lived_ms >= ttl_ms || bench.lease(7).is_some(), "over after {lived_ms} ms of {ttl_ms}");
        assert!(unrenewed_ms >= ttl_ms || bench.lease(8).is_some(), "over {unrenewed_ms} ms after it was renewed");
    }
    benches
}

#[tokio::test]
async fn under_leaders_that_come_and_go_no_lease_ends_early_and_each_ends_after_them() {
    const TTL_S: i64 = 20;
    let mut random = StdRng::seed_from_u64(0x1ea5e);
    for _ in 0..8 {
        let lengths: Vec<u64> = (0..random.random_range(2..12)).map(|_| random.random_range(100..15_000)).collect();
        let tables = Arc::default();
        let benches = reigns(&tables, TTL_S, &lengths).await;
        // The last leader stays.
        let last = &benches[lengths.len() % 3];
        last.pass(u64::try_from(TTL_S).unwrap() * 1000);
        last.gone(7).await;
        last.gone(8).await;
    }
}

#[tokio::test]
async fn leaders_that_each_stay_for_half_a_lease_do_not_make_it_immortal() {
    let tables = Arc::default();
    let benches: Vec<Bench> = (1..=3).map(|id| Bench::new(id, &tables)).collect();
    benches[0].lead(1).await;
    benches[0].grant(7, 40).await;
    benches[0].known(1).await;
    let mut left_s = 40;
    for term in 2..=4 {
        benches[(term - 2) % 3].pass(u64::try_from(left_s).unwrap() * 500);
        // It is noted, so the next one goes by what is left.
        until(async || benches[0].lease(7).unwrap().remaining_ttl_s == left_s / 2).await;
        left_s /= 2;
        benches[(term - 2) % 3].replica.follow(term as u64, Some(term as u64));
        benches[(term - 1) % 3].lead(term as u64).await;
        assert_eq!(benches[(term - 1) % 3].left_s(7).await, Some(left_s));
    }
}

#[tokio::test]
async fn keep_alives_of_ten_thousand_leases_cost_next_to_nothing() {
    let mut book = Book::default();
    let lease = |id| Lease { id, generation: 1, granted_ttl_s: 60, remaining_ttl_s: 0, ending: false };
    let leases: Vec<Lease> = (1..=10_000).map(lease).collect();
    leases.iter().for_each(|lease| book.learn(0, lease));
    let started = Instant::now();
    // Ten minutes, a keep-alive every 20 s, and a look every 250 ms.
    for now_ms in (0..600_000_u64).step_by(250) {
        let turn = usize::try_from(now_ms % 20_000).unwrap() / 250 * 125;
        for lease in &leases[turn..turn + 125] {
            assert_eq!(book.renew(now_ms, lease), Renewed::Done);
        }
        let due = book.due(now_ms);
        assert!(due.expired.is_empty() && due.notes.is_empty());
    }
    let share = started.elapsed().as_secs_f64() / 600.0;
    assert!(share < 0.02, "{share} of a core");
}
