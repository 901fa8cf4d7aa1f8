//! Many proposals, few entries. While [`FLIGHTS_MAX`] entries are on their way, further proposals wait and leave
//! together in the next one: a lone proposal is not delayed, and a crowd shares an entry, its replication and its
//! bookkeeping.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::propose::{Applied, Written};
use super::start::HostCore;
use crate::codec;
use crate::error::ProposeError;
use crate::machine::Machine;
use crate::types::{CommandKind, Outcome};

/// Entries of proposals on their way at once. With two, each carries half as much, and what an entry costs on its way
/// is what a busy node spends most on: 64 clients got 9 % less.
const FLIGHTS_MAX: usize = 1;
/// Commands of one entry, and the bytes after which it is closed: replication and apply take an entry as a whole.
const BATCH_COMMANDS_MAX: usize = 256;
const BATCH_BYTES_MAX: usize = 256 << 10;

/// A proposal that waits for the next entry.
struct Waiting {
    command: Bytes,
    term: Option<u64>,
    _room: OwnedSemaphorePermit,
    answer: oneshot::Sender<Result<Applied, ProposeError>>,
}

/// Where proposals wait. The room that each holds bounds how many there are.
pub struct Batches {
    flights: Arc<Semaphore>,
    queue: mpsc::UnboundedSender<Waiting>,
    waiting: Mutex<Option<mpsc::UnboundedReceiver<Waiting>>>,
}

impl Default for Batches {
    fn default() -> Self {
        let (queue, waiting) = mpsc::unbounded_channel();
        Batches { flights: Arc::new(Semaphore::new(FLIGHTS_MAX)), queue, waiting: Mutex::new(Some(waiting)) }
    }
}

impl Batches {
    /// Leave to write an entry now. None while others wait: the semaphore gives what is returned to the assembly first.
    pub(super) fn flight(&self) -> Option<OwnedSemaphorePermit> {
        self.flights.clone().try_acquire_owned().ok()
    }

    /// Puts the command into the next entry and waits for its reply.
    pub(super) async fn join(
        &self,
        command: Bytes,
        term: Option<u64>,
        room: OwnedSemaphorePermit,
    ) -> Result<Applied, ProposeError> {
        let (answer, answered) = oneshot::channel();
        self.put(Waiting { command, term, _room: room, answer });
        // The assembly ended with the command perhaps on its way.
        answered.await.unwrap_or(Err(ProposeError::Unknown))
    }

    /// Without an assembly, the caller learns it by its dropped sender.
    fn put(&self, waiting: Waiting) {
        let _ = self.queue.send(waiting);
    }
}

/// Assembles entries for as long as the node runs.
pub(super) async fn run<M: Machine>(core: Arc<HostCore<M>>) {
    let Some(mut waiting) = core.batches.waiting.lock().take() else { return };
    let mut left = None;
    loop {
        let first = match left.take() {
            Some(first) => first,
            None => match waiting.recv().await {
                Some(first) => first,
                None => return,
            },
        };
        // The semaphore is never closed.
        let Ok(flight) = core.batches.flights.clone().acquire_owned().await else { return };
        let mut bytes = first.command.len();
        let mut batch = vec![first];
        while batch.len() < BATCH_COMMANDS_MAX
            && let Ok(next) = waiting.try_recv()
        {
            bytes += next.command.len();
            if bytes > BATCH_BYTES_MAX {
                left = Some(next);
                break;
            }
            batch.push(next);
        }
        send(&core, batch, flight).await;
    }
}

async fn send<M: Machine>(core: &Arc<HostCore<M>>, mut batch: Vec<Waiting>, flight: OwnedSemaphorePermit) {
    // Whoever gave up before their command left is spared its execution.
    batch.retain(|waiting| !waiting.answer.is_closed());
    let leadership = *core.leadership.borrow();
    // A fence that another reign has passed.
    for fenced in batch.extract_if(.., |waiting| waiting.term.is_some_and(|term| term != leadership.term)) {
        let _ = fenced.answer.send(Err(ProposeError::NotLeader { leader: leadership.leader }));
    }
    let (kind, data) = match batch.as_slice() {
        [] => return,
        [alone] => (CommandKind::App, Ok(alone.command.clone())),
        several => (CommandKind::AppBatch, codec::encode_batch(several.iter().map(|waiting| &waiting.command))),
    };
    let writing = match data {
        Ok(data) => core.start_write(kind, data, Some(leadership.term)).await,
        Err(_) => Err(ProposeError::TooLarge { bytes: usize::MAX, limit: BATCH_BYTES_MAX }),
    };
    match writing {
        Ok(writing) => {
            let core = core.clone();
            tokio::spawn(async move {
                let written = writing.outcome().await;
                drop(flight);
                answer(&core, batch, written);
            });
        }
        Err(error) => refuse(batch, &error),
    }
}

fn answer<M: Machine>(core: &HostCore<M>, batch: Vec<Waiting>, written: Result<Written, ProposeError>) {
    let (index, term, replies) = match written {
        Ok(Written { index, term, outcome: Outcome::Reply(reply) }) => (index, term, vec![reply]),
        Ok(Written { index, term, outcome: Outcome::Replies(replies) }) => (index, term, replies),
        Ok(Written { outcome: Outcome::Fenced | Outcome::Empty, .. }) => {
            return refuse(batch, &ProposeError::NotLeader { leader: None });
        }
        Err(error) => return refuse(batch, &error),
    };
    let mut replies = replies.into_iter();
    for waiting in batch {
        match replies.next() {
            // A caller that no longer waits needs no answer.
            Some(reply) => drop(waiting.answer.send(Ok(Applied { index, term, reply }))),
            // Those before it wrote as much as one entry may.
            None => core.batches.put(waiting),
        }
    }
}

fn refuse(batch: Vec<Waiting>, error: &ProposeError) {
    for waiting in batch {
        let _ = waiting.answer.send(Err(error.clone()));
    }
}
