//! The same random requests, in the same order, to a real etcd and to Roost: the answers must be equal, and so must be
//! what watchers deliver.
//!
//! `ROOST_ETCD_REQUESTS` sets how many requests each test sends (CI: [`REQUESTS`]), `ROOST_ETCD_SEED` repeats a run.
//! `ROOST_ETCD_SKIP=TEXT,TEXT` leaves out what contains a text, while a known difference is looked into.
//! A difference is shrunk by proptest: the failure shows the shortest sequence that was found, and both answers.
//! Revisions in it are counted from the beginning of the sequence: `BASE + n` is written as 1099511627776 + n.

mod ask;
mod neutral;
mod side;
mod watching;

use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::time::Instant;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use tokio::runtime::Runtime;

use crate::support::Cluster;
use crate::support::etcd::{EtcdClient, RealEtcd, enabled};
use ask::{Ask, sequence};
use neutral::readable;
use side::Side;
use watching::Delivered;

/// Requests of one test in CI.
const REQUESTS: usize = 1500;
/// The longest sequence.
const ASKS_MAX: usize = 60;
/// A shrinking that takes longer shows what it has.
const SHRINK_MS_MAX: u32 = 120_000;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Plays one sequence on both sides; the text of the first difference.
async fn play(real: &mut Side, ours: &mut Side, asks: &[Ask]) -> Result<(), String> {
    let begun = |side: &str, begun: Result<i64, tonic::Status>| begun.map_err(|status| format!("{side}: {status}"));
    let (expected, found) = tokio::join!(real.begin(), ours.begin());
    let equal_before = begun("etcd begins", expected)? == begun("Roost begins", found)?;
    let skipped = std::env::var("ROOST_ETCD_SKIP").unwrap_or_default();
    for (place, ask) in asks.iter().enumerate() {
        let name = format!("{ask:?}");
        if !skipped.is_empty() && skipped.split(',').any(|part| name.contains(part)) {
            continue;
        }
        if matches!(ask, Ask::Compact { .. }) {
            settle(real, ours).await.map_err(|text| format!("{text}\n  before ask {place}"))?;
        }
        let (mut expected, mut found) = tokio::join!(real.ask(ask), ours.ask(ask));
        // A hash covers absolute revisions, which differ while a difference is shrunk, and leases' ids.
        // And where nothing is left to read, etcd hashes what a compaction in the background has not deleted yet.
        let in_background = asks[..place].iter().any(|ask| matches!(ask, Ask::Compact { physical: false, .. }));
        if !equal_before || real.origin.has_chosen() || in_background {
            forget_hash(&mut expected);
            forget_hash(&mut found);
        }
        same(&format!("the answer to ask {place}, {ask:?}"), &expected, &found)?;
    }
    settle(real, ours).await
}

fn forget_hash(answer: &mut side::Answer) {
    if let side::Answer::HashKv(answer) = answer {
        answer.hash = 0;
    }
}

/// Both sides' watchers delivered everything, and the same.
async fn settle(real: &mut Side, ours: &mut Side) -> Result<(), String> {
    let (expected, found) = tokio::join!(real.settle(), ours.settle());
    expected.map_err(|status| format!("etcd's watchers: {status}"))?;
    found.map_err(|status| format!("Roost's watchers: {status}"))?;
    let (expected, found) = (real.delivered(), ours.delivered());
    same("the number of watchers", &expected.len(), &found.len())?;
    for (nth, (expected, found)) in expected.iter().zip(&found).enumerate() {
        let what = format!("what watcher {nth} delivered");
        same(&format!("{what}: its end"), &expected.ended, &found.ended)?;
        for (place, (expected, found)) in expected.events.iter().zip(&found.events).enumerate() {
            same(&format!("{what}: event {place}"), expected, found)?;
        }
        if !expected.cancelled {
            let rest = |of: &Delivered, than: &Delivered| of.events.iter().skip(than.events.len()).cloned().collect();
            let (more, other): (Vec<_>, Vec<_>) = (rest(expected, found), rest(found, expected));
            same(&format!("{what}: its last events"), &more, &other)?;
        }
    }
    Ok(())
}

