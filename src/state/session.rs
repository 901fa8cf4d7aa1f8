//! Requests that are answered once. Each node has a window of sequences with their stored replies; a copy of a request,
//! however late, is answered from it or expired, never executed again.
//!
//! Most replies are short, and those of neighbouring sequences share a row: a row for each would be a third of the rows
//! that a small command costs.
//!
//! A node's row is never deleted (node ids are few and never reused): it alone says what is too old. Replies are
//! deleted when the node acknowledged them, when a newer start of the node replaced them, or after an idle hour.

use std::io;

use roost_raft::kv::{Read, Txn};
use roost_raft::mutation;

use super::entry::RequestId;
use super::limits::{FORGET_BATCH, FORGET_STEP, MAX_PAGED_REPLY_BYTES, REPLIES_PER_PAGE, REQUEST_WINDOW};
use super::reply::Reply;
use super::retire;
use super::tables::{REPLIES, REPLY_PAGES, SESSIONS};
use crate::pb::store;

/// The apply version from which on short replies share rows.
const PAGES_SINCE: u32 = 3;

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
    if request.sequence < row.next_sequence
        && !mutation::active("drop-deduplication")
        && let Some(reply) = stored(txn, request)?
    {
        return Ok(Admission::Repeated(reply));
    }
    let row = store::Session { acked_below: row.acked_below.max(acked), ..row };
    if request.sequence.saturating_sub(row.acked_below) >= REQUEST_WINDOW || request.sequence == u64::MAX {
        return Ok(Admission::Refused(Reply::WindowFull));
    }
    Ok(Admission::Execute(Open { request, row, left }))
}

/// The reply that a request was given, as long as it is kept.
pub(super) fn stored(
    read: &dyn Read,
    RequestId { node, boot, sequence, .. }: RequestId,
) -> io::Result<Option<Vec<u8>>> {
    let page = REPLY_PAGES.get_or_default(read, &(node, boot, sequence / REPLIES_PER_PAGE))?;
    let place = sequence % REPLIES_PER_PAGE;
    match page.replies.into_iter().find(|paged| u64::from(paged.place) == place) {
        Some(paged) => Ok(Some(paged.reply)),
        None => Ok(REPLIES.get(read, &(node, boot, sequence))?.map(|stored| stored.reply)),
    }
}

fn store(
    txn: &mut Txn<'_>,
    RequestId { node, boot, sequence, .. }: RequestId,
    apply_version: u32,
    reply: &[u8],
) -> io::Result<()> {
    let reply = reply.to_vec();
    if apply_version < PAGES_SINCE || reply.len() > MAX_PAGED_REPLY_BYTES {
        REPLIES.put(txn, &(node, boot, sequence), &store::StoredReply { reply });
        return Ok(());
    }
    // It is below the page's length.
    let place = u32::try_from(sequence % REPLIES_PER_PAGE).unwrap_or(u32::MAX);
    let more = store::ReplyPage { replies: vec![store::PagedReply { place, reply }] };
    REPLY_PAGES.merge(txn, &(node, boot, sequence / REPLIES_PER_PAGE), &more)
}

impl Open {
    /// Stores the reply, and forgets what was acknowledged.
    pub(super) fn close(
        self,
        txn: &mut Txn<'_>,
        clock: &mut store::Clock,
        apply_version: u32,
        reply: &[u8],
    ) -> io::Result<()> {
        let RequestId { node, boot, sequence, .. } = self.request;
        let Open { mut row, left, .. } = self;
        if let Some(left) = left {
            retire::replies(txn, clock, node, &left)?;
        }
        store(txn, self.request, apply_version, reply)?;
        row.next_sequence = row.next_sequence.max(sequence.saturating_add(1));
        row.last_active_ms = clock.now_ms;
        if row.acked_below.saturating_sub(row.forgotten_below) >= FORGET_BATCH {
            row.forgotten_below = forget(txn, node, boot, row.forgotten_below, row.acked_below)?;
        }
        SESSIONS.put(txn, &node, &row);
        Ok(())
    }
}

/// Deletes stored replies in `from..to`, a bounded number; returns where to go on. A page goes with its last sequence.
pub(super) fn forget(txn: &mut Txn<'_>, node: u64, boot: u64, from: u64, to: u64) -> io::Result<u64> {
    let page = |sequence| (node, boot, sequence / REPLIES_PER_PAGE);
    let pages = REPLY_PAGES.keys(txn, &page(from), &page(to), FORGET_STEP)?;
    pages.iter().for_each(|key| REPLY_PAGES.delete(txn, key));
    let doomed = REPLIES.keys(txn, &(node, boot, from), &(node, boot, to), FORGET_STEP)?;
    doomed.iter().for_each(|key| REPLIES.delete(txn, key));
    let next_page = match pages.last() {
        Some(&(_, _, last)) if pages.len() == FORGET_STEP => last.saturating_add(1).saturating_mul(REPLIES_PER_PAGE),
        _ => to,
    };
    let next = match doomed.last() {
        Some(&(_, _, last)) if doomed.len() == FORGET_STEP => last.saturating_add(1),
        _ => to,
    };
    Ok(next_page.min(next).min(to))
}
