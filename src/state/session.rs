//! Requests that are answered once. Each node has a window of sequences with their stored replies; a copy of a request,
//! however late, is answered from it or expired, never executed again.
//!
//! A node's row is never deleted (node ids are few and never reused): it alone says what is too old. Replies are
//! deleted when the node acknowledged them, when a newer start of the node replaced them, or after an idle hour.

use std::io;

use roost_raft::kv::Txn;
use roost_raft::mutation;

use super::entry::RequestId;
use super::limits::{FORGET_BATCH, FORGET_STEP, REQUEST_WINDOW};
use super::reply::Reply;
use super::retire;
use super::tables::{REPLIES, SESSIONS};
use crate::pb::store;

/// Whether a request is executed.
#[derive(Debug)]
pub(super) enum Admission {
    Execute(Open),
    /// A copy: the reply is the first one's.
    Repeated(Vec<u8>),
    /// Nothing is executed and nothing written.
    Refused(Reply),
}

/// A request in execution.
#[derive(Debug)]
pub(super) struct Open {
    request: RequestId,
    row: store::Session,
    /// What an older start of the node left.
    left: Option<store::Session>,
}

/// Decides about a request, writing nothing.
pub(super) fn admit(txn: &Txn<'_>, request: RequestId) -> io::Result<Admission> {
    let acked = request.acked_below.min(request.sequence);
    let (row, left) = match SESSIONS.get(txn, &request.node)? {
        Some(row) if row.boot == request.boot => (row, None),
        Some(row) if row.boot > request.boot => return Ok(Admission::Refused(Reply::Expired)),
        left => {
            let row = store::Session {
                boot: request.boot,
                acked_below: acked,
                forgotten_below: acked,
                next_sequence: acked,
                last_active_ms: 0,
            };
            (row, left)
        }
    };
    if request.sequence < row.acked_below {
        return Ok(Admission::Refused(Reply::Expired));
    }
    if request.sequence < row.next_sequence {
        let key = (request.node, request.boot, request.sequence);
        if !mutation::active("drop-deduplication")
            && let Some(stored) = REPLIES.get(txn, &key)?
        {
            return Ok(Admission::Repeated(stored.reply));
        }
    }
    let row = store::Session { acked_below: row.acked_below.max(acked), ..row };
    if request.sequence.saturating_sub(row.acked_below) >= REQUEST_WINDOW || request.sequence == u64::MAX {
        return Ok(Admission::Refused(Reply::WindowFull));
    }
    Ok(Admission::Execute(Open { request, row, left }))
}

impl Open {
    /// Stores the reply, and forgets what was acknowledged.
    pub(super) fn close(self, txn: &mut Txn<'_>, clock: &mut store::Clock, reply: &[u8]) -> io::Result<()> {
        let Open { request: RequestId { node, boot, sequence, .. }, mut row, left } = self;
        if let Some(left) = left {
            retire::replies(txn, clock, node, &left)?;
        }
        REPLIES.put(txn, &(node, boot, sequence), &store::StoredReply { reply: reply.to_vec() });
        row.next_sequence = row.next_sequence.max(sequence.saturating_add(1));
        row.last_active_ms = clock.now_ms;
        if row.acked_below.saturating_sub(row.forgotten_below) >= FORGET_BATCH {
            row.forgotten_below = forget(txn, node, boot, row.forgotten_below, row.acked_below)?;
        }
        SESSIONS.put(txn, &node, &row);
        Ok(())
    }
}

/// Deletes stored replies in `from..to`, a bounded number; returns where to go on.
pub(super) fn forget(txn: &mut Txn<'_>, node: u64, boot: u64, from: u64, to: u64) -> io::Result<u64> {
    let doomed = REPLIES.keys(txn, &(node, boot, from), &(node, boot, to), FORGET_STEP)?;
    for key in &doomed {
        REPLIES.delete(txn, key);
    }
    match doomed.last() {
        Some(&(_, _, last)) if doomed.len() == FORGET_STEP => Ok(last.saturating_add(1)),
        _ => Ok(to),
    }
}
