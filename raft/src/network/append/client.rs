//! The leader's end of a connection.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use futures::future::BoxFuture;
use openraft::errors::{NetworkError, RPCError, Unreachable};
use openraft::raft::StreamAppendResult;
use tokio::time::{Instant, Sleep};

use super::{Answer, Request, put_request};
use crate::codec;
use crate::network::frames::Frames;
use crate::types::TypeConfig;

type Failure = RPCError<TypeConfig>;
type Answered = Result<StreamAppendResult<TypeConfig>, Failure>;
pub type Opening = BoxFuture<'static, Result<Frames, Failure>>;
/// The disk that the cluster knows the peer on, if it does.
type Disk = Option<u64>;

/// The connection to one peer, kept from one stream of requests to the next: a heartbeat is a stream.
#[derive(Default)]
pub enum Line {
    #[default]
    Closed,
    /// Goes on where it was left when its caller gave up.
    Opening(Disk, Opening),
    Open(Open),
}

impl Line {
    /// Opens the line by `connect`, unless it is open. One on which nothing was answered for `no_progress` is not used
    /// again, nor one to a peer that was greeted as another `disk`: it must be asked again whether it is this one.
    pub async fn open(
        &mut self,
        disk: Disk,
        no_progress: Duration,
        connect: impl FnOnce() -> Opening,
    ) -> Result<(), Failure> {
        if let Line::Open(open) = self
            && (open.disk != disk || !poll_fn(|context| Poll::Ready(open.is_usable(context, no_progress))).await)
        {
            *self = Line::Closed;
        }
        if let Line::Closed = self {
            *self = Line::Opening(disk, connect());
        }
        if let Line::Opening(disk, opening) = self {
            let (disk, opened) = (*disk, opening.await);
            *self = Line::Closed;
            *self = Line::Open(Open::new(disk, opened?, no_progress));
        }
        Ok(())
    }
}

/// An open connection.
pub struct Open {
    /// What the cluster knew when the peer was greeted.
    disk: Disk,
    frames: Frames,
    /// Requests without an answer, those of earlier streams included.
    unanswered: u64,
    /// The last answer, or the request after which one is waited for.
    heard: Instant,
    /// Not later than somebody must look whether the peer is silent for too long. Set anew when it is due, not for each
    /// answer.
    alarm: Pin<Box<Sleep>>,
}

impl Open {
    fn new(disk: Disk, frames: Frames, no_progress: Duration) -> Self {
        let (heard, alarm) = (Instant::now(), Box::pin(tokio::time::sleep(no_progress)));
        Open { disk, frames, unanswered: 0, heard, alarm }
    }

    /// Takes in what has arrived since the last stream; an end is noticed here.
    fn is_usable(&mut self, context: &mut Context<'_>, no_progress: Duration) -> bool {
        while let Poll::Ready(answer) = self.frames.poll_frame(context) {
            if self.answered(answer).is_err() {
                return false;
            }
        }
        self.unanswered == 0 || self.heard.elapsed() < no_progress
    }

    /// Counts an answer.
    fn answered(&mut self, frame: io::Result<Option<Bytes>>) -> Result<Answer, Failure> {
        let frame = frame.map_err(broken)?.ok_or_else(|| failure("the peer ended the connection"))?;
        let answer = codec::decode(&frame).map_err(broken)?;
        let unanswered = self.unanswered.checked_sub(1);
        self.unanswered = unanswered.ok_or_else(|| failure("the peer answers what it was not asked"))?;
        self.heard = Instant::now();
        Ok(answer)
    }

    fn put(&mut self, request: &Request) -> Result<(), Failure> {
        put_request(&mut self.frames, request).map_err(broken)?;
        if self.unanswered == 0 {
            self.heard = Instant::now();
        }
        self.unanswered += 1;
        Ok(())
    }

