//! Clients of collections, by Milvus' API: names that are created and dropped again and again, and names that are
//! created once and stay.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use roost::pb::common::{KeyValuePair, Status};
use roost::pb::milvus::{
    AlterCollectionRequest, CreateCollectionRequest, DescribeCollectionRequest, DropCollectionRequest,
};

use super::{Fate, PAUSE, Shared, Through, fate, lock};
use crate::check::name::{Input, Output};
use crate::history::Call;
use crate::support::client::new_collection;

/// Names of one epoch: few, so that clients meet.
const NAMES: u64 = 2;
const THINK_MS: (u64, u64) = (20, 80);
const CREATE_EVERY: Duration = Duration::from_millis(300);
/// The property that is altered; Milvus has none of this name.
const PROPERTY: &str = "chaos";
/// Milvus' code of a collection that is not there.
const NOT_FOUND: i32 = 100;
/// What Milvus says when one is there and has other parameters.
const DIFFERS: &str = "create duplicate collection with different parameters";

/// What a call of Milvus' API came to.
enum Ended {
    Told(Output),
    Unsent,
    Unknown,
}

async fn call(through: &Through, name: &str, input: &Input) -> Ended {
    let mut milvus = through.milvus.milvus.clone();
    let collection_name = name.to_owned();
    let told = |status: Option<Status>, done: Output| match status {
        Some(status) if status.code == 0 => Ended::Told(done),
        Some(status) if status.code == NOT_FOUND => Ended::Told(Output::Missing),
        Some(status) if status.reason.contains(DIFFERS) => Ended::Told(Output::Differs),
        // A refusal of something that is right says nothing about what was done.
        _ => Ended::Unknown,
    };
    let of_status = |fate| match fate {
        Fate::Answered(status) => told(Some(status), Output::Done),
        Fate::Unsent => Ended::Unsent,
        Fate::Unknown(_) => Ended::Unknown,
    };
    match input {
        Input::Create => of_status(fate(milvus.create_collection(new_collection(name))).await),
        Input::Drop => {
            let request = DropCollectionRequest { collection_name, ..Default::default() };
            of_status(fate(milvus.drop_collection(request)).await)
        }
        Input::Alter(value) => {
            let properties = vec![KeyValuePair { key: PROPERTY.into(), value: value.to_string() }];
            let request = AlterCollectionRequest { collection_name, properties, ..Default::default() };
            of_status(fate(milvus.alter_collection(request)).await)
        }
        Input::Look => {
            let request = DescribeCollectionRequest { collection_name, ..Default::default() };
            match fate(milvus.describe_collection(request)).await {
                Fate::Answered(answer) => {
                    let property = answer.properties.iter().find(|property| property.key == PROPERTY);
                    let value = property.and_then(|property| property.value.parse().ok());
                    told(answer.status, Output::There(value))
                }
                Fate::Unsent => Ended::Unsent,
                Fate::Unknown(_) => Ended::Unknown,
            }
        }
    }
}

pub async fn existence(shared: Arc<Shared>, number: usize) {
    while !shared.stopped() {
        let epoch = shared.epoch();
        let name = format!("c{}_{}", epoch.number, rand::random_range(0..NAMES));
        let input = match rand::random_range(0..12) {
            0..3 => Input::Create,
            3..5 => Input::Drop,
            5..7 => Input::Alter(shared.value()),
            _ => Input::Look,
        };
        let through = shared.through(number);
        let called = shared.clock.now();
        let answer = match call(&through, &name, &input).await {
            Ended::Told(output) => Some(Some(output)),
            Ended::Unknown => Some(None),
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
        let created = match count % 5 {
            4 => reject(&through, &name).await,
            _ => match call(&through, &name, &Input::Create).await {
                Ended::Told(Output::Done) => Some(true),
                Ended::Unsent => Some(false),
                Ended::Told(_) | Ended::Unknown => None,
            },
        };
        {
            let mut ddl = lock(&epoch.ddl);
            match created {
                Some(true) => _ = ddl.acknowledged.insert(name),
                Some(false) => _ = ddl.rejected.insert(name),
                None => {}
            }
        }
        drop(epoch);
        tokio::time::sleep(CREATE_EVERY).await;
    }
}

/// A collection without any field: whether it was created, if that is known.
async fn reject(through: &Through, name: &str) -> Option<bool> {
    let request = CreateCollectionRequest { collection_name: name.into(), ..CreateCollectionRequest::default() };
    match fate(through.milvus.milvus.clone().create_collection(request)).await {
        Fate::Answered(status) => Some(status.code == 0),
        Fate::Unsent => Some(false),
        Fate::Unknown(_) => None,
    }
}
