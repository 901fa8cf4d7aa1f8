//! Worker nodes: query, data and streaming nodes, and proxies. A worker is its session key in the key space, so
//! whoever writes such a key by the etcd API is the same to us as one that registers by our own; its row here is what
//! the key says, kept by the same apply that puts or deletes the key, and what operators ordered beside it.
//!
//! One process may have several roles under one server id, each with a session of its own.

mod command;
mod register;
mod rows;
mod session;

use std::collections::BTreeSet;
use std::io;

use roost_raft::kv::Read;

use super::limits::MAX_WORKERS;
use super::tables::{WORKER_BOOK, WORKER_CHANGES, WORKERS};
use crate::pb::store::{self, WorkerRole};

pub use command::{WorkerCommand, WorkerReply};
pub use register::{Capacity, RegisterWorker, counted, counter_key};
pub(super) use rows::follow;
pub use rows::{forget_all, skip_revisions};
pub use session::{SessionValue, folder, role_name, role_named};
pub(super) use session::{is_below_sessions, may_be_session};

/// What became of the workers since a revision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkerChanges {
    /// Up to which this goes.
    pub revision: u64,
    /// `changed` are all workers: what happened since is no longer known.
    pub reset: bool,
    /// By id and role.
    pub changed: Vec<store::Worker>,
    /// Server ids and roles that are there no more.
    pub gone: Vec<(i64, WorkerRole)>,
}

/// The worker of this id and role, as long as it lives.
pub fn find(read: &dyn Read, id: i64, role: WorkerRole) -> io::Result<Option<store::Worker>> {
    WORKERS.get(read, &(id, number(role)))
}

/// Every role of a server id, in the order of their numbers.
pub fn of_server(read: &dyn Read, id: i64) -> io::Result<Vec<store::Worker>> {
    let page = WORKERS.page(read, &id, None, MAX_WORKERS)?;
    Ok(page.into_iter().map(|(_, row)| row).collect())
}

/// All workers by id and role.
pub fn all(read: &dyn Read) -> io::Result<Vec<store::Worker>> {
    let page = WORKERS.page(read, &(), None, MAX_WORKERS)?;
    Ok(page.into_iter().map(|(_, row)| row).collect())
}

/// Where the workers stand.
pub fn book(read: &dyn Read) -> io::Result<store::WorkerBook> {
    WORKER_BOOK.get_or_default(read, &())
}

/// What happened after the revision `after`; 0 asks for all workers.
pub fn changes(read: &dyn Read, after: u64) -> io::Result<WorkerChanges> {
    let book = book(read)?;
    let revision = book.revision;
    if after == revision && after > 0 {
        return Ok(WorkerChanges { revision, ..WorkerChanges::default() });
    }
    let known = after > 0 && after < revision && after.saturating_add(1) >= book.changes_from;
    if !known {
        return Ok(WorkerChanges { revision, reset: true, changed: all(read)?, gone: Vec::new() });
    }
    let named = WORKER_CHANGES.page(read, &(), Some(&after), rows::KEPT_CHANGES)?;
    let named: BTreeSet<(i64, u8)> = named.into_iter().map(|(_, name)| (name.id, number(name.role()))).collect();
    let mut changes = WorkerChanges { revision, ..WorkerChanges::default() };
    for (id, role) in named {
        match WORKERS.get(read, &(id, role))? {
            Some(row) => changes.changed.push(row),
            None => changes.gone.push((id, WorkerRole::try_from(i32::from(role)).unwrap_or_default())),
        }
    }
    Ok(changes)
}

/// As keys have it.
fn number(role: WorkerRole) -> u8 {
    u8::try_from(i32::from(role)).unwrap_or_default()
}
