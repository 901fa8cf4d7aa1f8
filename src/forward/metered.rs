//! Request bodies that are read by their services, counted in a budget of bytes while they are: what has come of a call
//! until it is answered, and what has come of an unfinished message of a stream.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use tokio::sync::Semaphore;
use tonic::Status;
use tonic::body::Body;

/// Compression flag and length of a gRPC message.
const FRAME_HEADER: usize = 5;

/// What one request holds of a budget, until the last clone is dropped.
pub(super) struct Share {
    budget: Arc<Semaphore>,
    taken: AtomicUsize,
}

impl Share {
    pub(super) fn of(budget: &Arc<Semaphore>) -> Arc<Self> {
        Arc::new(Share { budget: budget.clone(), taken: AtomicUsize::new(0) })
    }

    /// Holds so many bytes from now on. False: there is no room for more.
    fn hold(&self, bytes: usize) -> bool {
        let held = self.taken.load(Ordering::Relaxed);
        match bytes.checked_sub(held) {
            None => self.budget.add_permits(held - bytes),
            Some(0) => return true,
            Some(more) => match u32::try_from(more).ok().and_then(|more| self.budget.try_acquire_many(more).ok()) {
                Some(permit) => permit.forget(),
                None => return false,
            },
        }
        self.taken.store(bytes, Ordering::Relaxed);
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.hold(0);
    }
}

/// Which bytes count.
enum Counting {
    /// All that have come.
    All(usize),
    /// Those of the message that is not complete.
    Unfinished(Framing),
}

/// Where in gRPC's framing a stream is.
#[derive(Default)]
struct Framing {
    header: [u8; FRAME_HEADER],
    had: usize,
    /// What the message lacks, once its header is complete.
    lacks: usize,
    open: usize,
}

impl Framing {
    /// How many bytes of an unfinished message there are after this data.
    fn after(&mut self, mut data: &[u8]) -> usize {
        while let Some((byte, rest)) = data.split_first() {
            if let Some(slot) = self.header.get_mut(self.had) {
                *slot = *byte;
                (self.had, data) = (self.had + 1, rest);
                if self.had == FRAME_HEADER {
                    let [_, length @ ..] = self.header;
                    self.lacks = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                }
            } else {
                let taken = self.lacks.min(data.len());
                data = data.get(taken..).unwrap_or_default();
                self.lacks -= taken;
                self.open += taken;
            }
            if self.had == FRAME_HEADER && self.lacks == 0 {
                *self = Framing::default();
            }
        }
        self.open + self.had
    }
}

/// A body whose bytes are counted as they come. Without room it ends with `refusal`.
pub(super) struct Metered {
    body: Body,
    share: Arc<Share>,
    counting: Counting,
    refusal: fn() -> Status,
}

impl Metered {
    /// Counts until `share` is dropped elsewhere too.
    pub(super) fn call(body: Body, share: &Arc<Share>, refusal: fn() -> Status) -> Body {
        Self::counting(body, share, Counting::All(0), refusal)
    }

    /// Counts each message until it is complete.
    pub(super) fn stream(body: Body, share: &Arc<Share>, refusal: fn() -> Status) -> Body {
        Self::counting(body, share, Counting::Unfinished(Framing::default()), refusal)
    }

    fn counting(body: Body, share: &Arc<Share>, counting: Counting, refusal: fn() -> Status) -> Body {
        Body::new(Metered { body, share: share.clone(), counting, refusal })
    }
}

impl HttpBody for Metered {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            let counts = match &mut self.counting {
                Counting::All(bytes) => {
                    *bytes += data.len();
                    *bytes
                }
                Counting::Unfinished(framing) => framing.after(data),
            };
            if !self.share.hold(counts) {
                return Poll::Ready(Some(Err((self.refusal)())));
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full, StreamBody};

    use super::*;

    fn full() -> Status {
        Status::resource_exhausted("full")
    }

    fn pieces(of: &[&'static [u8]]) -> Body {
        let frames: Vec<_> = of.iter().map(|piece| Ok::<_, Status>(Frame::data(Bytes::from_static(piece)))).collect();
        Body::new(StreamBody::new(futures::stream::iter(frames)))
    }

    #[tokio::test]
    async fn a_call_counts_until_it_is_over_wherever_its_body_has_gone() {
        let budget = Arc::new(Semaphore::new(10));
        let share = Share::of(&budget);
        let read = Metered::call(pieces(&[b"1234", b"567"]), &share, full).collect().await.unwrap();
        assert_eq!((read.to_bytes().len(), budget.available_permits()), (7, 3), "the body is gone, the call is not");
        let second = Share::of(&budget);
        let mut body = Metered::call(pieces(&[b"123", b"4"]), &second, full);
        assert!(body.frame().await.unwrap().is_ok());
        let refused = body.frame().await.unwrap().unwrap_err();
        assert_eq!((refused.message(), budget.available_permits()), ("full", 0));
        drop((body, share));
        assert_eq!(budget.available_permits(), 7);
        drop(second);
        assert_eq!(budget.available_permits(), 10);
    }

    #[tokio::test]
    async fn a_stream_counts_what_is_unfinished() {
        let budget = Arc::new(Semaphore::new(20));
        let share = Share::of(&budget);
        let mut body = Metered::stream(
            pieces(&[
                &[0, 0, 0],
                &[0, 3, 1, 2],
                &[3],
                &[0, 0, 0, 0, 0],
                &[0, 0, 0, 0, 1, 9, 0, 0, 0, 0, 4, 1],
                &[2, 3, 4, 0],
                &[0, 0, 0, 50, 1, 2, 3],
                &[0; 13],
            ]),
            &share,
            full,
        );
        for counted in [3, 7, 0, 0, 6, 1, 8] {
            assert!(body.frame().await.unwrap().is_ok());
            assert_eq!(20 - budget.available_permits(), counted);
        }
        assert_eq!(body.frame().await.unwrap().unwrap_err().message(), "full");
        drop((body, share));
        assert_eq!(budget.available_permits(), 20);
    }

    #[tokio::test]
    async fn what_was_read_is_what_was_sent() {
        let budget = Arc::new(Semaphore::new(20));
        let body = Metered::call(Body::new(Full::new(Bytes::from_static(b"whole"))), &Share::of(&budget), full);
        assert_eq!(body.collect().await.unwrap().to_bytes(), "whole");
        assert_eq!(budget.available_permits(), 20);
    }
}
