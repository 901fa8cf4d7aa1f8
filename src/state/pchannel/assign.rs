//! What moves a pchannel through its states.

use std::io;

use roost_raft::kv::{Read, Txn};

use super::command::{AssignOrder, PChannelReply};
use super::read::{find, streaming, streaming_node};
use crate::error::Rejection;
use crate::pb::store::{self, PChannelState};
use crate::state::channel;
use crate::state::event::Event;
use crate::state::limits::{MAX_PCHANNEL_ORDERS, MAX_PCHANNELS_ADDED, PCHANNEL_TERMS_KEPT};
use crate::state::step::{Refusal, Step};
use crate::state::tables::{PCHANNEL_ROWS, PCHANNEL_TERMS, PCHANNELS_ASSIGNING, STREAMING};

/// The term of a pchannel that nobody had yet.
const FIRST_TERM: i64 = 1;

type Answer = Result<PChannelReply, Refusal>;

pub(super) fn add(step: &mut Step<'_, '_>, names: &[String]) -> Answer {
    bounded(names.len(), MAX_PCHANNELS_ADDED)?;
    let mut common = streaming(step.txn)?;
    let mut added = 0;
    for name in names {
        let Some(number) = channel::number(name) else {
            return Err(Rejection::invalid(format!("{} is no name of a pchannel", shown(name))).into());
        };
        if find(step.txn, name)?.is_some() {
            continue;
        }
        let row = store::PChannel {
            name: name.clone(),
            term: FIRST_TERM,
            state: PChannelState::Uninitialized.into(),
            changed_ms: step.now_ms,
            ..store::PChannel::default()
        };
        PCHANNEL_ROWS.put(step.txn, name, &row);
        common.pchannels = common.pchannels.max(u32::from(number) + 1);
        added += 1;
    }
    if common.control_channel.is_empty() {
        common.control_channel = channel::pchannel_name(0);
    }
    if added > 0 {
        publish(step, &mut common, true);
    }
    Ok(PChannelReply::Added { count: added })
}

pub(super) fn assign(step: &mut Step<'_, '_>, orders: &[AssignOrder]) -> Answer {
    bounded(orders.len(), MAX_PCHANNEL_ORDERS)?;
    let mut common = streaming(step.txn)?;
    let mut terms = Vec::with_capacity(orders.len());
    let mut changed = false;
    for order in orders {
        let done = assign_one(step.txn, step.now_ms, order)?;
        changed |= matches!(done, Some(Assigned::New(_)));
        terms.push(done.map(Assigned::term));
    }
    if changed {
        common.ever_enabled = true;
        publish(step, &mut common, false);
    }
    Ok(PChannelReply::Ordered { terms })
}

/// What became of an order.
#[derive(Clone, Copy)]
enum Assigned {
    /// The node has it already.
    Same(i64),
    New(i64),
}

impl Assigned {
    fn term(self) -> i64 {
        match self {
            Assigned::Same(term) | Assigned::New(term) => term,
        }
    }
}

/// `None`: the order was void.
fn assign_one(txn: &mut Txn<'_>, now_ms: u64, order: &AssignOrder) -> Result<Option<Assigned>, Refusal> {
    let (Some(mut row), Some(worker)) = (find(txn, &order.name)?, streaming_node(txn, order.node)?) else {
        return Ok(None);
    };
    if row.term != order.term {
        return Ok(None);
    }
    let has_it = row.node.as_ref().is_some_and(|node| node.server_id == order.node);
    if has_it && row.state() == PChannelState::Assigned {
        return Ok(Some(Assigned::Same(row.term)));
    }
    if let Some(node) = row.node.take() {
        let past = store::PChannelTerm { term: row.term, node: Some(node), ..store::PChannelTerm::default() };
        row.histories.push(past);
    }
    row.histories = still_there(txn, std::mem::take(&mut row.histories))?;
    row.term = row.term.checked_add(1).ok_or_else(|| Rejection::Internal { detail: "no term is left".into() })?;
    row.node = Some(store::StreamingNode { server_id: worker.id, address: worker.address });
    row.set_state(PChannelState::Assigning);
    row.changed_ms = now_ms;
    if row.pinned != 0 && streaming_node(txn, row.pinned)?.is_none() {
        row.pinned = 0;
    }
    let past = store::PChannelTerm {
        term: row.term,
        node: row.node.clone(),
        access_mode: row.access_mode,
        ordered_ms: now_ms,
        assigned_ms: 0,
    };
    PCHANNEL_TERMS.put(txn, &(row.name.clone().into(), row.term), &past);
    PCHANNEL_TERMS.delete(txn, &(row.name.clone().into(), row.term.saturating_sub(PCHANNEL_TERMS_KEPT)));
    PCHANNELS_ASSIGNING.put(txn, &row.name, &store::Present {});
    PCHANNEL_ROWS.put(txn, &row.name, &row);
    Ok(Some(Assigned::New(row.term)))
}

