//! What waits to be sent on a stream. Whatever came since the stream last asked leaves as one message, so that a lone
//! item is not delayed and a crowd shares its frame, its wake-up and its system call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures::Stream;
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::Notify;

use crate::limits;

/// Items by their ids, which grow. Whoever pushes bounds how many there are.
pub(super) struct Batcher<T> {
    state: Mutex<State<T>>,
    taken: Notify,
}

struct State<T> {
    items: BTreeMap<u64, (usize, T)>,
    bytes: usize,
    sender: Option<Waker>,
    closed: bool,
}

impl<T: Message + 'static> Batcher<T> {
    pub fn new() -> Arc<Self> {
        let state = State { items: BTreeMap::new(), bytes: 0, sender: None, closed: false };
        Arc::new(Batcher { state: Mutex::new(state), taken: Notify::new() })
    }

    /// Adds items; a closed batcher drops them.
    pub fn push(&self, items: impl IntoIterator<Item = (u64, T)>) {
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        for (id, item) in items {
            let bytes = item.encoded_len();
            state.bytes += bytes;
            if let Some((replaced, _)) = state.items.insert(id, (bytes, item)) {
                state.bytes -= replaced;
            }
        }
        let sender = state.sender.take();
        drop(state);
        if let Some(sender) = sender {
            sender.wake();
        }
    }

    /// Takes an item back. False if it has left.
    pub fn remove(&self, id: u64) -> bool {
        let mut state = self.state.lock();
        let removed = state.items.remove(&id);
        if let Some((bytes, _)) = &removed {
            state.bytes -= bytes;
        }
        removed.is_some()
    }

    /// Ends the stream; what still waits is dropped.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.items.clear();
        state.bytes = 0;
        if let Some(sender) = state.sender.take() {
            sender.wake();
        }
    }

    /// How many items wait, and their bytes.
    pub fn waiting(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.items.len(), state.bytes)
    }

    /// Waits until a message was taken, which may have been before this call.
    pub async fn taken(&self) {
        self.taken.notified().await;
    }

    /// The messages, until [`Batcher::close`].
    pub fn messages(self: &Arc<Self>) -> impl Stream<Item = Vec<T>> + Send + use<T> {
        let batcher = self.clone();
        futures::stream::poll_fn(move |context| batcher.poll_take(context))
    }

    fn poll_take(&self, context: &mut Context<'_>) -> Poll<Option<Vec<T>>> {
        let mut state = self.state.lock();
        if state.closed {
            return Poll::Ready(None);
        }
        if state.items.is_empty() {
            state.sender = Some(context.waker().clone());
            return Poll::Pending;
        }
        let mut batch = Vec::with_capacity(state.items.len().min(limits::RELAY_BATCH_MAX));
        let mut bytes = 0;
        while batch.len() < limits::RELAY_BATCH_MAX && bytes < limits::RELAY_BATCH_BYTES {
            let Some((_, (size, item))) = state.items.pop_first() else { break };
            bytes += size;
            batch.push(item);
        }
        state.bytes -= bytes;
        drop(state);
        self.taken.notify_one();
        Poll::Ready(Some(batch))
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, StreamExt};

    use super::*;
    use crate::pb::relay::{Answer, answer};

    fn answer_of(id: u64, bytes: usize) -> (u64, Answer) {
        (id, Answer { id, is: Some(answer::Is::Reply(vec![0; bytes].into())) })
    }

    #[tokio::test]
    async fn what_waits_leaves_together_within_the_limits() {
        let batcher = Batcher::new();
        let mut messages = Box::pin(batcher.messages());
        assert!(messages.next().now_or_never().is_none());
        batcher.push([answer_of(1, 10)]);
        assert_eq!(messages.next().await.unwrap().len(), 1);
        batcher.push((2..10).map(|id| answer_of(id, 10)));
        assert!(batcher.remove(5) && !batcher.remove(1));
        let ids: Vec<u64> = messages.next().await.unwrap().iter().map(|answer| answer.id).collect();
        assert_eq!(ids, [2, 3, 4, 6, 7, 8, 9]);
        assert_eq!(batcher.waiting(), (0, 0));
        batcher.push((0..3).map(|id| answer_of(id, limits::RELAY_BATCH_BYTES * 2 / 3)));
        assert_eq!(messages.next().await.unwrap().len(), 2, "the second one reaches the limit");
        assert_eq!(messages.next().await.unwrap().len(), 1);
        let many = limits::RELAY_BATCH_MAX as u64 + 1;
        batcher.push((0..many).map(|id| answer_of(id, 0)));
        assert_eq!(messages.next().await.unwrap().len(), limits::RELAY_BATCH_MAX);
        batcher.close();
        assert!(messages.next().await.is_none());
        batcher.push([answer_of(1, 10)]);
        assert_eq!(batcher.waiting(), (0, 0));
    }
}
