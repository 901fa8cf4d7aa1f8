//! What one log entry says: the command, and who asked for it, when, and under which request id.
//! The proposer stamps all of it once; apply adds nothing of its own, so every node reads the same.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::codec;
use super::command::Command;

/// Names one request for ever. Copies carry the same node, boot and sequence, and are answered with the first reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId {
    /// The node where the call entered the cluster.
    pub node: u64,
    /// Which start of that node. Grows from start to start: an older one's requests are expired.
    pub boot: u64,
    /// Grows within a boot; never given twice.
    pub sequence: u64,
    /// Every sequence below was answered or given up: its stored reply may be forgotten.
    pub acked_below: u64,
}

/// One entry of the log, as [`super::Roost`] applies it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The proposing leader's wall clock, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// `None` only for commands that may be executed twice, such as the oracle's window.
    pub request: Option<RequestId>,
    /// The user on whose behalf; empty for Roost itself or when nobody is authenticated.
    pub principal: String,
    /// Where the call came from: `ip:port`, or a name for a task of ours.
    pub source: String,
    pub command: Command,
}

/// What stands before the command, without a copy of it.
#[derive(Deserialize)]
struct Front<'e> {
    _at_ms: u64,
    _request: Option<RequestId>,
    #[serde(borrow)]
    _principal: &'e str,
    #[serde(borrow)]
    _source: &'e str,
}

impl Entry {
    /// Whether an encoded entry may take long to execute: one that deletes or looks at many keys, or that takes or
    /// moves all grants of a role or of a collection, or brings as many. Only looked at.
    pub fn is_long(bytes: &[u8]) -> bool {
        const DROP_COLLECTION: u8 = 3;
        /// The places of `Command::Collection` and `Command::Access`, and in them of what touches many grants.
        const COLLECTION: u8 = 10;
        const RENAME: u8 = 0;
        const ACCESS: u8 = 15;
        const DROP_ROLE: u8 = 6;
        const RESTORE: u8 = 14;
        /// The place of `Command::Conditional`, some of which drop a collection. Operators' calls are few.
        const CONDITIONAL: u8 = 17;
        /// The places of `Command::Keyspace`, and in it of the commands that take as long as they are.
        const KEYSPACE: u8 = 9;
        const PUT: u8 = 0;
        const COMPACT: u8 = 3;
        const GRANT_LEASE: u8 = 4;
        /// The places of `Command::Worker`, and in it of what looks at all workers or ends leases.
        const WORKER: u8 = 16;
        const FOUND: u8 = 0;
        const FREEZE: u8 = 3;
        const LEAVE: u8 = 4;
        match codec::decode_front::<Front<'_>>(bytes) {
            Ok((_, [KEYSPACE, command, ..])) => !matches!(*command, PUT | COMPACT | GRANT_LEASE),
            Ok((_, [DROP_COLLECTION | CONDITIONAL, ..] | [COLLECTION, RENAME, ..])) => true,
            Ok((_, [ACCESS, DROP_ROLE | RESTORE, ..])) => true,
            Ok((_, [WORKER, FOUND | FREEZE | LEAVE, ..])) => true,
            _ => false,
        }
    }

    pub fn encode(&self) -> Result<Vec<u8>, codec::Error> {
        codec::encode(self)
    }

    pub fn decode(bytes: &[u8]) -> Result<Entry, codec::Error> {
        codec::decode(bytes)
    }
}

/// `node.boot.sequence`.
impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.node, self.boot, self.sequence)
    }
}

/// One line. Names came from outside, hence the escapes.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at_ms={}", self.command, self.at_ms)?;
        if let Some(request) = self.request {
            write!(f, " request={request}")?;
        }
        if !self.principal.is_empty() {
            write!(f, " principal={}", self.principal.escape_debug())?;
        }
        if !self.source.is_empty() {
            write!(f, " source={}", self.source.escape_debug())?;
        }
        Ok(())
    }
}
