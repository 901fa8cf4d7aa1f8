//! Producers: each follows the assignments at some node of Roost, and appends to one channel after the other at the
//! streaming node that has it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{CALL, PAUSE, Shared, lock};
use crate::check::append::Append;
use crate::history::Checker;
use crate::support::streaming::{Assignment, Discovery, NotAppended, Owner, Producer};

/// Messages on one stream before the next channel gets its turn.
const TURN: u64 = 5;
const BETWEEN: Duration = Duration::from_millis(10);

pub async fn client(shared: Arc<Shared>, number: usize) {
    while !shared.stopped() {
        if let Ok(discovery) = Discovery::open(&shared.through(number).internal).await {
            follow(&shared, number, discovery).await;
        }
        sleep(PAUSE).await;
    }
}

/// Until the stream ends.
async fn follow(shared: &Shared, number: usize, mut discovery: Discovery) {
    let mut current = Assignment::default();
    for turn in number.. {
        if shared.stopped() {
            return;
        }
        // The latest there is; the first one has to come.
        let wait = if current.owners.is_empty() { CALL } else { Duration::from_millis(1) };
        match timeout(wait, discovery.next()).await {
            Ok(Ok(next)) if next.version <= current.version => {
                let what = format!("version {:?} was told after {:?}", next.version, current.version);
                shared.found([Checker::Channels.found(what)]);
                return;
            }
            Ok(Ok(next)) => current = next,
            Ok(Err(_)) => return,
            Err(_) => {}
        }
        let Some((pchannel, owner)) = current.owners.iter().nth(turn % current.owners.len().max(1)) else { return };
        // Whoever does not answer in time may do so later: one that hangs is left alone meanwhile.
        append(shared, pchannel, owner).await;
        sleep(BETWEEN).await;
    }
}

/// Some messages to one channel.
async fn append(shared: &Shared, pchannel: &str, owner: &Owner) {
    // Held until the last answer: the epoch is compared with what the logs wrote down by then.
    let epoch = shared.epoch();
    let Ok(Ok(mut producer)) = timeout(CALL, Producer::open(pchannel, owner)).await else { return };
    for _ in 0..TURN {
        match timeout(CALL, producer.append(b"chaos")).await {
            Ok(Ok(offset)) => {
                let Owner { term, server_id, .. } = *owner;
                lock(&epoch.appends).push(Append { pchannel: pchannel.to_owned(), term, server_id, offset });
                epoch.answered.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Err(NotAppended::Refused(_))) => return,
            Ok(Err(NotAppended::Lost(_))) | Err(_) => {
                epoch.open.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
    }
}
