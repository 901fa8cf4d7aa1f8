//! A worker node's session: a task that registers the node, keeps it alive and reports its load through whichever node
//! of Roost answers. It asks the leader that it was last told of first, repeats a registration under the same request
//! id until it is answered, and registers anew, under a new server id, once the node was declared dead.
//!
//! ```text
//! Joining ── registered ──> Live ── silent for the TTL ──> Lost ── answered again ──> Live
//!    ^                        └──────── declared dead ───────┴──> Joining (whatever it held is others')
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::coordinators::{ANSWER_WAIT, Client, Coordinators, Finder, is_final};
use super::{Error, PAUSE_MAX, PAUSE_MIN};
use crate::forward::LEADER_KEY;
use crate::pb::session::{
    DrainRequest, KeepAliveRequest, KeepAliveResponse, LeaveRequest, LoadReport, RegisterRequest, Resources, Role,
};

/// Keep-alives in one TTL: two may be lost.
const KEEP_ALIVES_PER_TTL: u32 = 3;
/// Attempts that a TTL has time for once a node does not answer: a keep-alive goes out at its third, then each of three
/// nodes has its turn.
const ATTEMPTS_PER_TTL: u32 = 5;
const ANSWER_WAIT_LEAST: Duration = Duration::from_millis(500);
/// Keep-alives on one stream that wait to be sent: a stream that does not take one is given up.
const STREAM_QUEUE: usize = 4;

/// What a node says of itself.
#[derive(Clone, Debug, Default)]
pub struct Registration {
    pub role: Role,
    /// `host:port` where it is reached.
    pub address: String,
    /// Of Milvus.
    pub version: String,
    pub hostname: String,
    pub labels: BTreeMap<String, String>,
    pub capacity: Option<Resources>,
    /// Seconds, 2 to 3600; 0: the default of 10.
    pub ttl_s: u32,
}

/// A registration that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    pub server_id: i64,
    pub lease_id: i64,
    pub ttl: Duration,
}

/// What the node knows of its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has no session: whatever it held under an earlier one belongs to others.
    Joining {
        /// Why the last attempt was refused.
        refused: Option<String>,
    },
    Live(Membership),
    /// Nobody answered for the whole TTL: it may have been declared dead.
    Lost(Membership),
    /// It left, or its handle is gone.
    Left,
}