fn same<T: Debug + PartialEq>(what: &str, expected: &T, found: &T) -> Result<(), String> {
    if expected == found {
        return Ok(());
    }
    let text = format!("{what}\n  etcd : {expected:?}\n  Roost: {found:?}");
    Err(readable(&text))
}

/// Plays random sequences until so many requests were sent; returns how many were.
/// The first etcd is the one to compare with; any that ends is replaced, so that shrinking can go on.
fn compare(runtime: &Runtime, mut etcds: Vec<RealEtcd>, mut ours: Side, requests: usize) -> usize {
    let mut real = Side::new(vec![etcds[0].client()]);
    let seed = number("ROOST_ETCD_SEED").unwrap_or_else(rand_seed);
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases: u32::try_from(requests / (ASKS_MAX / 2)).unwrap().max(1),
        failure_persistence: None,
        max_shrink_time: SHRINK_MS_MAX,
        max_shrink_iters: u32::MAX,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let (sent, started) = (Cell::new(0), Instant::now());
    // proptest's closure is not FnMut.
    let sides = RefCell::new((&mut etcds, &mut real, &mut ours));
    let outcome = runner.run(&sequence(ASKS_MAX), |asks| {
        sent.set(sent.get() + asks.len());
        let (etcds, real, ours) = &mut *sides.borrow_mut();
        let mut outcome = runtime.block_on(play(real, ours, &asks));
        for etcd in etcds.iter_mut() {
            if let Some(words) = etcd.last_words() {
                outcome = Err(format!("that etcd ended: {words}"));
                runtime.block_on(etcd.start_empty());
            }
        }
        outcome.map_err(TestCaseError::fail)
    });
    eprintln!("{} requests in {:.1?}, seed {seed}", sent.get(), started.elapsed());
    match outcome {
        Ok(()) => sent.get(),
        Err(TestError::Fail(why, asks)) => {
            let lines: Vec<String> = asks.iter().map(|ask| format!("  {}", readable(&format!("{ask:?}")))).collect();
            panic!("ROOST_ETCD_SEED={seed}: etcd and Roost differ in {why}\nafter\n{}", lines.join("\n"));
        }
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}

fn rand_seed() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn requests() -> usize {
    number("ROOST_ETCD_REQUESTS").map_or(REQUESTS, |requests| usize::try_from(requests).unwrap())
}

fn against_roost(size: u64) {
    let runtime = runtime();
    let _within = runtime.enter();
    let (etcd, cluster) =
        runtime.block_on(async { tokio::join!(RealEtcd::start(), Cluster::start_with(size, enabled())) });
    let nodes: Vec<EtcdClient> = (1..=size).map(|id| EtcdClient::new(&cluster.at(id).client)).collect();
    runtime.block_on(async {
        for node in &nodes {
            node.serves().await;
        }
    });
    let sent = compare(&runtime, vec![etcd], Side::new(nodes), requests());
    assert!(sent > 0, "requests were sent");
}

#[test]
fn one_node_answers_as_etcd_does() {
    against_roost(1);
}

#[test]
fn each_of_three_nodes_answers_as_etcd_does() {
    against_roost(3);
}

/// The comparison itself: what differs between two etcds is no difference.
#[test]
fn two_etcds_answer_alike() {
    let runtime = runtime();
    let _within = runtime.enter();
    let (one, other) = runtime.block_on(async { tokio::join!(RealEtcd::start(), RealEtcd::start()) });
    let requests = if number("ROOST_ETCD_REQUESTS").is_some() { requests() } else { 300 };
    let ours = Side::new(vec![other.client()]);
    compare(&runtime, vec![one, other], ours, requests);
}
