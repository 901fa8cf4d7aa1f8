//! The types that openraft is instantiated with, and the small public ones around them.

use std::fmt;

use bytes::Bytes;
use openraft::impls::{OneshotResponder, leader_id_std};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A node's number. Never reused within a cluster.
pub type NodeId = u64;

/// Where a member is reached. Stored in the replicated membership.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// `host:port` of the peer listener: Raft and forwarded calls.
    pub peer: String,
    /// `host:port` that clients dial.
    pub client: String,
    /// `host:port` of the internal listener: RootCoord and the admin API.
    pub internal: String,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.peer)
    }
}

/// Whose command it is: the application's, or one of the host's own (see `system.rs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommandKind {
    App,
    System,
    /// Several of the application's, executed in their order (see `codec::encode_batch`).
    AppBatch,
}

/// One proposal as it stands in the log. The payload is encoded once, by its proposer, and shared from there on.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    pub kind: CommandKind,
    /// The term the proposer led when it decided. An entry that lands in another term is not executed.
    pub term: u64,
    /// The node that proposed it.
    pub proposer: NodeId,
    #[serde(serialize_with = "bytes_out", deserialize_with = "bytes_in")]
    pub data: Bytes,
}

fn bytes_out<S: Serializer>(data: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    data.as_ref().serialize(serializer)
}

fn bytes_in<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    Vec::<u8>::deserialize(deserializer).map(Bytes::from)
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}(term {}, node {}, {} bytes)", self.kind, self.term, self.proposer, self.data.len())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What executing an entry gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Nothing to execute: a blank or a membership entry.
    Empty,
    /// The reply of the state machine (or of a system command).
    Reply(Vec<u8>),
    /// Not executed: another term than the command names.
    Fenced,
    /// The replies to a batch, in the order of its commands.
    Replies(Vec<Vec<u8>>),
}

impl Outcome {
    /// Bytes of all replies.
    pub fn bytes(&self) -> usize {
        match self {
            Outcome::Empty | Outcome::Fenced => 0,
            Outcome::Reply(reply) => reply.len(),
            Outcome::Replies(replies) => replies.iter().map(Vec::len).sum(),
        }
    }
}

/// The instantiation of openraft that Roost runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TypeConfig;

impl openraft::RaftTypeConfig for TypeConfig {
    type D = Command;
    type R = Outcome;
    type NodeId = NodeId;
    type Node = Member;
    type Term = u64;
    // One leader a term: a fence by term is then a fence by leader.
    type LeaderId = leader_id_std::LeaderId<u64, u64>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = openraft::EntryPayload<Command, NodeId, Member>;
    type Entry = openraft::Entry<<Self::LeaderId as openraft::vote::RaftLeaderId>::Committed, Self::Payload>;
    type AsyncRuntime = crate::runtime::Runtime;
    type Responder<T>
        = OneshotResponder<Self, T>
    where
        T: openraft::OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: openraft::OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

/// Under standard leader ids, a committed leader is its term.
pub type CommittedLeaderId = openraft::type_config::alias::CommittedLeaderIdOf<TypeConfig>;
pub type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
pub type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
pub type Entry = openraft::type_config::alias::EntryOf<TypeConfig>;
pub type Payload = openraft::type_config::alias::EntryPayloadOf<TypeConfig>;
pub type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
pub type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;

/// Who leads, as this node sees it. Changes are published in order; a term never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    pub term: u64,
    pub leader: Option<NodeId>,
    pub is_self: bool,
}
