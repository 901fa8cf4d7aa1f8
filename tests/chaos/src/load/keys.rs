//! Clients of keys, by the etcd API: put, get, compare-and-swap, delete.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use roost::pb::etcd::api::{DeleteRangeRequest, PutRequest, RangeRequest, ResponseHeader};

use super::{CALL, Epoch, Fate, PAUSE, Shared, Through, WATCHED, fate, lock};
use crate::check::key::{Input, Output};
use crate::check::order::Given;
use crate::check::watch::Write;
use crate::history::{Call, Nanos};
pub use crate::request::number;
use crate::request::{found_by, swap, text};

/// Keys of one epoch: few, so that clients meet.
const KEYS: u64 = 4;
const THINK_MS: (u64, u64) = (4, 24);

/// Writes and reads as numbers that [`crate::check::order::ascending`] compares: a write is above everything that was
/// seen before it, a read not below.
fn revision_of_write(revision: i64) -> (u64, u64) {
    (revision.unsigned_abs() * 2, 1)
}

fn revision_of_read(revision: i64) -> (u64, u64) {
    (revision.unsigned_abs() * 2 + 1, 0)
}

/// What a call did, as far as its answer tells.
struct Told {
    output: Output,
    revision: i64,
    /// The change that it made.
    write: Option<Option<u64>>,
}

pub async fn client(shared: Arc<Shared>, number: usize) {
    // What this client believes is there; its swaps expect that.
    let mut believed: HashMap<String, Option<u64>> = HashMap::new();
    while !shared.stopped() {
        let epoch = shared.epoch();
        let key = format!("{WATCHED}{}/k{}", epoch.number, rand::random_range(0..KEYS));
        let belief = believed.get(&key).copied().flatten();
        let input = match rand::random_range(0..100) {
            0..45 => Input::Get,
            45..70 => Input::Put(shared.value()),
            70..92 => Input::Swap { expected: belief, new: shared.value() },
            _ => Input::Delete,
        };
        let through = shared.through(number);
        let by = format!("client {number} at place {}", through.place);
        let called = shared.clock.now();
        let fate = call(&through, &key, &input).await;
        let returned = shared.clock.now();
        let pause = !matches!(fate, Fate::Answered(_));
        if let Fate::Answered(Told { output: Output::Got(value) | Output::Swapped { found: value, .. }, .. }) = &fate {
            believed.insert(key.clone(), *value);
        }
        record(&epoch, &key, input, by, called, returned, fate);
        drop(epoch);
        let think = Duration::from_millis(rand::random_range(THINK_MS.0..THINK_MS.1));
        tokio::time::sleep(if pause { PAUSE } else { think }).await;
        if believed.len() > 64 {
            believed.clear();
        }
    }
}

fn record(epoch: &Epoch, key: &str, input: Input, by: String, called: Nanos, returned: Nanos, fate: Fate<Told>) {
    let answer = match fate {
        Fate::Unsent => return,
        Fate::Unknown(_) => {
            epoch.open.fetch_add(1, Ordering::Relaxed);
            None
        }
        Fate::Answered(told) => {
            epoch.answered.fetch_add(1, Ordering::Relaxed);
            let wrote = told.write.is_some();
            let (first, count) = if wrote { revision_of_write(told.revision) } else { revision_of_read(told.revision) };
            let by = format!("{by}, {input:?} of {key}");
            lock(&epoch.revisions).push(Given { called, returned, first, count, by });
            if let Some(value) = told.write {
                lock(&epoch.written).push(Write { revision: told.revision, key: key.to_owned(), value });
            }
            Some((returned, told.output))
        }
    };
    lock(&epoch.keys).entry(key.to_owned()).or_default().push(Call { called, answer, input, by });
}

async fn call(through: &Through, key: &str, input: &Input) -> Fate<Told> {
    let mut kv = through.kv.clone();
    match input {
        Input::Get => {
            let request = RangeRequest { key: key.into(), ..RangeRequest::default() };
            map(fate(kv.range(request)).await, |answer| {
                told(Output::Got(answer.kvs.first().and_then(number)), answer.header, None)
            })
        }
        Input::Put(new) => {
            let prev_kv = new % 2 == 0;
            let request = PutRequest { key: key.into(), value: text(*new), prev_kv, ..PutRequest::default() };
            map(fate(kv.put(request)).await, |answer| {
                let was = answer.prev_kv.as_ref().and_then(number);
                told(if prev_kv { Output::Was(was) } else { Output::Done }, answer.header, Some(Some(*new)))
            })
        }
        Input::Delete => {
            let request = DeleteRangeRequest { key: key.into(), prev_kv: true, ..DeleteRangeRequest::default() };
            map(fate(kv.delete_range(request)).await, |answer| {
                let was = answer.prev_kvs.first().and_then(number);
                told(Output::Was(was), answer.header, (answer.deleted > 0).then_some(None))
            })
        }
        Input::Swap { expected, new } => map(fate(kv.txn(swap(key, *expected, *new))).await, |answer| {
            let (done, found) = (answer.succeeded, found_by(&answer));
            told(Output::Swapped { done, found }, answer.header, done.then_some(Some(*new)))
        }),
    }
}

fn map<T, U>(fate: Fate<T>, then: impl FnOnce(T) -> U) -> Fate<U> {
    match fate {
        Fate::Answered(answer) => Fate::Answered(then(answer)),
        Fate::Unsent => Fate::Unsent,
        Fate::Unknown(status) => Fate::Unknown(status),
    }
}

fn told(output: Output, header: Option<ResponseHeader>, write: Option<Option<u64>>) -> Told {
    Told { output, revision: header.map_or(0, |header| header.revision), write }
}

/// One read for the runner, written down like the clients' own.
pub async fn read(shared: &Shared, epoch: &Epoch, through: &Through, key: &str) -> Option<Option<u64>> {
    let called = shared.clock.now();
    let fate = call(through, key, &Input::Get).await;
    let value = match &fate {
        Fate::Answered(Told { output: Output::Got(value), .. }) => Some(*value),
        _ => None,
    };
    record(epoch, key, Input::Get, format!("reader at place {}", through.place), called, shared.clock.now(), fate);
    value
}

/// One write of a key that belongs to nobody; its revision.
pub async fn write(through: &Through, key: &str, value: Vec<u8>) -> Option<i64> {
    let request = PutRequest { key: key.into(), value, ..PutRequest::default() };
    let answer = tokio::time::timeout(CALL, through.kv.clone().put(request)).await.ok()?.ok()?;
    Some(answer.into_inner().header?.revision)
}
