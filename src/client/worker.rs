//! A worker node's session: a task that registers the node, keeps it alive and reports its load through whichever node
//! of Roost answers. It asks the leader that it was last told of first, repeats a registration under the same request
//! id until it is answered, and registers anew, under a new server id, once the node was declared dead.
//!
//! ```text
//! Joining ── registered ──> Live ── silent for the TTL ──> Lost ── answered again ──> Live
//!    ^                        └──────── declared dead ───────┴──> Joining (whatever it held is others')
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
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

/// A session that ended though the node did not leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Death {
    pub server_id: i64,
    /// How much of the TTL was left of the last renewal that was answered when the node learned it: nothing, unless the
    /// coordinator errs.
    pub early: Duration,
}

/// The node's handle on its session. When it is dropped nothing is said any more, and the session runs out.
pub struct WorkerSession {
    coordinators: Coordinators,
    standing: watch::Sender<Standing>,
    load: watch::Sender<Option<LoadReport>>,
    paused: watch::Sender<bool>,
    death: Arc<Mutex<Option<Death>>>,
    task: tokio::task::JoinHandle<()>,
}

impl WorkerSession {
    /// Begins to register; must be called within a runtime.
    pub fn start(coordinators: &Coordinators, registration: Registration) -> Self {
        let standing = watch::Sender::new(Standing::Joining { refused: None });
        let (load, loads) = watch::channel(None);
        let (paused, pauses) = watch::channel(false);
        let death = Arc::new(Mutex::new(None));
        let (finder, seen) = (coordinators.finder(), standing.clone());
        let task = Task { finder, registration, standing: seen, loads, pauses, death: death.clone() };
        let task = tokio::spawn(task.run());
        WorkerSession { coordinators: coordinators.clone(), standing, load, paused, death, task }
    }

    pub fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Tells of each change; a slow listener misses those in between.
    pub fn watch(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// The latest death that was not asked for yet.
    pub fn take_death(&self) -> Option<Death> {
        self.death.lock().take()
    }

    /// Waits until the node has a session.
    pub async fn live(&self, within: Duration) -> Result<Membership, Error> {
        let mut standing = self.standing.subscribe();
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

    /// Ends the session at once. A registration that is on its way may still take effect, and runs out then.
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
        self.standing.send_replace(Standing::Left);
    }
}

struct Task {
    finder: Finder,
    registration: Registration,
    standing: watch::Sender<Standing>,
    loads: watch::Receiver<Option<LoadReport>>,
    pauses: watch::Receiver<bool>,
    death: Arc<Mutex<Option<Death>>>,
}

/// One stream of keep-alives.
struct Stream {
    endpoint: String,
    requests: mpsc::Sender<KeepAliveRequest>,
    answers: Streaming<KeepAliveResponse>,
}

impl Task {
    /// Until it is aborted.
    async fn run(mut self) {
        loop {
            let (membership, asked_at) = self.register().await;
            tracing::info!(server = membership.server_id, "registered as a worker node");
            // One that took long to be answered may have run out: the first keep-alive tells.
            let in_time = asked_at.elapsed() < membership.ttl;
            self.stand(if in_time { Standing::Live(membership) } else { Standing::Lost(membership) });
            let renewed_at = self.keep_alive(membership, asked_at).await;
            let early = (renewed_at + membership.ttl).saturating_duration_since(Instant::now());
            tracing::warn!(server = membership.server_id, ?early, "declared dead; registering anew");
            *self.death.lock() = Some(Death { server_id: membership.server_id, early });
            self.stand(Standing::Joining { refused: None });
        }
    }

    /// Registers, however long it takes, under one request id. Since when the session may have been running: an attempt
    /// that was not answered may have begun it.
    async fn register(&mut self) -> (Membership, Instant) {
        let request_id = rand::random::<[u8; 16]>().to_vec();
        let first_asked_at = Instant::now();
        let mut pause = PAUSE_MIN;
        loop {
            let asked_at = Instant::now();
            match self.try_register(request_id.clone()).await {
                Ok(membership) if asked_at.elapsed() < membership.ttl => return (membership, first_asked_at),
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

    /// Renews the session until the node is declared dead. When the last renewal that was answered was asked for.
    async fn keep_alive(&mut self, membership: Membership, mut renewed_at: Instant) -> Instant {
        let every = membership.ttl / KEEP_ALIVES_PER_TTL;
        let (mut stream, mut pause) = (None, PAUSE_MIN);
        loop {
            self.resumed().await;
            let asked_at = Instant::now();
            let lost_at = renewed_at + membership.ttl;
            match self.renew(&mut stream, membership, lost_at).await {
                Ok(true) => {
                    (renewed_at, pause) = (asked_at, PAUSE_MIN);
                    self.stand(Standing::Live(membership));
                    tokio::select! {
                        () = tokio::time::sleep_until(asked_at + every) => {}
                        // A new load is worth an early one, though not at once.
                        // It fails only when the handle is gone, and this task is aborted.
                        _ = self.loads.changed() => {
                            tokio::time::sleep_until((asked_at + every).min(Instant::now() + PAUSE_MAX)).await;
                        }
                    }
                }
                Ok(false) => return renewed_at,
                Err(status) => {
                    tracing::debug!(server = membership.server_id, %status, "a keep-alive was not answered");
                    stream = None;
                    let next = Instant::now() + pause;
                    tokio::time::sleep_until(next.min(lost_at)).await;
                    if Instant::now() >= lost_at {
                        self.stand(Standing::Lost(membership));
                    }
                    tokio::time::sleep_until(next).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// Waits as long as the session is paused.
    async fn resumed(&mut self) {
        // It fails only when the handle is gone, and this task is aborted.
        let _ = self.pauses.wait_for(|paused| !paused).await;
    }

    fn stand(&self, now: Standing) {
        self.standing.send_if_modified(|standing| {
            // A last step of this task may come after the handle went.
            let changed = *standing != Standing::Left && *standing != now;
            if changed {
                *standing = now;
            }
            changed
        });
    }

    /// One keep-alive, on the stream that there is or on a new one. Whether the node lives. The moment at which the
    /// session may be lost is not waited out for an answer.
    async fn renew(
        &mut self,
        stream: &mut Option<Stream>,
        membership: Membership,
        lost_at: Instant,
    ) -> Result<bool, Status> {
        let (now, wait) = (Instant::now(), membership.ttl / ATTEMPTS_PER_TTL);
        let until = now + wait.clamp(ANSWER_WAIT_LEAST, ANSWER_WAIT);
        let until = if now < lost_at { until.min(lost_at) } else { until };
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
            let alive = answer.ok_or_else(|| Status::unavailable("the stream has ended"))?.alive;
            // A node that opens streams and cannot answer on them is not asked again before the others.
            self.finder.answered(&stream.endpoint);
            Ok(alive)
        };
        tokio::time::timeout_at(until, renewing).await.map_err(late)?
    }

    async fn open(&mut self) -> Result<Stream, Status> {
        let endpoint = self.finder.endpoint()?;
        let mut client = self.finder.client(&endpoint)?;
        let (requests, sent) = mpsc::channel(STREAM_QUEUE);
        let answers = client.keep_alive(ReceiverStream::new(sent)).await?.into_inner();
        Ok(Stream { endpoint, requests, answers })
    }
}
