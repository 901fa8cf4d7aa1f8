//! After the healing: that the cluster lives and agrees, and that what clients saw in an epoch can be explained.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use roost::pb::admin::{AlarmDisarmRequest, AlarmListRequest};
use roost::pb::etcd::api::RangeRequest;
use tokio::time::{Instant, sleep, timeout};

use crate::check::order::Given;
use crate::check::{ddl, hash, key, name, order, watch};
use crate::cluster::Cluster;
use crate::history::{Checker, Violation};
use crate::load::{Epoch, Load, WATCHED, lock, read, write};

/// From the healing to a write through each node. A fail-over takes a second; the machine has two cores, six programs.
pub const ALIVE_IN: Duration = Duration::from_secs(30);
pub const ASK_EVERY: Duration = Duration::from_millis(40);
/// Numbers of the epochs before that are compared with each new one.
const KEPT_NUMBERS: usize = 200_000;
/// Names of each epoch that stay to the end of the run.
const KEPT_NAMES: usize = 3;

/// What is carried from epoch to epoch.
#[derive(Default)]
pub struct Memory {
    /// What each key of the past may hold.
    ends: BTreeMap<String, HashSet<Option<u64>>>,
    names: ddl::Names,
    timestamps: Vec<Given>,
    ids: Vec<Given>,
    /// What each watcher saw up to the mark of the epoch before: a new epoch begins a little before that mark.
    watched: HashMap<usize, Vec<watch::Event>>,
    pub operations: u64,
    pub open: u64,
    pub undecided: u64,
    pub events: u64,
    /// Messages that streaming nodes accepted.
    pub appends: u64,
    /// Broadcasts that were acknowledged, and the id up to which all were checked.
    pub broadcasts: u64,
    pub checked_broadcast: u64,
    pub slowest: Duration,
}

/// Waits until a write goes through every node; how long that took.
pub async fn alive(cluster: &mut Cluster, load: &Load, memory: &mut Memory) -> anyhow::Result<Vec<Violation>> {
    let began = Instant::now();
    for place in cluster.places() {
        loop {
            disarm(cluster).await;
            if write(&load.through(place), "alive", b"yes".to_vec()).await.is_some() {
                break;
            }
            if began.elapsed() > ALIVE_IN {
                let node = cluster.node(place)?;
                let what = format!("node {} takes no write {ALIVE_IN:?} after healing:\n{}", node.id, node.log_tail());
                return Ok(vec![Checker::Liveness.found(what)]);
            }
            sleep(ASK_EVERY).await;
        }
    }
    memory.slowest = memory.slowest.max(began.elapsed());
    Ok(Vec::new())
}

/// Withdraws the alarm of a disk that was full.
async fn disarm(cluster: &Cluster) {
    for place in cluster.places() {
        let mut admin = cluster.admin(place);
        let Ok(Ok(list)) = timeout(Duration::from_secs(1), admin.alarm_list(AlarmListRequest {})).await else {
            continue;
        };
        if list.into_inner().alarms.iter().any(|alarm| alarm.kind == "NOSPACE") {
            let request = AlarmDisarmRequest { kind: "NOSPACE".into(), node_id: 0 };
            // Raised again while the disk is full.
            let _ = timeout(Duration::from_secs(2), admin.alarm_disarm(request)).await;
        }
        return;
    }
}

/// Compares the state hashes of all nodes at the indexes that they have in common, one of which is not older than what
/// any node had applied when the comparison began.
pub async fn equal_hashes(cluster: &mut Cluster) -> anyhow::Result<Vec<Violation>> {
    let places = cluster.places();
    let began = Instant::now();
    let mut least = 0;
    loop {
        let mut nodes: Vec<(String, hash::Hashes)> = Vec::new();
        for place in &places {
            let Some(answer) = cluster.hashes(*place, least).await else { continue };
            let points = answer.now.into_iter().chain(answer.recent).map(|point| (point.index, point.hash));
            nodes.push((format!("place {place}"), points.collect()));
        }
        let found = hash::equal(&nodes);
        let common = if nodes.len() == places.len() { hash::common(&nodes) } else { None };
        if !found.is_empty() || least > 0 && common.is_some_and(|common| common >= least) {
            return Ok(found);
        }
        if least == 0 {
            least = nodes.iter().filter_map(|(_, hashes)| hashes.keys().next_back().copied()).max().unwrap_or(0);
        }
        if began.elapsed() > ALIVE_IN {
            let newest: Vec<_> = nodes.iter().map(|(node, hashes)| (node, hashes.keys().next_back())).collect();
            let mut logs = String::new();
            for place in places {
                logs.push_str(&format!("\n{}", cluster.node(place)?.log_tail()));
            }
            let what = format!("no common index from {least} on within {ALIVE_IN:?}; newest: {newest:?}{logs}");
            return Ok(vec![Checker::Hash.found(what)]);
        }
        sleep(ASK_EVERY).await;
    }
}

