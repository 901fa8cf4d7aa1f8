//! Uniqueness and order, across concurrent callers, leaders, pauses and clocks that are set.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use proptest::prelude::*;

use super::window::Exhausted;
use super::*;
use crate::call::Call;
use crate::failure::Failure;
use crate::leader::clock::GuardedClock;
use crate::leader::clock::fake::FakeClock;
use crate::leader::{self, LeaderTask};
use crate::limits;
use crate::proposer::Proposer;
use crate::replica::{self, Replica};
use crate::state::{AllocId, Command, Reply, RequestId, View};
use crate::testing::SoloReplica;

const WINDOW_MS: u64 = 3000;
const START_MS: u64 = 1_700_000_000_000;

#[test]
fn a_window_serves_only_between_its_bounds_and_never_backwards() {
    let window = Window::new(1, 1000, 1003);
    assert_eq!(window.take(900, 5), Ok(compose(1000)), "the found bound is the floor, whatever the clock says");
    assert_eq!(window.take(1001, 1), Ok(compose(1001)));
    assert_eq!(window.take(1000, 2), Ok(compose(1001) + 1), "the clock went back, the timestamps did not");
    assert_eq!(window.take(1001, 1 << LOGICAL_BITS), Ok(compose(1001) + 3), "the logical part carries");
    assert_eq!(window.take(1001, 1 << LOGICAL_BITS), Err(Exhausted), "it would pass the bound");
    assert_eq!(window.take(5000, 1), Err(Exhausted), "the clock has passed the bound");
    assert_eq!(window.take(1002, 1), Ok(compose(1002) + 3), "a refused request took nothing");
    window.raise(6000);
    window.raise(2000);
    assert_eq!((window.take(5000, 1), window.bound_ms()), (Ok(compose(5000)), 6000));
    assert_eq!(window.take(u64::MAX >> LOGICAL_BITS, u32::MAX), Err(Exhausted), "no overflow");
}

#[test]
fn a_timestamp_is_what_milvus_clients_decode() {
    assert_eq!(compose(1_700_000_000_000) | 5, 445_644_800_000_000_005);
    assert_eq!(physical_ms(445_644_800_000_000_005), 1_700_000_000_000);
}

/// What may happen to a cluster of three whose nodes' clocks are set by anybody.
#[derive(Clone, Debug)]
enum Step {
    Allocate(u32),
    /// Somebody still asks the leader before the current one; its answer is never sent, as it cannot prove its reign.
    AskDeposed(u32),
    Pass(u64),
    SetClock(usize, i64),
    Elect(usize),
    Extend,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (1u32..1000).prop_map(Step::Allocate),
        1 => Just(Step::Allocate(limits::TIMESTAMPS_PER_REQUEST_MAX)),
        2 => (1u32..1000).prop_map(Step::AskDeposed),
        4 => (0u64..2000).prop_map(Step::Pass),
        2 => (0usize..3, -100_000i64..100_000).prop_map(|(node, by)| Step::SetClock(node, by)),
        2 => (0usize..3).prop_map(Step::Elect),
        3 => Just(Step::Extend),
    ];
    proptest::collection::vec(step, 1..200)
}

