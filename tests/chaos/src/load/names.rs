//! Clients of collections, by Milvus' API: names that are created and dropped again and again, and names that are
//! created once and stay.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use roost::pb::milvus::{CreateCollectionRequest, DropCollectionRequest, HasCollectionRequest};

use super::{Fate, PAUSE, Shared, Through, fate, lock};
use crate::check::name::{Input, Output};
use crate::history::Call;
use crate::support::client::new_collection;

/// Names of one epoch: few, so that clients meet.
const NAMES: u64 = 2;
const THINK_MS: (u64, u64) = (20, 80);
const CREATE_EVERY: Duration = Duration::from_millis(300);

/// What a call of Milvus' API came to.
enum Ended {
    Done,
    Found(bool),
    Rejected,
    Unsent,
    Unknown,
}

async fn call(through: &Through, name: &str, input: &Input) -> Ended {
    let mut milvus = through.milvus.milvus.clone();
    let of_status = |fate| match fate {
        Fate::Answered(status) => ended(Some(status), Ended::Done),
        Fate::Unsent => Ended::Unsent,
        Fate::Unknown(_) => Ended::Unknown,
    };
    match input {
        Input::Create => of_status(fate(milvus.create_collection(new_collection(name))).await),
        Input::Drop => {
            let request = DropCollectionRequest { collection_name: name.into(), ..Default::default() };
            of_status(fate(milvus.drop_collection(request)).await)
        }
        Input::Has => {
            let request = HasCollectionRequest { collection_name: name.into(), ..Default::default() };
            match fate(milvus.has_collection(request)).await {
                Fate::Answered(answer) => ended(answer.status, Ended::Found(answer.value)),
                Fate::Unsent => Ended::Unsent,
                Fate::Unknown(_) => Ended::Unknown,
            }
        }
    }
}

/// A refusal of something that is right says nothing about what was done: only [`reject`]'s does.
fn ended(status: Option<roost::pb::common::Status>, done: Ended) -> Ended {
    if status.is_some_and(|status| status.code == 0) { done } else { Ended::Unknown }
}

pub async fn existence(shared: Arc<Shared>, number: usize) {
    while !shared.stopped() {
        let epoch = shared.epoch();
        let name = format!("c{}_{}", epoch.number, rand::random_range(0..NAMES));
        let input = match rand::random_range(0..10) {
            0..3 => Input::Create,
            3..5 => Input::Drop,
            _ => Input::Has,
        };
        let through = shared.through(number);
        let called = shared.clock.now();
        let answer = match call(&through, &name, &input).await {
            Ended::Done => Some(Some(Output::Done)),
            Ended::Found(found) => Some(Some(Output::Has(found))),
            Ended::Unknown | Ended::Rejected => Some(None),
            Ended::Unsent => None,
        };
        let pause = !matches!(answer, Some(Some(_)));
        if let Some(output) = answer {
            let counter = if output.is_some() { &epoch.answered } else { &epoch.open };
            counter.fetch_add(1, Ordering::Relaxed);
            let answer = output.map(|output| (shared.clock.now(), output));
            let by = format!("client {number} at place {}", through.place);
            lock(&epoch.names).entry(name).or_default().push(Call { called, answer, input, by });
        }
        drop(epoch);
        let think = Duration::from_millis(rand::random_range(THINK_MS.0..THINK_MS.1));
        tokio::time::sleep(if pause { PAUSE } else { think }).await;
    }
}

/// Creates names that nobody else uses; some creations are wrong and must be rejected.
pub async fn creations(shared: Arc<Shared>, number: usize) {
    for count in 0u64.. {
        if shared.stopped() {
            return;
        }
        let epoch = shared.epoch();
        let name = format!("d{}_{number}_{count}", epoch.number);
        let through = shared.through(number);
        lock(&epoch.ddl).asked.insert(name.clone());
        let ended = match count % 5 {
            4 => reject(&through, &name).await,
            _ => call(&through, &name, &Input::Create).await,
        };
        {
            let mut ddl = lock(&epoch.ddl);
            match ended {
                Ended::Done => _ = ddl.acknowledged.insert(name),
                Ended::Rejected | Ended::Unsent => _ = ddl.rejected.insert(name),
                Ended::Found(_) | Ended::Unknown => {}
            }
        }
        drop(epoch);
        tokio::time::sleep(CREATE_EVERY).await;
    }
}

/// A collection without any field.
async fn reject(through: &Through, name: &str) -> Ended {
    let request = CreateCollectionRequest { collection_name: name.into(), ..CreateCollectionRequest::default() };
    match fate(through.milvus.milvus.clone().create_collection(request)).await {
        Fate::Answered(status) if status.code == 0 => Ended::Done,
        Fate::Answered(_) => Ended::Rejected,
        Fate::Unsent => Ended::Unsent,
        Fate::Unknown(_) => Ended::Unknown,
    }
}