/// No node found that its state differs from the leader's.
pub async fn no_alarm(cluster: &Cluster) -> Vec<Violation> {
    let mut found = Vec::new();
    for place in cluster.places() {
        let mut admin = cluster.admin(place);
        if let Ok(Ok(list)) = timeout(Duration::from_secs(2), admin.alarm_list(AlarmListRequest {})).await {
            let corrupt = list.into_inner().alarms.into_iter().find(|alarm| alarm.kind == "CORRUPT");
            found.extend(corrupt.map(|alarm| Checker::Hash.found(format!("place {place} raised {alarm:?}"))));
        }
    }
    found
}

/// Reads every key of an epoch that has just ended, while its record is still open.
pub async fn last_reads(cluster: &Cluster, load: &Load, epoch: &Arc<Epoch>) {
    let keys: Vec<String> = lock(&epoch.keys).keys().cloned().collect();
    for key in keys {
        for place in cluster.places() {
            read(&load.shared, epoch, &load.through(place), &key).await;
        }
    }
}

/// Waits until every watcher has seen a write that comes after everything in the epoch; its revision.
pub async fn watchers_arrive(cluster: &Cluster, load: &Load, epoch: u64) -> (i64, Vec<Violation>) {
    let began = Instant::now();
    let mut marker = None;
    loop {
        if marker.is_none() {
            for place in cluster.places() {
                marker = write(&load.through(place), &format!("{WATCHED}{epoch}/end"), b"end".to_vec()).await;
                if marker.is_some() {
                    break;
                }
            }
        }
        let Some(revision) = marker else {
            if began.elapsed() > ALIVE_IN {
                return (0, vec![Checker::Liveness.found("no write for the watchers' mark")]);
            }
            continue;
        };
        let behind: Vec<String> = load
            .watchers
            .iter()
            .filter(|watcher| watcher.seen() < revision)
            .map(|watcher| format!("watcher {} at {}", watcher.number, watcher.seen()))
            .collect();
        if behind.is_empty() {
            return (revision, Vec::new());
        }
        if began.elapsed() > ALIVE_IN {
            let what = format!("not at revision {revision} within {ALIVE_IN:?} after healing: {behind:?}");
            return (revision, vec![Checker::Watch.found(what)]);
        }
        sleep(ASK_EVERY).await;
    }
}

/// The collections that a node lists, of those that are created once.
async fn listed(cluster: &Cluster, load: &Load) -> Vec<(usize, BTreeSet<String>)> {
    let mut all = Vec::new();
    for place in cluster.places() {
        for _ in 0..100 {
            if let Ok(names) = load.through(place).milvus.names().await {
                all.push((place, names.into_iter().filter(|name| name.starts_with('d')).collect()));
                break;
            }
            sleep(ASK_EVERY).await;
        }
    }
    all
}

/// Checks the names of this epoch and all before on every node, then drops most of this epoch's.
pub async fn names(cluster: &Cluster, load: &Load, epoch: &Epoch, memory: &mut Memory) -> Vec<Violation> {
    let names = std::mem::take(&mut *lock(&epoch.ddl));
    memory.names.asked.extend(names.asked);
    memory.names.rejected.extend(names.rejected);
    memory.names.acknowledged.extend(names.acknowledged.iter().cloned());
    let mut found = Vec::new();
    let newer = format!("d{}_", epoch.number + 1);
    for (place, mut shown) in listed(cluster, load).await {
        // The next epoch has begun.
        shown.retain(|name| !name.starts_with(&newer));
        found.extend(ddl::listed(&memory.names, &shown, &format!("place {place}")));
    }
    let through = load.through(cluster.places()[0]);
    for name in names.acknowledged.iter().skip(KEPT_NAMES) {
        memory.names.acknowledged.remove(name);
        if let Ok(Ok(())) = timeout(Duration::from_secs(4), through.milvus.remove(name)).await {
            memory.names.rejected.insert(name.clone());
        }
    }
    let over: Vec<String> = lock(&epoch.names).keys().cloned().collect();
    for name in &over {
        // Only tidiness: its history is over.
        let _ = timeout(Duration::from_secs(4), through.milvus.remove(name)).await;
    }
    found
}

