//! What an application gives to the host: a deterministic `apply`.

use std::io;

use crate::kv::{Read, Txn};
use crate::types::NodeId;

/// Where in the log a command stands, and who proposed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApplyContext {
    /// Log index of the entry; also the revision of the events that it yields.
    pub index: u64,
    /// Term of the leader that appended the entry.
    pub term: u64,
    /// The leader that appended the entry.
    pub leader: NodeId,
    /// The replicated apply version: a changed meaning of an old command is chosen by it.
    pub apply_version: u32,
}

/// A deterministic state machine: no clock, no randomness, no I/O but `txn`.
pub trait Machine: Send + Sync + 'static {
    /// What changed, for watchers and caches.
    type Event: Send + Sync + 'static;

    /// The highest apply version this binary can execute. Replicated to all before it is used.
    const APPLY_VERSION: u32;

    /// The apply version from which on every member can read log entries of several commands.
    const BATCHES_SINCE: u32 = 1;

    /// Executes one command and returns its encoded reply. A rejected command is a reply as well. An `Err` is a storage
    /// failure or an undecodable command and stops the node.
    fn apply(
        &self,
        context: &ApplyContext,
        command: &[u8],
        txn: &mut Txn<'_>,
        events: &mut Vec<Self::Event>,
    ) -> io::Result<Vec<u8>>;

    /// Whether executing the command may take much longer than receiving it did, as told without executing it.
    fn is_long(&self, _command: &[u8]) -> bool {
        false
    }

    /// Whether the event concerns only those who listen to all events: of a kind that comes with most commands, to wake
    /// everybody else would cost more than the command.
    fn is_common(_event: &Self::Event) -> bool {
        false
    }

    /// One readable line for a command, for `roostctl log tail`. Never fails.
    fn describe(&self, command: &[u8]) -> String;

    /// Called with a consistent view after start and after a snapshot was installed, before anything is served.
    fn restored(&self, view: &dyn Read) -> io::Result<()>;
}
