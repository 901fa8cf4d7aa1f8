//! The leader task that opens the window of a reign and keeps extending it: one proposal per half window.

use std::sync::Arc;
use std::time::Duration;

use roost_raft::mutation;
use tokio::time::Instant;

use super::oracle::Oracle;
use super::window::Window;
use crate::failure::Failure;
use crate::forward::Peers;
use crate::leader::{LeaderTask, Reign};
use crate::limits;
use crate::pb::tso::ClockRequest;
use crate::pb::tso::timestamp_client::TimestampClient;
use crate::proposer::Proposer;
use crate::replica::Replica;
use crate::state::{Command, ExtendTso, Reply, View};

/// Pause after a failed attempt to open or extend. Waiters are waiting, so it is short.
const RETRY_DELAY: Duration = Duration::from_millis(20);
const RETRY_DELAY_MAX: Duration = Duration::from_millis(320);
/// How often the others are asked while this node's clock stays suspect.
const SETTLE_AGAIN: Duration = Duration::from_secs(10);

/// The wall clocks of the other voters.
#[tonic::async_trait]
pub trait VoterClocks: Send + Sync + 'static {
    /// Milliseconds since 1970, one for each other voter that answered. `None`: there is no other voter.
    async fn others_ms(&self) -> Option<Vec<u64>>;
}

/// Opens, extends and closes the window of an [`Oracle`].
pub struct Keeper {
    oracle: Arc<Oracle>,
    replica: Arc<dyn Replica>,
    proposer: Arc<Proposer>,
    clocks: Arc<dyn VoterClocks>,
}

/// Why a window was not opened or extended.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Replica(#[from] crate::replica::Error),
    #[error(transparent)]
    Propose(#[from] Failure),
    #[error("cannot read the stored bound: {0}")]
    Storage(#[from] std::io::Error),
    #[error("the clock of this node is suspect and no other voter has told its own")]
    ClocksUnknown,
    #[error("unexpected reply to ExtendTso")]
    Reply,
}

/// Closes the window when the reign ends, however it ends.
struct Closing<'a>(&'a Oracle, u64);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close(self.1);
    }
}

#[tonic::async_trait]
impl LeaderTask for Keeper {
    fn name(&self) -> &'static str {
        "tso"
    }

    async fn run(&self, reign: Reign) {
        let _closing = Closing(&self.oracle, reign.term);
        let window = self.open_until_done(reign).await;
        let check_every = Duration::from_millis((self.oracle.window_ms / 8).max(1));
        let mut settled: Option<Instant> = None;
        loop {
            // Also by time: an idle cluster's first timestamp must not wait for a commit.
            let _ = tokio::time::timeout(check_every, self.oracle.low.notified()).await;
            if self.oracle.clock.suspect() && settled.is_none_or(|last| last.elapsed() > SETTLE_AGAIN) {
                settled = Some(Instant::now());
                if let Err(error) = self.settle_clock().await {
                    tracing::warn!(%error, "timestamps go on from trusted time");
                }
            }
            if !window.half_used(self.oracle.clock.now_ms(), self.oracle.window_ms) {
                continue;
            }
            if let Err(error) = self.extend(reign, &window).await {
                tracing::warn!(term = reign.term, %error, "the timestamp window was not extended; trying again");
                tokio::time::sleep(RETRY_DELAY).await;
            }
        }
    }
}

impl Keeper {
    pub fn new(
        oracle: Arc<Oracle>,
        replica: Arc<dyn Replica>,
        proposer: Arc<Proposer>,
        clocks: Arc<dyn VoterClocks>,
    ) -> Self {
        Keeper { oracle, replica, proposer, clocks }
    }

