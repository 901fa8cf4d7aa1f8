//! Broadcasts: one message for several virtual channels, and how far it has come.
//!
//! A broadcast is a task: PENDING from its submission on, then acknowledged by one vchannel after the other, a
//! TOMBSTONE (what is remembered so that late copies are recognised) when nothing is left to do, and DONE, which is no
//! row, when it was swept. Each task names resources that it needs, shared or for itself; it has its turn when no
//! earlier unfinished task conflicts with it, and earlier is what the log says (lock.rs). A leader writes that it
//! *begins* with a task before it appends anything; a task that nobody has begun can be taken back as if it had never
//! been.
//!
//! What streaming nodes must see of the catalogue leaves by tasks too (outbox.rs), which the change itself writes.

mod command;
mod lock;
pub mod message;
pub(super) mod outbox;
mod replicate;
mod task;

use std::io;

use roost_raft::kv::Read;

pub use command::{Acked, BroadcastCommand, BroadcastReply, Submit};
pub use lock::{LockName, ResourceKey};
pub(super) use replicate::check_may_change;
pub use replicate::{ReplicatedUpdate, UpdateReplication};

use super::tables::{BROADCAST_MESSAGES, BROADCAST_STATES, BROADCAST_TOTALS, BROADCASTS, REPLICATION};
use crate::error::Rejection;
use crate::pb::common::ReplicateConfiguration;
use crate::pb::store::{self, BroadcastState};

/// Every row of the broadcast tables, paged as the callers like.
#[derive(Clone, Copy)]
pub struct BroadcastView<'a> {
    read: &'a dyn Read,
}

impl<'a> BroadcastView<'a> {
    pub fn new(read: &'a dyn Read) -> Self {
        BroadcastView { read }
    }

    pub fn task(&self, id: i64) -> io::Result<Option<store::BroadcastTask>> {
        BROADCASTS.get(self.read, &id)
    }

    /// What the task carries, for as long as it is pending.
    pub fn message(&self, id: i64) -> io::Result<Option<store::BroadcastMessage>> {
        BROADCAST_MESSAGES.get(self.read, &id)
    }

    /// Up to `limit` ids of tasks in a state, ascending, after the id `after`.
    pub fn ids(&self, state: BroadcastState, after: Option<i64>, limit: usize) -> io::Result<Vec<i64>> {
        let state = task::state_key(state);
        let after = after.map(|id| (state, id));
        let page = BROADCAST_STATES.page(self.read, &state, after.as_ref(), limit)?;
        Ok(page.into_iter().map(|((_, id), _)| id).collect())
    }

    /// Up to `limit` tasks in any state by id, after the id `after`.
    pub fn tasks(&self, after: Option<i64>, limit: usize) -> io::Result<Vec<store::BroadcastTask>> {
        let page = BROADCASTS.page(self.read, &(), after.as_ref(), limit)?;
        Ok(page.into_iter().map(|(_, row)| row).collect())
    }

    /// The earlier task that this one waits for; `None`: it has its turn.
    pub fn waits_for(&self, row: &store::BroadcastTask) -> io::Result<Option<i64>> {
        lock::ahead_of(self.read, row)
    }

    /// To which clusters the logs are replicated, or from which one; `None`: nobody has said anything.
    pub fn replication(&self) -> io::Result<Option<store::Replication>> {
        REPLICATION.get(self.read, &())
    }

    /// Why this is no configuration of replication that this cluster, by its name, may have; `None`: it is one.
    pub fn objection(&self, configuration: &ReplicateConfiguration, own: &str) -> io::Result<Option<Rejection>> {
        replicate::objection(self.read, configuration, own)
    }

    pub fn totals(&self) -> io::Result<store::BroadcastTotals> {
        BROADCAST_TOTALS.get_or_default(self.read, &())
    }
}

impl store::BroadcastTask {
    /// How many vchannels have not acknowledged it.
    pub fn left(&self) -> usize {
        self.channels.iter().filter(|channel| !channel.acked).count()
    }

    pub fn is_pending(&self) -> bool {
        self.state() == BroadcastState::Pending
    }
}