proptest! {
    #[test]
    fn answers_grow_whatever_happens_to_clocks_and_leaders(steps in steps()) {
        let mut clocks = [START_MS, START_MS + 700, START_MS - 40_000];
        let (mut stored_ms, mut term, mut leader) = (0u64, 1u64, 0usize);
        let open = |term, leader: usize, clocks: &[u64; 3], stored_ms: &mut u64| {
            let from = (*stored_ms).max(clocks[leader]);
            *stored_ms = from + WINDOW_MS;
            Window::new(term, from, *stored_ms)
        };
        let mut window = open(term, leader, &clocks, &mut stored_ms);
        let mut deposed: Option<(Window, usize)> = None;
        let mut last = 0u64;
        for step in steps {
            match step {
                Step::Allocate(count) => {
                    if let Ok(first) = window.take(clocks[leader], count) {
                        prop_assert!(first > last, "{first} after {last}");
                        last = first + u64::from(count) - 1;
                        prop_assert!(physical_ms(last) < stored_ms, "served above the stored bound");
                    }
                }
                Step::AskDeposed(count) => {
                    if let Some((old, node)) = &deposed && let Ok(first) = old.take(clocks[*node], count) {
                        prop_assert!(first + u64::from(count) <= compose(window_floor(&window)), "ranges overlap");
                    }
                }
                Step::Pass(ms) => clocks = clocks.map(|clock| clock + ms),
                Step::SetClock(node, by) => clocks[node] = clocks[node].saturating_add_signed(by),
                Step::Elect(node) => {
                    term += 1;
                    let next = open(term, node, &clocks, &mut stored_ms);
                    deposed = Some((std::mem::replace(&mut window, next), leader));
                    leader = node;
                }
                Step::Extend => {
                    let bound = physical_ms(window.upcoming(clocks[leader])) + WINDOW_MS;
                    stored_ms = stored_ms.max(bound);
                    window.raise(stored_ms);
                }
            }
        }
    }
}

/// Nothing below this is served by `window` any more or ever was.
fn window_floor(window: &Window) -> u64 {
    physical_ms(window.upcoming(0))
}

/// The clocks of the other voters, as a test has set them.
struct Told(Mutex<Option<Vec<u64>>>);

#[tonic::async_trait]
impl VoterClocks for Told {
    async fn others_ms(&self) -> Option<Vec<u64>> {
        self.0.lock().clone()
    }
}

struct Node {
    replica: Arc<SoloReplica>,
    clock: Arc<FakeClock>,
    told: Arc<Told>,
    oracle: Arc<Oracle>,
    proposer: Arc<Proposer>,
    tasks: tokio::task::JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.tasks.abort();
    }
}