/// Of each live node the newest term: one that is gone cannot be asked, and to let go of a term is to let go of those
/// before it.
fn still_there(read: &dyn Read, histories: Vec<store::PChannelTerm>) -> io::Result<Vec<store::PChannelTerm>> {
    let server = |past: &store::PChannelTerm| past.node.as_ref().map_or(0, |node| node.server_id);
    let mut kept: Vec<store::PChannelTerm> = Vec::with_capacity(histories.len());
    for past in histories {
        if streaming_node(read, server(&past))?.is_some() {
            kept.retain(|other| server(other) != server(&past));
            kept.push(past);
        }
    }
    Ok(kept)
}

pub(super) fn done(step: &mut Step<'_, '_>, taken: &[(String, i64)]) -> Answer {
    mark(step, taken, PChannelState::Assigning, |txn, now_ms, row| {
        row.set_state(PChannelState::Assigned);
        row.histories.clear();
        row.last_assigned_ms = now_ms;
        PCHANNELS_ASSIGNING.delete(txn, &row.name);
        let key = (row.name.clone().into(), row.term);
        if let Some(mut past) = PCHANNEL_TERMS.get(txn, &key)? {
            past.assigned_ms = now_ms;
            PCHANNEL_TERMS.put(txn, &key, &past);
        }
        Ok(())
    })
}

pub(super) fn lost(step: &mut Step<'_, '_>, lost: &[(String, i64)]) -> Answer {
    mark(step, lost, PChannelState::Assigned, |_, _, row| {
        row.set_state(PChannelState::Unavailable);
        Ok(())
    })
}

/// Changes those that are in this state under the named term.
fn mark(
    step: &mut Step<'_, '_>,
    channels: &[(String, i64)],
    from: PChannelState,
    change: impl Fn(&mut Txn<'_>, u64, &mut store::PChannel) -> io::Result<()>,
) -> Answer {
    bounded(channels.len(), MAX_PCHANNEL_ORDERS)?;
    let mut count = 0;
    for (name, term) in channels {
        let Some(mut row) = find(step.txn, name)? else { continue };
        if row.state() != from || row.term != *term {
            continue;
        }
        change(step.txn, step.now_ms, &mut row)?;
        row.changed_ms = step.now_ms;
        PCHANNEL_ROWS.put(step.txn, name, &row);
        count += 1;
    }
    if count > 0 {
        let mut common = streaming(step.txn)?;
        publish(step, &mut common, from == PChannelState::Assigned);
    }
    Ok(PChannelReply::Marked { count })
}

/// Something else that is told beside the assignments has changed.
pub(in crate::state) fn touch(step: &mut Step<'_, '_>) -> io::Result<()> {
    let mut common = streaming(step.txn)?;
    publish(step, &mut common, false);
    Ok(())
}

/// Writes the common row under a new revision. `unsettled`: a pchannel may need another node now.
pub(super) fn publish(step: &mut Step<'_, '_>, common: &mut store::Streaming, unsettled: bool) {
    common.revision = common.revision.saturating_add(1);
    STREAMING.put(step.txn, &(), common);
    step.events.push(Event::AssignmentsChanged { revision: common.revision, unsettled });
}

fn bounded(count: usize, most: usize) -> Result<(), Refusal> {
    match count > most {
        true => Err(Rejection::invalid(format!("{count} pchannels in one command, at most {most} may be")).into()),
        false => Ok(()),
    }
}

fn shown(name: &str) -> String {
    crate::state::name::shown(name).escape_debug().to_string()
}
