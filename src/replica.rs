//! The replicated state machine as the services see it: propose, read, and know who leads.
//! A trait, so that the oracle, the proposer and the gateway are tested without disks and sockets; the server's one
//! implementation is `roost_raft::Host`.

mod host;

use std::io;
use std::sync::Arc;
use std::time::Instant;

pub use roost_raft::apply::AppliedEvents;
pub use roost_raft::host::{Applied, Proposal};
use roost_raft::kv::Read;
use roost_raft::types::Leadership;
use tokio::sync::{broadcast, watch};

use crate::state::Event;
pub use host::HostReplica;

/// What apply changed, entry by entry, in the order of the log.
pub type Events = broadcast::Receiver<Arc<AppliedEvents<Event>>>;

/// Why there is no answer from the replicated state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not executed and never will be: this node does not lead (the named term).
    #[error("this node is not the leader")]
    NotLeader,
    /// Perhaps executed, perhaps later. Only the same request id may be sent again.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// Not executed: too many proposals are in flight.
    #[error("too many proposals in flight")]
    Busy,
    /// Not executed: larger than the log takes.
    #[error("the request is too large for the log: {0}")]
    TooLarge(String),
    /// Not executed: the disks of a quorum are full.
    #[error("{0}")]
    DiskFull(String),
    /// Not executed: the cluster is not able to, for a reason that lasts (an old member).
    #[error("{0}")]
    Refused(String),
    /// No leader answered a read in time.
    #[error("no leader confirmed the read in time: {0}")]
    NoQuorum(String),
    /// The node has stopped.
    #[error("this node has stopped: {0}")]
    Stopped(String),
}

/// A member of the cluster and where it is reached (`host:port` each).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    pub id: u64,
    pub voter: bool,
    pub peer: String,
    pub client: String,
    pub internal: String,
}

/// One node's handle on the replicated state machine.
#[tonic::async_trait]
pub trait Replica: Send + Sync + 'static {
    fn node_id(&self) -> u64;

    /// Puts a command into the log and waits until it was executed here.
    async fn propose(&self, proposal: Proposal) -> Result<Applied, Error>;

    /// Returns the applied index once [`Replica::view`] shows everything that was acknowledged before this call.
    async fn read_barrier(&self, deadline: Instant) -> Result<u64, Error>;

    /// A consistent view of the tables as of now.
    fn view(&self) -> io::Result<Box<dyn Read + '_>>;

    /// What is applied from now on, each after [`Replica::view`] shows it. An empty batch says that rows were replaced
    /// as a whole (a snapshot was installed); a receiver that falls behind gets `Lagged`. After either, read the state
    /// again. Entries that changed keys of the etcd key space and nothing else are left out, unless one of the keys may
    /// be a session's (see [`Event::is_of_plain_keys`]): most writes are of that kind, and would wake everybody.
    fn events(&self) -> Events;

    /// The same with nothing left out.
    fn all_events(&self) -> Events;

    fn leadership(&self) -> watch::Receiver<Leadership>;

    /// Succeeds only if this node still leads `term` at a moment after the call began.
    async fn confirm_leader(&self, term: u64) -> Result<(), Error>;

    /// The membership in effect, this node included.
    fn members(&self) -> Vec<Peer>;

    /// What is wrong with the cluster, one line each; empty if nothing is.
    fn alarms(&self) -> Vec<String>;

    /// Whether a member's disk is nearly full, so that nothing that needs space is accepted.
    fn disk_full(&self) -> bool;

    /// Names the cluster; empty as long as this node belongs to none. A call from another cluster is not executed.
    fn cluster_id(&self) -> String;

    /// Gives leadership away, if this node leads. Returns when another one leads, or when that cannot be had.
    async fn hand_over(&self);

    /// Waits until the replica has failed for good, and says why. The process must end then.
    async fn failed(&self) -> String;

    /// Flushes and stops. Nothing may be asked of it afterwards.
    async fn close(&self);
}