    async fn open_until_done(&self, reign: Reign) -> Arc<Window> {
        let mut pause = RETRY_DELAY;
        loop {
            match self.open(reign).await {
                Ok(window) => return window,
                Err(error) => tracing::warn!(term = reign.term, %error, "the oracle is not open yet; trying again"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_DELAY_MAX);
        }
    }

    async fn open(&self, reign: Reign) -> Result<Arc<Window>, Error> {
        self.replica.read_barrier((Instant::now() + limits::CALL_TIME_DEFAULT).into_std()).await?;
        let found_ms = View::new(self.replica.view()?.as_ref()).tso_bound_ms()?;
        // What was replicated is trusted; what this node's clock claims beyond it is checked against the others.
        self.oracle.clock.trust(found_ms);
        if self.oracle.clock.suspect() {
            self.settle_clock().await?;
        }
        self.oracle.clock.settled_for(reign.term);
        let reused = mutation::active("reuse-tso-window");
        let from_ms = self.oracle.clock.now_ms().max(if reused { 0 } else { found_ms });
        let committed_ms = self.commit(reign, from_ms + self.oracle.window_ms).await?;
        let window = Arc::new(Window::new(reign.term, from_ms, committed_ms));
        self.oracle.open(window.clone());
        tracing::info!(term = reign.term, found_ms, from_ms, committed_ms, "the timestamp oracle is open");
        Ok(window)
    }

    async fn extend(&self, reign: Reign, window: &Window) -> Result<(), Error> {
        let used_ms = super::physical_ms(window.upcoming(self.oracle.clock.now_ms()));
        let committed_ms = self.commit(reign, used_ms + self.oracle.window_ms).await?;
        window.raise(committed_ms);
        self.oracle.announce();
        Ok(())
    }

    /// Proposes the bound and returns the one in force. Needs no request id: it is a maximum, so repeating is harmless.
    async fn commit(&self, reign: Reign, bound_ms: u64) -> Result<u64, Error> {
        let command = Command::ExtendTso(ExtendTso { bound_ms, operator_override: false });
        match self.proposer.propose_internal(reign.term, command).await? {
            Reply::TsoExtended { bound_ms } => Ok(bound_ms),
            _ => Err(Error::Reply),
        }
    }

    async fn settle_clock(&self) -> Result<(), Error> {
        let others = match self.clocks.others_ms().await {
            None => Vec::new(),
            Some(others) if others.is_empty() => return Err(Error::ClocksUnknown),
            Some(others) => others,
        };
        let clock = &self.oracle.clock;
        if !clock.settle(&others) {
            let (own_ms, trusted_ms) = (clock.wall_ms(), clock.trusted_ms());
            tracing::error!(
                own_ms,
                trusted_ms,
                "this node's clock is far ahead of the other voters'; not following it"
            );
        }
        Ok(())
    }
}

/// [`VoterClocks`] by asking over the peer listeners.
pub struct PeerClocks {
    replica: Arc<dyn Replica>,
    peers: Arc<Peers>,
}

impl PeerClocks {
    pub fn new(replica: Arc<dyn Replica>, peers: Arc<Peers>) -> Self {
        PeerClocks { replica, peers }
    }

    async fn ask(&self, address: &str) -> Option<u64> {
        let channel = self.peers.channel(address).ok()?;
        let mut client = TimestampClient::new(self.peers.authenticated(channel));
        let answer = tokio::time::timeout(limits::CLOCK_ANSWER_WAIT, client.clock(ClockRequest {})).await;
        Some(answer.ok()?.ok()?.into_inner().now_ms)
    }
}

#[tonic::async_trait]
impl VoterClocks for PeerClocks {
    async fn others_ms(&self) -> Option<Vec<u64>> {
        let own = self.replica.node_id();
        let others: Vec<String> =
            self.replica.members().into_iter().filter(|m| m.voter && m.id != own).map(|m| m.peer).collect();
        if others.is_empty() {
            return None;
        }
        let answers = futures::future::join_all(others.iter().map(|address| self.ask(address))).await;
        Some(answers.into_iter().flatten().collect())
    }
}
