//! What an operator orders about the balance of pchannels.

use std::collections::BTreeSet;

use super::assign::publish;
use super::command::{PChannelReply, PolicyChange};
use super::read::{find, streaming, streaming_node};
use crate::error::Rejection;
use crate::state::limits::MAX_WORKERS;
use crate::state::name;
use crate::state::reply::Reply;
use crate::state::step::{Refusal, Step};
use crate::state::tables::PCHANNEL_ROWS;
use crate::state::worker::{WorkerCommand, WorkerReply};

/// Since this apply version one change names no more nodes than there can be.
const BOUNDED_SINCE: u32 = 7;

pub(super) fn set(step: &mut Step<'_, '_>, change: &PolicyChange) -> Result<PChannelReply, Refusal> {
    let named = change.freeze.len().max(change.defreeze.len());
    if step.apply_version >= BOUNDED_SINCE && named > MAX_WORKERS {
        return Err(Rejection::invalid(format!("{named} nodes are named, at most {MAX_WORKERS} may be")).into());
    }
    let defreeze: BTreeSet<i64> = change.defreeze.iter().copied().collect();
    if let Some(both) = change.freeze.iter().find(|id| defreeze.contains(id)) {
        return Err(Rejection::invalid(format!("node {both} is to be frozen and not to be frozen")).into());
    }
    let mut common = streaming(step.txn)?;
    let mut changed = freeze(step, &change.freeze, true)?;
    // One that is gone is not frozen any more.
    let mut there = Vec::new();
    for id in &change.defreeze {
        if streaming_node(step.txn, *id)?.is_some() {
            there.push(*id);
        }
    }
    changed |= freeze(step, &there, false)?;
    if let Some(allow) = change.allow_rebalance {
        changed |= common.rebalance_off == allow;
        common.rebalance_off = !allow;
    }
    if changed {
        publish(step, &mut common, true);
    }
    Ok(PChannelReply::PolicySet { changed })
}

/// Whether that changed anything.
fn freeze(step: &mut Step<'_, '_>, ids: &[i64], frozen: bool) -> Result<bool, Refusal> {
    if ids.is_empty() {
        return Ok(false);
    }
    let done = WorkerCommand::Freeze { ids: ids.to_vec(), frozen }.apply(step)?;
    Ok(matches!(done, Reply::Worker(WorkerReply::Altered { changed: true, .. })))
}

pub(super) fn pin(step: &mut Step<'_, '_>, channel: &str, node: Option<i64>) -> Result<PChannelReply, Refusal> {
    let shown = || name::shown(channel).escape_debug().to_string();
    let Some(mut row) = find(step.txn, channel)? else {
        return Err(Rejection::invalid(format!("there is no pchannel {}", shown())).into());
    };
    if let Some(id) = node
        && streaming_node(step.txn, id)?.is_none()
    {
        return Err(Rejection::invalid(format!("there is no live streaming node {id}")).into());
    }
    let pinned = node.unwrap_or(0);
    let changed = row.pinned != pinned;
    if changed {
        row.pinned = pinned;
        PCHANNEL_ROWS.put(step.txn, &row.name, &row);
        let mut common = streaming(step.txn)?;
        publish(step, &mut common, true);
    }
    Ok(PChannelReply::Pinned { changed })
}
