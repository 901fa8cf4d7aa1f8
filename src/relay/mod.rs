//! From any node to the leader and back: commands of the etcd API, renewals of leases and questions about them.
//!
//! On the leader they are executed at once. Elsewhere they travel on one long-lived stream to the leader's peer
//! listener, many in one message when many wait. A command keeps its request id from attempt to attempt, so it is
//! executed once, and is sent again until an answer is known or its time is up: elections are not seen by callers.
//!
//! ```text
//! submit ──> Relay ──┬── this node leads ──────────────────────> Desk ──> Proposer, Lessor
//!                    └── Link ══ one stream ══> RelayService ──> Desk
//! ```

mod batcher;
mod link;
mod service;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use roost_raft::mutation;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::call::{Call, Requests};
use crate::error::Rejection;
use crate::etcd::lessor::Lessor;
pub use crate::etcd::lessor::{LeaseTime, Renewal};
use crate::failure::Failure;
use crate::forward::Peers;
use crate::limits;
use crate::metrics::Metrics;
use crate::pb::relay::{KeepAlive, question};
use crate::proposer::{Proposer, read_reply};
use crate::replica::{self, Replica};
use crate::session::Loads;
use crate::state::{Command, Reply, codec};
use link::Link;
pub use service::RelayService;
use service::{Desk, within};
use wire::Said;

/// This node's way to the leader, whoever that is.
pub struct Relay {
    desk: Desk,
    peers: Arc<Peers>,
    requests: Arc<Requests>,
    metrics: Arc<Metrics>,
    link: Mutex<Option<Arc<Link>>>,
    questions: Semaphore,
    bytes: Semaphore,
}

