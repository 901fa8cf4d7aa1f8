//! Streams that have no end of their own: once the node stops, and nothing more is ready, a reply ends with a status
//! that sends the caller to another node, and a request that is passed on just ends. A listener that stops waits for
//! its open calls, and these would never end.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame};
use tonic::Status;
use tonic::body::Body;

use crate::shutdown::Shutdown;

/// See the module.
pub(super) struct Lasting {
    body: Body,
    stop: BoxFuture<'static, ()>,
    /// None for requests.
    status: Option<fn() -> Status>,
    over: bool,
}

impl Lasting {
    /// A reply, until `stop` is asked for.
    pub(super) fn reply(stop: &Shutdown, body: Body, status: fn() -> Status) -> Body {
        Self::until(stop, body, Some(status))
    }

    /// A request, until `stop` is asked for.
    pub(super) fn request(stop: &Shutdown, body: Body) -> Body {
        Self::until(stop, body, None)
    }

    fn until(stop: &Shutdown, body: Body, status: Option<fn() -> Status>) -> Body {
        let stop = stop.clone();
        let stop = Box::pin(async move {
            stop.requested().await;
        });
        Body::new(Lasting { body, stop, status, over: false })
    }
}

impl HttpBody for Lasting {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.over {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        if self.stop.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.over = true;
        let Some(status) = self.status else { return Poll::Ready(None) };
        let mut trailers = HeaderMap::new();
        status().add_header(&mut trailers)?;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, StreamExt};
    use http_body_util::{BodyExt, StreamBody};

    use super::*;
    use crate::shutdown;

    fn stopped() -> Status {
        Status::unavailable("stopped")
    }

    #[tokio::test]
    async fn what_is_ready_is_sent_before_the_end() {
        let (trigger, stop) = shutdown::channel();
        let ready = [b"a", b"b"].map(|data| Ok::<_, Status>(Frame::data(Bytes::from_static(data))));
        let frames = futures::stream::iter(ready).chain(futures::stream::pending());
        let mut body = Lasting::reply(&stop, Body::new(StreamBody::new(frames)), stopped);
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "a");
        trigger.fire("test");
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "b");
        let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(
            (&trailers["grpc-status"], &trailers["grpc-message"]),
            (&"14".parse().unwrap(), &"stopped".parse().unwrap())
        );
        assert!(body.frame().await.is_none() && body.is_end_stream());
    }

    #[tokio::test]
    async fn one_that_waits_is_woken() {
        let (trigger, stop) = shutdown::channel();
        let never = StreamBody::new(futures::stream::pending::<Result<Frame<Bytes>, Status>>());
        let mut body = Lasting::reply(&stop, Body::new(never), stopped);
        assert!(body.frame().now_or_never().is_none());
        let never = StreamBody::new(futures::stream::pending::<Result<Frame<Bytes>, Status>>());
        let mut request = Lasting::request(&stop, Body::new(never));
        assert!(request.frame().now_or_never().is_none());
        let waiting = tokio::spawn(async move { body.frame().await.unwrap().unwrap().is_trailers() });
        tokio::task::yield_now().await;
        trigger.fire("test");
        assert!(waiting.await.unwrap());
        assert!(request.frame().await.is_none(), "a request has no status");
    }
}
