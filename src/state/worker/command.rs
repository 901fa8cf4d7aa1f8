//! What the log may ask of the workers, and what it answers.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::of_server;
use super::register::{RegisterWorker, refused};
use super::rows::Rows;
use crate::error::Rejection;
use crate::pb::store;
use crate::state::keyspace;
use crate::state::limits::{MAX_NAME_BYTES, MAX_WORKERS};
use crate::state::reply::Reply;
use crate::state::step::{Outcome, Refusal, Step};

/// Stored in the log by the variant's place: append variants, never reorder, change or remove one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkerCommand {
    /// By the leader: Milvus' root path, under which sessions are. Keys that are there are taken in.
    Found {
        root: String,
    },
    Register(RegisterWorker),
    /// All roles of the server id.
    Drain {
        id: i64,
        draining: bool,
    },
    /// All of them, or none.
    Freeze {
        ids: Vec<i64>,
        frozen: bool,
    },
    /// Ends the sessions of a server id. Of one that is not there it is a success.
    Leave {
        id: i64,
    },
}

/// Stored by the variant's place: append variants, never reorder, change or remove one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkerReply {
    Founded {
        /// False when it was so already.
        changed: bool,
    },
    Registered {
        server_id: i64,
        lease: i64,
        ttl_s: i64,
        revision: u64,
        /// An earlier request of the same name did it.
        existed: bool,
    },
    /// Drained or frozen.
    Altered {
        revision: u64,
        /// False when it was so already.
        changed: bool,
    },
    Left {
        existed: bool,
    },
}

impl WorkerCommand {
    /// For metrics and traces.
    pub fn name(&self) -> &'static str {
        match self {
            WorkerCommand::Found { .. } => "found_workers",
            WorkerCommand::Register(_) => "register_worker",
            WorkerCommand::Drain { .. } => "drain_worker",
            WorkerCommand::Freeze { .. } => "freeze_workers",
            WorkerCommand::Leave { .. } => "leave_worker",
        }
    }

    /// Frees space, so it passes while the disks are full.
    pub fn frees_space(&self) -> bool {
        matches!(self, WorkerCommand::Leave { .. })
    }

    pub(in crate::state) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        match self {
            WorkerCommand::Found { root } => found(step, root),
            WorkerCommand::Register(command) => command.apply(step),
            WorkerCommand::Drain { id, draining } => {
                let drain = |worker: &mut store::Worker| {
                    worker.drain_ordered = *draining;
                    // Of one that is stopping by itself only the order is taken back.
                    worker.draining = *draining || worker.stopping;
                };
                alter(step, &[*id], drain)
            }
            WorkerCommand::Freeze { ids, frozen } => alter(step, ids, |worker| worker.frozen = *frozen),
            WorkerCommand::Leave { id } => leave(step, *id),
        }
    }
}

fn found(step: &mut Step<'_, '_>, root: &str) -> Outcome {
    if root.is_empty() || root.len() > MAX_NAME_BYTES {
        return Err(Rejection::invalid(format!("the root path has {} bytes", root.len())).into());
    }
    let changed = Rows::found(step.txn, step.events, step.now_ms, root)?;
    Ok(Reply::Worker(WorkerReply::Founded { changed }))
}

/// Changes every role of the servers.
fn alter(step: &mut Step<'_, '_>, ids: &[i64], with: impl Fn(&mut store::Worker)) -> Outcome {
    if ids.is_empty() || ids.len() > MAX_WORKERS {
        let detail = format!("{} nodes are named, expected 1 to {MAX_WORKERS}", ids.len());
        return Err(Rejection::invalid(detail).into());
    }
    let mut workers = Vec::new();
    for id in ids.iter().copied().collect::<BTreeSet<i64>>() {
        let of_server = of_server(step.txn, id)?;
        if of_server.is_empty() {
            return Err(Rejection::NodeNotFound { node: id }.into());
        }
        workers.extend(of_server);
    }
    let unfounded = || Refusal::from(Rejection::Internal { detail: "there are workers and no place of theirs".into() });
    let mut rows = Rows::open(step.txn, step.events, step.now_ms)?.ok_or_else(unfounded)?;
    let mut changed = false;
    for worker in workers {
        let mut altered = worker.clone();
        with(&mut altered);
        if altered != worker {
            changed = true;
            rows.put(altered);
        }
    }
    Ok(Reply::Worker(WorkerReply::Altered { revision: rows.close(), changed }))
}

fn leave(step: &mut Step<'_, '_>, id: i64) -> Outcome {
    let leases: BTreeSet<i64> = of_server(step.txn, id)?.into_iter().map(|worker| worker.lease).collect();
    for lease in &leases {
        keyspace::revoke(step.txn, step.events, step.now_ms, *lease).map_err(refused)?;
    }
    Ok(Reply::Worker(WorkerReply::Left { existed: !leases.is_empty() }))
}

impl fmt::Display for WorkerCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WorkerCommand::Found { root } => write!(f, "workers under={}", root.escape_debug()),
            WorkerCommand::Register(command) => {
                write!(f, "register worker role={} address={}", command.role, command.address.escape_debug())
            }
            WorkerCommand::Drain { id, draining } => write!(f, "drain worker={id} draining={draining}"),
            WorkerCommand::Freeze { ids, frozen } => write!(f, "freeze workers={ids:?} frozen={frozen}"),
            WorkerCommand::Leave { id } => write!(f, "worker leaves id={id}"),
        }
    }
}
