//! The peer's end of a connection: hands requests to Raft as they come and answers in their order.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::{BoxFuture, MaybeDone, maybe_done};
use openraft::raft::{AppendEntriesResponse, StreamAppendError};
use tokio::task::unconstrained;

use super::{Answer, Request, request};
use crate::codec;
use crate::host::HostCore;
use crate::machine::Machine;
use crate::network::arrivals::Arrival;
use crate::network::frames::Frames;
use crate::network::greeting::{GREETING_BYTES_MAX, be_greeted};
use crate::network::service::admit;

/// A connection that has begun must be greeted in this time.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);
/// Requests of one connection that Raft has and did not answer; no more are read.
const REQUESTS_MAX: usize = 64;
/// Answers that a leader does not read; with so many bytes of them, no more requests are read.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Serves one connection of frames until it ends.
pub type AppendService = Arc<dyn Fn(Arrival) -> BoxFuture<'static, ()> + Send + Sync>;

/// Serves the leaders that append to `host`.
pub fn append_service<M: Machine>(host: Arc<HostCore<M>>) -> AppendService {
    Arc::new(move |arrival| {
        let host = host.clone();
        Box::pin(async move {
            match serve(host, arrival).await {
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    tracing::warn!(%error, "what a peer sent cannot be read; its connection ends");
                }
                Err(error) => tracing::debug!(%error, "the connection of a leader broke"),
                Ok(()) => {}
            }
        })
    })
}

async fn serve<M: Machine>(host: Arc<HostCore<M>>, arrival: Arrival) -> io::Result<()> {
    let mut frames = arrival.frames(GREETING_BYTES_MAX);
    let greeted = be_greeted(&mut frames, |claims| admit(&host, claims, true).map(|_| ()));
    if tokio::time::timeout(GREETING_TIMEOUT, greeted).await?? {
        answer(frames, |request| append(host.clone(), request)).await?;
    }
    Ok(())
}

async fn append<M: Machine>(host: Arc<HostCore<M>>, request: Request) -> Answer {
    let prev = request.prev_log_id;
    let last = request.entries.last().map(|entry| entry.log_id).or(prev);
    match host.raft.append_entries(request).await {
        Ok(AppendEntriesResponse::Success) => Ok(Ok(last)),
        Ok(AppendEntriesResponse::PartialSuccess(matching)) => Ok(Ok(matching)),
        Ok(AppendEntriesResponse::HigherVote(vote)) => Ok(Err(StreamAppendError::HigherVote(vote))),
        Ok(AppendEntriesResponse::Conflict) => match prev {
            Some(prev) => Ok(Err(StreamAppendError::Conflict(prev))),
            None => Err("the beginning of the log is in conflict".to_owned()),
        },
        Err(fatal) => Err(fatal.to_string()),
    }
}

/// Answers requests by `append` until the other side ends the connection. An error is a connection that broke or holds
/// something that is no request.
pub async fn answer<F>(frames: Frames, append: impl Fn(Request) -> F) -> io::Result<()>
where
    F: Future<Output = Answer>,
{
    let mut serving = Serving { frames, append, asked: VecDeque::new() };
    poll_fn(|context| serving.poll(context)).await
}

type Asked<F> = Pin<Box<MaybeDone<tokio::task::Unconstrained<F>>>>;

struct Serving<A, F: Future> {
    frames: Frames,
    append: A,
    /// What Raft was asked, in order.
    asked: VecDeque<Asked<F>>,
}

impl<A: Fn(Request) -> F, F: Future<Output = Answer>> Serving<A, F> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            self.put_answers(context)?;
            let sent = self.frames.unsent() == 0 || self.frames.poll_send(context)?.is_ready();
            if self.asked.len() >= REQUESTS_MAX || self.frames.unsent() >= ANSWER_BYTES_MAX {
                // Raft or the leader goes on.
                if !sent || !self.next_is_answered(context) {
                    return Poll::Pending;
                }
                continue;
            }
            let Some(frame) = ready!(self.frames.poll_frame(context))? else { return Poll::Ready(Ok(())) };
            // Raft's queue gets a request when its future is first polled, so in order while the queue has room (65,536
            // messages; beyond that Raft may see a conflict, and is sent it again). Unconstrained: with tokio's budget
            // used up it would do nothing yet, and the next request could overtake it.
            let mut asking = Box::pin(maybe_done(unconstrained((self.append)(request(frame)?))));
            let _ = asking.as_mut().poll(context);
            self.asked.push_back(asking);
        }
    }

    fn next_is_answered(&mut self, context: &mut Context<'_>) -> bool {
        self.asked.front_mut().is_some_and(|asked| asked.as_mut().poll(context).is_ready())
    }

    /// Puts what Raft has answered, in order, as long as the leader reads.
    fn put_answers(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        while self.frames.unsent() < ANSWER_BYTES_MAX && self.next_is_answered(context) {
            let answer = self.asked.pop_front().and_then(|mut asked| asked.as_mut().take_output());
            let Some(answer) = answer else { continue };
            self.frames.put(|out| codec::encode_into(&answer, out))?;
        }
        Ok(())
    }
}
