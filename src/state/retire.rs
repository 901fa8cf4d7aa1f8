//! Deletes the replies of sessions that ended, a few at each apply: a node restarted, or it was silent for an hour.
//! Time is the replicated clock, and work is bounded, so an apply costs the same on every node.

use std::io;

use roost_raft::kv::Txn;

use super::limits::{REPLIES_PER_PAGE, SESSION_IDLE_MS, SWEEP_INTERVAL_MS, SWEEP_SESSIONS};
use super::session::forget;
use super::tables::{REPLY_PAGES, RETIRED, SESSIONS};
use crate::pb::store;

/// Gives the session's replies up; [`proceed`] deletes them.
pub(super) fn replies(txn: &mut Txn<'_>, clock: &mut store::Clock, node: u64, row: &store::Session) -> io::Result<()> {
    // Nothing is added to the last page any more, or it starts anew.
    REPLY_PAGES.delete(txn, &(node, row.boot, row.next_sequence / REPLIES_PER_PAGE));
    if row.forgotten_below >= row.next_sequence {
        return Ok(());
    }
    let key = (node, row.boot);
    let mut range = store::RetiredReplies { next_sequence: row.forgotten_below, end_sequence: row.next_sequence };
    match RETIRED.get(txn, &key)? {
        // The same boot fell idle before and its replies are not all gone yet.
        Some(earlier) => range.next_sequence = range.next_sequence.min(earlier.next_sequence),
        None => clock.retired = clock.retired.saturating_add(1),
    }
    RETIRED.put(txn, &key, &range);
    Ok(())
}

/// The bounded work of one apply.
pub(super) fn proceed(txn: &mut Txn<'_>, clock: &mut store::Clock) -> io::Result<()> {
    if clock.now_ms >= clock.next_sweep_ms {
        sweep(txn, clock)?;
    }
    if clock.retired > 0 {
        delete_some(txn, clock)?;
    }
    Ok(())
}

/// Looks at the next few sessions and retires the idle ones. Their rows stay, all their requests now being expired.
fn sweep(txn: &mut Txn<'_>, clock: &mut store::Clock) -> io::Result<()> {
    let page = SESSIONS.page(txn, &(), Some(&clock.sweep_cursor), SWEEP_SESSIONS)?;
    clock.sweep_cursor = match page.last() {
        Some(&(node, _)) if page.len() == SWEEP_SESSIONS => node,
        _ => 0,
    };
    clock.next_sweep_ms = clock.now_ms.saturating_add(SWEEP_INTERVAL_MS);
    for (node, mut row) in page {
        let idle_ms = clock.now_ms.saturating_sub(row.last_active_ms);
        if idle_ms > SESSION_IDLE_MS && row.forgotten_below < row.next_sequence {
            replies(txn, clock, node, &row)?;
            row.acked_below = row.next_sequence;
            row.forgotten_below = row.next_sequence;
            SESSIONS.put(txn, &node, &row);
        }
    }
    Ok(())
}

fn delete_some(txn: &mut Txn<'_>, clock: &mut store::Clock) -> io::Result<()> {
    let Some(((node, boot), range)) = RETIRED.page(txn, &(), None, 1)?.pop() else {
        return Err(RETIRED.corrupt(&[], "the clock's row counts rows that are not there"));
    };
    let next_sequence = forget(txn, node, boot, range.next_sequence, range.end_sequence)?;
    if next_sequence >= range.end_sequence {
        RETIRED.delete(txn, &(node, boot));
        clock.retired = clock.retired.saturating_sub(1);
    } else {
        RETIRED.put(txn, &(node, boot), &store::RetiredReplies { next_sequence, ..range });
    }
    Ok(())
}
