//! Clients of the timestamp oracle, in each way in which it can be asked, and of the ids.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use roost::client::Timestamps;
use roost::pb::tso::AllocateRequest;
use roost::pb::tso::timestamp_client::TimestampClient;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use super::{CALL, Epoch, PAUSE, Shared, lock};
use crate::check::order::Given;
use crate::support::client::{Refusal, channel};

const THINK: Duration = Duration::from_millis(8);
/// A stream whose node hangs is opened anew.
const STREAM_ANSWER: Duration = Duration::from_secs(2);

#[derive(Clone, Copy)]
enum Kind {
    Timestamps,
    Ids,
}

/// Repeats a call, which gives the first of so many numbers in a row.
async fn repeat<F>(shared: Arc<Shared>, kind: Kind, by: String, most: u32, call: impl Fn(Arc<Shared>, u32) -> F)
where
    F: Future<Output = Option<u64>>,
{
    while !shared.stopped() {
        let epoch = shared.epoch();
        let (called, count) = (shared.clock.now(), rand::random_range(1..=most));
        let pause = match timeout(CALL, call(shared.clone(), count)).await {
            Ok(Some(first)) => {
                note(&shared, &epoch, kind, &by, called, first, count);
                THINK
            }
            _ => PAUSE,
        };
        drop(epoch);
        tokio::time::sleep(pause).await;
    }
}

fn note(shared: &Shared, epoch: &Epoch, kind: Kind, by: &str, called: u64, first: u64, count: u32) {
    epoch.answered.fetch_add(1, Ordering::Relaxed);
    let given = Given { called, returned: shared.clock.now(), first, count: count.into(), by: by.to_owned() };
    let numbers = match kind {
        Kind::Timestamps => &epoch.timestamps,
        Kind::Ids => &epoch.ids,
    };
    lock(numbers).push(given);
}

pub async fn milvus_timestamps(shared: Arc<Shared>, number: usize) {
    let call = |shared: Arc<Shared>, _| async move { shared.through(number).milvus.timestamp().await.ok() };
    repeat(shared, Kind::Timestamps, format!("milvus {number}"), 1, call).await;
}

pub async fn counted_timestamps(shared: Arc<Shared>, number: usize) {
    let call = |shared: Arc<Shared>, count| async move { shared.through(number).milvus.timestamps(count).await.ok() };
    repeat(shared, Kind::Timestamps, format!("rootcoord {number}"), 500, call).await;
}

pub async fn ids(shared: Arc<Shared>, number: usize) {
    let call = |shared: Arc<Shared>, count| async move {
        let given: Result<i64, Refusal> = shared.through(number).milvus.ids(count).await;
        given.ok().map(i64::cast_unsigned)
    };
    repeat(shared, Kind::Ids, format!("ids {number}"), 20, call).await;
}

/// The client library, which merges its callers into one stream to the leader.
pub async fn shared_timestamps(shared: Arc<Shared>, internal: Vec<String>) {
    let library = Timestamps::new(internal, None);
    let call = |_, count| {
        let library = library.clone();
        async move { library.allocate(count, CALL).await.ok() }
    };
    tokio::join!(
        repeat(shared.clone(), Kind::Timestamps, "library 0".into(), 7, call),
        repeat(shared.clone(), Kind::Timestamps, "library 1".into(), 7, call),
    );
}

/// A long-lived stream through one node, one request at a time.
pub async fn streamed_timestamps(shared: Arc<Shared>, number: usize) {
    while !shared.stopped() {
        let (requests, sent) = mpsc::channel(1);
        let through = shared.through(number);
        let mut client = TimestampClient::new(channel(&through.internal));
        let opening = timeout(STREAM_ANSWER, client.allocate(ReceiverStream::new(sent)));
        if let Ok(Ok(opened)) = opening.await {
            let mut answers = opened.into_inner();
            for id in 1.. {
                let (called, count, epoch) = (shared.clock.now(), rand::random_range(1..=100), shared.epoch());
                if shared.stopped() || requests.send(AllocateRequest { id, count }).await.is_err() {
                    break;
                }
                let answer = timeout(STREAM_ANSWER, answers.message()).await;
                let Ok(Ok(Some(answer))) = answer else { break };
                if answer.error.is_empty() {
                    note(&shared, &epoch, Kind::Timestamps, &format!("stream {number}"), called, answer.first, count);
                }
                drop(epoch);
                tokio::time::sleep(THINK).await;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
