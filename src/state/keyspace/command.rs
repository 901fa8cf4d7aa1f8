//! What the log may ask of the key space, and what it answers.

use std::fmt;

use prost::Message;
use roost_raft::kv::Txn;
use serde::{Deserialize, Serialize};

use super::budget::Budget;
use super::error::KeyspaceError;
use super::query::QueryError;
use super::write::Writer;
use super::{history, lease, txn};
use crate::pb::etcd::kv;
use crate::state::step::{Outcome, Step};
use crate::state::{Event, Reply};

/// Requests travel as the wire's own messages, validated by the proposer and again by apply. Stored by the variant's
/// place: append variants, never reorder, change or remove one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyspaceCommand {
    /// An encoded `etcdserverpb.PutRequest`.
    Put(#[serde(with = "serde_bytes")] Vec<u8>),
    /// An encoded `etcdserverpb.DeleteRangeRequest`.
    DeleteRange(#[serde(with = "serde_bytes")] Vec<u8>),
    /// An encoded `etcdserverpb.TxnRequest` that may write.
    Txn(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Gives up the history below `revision`; the rows go later, in [`KeyspaceCommand::ReclaimHistory`] steps.
    Compact {
        revision: i64,
    },
    /// `id` is not 0: the proposer chooses one. `ttl_s` is in seconds and already raised to the least TTL.
    GrantLease {
        id: i64,
        ttl_s: i64,
    },
    RevokeLease {
        id: i64,
    },
    /// By the leader: leases that ran out, each with the generation that ran out. A bounded number of keys goes in one
    /// command; a lease with more of them stays, marked as expired, until a later command.
    ExpireLeases {
        leases: Vec<(i64, u64)>,
    },
    /// By the leader: what was left of leases that were not renewed for a while: id, generation, seconds. 0 forgets an
    /// earlier note, because the lease was renewed.
    CheckpointLeases {
        leases: Vec<(i64, u64, i64)>,
    },
    /// By the leader: deletes a bounded number of compacted rows of history.
    ReclaimHistory,
}

/// Stored by the variant's place: append variants, never reorder, change or remove one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyspaceReply {
    /// Refused; nothing changed.
    Refused(KeyspaceError),
    /// Put, DeleteRange, Txn: the encoded response message. Its header holds the revision only.
    Done(#[serde(with = "serde_bytes")] Vec<u8>),
    /// It was executed, but a copy of the request is not given the answer: it was too large to be kept.
    DoneBefore,
    /// `revision` is the key space's, for the header.
    Compacted {
        revision: i64,
    },
    LeaseGranted {
        revision: i64,
    },
    LeaseRevoked {
        revision: i64,
    },
    /// How many of the named leases are still there with keys to delete.
    LeasesExpired {
        remaining: u64,
    },
    LeasesCheckpointed,
    /// Whether compacted rows are left.
    HistoryReclaimed {
        more: bool,
    },
}

/// Keys that one command changed, in the order of the changes.
#[derive(Clone, Debug, PartialEq)]
pub struct KeysChanged {
    pub revision: i64,
    /// With `prev_kv` wherever there was one. `None` if they are too large to be held for every subscriber: read them
    /// by [`super::changes`].
    pub events: Option<Vec<kv::Event>>,
}

impl KeyspaceCommand {
    pub fn name(&self) -> &'static str {
        match self {
            KeyspaceCommand::Put(_) => "etcd_put",
            KeyspaceCommand::DeleteRange(_) => "etcd_delete_range",
            KeyspaceCommand::Txn(_) => "etcd_txn",
            KeyspaceCommand::Compact { .. } => "etcd_compact",
            KeyspaceCommand::GrantLease { .. } => "etcd_grant_lease",
            KeyspaceCommand::RevokeLease { .. } => "etcd_revoke_lease",
            KeyspaceCommand::ExpireLeases { .. } => "etcd_expire_leases",
            KeyspaceCommand::CheckpointLeases { .. } => "etcd_checkpoint_leases",
            KeyspaceCommand::ReclaimHistory => "etcd_reclaim_history",
        }
    }

    /// Frees space, so it passes while the disks are full.
    pub fn frees_space(&self) -> bool {
        !matches!(self, KeyspaceCommand::Put(_) | KeyspaceCommand::Txn(_) | KeyspaceCommand::GrantLease { .. })
    }

    /// A refused command leaves neither rows nor events.
    pub(in crate::state) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        let (mark, before) = (step.txn.mark(), step.events.len());
        let reply = match self.execute(step) {
            Ok(reply) => reply,
            Err(QueryError::Storage(error)) => return Err(error.into()),
            Err(QueryError::Refused(error)) => {
                step.txn.rollback(mark);
                step.events.truncate(before);
                KeyspaceReply::Refused(error)
            }
        };
        Ok(Reply::Keyspace(reply))
    }

    fn execute(&self, step: &mut Step<'_, '_>) -> Result<KeyspaceReply, QueryError> {
        let Step { txn, events, now_ms, .. } = step;
        let now_ms = *now_ms;
        match self {
            KeyspaceCommand::Put(request) => {
                let request = decode(request)?;
                change(txn, events, now_ms, |writer, budget| writer.put(request, budget))
            }
            KeyspaceCommand::DeleteRange(request) => {
                let request = decode(request)?;
                change(txn, events, now_ms, |writer, budget| writer.delete_range(&request, budget))
            }
            KeyspaceCommand::Txn(request) => {
                let request = decode(request)?;
                change(txn, events, now_ms, |writer, budget| txn::write(writer, &request, budget))
            }
            KeyspaceCommand::Compact { revision } => history::compact(txn, events, *revision),
            KeyspaceCommand::GrantLease { id, ttl_s } => lease::grant(txn, events, *id, *ttl_s),
            KeyspaceCommand::RevokeLease { id } => lease::revoke(txn, events, now_ms, *id),
            KeyspaceCommand::ExpireLeases { leases } => lease::expire(txn, events, now_ms, leases),
            KeyspaceCommand::CheckpointLeases { leases } => lease::checkpoint(txn, leases),
            KeyspaceCommand::ReclaimHistory => Ok(history::reclaim(txn)?),
        }
    }
}

fn decode<T: Message + Default>(request: &[u8]) -> Result<T, QueryError> {
    T::decode(request).map_err(|_| KeyspaceError::Malformed.into())
}

fn change<T: Message>(
    txn: &mut Txn<'_>,
    events: &mut Vec<Event>,
    now_ms: u64,
    with: impl FnOnce(&mut Writer<'_, '_>, &mut Budget) -> Result<T, QueryError>,
) -> Result<KeyspaceReply, QueryError> {
    let mut writer = Writer::new(txn)?;
    let response = with(&mut writer, &mut Budget::of_command())?;
    writer.finish(events, now_ms)?;
    Ok(KeyspaceReply::Done(response.encode_to_vec()))
}

impl fmt::Display for KeyspaceCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
