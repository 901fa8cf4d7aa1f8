//! What Rust programs use of Roost: timestamps here, a worker node's session in `worker`.
//!
//! Timestamps: any number of callers share one stream, their requests are merged while the last ones are on their way,
//! and a lost node or a change of leader is waited out. The stream is opened to the leader itself when the first node
//! names it, so no node stands in between.

mod coordinators;
#[cfg(test)]
mod tests;
mod worker;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::forward::{LEADER_KEY, Peers};
use crate::limits;
use crate::pb::tso::timestamp_client::TimestampClient;
use crate::pb::tso::{AllocateRequest, AllocateResponse};
pub use coordinators::Coordinators;
pub use worker::{Death, Membership, Registration, Standing, WorkerSession};

/// Callers that may wait; more wait for a place in the queue.
const QUEUE: usize = 4096;
/// Requests on their way at once: few, so that callers are merged, and more than one, so that the link is not idle.
const PIPELINE: usize = 2;
/// A stream that does not answer for so long is given up.
const STALL: Duration = Duration::from_secs(2);
/// Pause after no node could be used; doubles up to the second.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Why there is no timestamp.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The oracle says no, e.g. to a count of 0.
    #[error("{0}")]
    Refused(String),
    #[error("no node answered in time")]
    TimedOut,
    #[error("the client has ended")]
    Ended,
}

/// A handle that many tasks share; the stream ends with the last one.
#[derive(Clone)]
pub struct Timestamps {
    queue: mpsc::Sender<Ask>,
}

struct Ask {
    count: u32,
    reply: oneshot::Sender<Result<u64, Error>>,
}

impl Timestamps {
    /// `endpoints` are internal listeners (`host:port`) of some nodes, at best of all. Connects when first asked;
    /// must be called within a runtime.
    pub fn new(endpoints: Vec<String>, secret: Option<&str>) -> Self {
        let (queue, asks) = mpsc::channel(QUEUE);
        let link = Link { endpoints, next: 0, peers: Arc::new(Peers::new(secret)) };
        tokio::spawn(run(link, asks));
        Timestamps { queue }
    }

    /// Allocates `count` consecutive timestamps, 1 to 262,144, and returns the first.
    pub async fn allocate(&self, count: u32, within: Duration) -> Result<u64, Error> {
        // Checked here as well, because a bad count would spoil the request that it is merged into.
        if count == 0 || count > limits::TIMESTAMPS_PER_REQUEST_MAX {
            return Err(Error::Refused(format!("cannot allocate {count} timestamps")));
        }
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.queue.send(Ask { count, reply }).await.map_err(|_| Error::Ended)?;
            answer.await.map_err(|_| Error::Ended)?
        };
        tokio::time::timeout(within, asked).await.map_err(|_| Error::TimedOut)?
    }
}

/// Serves the queue until its last handle is gone.
async fn run(mut link: Link, mut asks: mpsc::Receiver<Ask>) {
    let (mut waiting, mut pause) = (Vec::new(), PAUSE_MIN);
    loop {
        waiting.retain(|ask: &Ask| !ask.reply.is_closed());
        if waiting.is_empty() && asks.recv_many(&mut waiting, QUEUE).await == 0 {
            return;
        }
        match link.open().await {
            Ok((requests, answers)) => {
                let mut session = Session { requests, answers, last_id: 0, sent: HashMap::new() };
                if session.serve(&mut asks, &mut waiting).await {
                    pause = PAUSE_MIN;
                }
                // What was asked and not answered is asked again: an unanswered range is only a gap.
                waiting.extend(session.sent.into_values().flatten());
            }
            Err(error) => tracing::debug!(%error, "no stream of timestamps"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

type Stream = (mpsc::Sender<AllocateRequest>, Streaming<AllocateResponse>);

struct Link {
    endpoints: Vec<String>,
    next: usize,
    peers: Arc<Peers>,
}

impl Link {
    /// Opens a stream to the leader, or through a node that knows no better one.
    async fn open(&mut self) -> Result<Stream, tonic::Status> {
        let none = || tonic::Status::invalid_argument("no endpoints");
        let asked = self.endpoints.get(self.next % self.endpoints.len().max(1)).ok_or_else(none)?.clone();
        self.next = self.next.wrapping_add(1);
        let (through, leader) = self.open_to(&asked).await?;
        match leader.filter(|leader| *leader != asked) {
            None => Ok(through),
            Some(leader) => match self.open_to(&leader).await {
                Ok((direct, _)) => Ok(direct),
                // Reachable for that node, and not from here.
                Err(_) => Ok(through),
            },
        }
    }

    async fn open_to(&self, endpoint: &str) -> Result<(Stream, Option<String>), tonic::Status> {
        let invalid = |error: tonic::transport::Error| tonic::Status::invalid_argument(error.to_string());
        let channel = self.peers.channel(endpoint).map_err(invalid)?;
        let mut client = TimestampClient::new(self.peers.authenticated(channel));
        let (requests, sent) = mpsc::channel(PIPELINE);
        let opening = client.allocate(ReceiverStream::new(sent));
        let late = |_| tonic::Status::deadline_exceeded("no answer in time");
        let response = tokio::time::timeout(STALL, opening).await.map_err(late)??;
        let leader = response.metadata().get(LEADER_KEY).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok(((requests, response.into_inner()), leader))
    }
}

struct Session {
    requests: mpsc::Sender<AllocateRequest>,
    answers: Streaming<AllocateResponse>,
    last_id: u64,
    /// Who shares the range of each request that is on its way.
    sent: HashMap<u64, Vec<Ask>>,
}

impl Session {
    /// Returns when the stream is of no more use; whether it was of any.
    async fn serve(&mut self, asks: &mut mpsc::Receiver<Ask>, waiting: &mut Vec<Ask>) -> bool {
        let mut useful = false;
        loop {
            while !waiting.is_empty() && self.sent.len() < PIPELINE {
                if !self.send(waiting).await {
                    return useful;
                }
            }
            let idle = self.sent.is_empty();
            tokio::select! {
                received = asks.recv_many(waiting, QUEUE), if waiting.is_empty() => {
                    // Nobody waits for what is on its way either: whoever calls has a handle.
                    if received == 0 {
                        return useful;
                    }
                }
                answer = tokio::time::timeout(STALL, self.answers.message()), if !idle => match answer {
                    Ok(Ok(Some(answer))) => {
                        useful = true;
                        self.hand_out(answer);
                    }
                    Ok(Ok(None) | Err(_)) | Err(_) => return useful,
                },
            }
        }
    }

    /// Merges as many callers as one request may serve.
    async fn send(&mut self, waiting: &mut Vec<Ask>) -> bool {
        let (mut total, mut served) = (0u32, 0);
        for ask in waiting.iter() {
            let sum = total.saturating_add(ask.count);
            if sum > limits::TIMESTAMPS_PER_REQUEST_MAX {
                break;
            }
            (total, served) = (sum, served + 1);
        }
        self.last_id += 1;
        let id = self.last_id;
        self.sent.insert(id, waiting.drain(..served).collect());
        self.requests.send(AllocateRequest { id, count: total }).await.is_ok()
    }

    fn hand_out(&mut self, answer: AllocateResponse) {
        let mut first = answer.first;
        for ask in self.sent.remove(&answer.id).unwrap_or_default() {
            let given = if answer.error.is_empty() { Ok(first) } else { Err(Error::Refused(answer.error.clone())) };
            first += u64::from(ask.count);
            // A caller that went away leaves a gap.
            let _ = ask.reply.send(given);
        }
    }
}