/// A question in the form that this node keeps.
#[allow(clippy::large_enum_variant, reason = "it lives in one call's future; a box would be one more allocation a put")]
enum Ask<'a> {
    /// The command, and its encoded form with the room that it takes, once it was needed.
    Propose(Command, Option<(Bytes, SemaphorePermit<'a>)>),
    Renew(i64),
    TimeToLive(i64),
    KeepAlive(KeepAlive),
}

impl Relay {
    pub fn new(
        replica: Arc<dyn Replica>,
        proposer: Arc<Proposer>,
        lessor: Arc<Lessor>,
        loads: Arc<Loads>,
        peers: Arc<Peers>,
        requests: Arc<Requests>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Relay {
            desk: Desk { replica, proposer, lessor, loads },
            peers,
            requests,
            metrics,
            link: Mutex::default(),
            questions: Semaphore::new(limits::RELAY_QUESTIONS_MAX),
            bytes: Semaphore::new(limits::RELAY_BYTES_MAX),
        })
    }

    /// What the peer listener serves.
    pub fn service(&self) -> RelayService {
        RelayService::new(self.desk.clone())
    }

    /// Executes `command` exactly once on behalf of `call`, under a request id of its own. `Again(Unknown)` comes back
    /// only when the time is up and some attempt may have reached the log.
    pub async fn submit(&self, call: &Call, command: Command) -> Result<Reply, Failure> {
        let open = self.requests.begin();
        let call = Call { request: open.id, ..call.clone() };
        match self.ask(&call, Ask::Propose(command, None)).await? {
            Said::Reply(reply) => Ok(reply),
            Said::Lease(_) => Err(confused()),
        }
    }

    /// Renews a lease. The answer holds from a moment at which the leader certainly led.
    pub async fn renew(&self, call: &Call, lease: i64) -> Result<Renewal, Failure> {
        self.renewal(call, Ask::Renew(lease)).await
    }

    /// Renews the session of a worker node and hands its load to the leader. As [`Relay::renew`]; a session that is
    /// over is not found, whatever became of its lease.
    pub async fn keep_alive(&self, call: &Call, asked: KeepAlive) -> Result<Renewal, Failure> {
        self.renewal(call, Ask::KeepAlive(asked)).await
    }

    async fn renewal(&self, call: &Call, ask: Ask<'_>) -> Result<Renewal, Failure> {
        match self.ask(call, ask).await? {
            Said::Lease(Some(time)) => Ok(Renewal::Renewed { ttl_s: time.granted_s }),
            Said::Lease(None) => Ok(Renewal::NotFound),
            Said::Reply(_) => Err(confused()),
        }
    }

    /// What is left of a lease; `None` if there is none.
    pub async fn time_to_live(&self, call: &Call, lease: i64) -> Result<Option<LeaseTime>, Failure> {
        match self.ask(call, Ask::TimeToLive(lease)).await? {
            Said::Lease(time) => Ok(time),
            Said::Reply(_) => Err(confused()),
        }
    }

    /// Asks until there is an answer or the time is up.
    async fn ask(&self, call: &Call, mut ask: Ask<'_>) -> Result<Said<Reply>, Failure> {
        let _room = self.questions.try_acquire().map_err(|_| too_many("questions to the leader"))?;
        let mut leadership = self.desk.replica.leadership();
        let mut maybe_executed = false;
        let mut unsupported = None;
        let mut pause = limits::LEADER_RETRY_MIN;
        loop {
            leadership.mark_unchanged();
            match self.attempt(call, &mut ask).await {
                // A cluster that was founded a moment ago, or is being upgraded, learns it when all members know it.
                Err(Failure::Rejected(refusal @ Rejection::NotSupported { .. })) => unsupported = Some(refusal),
                Err(Failure::Again(replica::Error::Unknown(_))) => maybe_executed = true,
                Err(Failure::Again(_)) => {}
                // An earlier attempt may still take effect, whatever this one was told on its way to the log.
                Err(Failure::Rejected(_)) if maybe_executed => {}
                answered => return answered,
            }
            self.metrics.retried();
            if Instant::now() + pause >= call.deadline {
                return Err(match unsupported {
                    Some(refusal) if !maybe_executed => Failure::Rejected(refusal),
                    _ => too_late(&ask, maybe_executed),
                });
            }
            // A change of leader is worth an attempt at once.
            let _ = tokio::time::timeout(pause, leadership.changed()).await;
            pause = (pause * 2).min(limits::LEADER_RETRY_MAX);
        }
    }

    async fn attempt<'a>(&'a self, call: &Call, ask: &mut Ask<'a>) -> Result<Said<Reply>, Failure> {
        let seen = *self.desk.replica.leadership().borrow();
        let said = if seen.is_self {
            match ask {
                Ask::Propose(command, _) => self.desk.propose(call, command.clone()).await,
                Ask::Renew(lease) => within(call.deadline, self.desk.renew(*lease)).await,
                Ask::TimeToLive(lease) => within(call.deadline, self.desk.time_to_live(*lease)).await,
                Ask::KeepAlive(asked) => within(call.deadline, self.desk.keep_alive(*asked)).await,
            }
        } else {
            let link = seen.leader.and_then(|leader| self.link_to(leader)).ok_or(replica::Error::NotLeader)?;
            let question = wire::question(call.deadline, self.wire_form(call, ask)?);
            self.metrics.forwarded();
            match link.ask(question) {
                Ok(asked) => wire::said(asked.answer(call.deadline).await),
                Err(attempt) => wire::said(Err(attempt)),
            }
        };
        match said? {
            Said::Reply(reply) => Ok(Said::Reply(read_reply(&reply)?)),
            Said::Lease(time) => Ok(Said::Lease(time)),
        }
    }

    fn wire_form<'a>(&'a self, call: &Call, ask: &mut Ask<'a>) -> Result<question::Ask, Failure> {
        let (command, encoded) = match ask {
            Ask::Renew(lease) => return Ok(question::Ask::Renew(*lease)),
            Ask::TimeToLive(lease) => return Ok(question::Ask::TimeToLive(*lease)),
            Ask::KeepAlive(asked) => return Ok(question::Ask::KeepAlive(*asked)),
            Ask::Propose(command, encoded) => (command, encoded),
        };
        if let Some((bytes, _)) = encoded {
            return Ok(wire::propose(call, bytes.clone()));
        }
        let too_large = |error: codec::Error| Rejection::ParameterTooLarge { detail: error.to_string() };
        let bytes = Bytes::from(codec::encode(command).map_err(too_large)?);
        let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let room = self.bytes.try_acquire_many(size).map_err(|_| too_many("bytes on their way to the leader"))?;
        *encoded = Some((bytes.clone(), room));
        Ok(wire::propose(call, bytes))
    }

    /// The stream to `leader`, made when there is none; one that has just broken is given a moment.
    fn link_to(&self, leader: u64) -> Option<Arc<Link>> {
        if leader == self.desk.replica.node_id() {
            return None;
        }
        let mut current = self.link.lock();
        if let Some(link) = current.as_ref().filter(|link| link.leader == leader) {
            match link.broken() {
                None => return Some(link.clone()),
                Some(_) if mutation::active("keep-broken-link") => return None,
                Some(at) if at.elapsed() < limits::LEADER_RETRY_MIN => return None,
                Some(_) => {}
            }
        }
        let member = self.desk.replica.members().into_iter().find(|member| member.id == leader)?;
        let link = Link::start(leader, member.peer, self.desk.replica.clone(), self.peers.clone());
        *current = Some(link.clone());
        Some(link)
    }
}

fn too_many(what: &str) -> Failure {
    Failure::Rejected(Rejection::RateLimited { detail: format!("too many {what}") })
}

fn too_late(ask: &Ask<'_>, maybe_executed: bool) -> Failure {
    let error = match ask {
        Ask::Propose(..) if maybe_executed => {
            replica::Error::Unknown("no answer in time; the request may or may not take effect".into())
        }
        _ => replica::Error::NoQuorum("no leader answered in time; nothing was done".into()),
    };
    Failure::Again(error)
}

/// The leader answered another question than it was asked.
fn confused() -> Failure {
    Failure::Decided(Rejection::Internal { detail: "the leader's answer is of another kind".into() })
}