fn node(replica: Arc<SoloReplica>, wall_ms: u64) -> Node {
    let clock = FakeClock::at(wall_ms);
    let guarded = Arc::new(GuardedClock::new(clock.clone(), 60_000));
    let as_dyn: Arc<dyn crate::replica::Replica> = replica.clone();
    let oracle = Oracle::new(as_dyn.clone(), guarded.clone(), WINDOW_MS);
    let proposer = Proposer::new(as_dyn.clone(), guarded);
    let told = Arc::new(Told(Mutex::new(None)));
    let keeper: Arc<dyn LeaderTask> =
        Arc::new(Keeper::new(oracle.clone(), as_dyn.clone(), proposer.clone(), told.clone()));
    let tasks = tokio::spawn(leader::run(as_dyn, vec![keeper]));
    Node { replica, clock, told, oracle, proposer, tasks }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_callers_and_changing_leaders_never_get_the_same_timestamp() {
    let shared = Arc::default();
    let nodes: Vec<Node> =
        (1..=3).map(|id| node(SoloReplica::sharing(id, Arc::clone(&shared)), START_MS + id * 250)).collect();
    let nodes = Arc::new(nodes);
    nodes[0].replica.lead(1);
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let callers: Vec<_> = (0..8)
        .map(|caller| {
            let (nodes, done) = (nodes.clone(), done.clone());
            tokio::spawn(async move {
                let mut mine = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    for node in nodes.iter() {
                        let count = 1 + caller % 3;
                        if let Ok(first) = node.oracle.allocate(count, soon()).await {
                            assert!(mine.last().is_none_or(|last| first > *last), "a later answer is smaller");
                            mine.extend(first..first + u64::from(count));
                        }
                    }
                    tokio::task::yield_now().await;
                }
                mine
            })
        })
        .collect();
    for term in 2..30u64 {
        tokio::time::sleep(Duration::from_millis(15)).await;
        let (old, new) = (&nodes[(term as usize + 1) % 3], &nodes[(term as usize + 2) % 3]);
        for node in nodes.iter() {
            node.clock.pass(400);
        }
        if term % 5 == 0 {
            new.clock.set(START_MS);
        }
        // The new leader reigns before the old one has noticed.
        new.replica.lead(term);
        tokio::time::sleep(Duration::from_millis(3)).await;
        for node in [old, &nodes[term as usize % 3]] {
            node.replica.follow(term, Some(new.replica.id));
        }
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    done.store(true, Ordering::Relaxed);
    let mut all = BTreeSet::new();
    let mut total = 0;
    for caller in callers {
        let mine = caller.await.unwrap();
        total += mine.len();
        all.extend(mine);
    }
    assert_eq!(all.len(), total, "some timestamp was given twice");
    assert!(total > 1000, "the test allocated only {total}");
}

#[tokio::test]
async fn a_leader_that_was_deposed_while_it_allocated_does_not_answer() {
    let shared = Arc::default();
    let old = node(SoloReplica::sharing(1, Arc::clone(&shared)), START_MS);
    old.replica.lead(1);
    old.oracle.allocate(1, soon()).await.unwrap();
    let new = node(SoloReplica::sharing(2, shared), START_MS);
    new.replica.lead(2);
    assert_eq!(old.oracle.allocate(1, soon()).await, Err(Error::NotLeader), "it has not heard of the new one yet");
    let first = new.oracle.allocate(1, soon()).await.unwrap();
    assert!(physical_ms(first) >= START_MS + WINDOW_MS, "the new leader starts above all that the old one could serve");
}

#[tokio::test]
async fn counts_are_checked_and_a_stalled_log_is_not_waited_for_for_ever() {
    let node = node(SoloReplica::new(), START_MS);
    assert_eq!(node.oracle.allocate(1, soon()).await, Err(Error::NotLeader));
    node.replica.lead(1);
    assert_eq!(node.oracle.allocate(0, soon()).await, Err(Error::ZeroCount));
    let most = limits::TIMESTAMPS_PER_REQUEST_MAX;
    assert_eq!(node.oracle.allocate(most + 1, soon()).await, Err(Error::CountTooLarge(most + 1)));
    let first = node.oracle.allocate(most, soon()).await.unwrap();
    assert_eq!(physical_ms(first), START_MS);
    node.replica.stall.store(true, Ordering::Relaxed);
    node.clock.pass(10 * WINDOW_MS);
    let short = Instant::now() + Duration::from_millis(50);
    assert_eq!(node.oracle.allocate(1, short).await, Err(Error::Stalled));
    node.replica.stall.store(false, Ordering::Relaxed);
    let later = node.oracle.allocate(1, soon()).await.unwrap();
    assert_eq!(physical_ms(later), START_MS + 10 * WINDOW_MS);
}

#[tokio::test]
async fn a_lost_answer_to_an_extension_costs_nothing_but_a_gap() {
    let node = node(SoloReplica::new(), START_MS);
    node.replica.lead(1);
    let first = node.oracle.allocate(1, soon()).await.unwrap();
    node.replica.lose_answers.store(true, Ordering::Relaxed);
    node.clock.pass(2 * WINDOW_MS);
    let short = Instant::now() + Duration::from_millis(100);
    assert_eq!(node.oracle.allocate(1, short).await, Err(Error::Stalled), "an unknown commit is no commit");
    node.replica.lose_answers.store(false, Ordering::Relaxed);
    let second = node.oracle.allocate(1, soon()).await.unwrap();
    assert!(second > first);
}

#[tokio::test]
async fn a_wrong_clock_does_not_take_the_oracle_into_the_future() {
    let shared = Arc::default();
    let right = node(SoloReplica::sharing(1, Arc::clone(&shared)), START_MS);
    right.replica.lead(1);
    right.oracle.allocate(1, soon()).await.unwrap();
    const DAY_MS: u64 = 86_400_000;
    let wrong = node(SoloReplica::sharing(2, Arc::clone(&shared)), START_MS + DAY_MS);
    *wrong.told.0.lock() = Some(vec![START_MS, START_MS + 5]);
    wrong.replica.lead(2);
    let first = wrong.oracle.allocate(1, soon()).await.unwrap();
    assert!(physical_ms(first) < START_MS + 60_000, "it followed a clock that nobody shares");
    // All clocks agree: the whole cluster had been stopped for a day.
    let late = node(SoloReplica::sharing(3, shared), START_MS + DAY_MS);
    *late.told.0.lock() = Some(vec![START_MS + DAY_MS]);
    late.replica.lead(3);
    let first = late.oracle.allocate(1, soon()).await.unwrap();
    assert!(physical_ms(first) >= START_MS + DAY_MS);
}

impl Node {
    /// A command that asks the oracle for nothing.
    async fn allocate_id(&self, sequence: u64, count: u32) -> Result<Reply, Failure> {
        let request = RequestId { node: self.replica.id, boot: 1, sequence, acked_below: 0 };
        let call = Call { request, principal: String::new(), source: String::new(), deadline: soon() };
        self.proposer.propose(&call, Command::AllocId(AllocId { count })).await
    }

    fn replicated_ms(&self) -> u64 {
        View::new(self.replica.view().unwrap().as_ref()).clock_ms().unwrap()
    }
}

#[tokio::test]
async fn nothing_is_stamped_before_the_clock_of_this_reign_is_settled() {
    const YEAR_MS: u64 = 365 * 86_400_000;
    let shared = Arc::default();
    let right = node(SoloReplica::sharing(1, Arc::clone(&shared)), START_MS);
    right.replica.lead(1);
    right.allocate_id(1, 1).await.unwrap();
    assert_eq!(right.replicated_ms(), START_MS);
    let wrong = node(SoloReplica::sharing(2, Arc::clone(&shared)), START_MS + YEAR_MS);
    // Nobody tells the time yet.
    *wrong.told.0.lock() = Some(Vec::new());
    wrong.replica.lead(2);
    assert_eq!(wrong.allocate_id(1, 1).await, Err(Failure::Again(replica::Error::NotLeader)));
    assert_eq!(wrong.replicated_ms(), START_MS);
    *wrong.told.0.lock() = Some(vec![START_MS, START_MS + 5]);
    while wrong.allocate_id(1, 1).await.is_err() {}
    assert!(wrong.replicated_ms() < START_MS + 60_000, "it followed a clock that nobody shares");
    // What was settled for one term is not settled for the next.
    *wrong.told.0.lock() = Some(Vec::new());
    wrong.clock.set(START_MS + 2 * YEAR_MS);
    wrong.replica.lead(3);
    assert_eq!(wrong.allocate_id(2, 1).await, Err(Failure::Again(replica::Error::NotLeader)));
}

#[tokio::test]
async fn a_write_on_a_new_leader_waits_for_its_clock_and_no_longer() {
    let node = node(SoloReplica::new(), START_MS);
    assert_eq!(node.allocate_id(1, 1).await, Err(Failure::Again(replica::Error::NotLeader)));
    node.replica.lead(1);
    let started = Instant::now();
    node.allocate_id(1, 1).await.unwrap();
    assert!(started.elapsed() < limits::CLOCK_SETTLE_WAIT);
    let refused = node.allocate_id(2, 0).await;
    assert!(matches!(refused, Err(Failure::Decided(_))), "the log's answer is told apart: {refused:?}");
}

#[tokio::test]
async fn waiting_for_a_timestamp_to_pass_is_bounded() {
    let node = node(SoloReplica::new(), START_MS);
    node.replica.lead(1);
    let first = node.oracle.allocate(1, soon()).await.unwrap();
    node.oracle.pass(first, soon()).await.unwrap();
    let far = compose(START_MS + 60_000);
    assert_eq!(node.oracle.pass(far, Instant::now() + Duration::from_millis(50)).await, Err(Error::Stalled));
    let clock = node.clock.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        clock.pass(2_000);
    });
    node.oracle.pass(compose(START_MS + 30), soon()).await.unwrap();
}