/// Everything that is checked over the record of one epoch alone.
pub fn history(
    epoch: &Epoch,
    watched: Vec<(usize, Vec<watch::Event>)>,
    upto: i64,
    memory: &mut Memory,
) -> Vec<Violation> {
    memory.operations += epoch.answered.load(Ordering::Relaxed);
    memory.open += epoch.open.load(Ordering::Relaxed);
    let mut found = Vec::new();
    for (key, calls) in lock(&epoch.keys).iter() {
        let (wrong, decided) = key::linearizable(key, calls);
        found.extend(wrong);
        memory.undecided += u64::from(!decided);
        let last = calls.iter().filter(|call| call.answer.is_some()).max_by_key(|call| call.called);
        if let Some(key::Output::Got(value)) = last.and_then(|call| call.output()) {
            memory.ends.insert(key.clone(), key::possible_ends(calls, *value));
        }
    }
    for (name, calls) in lock(&epoch.names).iter() {
        let (wrong, decided) = name::linearizable(name, calls);
        found.extend(wrong);
        memory.undecided += u64::from(!decided);
    }
    let revisions = lock(&epoch.revisions);
    found.extend(order::ascending(Checker::Revisions, &revisions));
    let writes: Vec<Given> = revisions.iter().filter(|given| given.count > 0).cloned().collect();
    found.extend(order::unique(Checker::Revisions, &writes));
    found.extend(numbers(Checker::Timestamps, &mut memory.timestamps, &mut lock(&epoch.timestamps)));
    found.extend(numbers(Checker::Ids, &mut memory.ids, &mut lock(&epoch.ids)));
    let written = lock(&epoch.written);
    let watched: Vec<(String, Vec<watch::Event>)> = watched
        .into_iter()
        .map(|(number, events)| {
            memory.events += events.len() as u64;
            let mut all = memory.watched.insert(number, events.clone()).unwrap_or_default();
            all.extend(events);
            (number.to_string(), all)
        })
        .collect();
    for (by, events) in &watched {
        found.extend(watch::ordered(by, events));
        found.extend(watch::complete(by, events, &written, upto));
        found.extend(watch::once(by, events));
    }
    if let Some((first, others)) = watched.split_first() {
        for other in others {
            found.extend(watch::same((&first.0, &first.1), (&other.0, &other.1), upto));
        }
    }
    found
}

/// Compares new numbers among each other and with those before.
fn numbers(checker: Checker, before: &mut Vec<Given>, new: &mut Vec<Given>) -> Vec<Violation> {
    before.append(new);
    let mut found = order::unique(checker, before);
    if checker == Checker::Timestamps {
        found.extend(order::ascending(checker, before));
    }
    before.drain(..before.len().saturating_sub(KEPT_NUMBERS));
    found
}

/// At the end: every key of every epoch still holds what it may.
pub async fn all_keys(cluster: &Cluster, load: &Load, memory: &Memory) -> Vec<Violation> {
    let mut found = Vec::new();
    for place in cluster.places() {
        let request =
            RangeRequest { key: WATCHED.into(), range_end: vec![WATCHED.as_bytes()[0] + 1], ..RangeRequest::default() };
        let Ok(Ok(answer)) = timeout(ALIVE_IN, load.through(place).kv.range(request)).await else {
            found.push(Checker::Liveness.found(format!("place {place} does not answer at the end")));
            continue;
        };
        let number = |value: &[u8]| std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok());
        let there: HashMap<String, Option<u64>> = answer
            .into_inner()
            .kvs
            .into_iter()
            .map(|row| (String::from_utf8_lossy(&row.key).into_owned(), number(&row.value)))
            .collect();
        for (key, may) in &memory.ends {
            let holds = there.get(key).copied().flatten();
            if !may.contains(&holds) {
                let what =
                    format!("key {key} holds {holds:?} at the end at place {place}, and should hold one of {may:?}");
                found.push(Checker::Keys.found(what));
            }
        }
    }
    found
}
