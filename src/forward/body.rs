//! Reading bodies within the node's budget of bytes, so that no number of callers can fill its memory, and bodies that
//! hold something until they were sent.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::{Response, response};
use http_body_util::{BodyExt, Collected, Full, Limited};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tonic::Status;
use tonic::body::Body;

use super::retry;
use crate::limits;

/// Compression flag and length of a gRPC message.
const FRAME_HEADER: usize = 5;

/// A request that was read to its end, and its share of the budget.
pub(super) struct Kept<'a> {
    pub(super) bytes: Bytes,
    _room: SemaphorePermit<'a>,
}

/// Why a body was not read to its end.
#[derive(Debug)]
pub(super) enum Unread {
    /// The budget is used up.
    NoRoom,
    Refused(Status),
}

/// Reads a request to its end. What has come takes its share of `budget` before the next piece is read.
pub(super) async fn keep(mut body: Body, budget: &Semaphore) -> Result<Kept<'_>, Unread> {
    let mut bytes = BytesMut::new();
    let mut room = share(budget, 0)?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Unread::Refused(Status::invalid_argument("the request's body broke off")))?;
        // Trailers of a request mean nothing in gRPC.
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > limits::MESSAGE_BYTES_MAX + FRAME_HEADER {
            let refusal = format!("the request is larger than {} bytes", limits::MESSAGE_BYTES_MAX);
            return Err(Unread::Refused(Status::resource_exhausted(refusal)));
        }
        room.merge(share(budget, data.len())?);
        // Copied, because a small piece may pin the whole buffer that its connection was read into.
        bytes.extend_from_slice(&data);
    }
    Ok(Kept { bytes: bytes.freeze(), _room: room })
}

fn share(budget: &Semaphore, bytes: usize) -> Result<SemaphorePermit<'_>, Unread> {
    budget.try_acquire_many(u32::try_from(bytes).unwrap_or(u32::MAX)).map_err(|_| Unread::NoRoom)
}

/// Reads the reply to its end, so that one that breaks off can be asked for again instead of reaching the client.
pub(super) async fn whole(response: Response<Body>) -> Result<Response<Body>, ()> {
    let (mut parts, collected) = collect(response).await?;
    if let Some(mark) = collected.trailers().and_then(|trailers| trailers.get(retry::MARK)) {
        parts.headers.insert(retry::MARK, mark.clone());
    }
    Ok(Response::from_parts(parts, Body::new(collected)))
}

async fn collect(response: Response<Body>) -> Result<(response::Parts, Collected<Bytes>), ()> {
    let (parts, body) = response.into_parts();
    let collected = Limited::new(body, limits::REPLY_BYTES_MAX + FRAME_HEADER).collect().await.map_err(|_| ())?;
    Ok((parts, collected))
}

/// Makes a large reply whole and counts it until it was sent: its reader may be slow for as long as it likes.
pub(super) async fn counted(response: Response<Body>, budget: &Arc<Semaphore>) -> Result<Response<Body>, Unread> {
    let too_large = |()| Unread::Refused(Status::internal("the reply is too large"));
    let (parts, collected) = collect(response).await.map_err(too_large)?;
    let trailers = collected.trailers().cloned();
    let data = collected.to_bytes();
    let share = budget.clone().try_acquire_many_owned(u32::try_from(data.len()).unwrap_or(u32::MAX));
    let share = share.map_err(|_| Unread::NoRoom)?;
    let body = Full::new(data).with_trailers(std::future::ready(trailers.map(Ok)));
    Ok(Response::from_parts(parts, held(Body::new(body), share)))
}

/// `body`, holding `what` until its last piece was sent or its reader went away.
pub(super) fn held(body: Body, what: impl Send + Unpin + 'static) -> Body {
    Body::new(Held { body, _what: what })
}

/// Extension of a reply: room that is given back once the whole reply was sent.
#[derive(Clone, Debug)]
pub struct HeldRoom {
    _permit: Arc<OwnedSemaphorePermit>,
}

impl HeldRoom {
    pub fn new(permit: OwnedSemaphorePermit) -> Self {
        HeldRoom { _permit: Arc::new(permit) }
    }
}

struct Held<T> {
    body: Body,
    _what: T,
}

impl<T: Unpin> http_body::Body for Held<T> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}