    /// Fails when a request was not answered for `no_progress`, nor any before it meanwhile.
    fn watch(&mut self, context: &mut Context<'_>, no_progress: Duration) -> Result<(), Failure> {
        if self.unanswered == 0 {
            return Ok(());
        }
        while self.alarm.as_mut().poll(context).is_ready() {
            let due = self.heard + no_progress;
            if Instant::now() >= due {
                return Err(failure("the peer took an append and did not answer"));
            }
            self.alarm.as_mut().reset(due);
        }
        Ok(())
    }
}

/// Sends what `requests` gives and yields Raft's answers. It ends with its requests or with the first answer that is no
/// success; the line stays. An error closes the line.
///
/// A request is made when the one before it was answered. openraft takes an answer for all requests up to its log id,
/// also for one that only tells a commit behind the same entry and that the peer has never seen; the time at which
/// *that* one was made would then count for the lease.
pub struct Appending<'l, S> {
    line: &'l mut Line,
    /// `None`: there are no more.
    requests: Option<S>,
    /// Answers to requests of earlier streams, which come before ours.
    stale: u64,
    /// After an answer that is no success.
    finished: bool,
    no_progress: Duration,
}

impl<'l, S: Stream<Item = Request> + Unpin> Appending<'l, S> {
    /// On an open line.
    pub fn new(line: &'l mut Line, requests: S, no_progress: Duration) -> Self {
        let stale = if let Line::Open(open) = line { open.unanswered } else { 0 };
        Appending { line, requests: Some(requests), stale, finished: false, no_progress }
    }

    fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<Option<Answered>> {
        let Line::Open(open) = &mut *self.line else { return Poll::Ready(None) };
        if let Some(answer) = receive(open, context, &mut self.stale)? {
            return Poll::Ready(Some(Ok(answer)));
        }
        send(open, context, &mut self.requests, self.stale)?;
        open.watch(context, self.no_progress)?;
        match self.requests.is_none() && open.unanswered <= self.stale {
            true => Poll::Ready(None),
            false => Poll::Pending,
        }
    }
}

impl<S: Stream<Item = Request> + Unpin> Stream for Appending<'_, S> {
    type Item = Answered;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Answered>> {
        let this = &mut *self;
        if this.finished {
            return Poll::Ready(None);
        }
        let answer = this.poll_answer(context);
        match &answer {
            Poll::Ready(Some(Err(_))) => *this.line = Line::Closed,
            Poll::Ready(Some(Ok(Err(_)))) => this.finished = true,
            _ => {}
        }
        answer
    }
}

/// Takes in the answers that are here. A success answers for all before it, so of several only the last is returned.
fn receive(
    open: &mut Open,
    context: &mut Context<'_>,
    stale: &mut u64,
) -> Result<Option<StreamAppendResult<TypeConfig>>, Failure> {
    let mut last = None;
    while let Poll::Ready(frame) = open.frames.poll_frame(context) {
        if last.is_some() && !matches!(frame, Ok(Some(_))) {
            // It is met again.
            break;
        }
        let answer = open.answered(frame)?.map_err(Unreachable::from_string)?;
        if *stale > 0 {
            *stale -= 1;
            continue;
        }
        let failed = answer.is_err();
        last = Some(answer);
        if failed {
            break;
        }
    }
    Ok(last)
}

/// Makes a request unless one is unanswered, and sends what the connection takes.
fn send<S: Stream<Item = Request> + Unpin>(
    open: &mut Open,
    context: &mut Context<'_>,
    requests: &mut Option<S>,
    stale: u64,
) -> Result<(), Failure> {
    if let Some(more) = requests
        && open.unanswered <= stale
    {
        match Pin::new(more).poll_next(context) {
            Poll::Ready(Some(request)) => open.put(&request)?,
            Poll::Ready(None) => *requests = None,
            Poll::Pending => {}
        }
    }
    match open.frames.poll_send(context) {
        Poll::Ready(sent) => sent.map_err(broken),
        Poll::Pending => Ok(()),
    }
}

fn broken(error: io::Error) -> Failure {
    NetworkError::new(&error).into()
}

fn failure(why: &str) -> Failure {
    NetworkError::from_string(why).into()
}