/// The node's handle on its session. When it is dropped nothing is said any more, and the session runs out.
pub struct WorkerSession {
    coordinators: Coordinators,
    standing: watch::Receiver<Standing>,
    load: watch::Sender<Option<LoadReport>>,
    paused: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl WorkerSession {
    /// Begins to register; must be called within a runtime.
    pub fn start(coordinators: &Coordinators, registration: Registration) -> Self {
        let (standing, seen) = watch::channel(Standing::Joining { refused: None });
        let (load, loads) = watch::channel(None);
        let (paused, pauses) = watch::channel(false);
        let task = Task { finder: coordinators.finder(), registration, standing, loads, pauses };
        let task = tokio::spawn(task.run());
        WorkerSession { coordinators: coordinators.clone(), standing: seen, load, paused, task }
    }

    pub fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Tells of each change; a slow listener misses those in between.
    pub fn watch(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Waits until the node has a session.
    pub async fn live(&self, within: Duration) -> Result<Membership, Error> {
        let mut standing = self.standing.clone();
        let live = standing.wait_for(|standing| matches!(standing, Standing::Live(_)));
        match tokio::time::timeout(within, live).await {
            Ok(Ok(standing)) => match &*standing {
                Standing::Live(membership) => Ok(*membership),
                _ => Err(Error::Ended),
            },
            Ok(Err(_)) => Err(Error::Ended),
            Err(_) => match self.standing() {
                Standing::Joining { refused: Some(why) } => Err(Error::Refused(why)),
                _ => Err(Error::TimedOut),
            },
        }
    }

    /// Goes with the next keep-alives.
    pub fn report(&self, load: LoadReport) {
        self.load.send_replace(Some(load));
    }

    /// Says nothing for a while, as a process that hangs: for simulations.
    pub fn pause(&self, paused: bool) {
        self.paused.send_replace(paused);
    }

    /// Asks that everything be taken from this node, before it leaves.
    pub async fn drain(&self, within: Duration) -> Result<(), Error> {
        let (Standing::Live(membership) | Standing::Lost(membership)) = self.standing() else {
            return Err(Error::Refused("the node has no session".into()));
        };
        let request = DrainRequest { server_id: membership.server_id, draining: true };
        self.until_done(within, |mut client| async move { client.drain(request).await.map(drop) }).await
    }

    /// Ends the session at once.
    pub async fn leave(self, within: Duration) -> Result<(), Error> {
        self.task.abort();
        let (Standing::Live(membership) | Standing::Lost(membership)) = self.standing() else { return Ok(()) };
        let request = LeaveRequest { server_id: membership.server_id };
        self.until_done(within, |mut client| async move { client.leave(request).await.map(drop) }).await
    }

    /// Repeats what may be repeated until some node has done it.
    async fn until_done<F>(&self, within: Duration, call: impl Fn(Client) -> F) -> Result<(), Error>
    where
        F: Future<Output = Result<(), Status>>,
    {
        let mut finder = self.coordinators.finder();
        let done = async {
            let mut pause = PAUSE_MIN;
            loop {
                match finder.ask(&call).await {
                    Ok(()) => return Ok(()),
                    Err(status) if is_final(&status) => return Err(Error::Refused(status.message().to_owned())),
                    Err(_) => {}
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        };
        tokio::time::timeout(within, done).await.map_err(|_| Error::TimedOut)?
    }
}

impl Drop for WorkerSession {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Why keep-alives ended.
enum Ended {
    Dead,
    /// The handle is gone.
    Abandoned,
}

struct Task {
    finder: Finder,
    registration: Registration,
    standing: watch::Sender<Standing>,
    loads: watch::Receiver<Option<LoadReport>>,
    pauses: watch::Receiver<bool>,
}

/// One stream of keep-alives.
struct Stream {
    requests: mpsc::Sender<KeepAliveRequest>,
    answers: Streaming<KeepAliveResponse>,
}

impl Task {
    async fn run(mut self) {
        loop {
            let membership = self.register().await;
            tracing::info!(server = membership.server_id, "registered as a worker node");
            self.standing.send_replace(Standing::Live(membership));
            match self.keep_alive(membership).await {
                Ended::Dead => {
                    tracing::warn!(server = membership.server_id, "declared dead; registering anew");
                    self.standing.send_replace(Standing::Joining { refused: None });
                }
                Ended::Abandoned => break,
            }
        }
        self.standing.send_replace(Standing::Left);
    }

    /// Registers, however long it takes, under one request id.
    async fn register(&mut self) -> Membership {
        let request_id = rand::random::<[u8; 16]>().to_vec();
        let mut pause = PAUSE_MIN;
        loop {
            let asked_at = Instant::now();
            match self.try_register(request_id.clone()).await {
                Ok(membership) if asked_at.elapsed() < membership.ttl => return membership,
                // It may have run out while it was on its way; asked again, the answer tells.
                Ok(_) => {}
                Err(status) => {
                    tracing::debug!(%status, "not registered yet");
                    let refused = is_final(&status).then(|| status.message().to_owned());
                    self.stand(Standing::Joining { refused });
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn try_register(&mut self, request_id: Vec<u8>) -> Result<Membership, Status> {
        let Registration { role, address, version, hostname, labels, capacity, ttl_s } = self.registration.clone();
        let role = role.into();
        let request = RegisterRequest { request_id, role, address, version, hostname, labels, capacity, ttl_s };
        let response = self.finder.ask(|mut client| async move { client.register(request).await }).await?;
        let leader = response.metadata().get(LEADER_KEY).and_then(|value| value.to_str().ok());
        if let Some(leader) = leader {
            self.finder.answered(leader);
        }
        let answer = response.into_inner();
        let ttl = Duration::from_secs(answer.ttl_s.into());
        Ok(Membership { server_id: answer.server_id, lease_id: answer.lease_id, ttl })
    }

    /// Renews the session until it is over.
    async fn keep_alive(&mut self, membership: Membership) -> Ended {
        let every = membership.ttl / KEEP_ALIVES_PER_TTL;
        let mut renewed_at = Instant::now();
        let (mut stream, mut pause) = (None, PAUSE_MIN);
        loop {
            if self.resumed().await.is_err() {
                return Ended::Abandoned;
            }
            let asked_at = Instant::now();
            match self.renew(&mut stream, membership).await {
                Ok(true) => {
                    (renewed_at, pause) = (asked_at, PAUSE_MIN);
                    self.stand(Standing::Live(membership));
                    tokio::select! {
                        () = tokio::time::sleep_until(asked_at + every) => {}
                        // A new load is worth an early one, though not at once.
                        changed = self.loads.changed() => {
                            if changed.is_err() {
                                return Ended::Abandoned;
                            }
                            tokio::time::sleep_until((asked_at + every).min(Instant::now() + PAUSE_MAX)).await;
                        }
                    }
                }
                Ok(false) => return Ended::Dead,
                Err(status) => {
                    tracing::debug!(server = membership.server_id, %status, "a keep-alive was not answered");
                    stream = None;
                    if renewed_at.elapsed() >= membership.ttl {
                        self.stand(Standing::Lost(membership));
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// Waits as long as the session is paused.
    async fn resumed(&mut self) -> Result<(), watch::error::RecvError> {
        self.pauses.wait_for(|paused| !paused).await.map(drop)
    }

    fn stand(&self, now: Standing) {
        self.standing.send_if_modified(|standing| {
            let changed = *standing != now;
            *standing = now;
            changed
        });
    }

    /// One keep-alive, on the stream that there is or on a new one. Whether the node lives.
    async fn renew(&mut self, stream: &mut Option<Stream>, membership: Membership) -> Result<bool, Status> {
        let wait = (membership.ttl / ATTEMPTS_PER_TTL).clamp(ANSWER_WAIT_LEAST, ANSWER_WAIT);
        let late = |_| Status::deadline_exceeded("no answer in time");
        let renewing = async {
            let stream = match stream {
                Some(stream) => stream,
                None => stream.insert(self.open().await?),
            };
            let Membership { server_id, lease_id, .. } = membership;
            let load = *self.loads.borrow_and_update();
            let gone = |_| Status::unavailable("the stream is closed");
            stream.requests.send(KeepAliveRequest { server_id, lease_id, load }).await.map_err(gone)?;
            let answer = stream.answers.message().await?;
            Ok(answer.ok_or_else(|| Status::unavailable("the stream has ended"))?.alive)
        };
        tokio::time::timeout(wait, renewing).await.map_err(late)?
    }

    async fn open(&mut self) -> Result<Stream, Status> {
        let endpoint = self.finder.endpoint()?;
        let mut client = self.finder.client(&endpoint)?;
        let (requests, sent) = mpsc::channel(STREAM_QUEUE);
        let answers = client.keep_alive(ReceiverStream::new(sent)).await?.into_inner();
        self.finder.answered(&endpoint);
        Ok(Stream { requests, answers })
    }
}
