//! The life of a task: submitted, begun, acknowledged, finished, swept.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use roost_raft::kv::{Read, Txn};

use super::command::{Acked, BroadcastReply, Submit};
use super::message::pchannel_of;
use super::{lock, replicate};
use crate::error::Rejection;
use crate::pb::store::{self, BroadcastState};
use crate::state::event::Event;
use crate::state::limits::{
    MAX_BROADCAST_BYTES, MAX_BROADCAST_CHANNELS, MAX_BROADCAST_NAME_BYTES, MAX_CHECKPOINT_BYTES, MAX_CONSUMED_CHANNELS,
    MAX_NAMED_BROADCASTS, MAX_PENDING_BROADCASTS, MAX_PENDING_BYTES, MAX_PROPERTIES, MAX_RESOURCE_KEYS, MAX_TOMBSTONES,
};
use crate::state::step::{Refusal, Step};
use crate::state::tables::{BROADCAST_MESSAGES, BROADCAST_STATES, BROADCAST_TOTALS, BROADCASTS, SUBJECT_BROADCASTS};
use crate::state::{channel, id, pchannel};

type Answer = Result<BroadcastReply, Refusal>;

/// From this apply version on a caller's vchannels must be on pchannels of this cluster, those that acknowledge one by
/// one are fewer, and the task that has just ended is not the one to be forgotten.
const CHECKED_SINCE: u32 = 7;

pub(super) fn submit(step: &mut Step<'_, '_>, command: &Submit) -> Answer {
    check(command)?;
    replicate::check_primary(step)?;
    if step.apply_version >= CHECKED_SINCE {
        check_channels(step.txn, command)?;
    }
    let id = insert(step, command, &Origin::Caller)?;
    Ok(BroadcastReply::Submitted { id })
}

/// Everything that does not depend on rows.
fn check(command: &Submit) -> Result<(), Rejection> {
    let Submit { payload, properties, vchannels, keys, .. } = command;
    if vchannels.is_empty() || vchannels.len() > MAX_BROADCAST_CHANNELS {
        let detail = format!("a broadcast goes to 1..={MAX_BROADCAST_CHANNELS} vchannels, got {}", vchannels.len());
        return Err(Rejection::invalid(detail));
    }
    if vchannels.iter().collect::<BTreeSet<_>>().len() < vchannels.len() {
        return Err(Rejection::invalid("a broadcast names each vchannel once"));
    }
    if keys.len() > MAX_RESOURCE_KEYS {
        return Err(Rejection::invalid(format!("{} resource keys, at most {MAX_RESOURCE_KEYS}", keys.len())));
    }
    let mut names = vchannels.iter().chain(keys.iter().map(|key| &key.key));
    if vchannels.iter().any(String::is_empty) || names.any(|name| name.len() > MAX_BROADCAST_NAME_BYTES) {
        let detail =
            format!("a vchannel's name has 1..={MAX_BROADCAST_NAME_BYTES} bytes, a resource key at most as many");
        return Err(Rejection::invalid(detail));
    }
    let bytes = size(payload, properties);
    if bytes > MAX_BROADCAST_BYTES || properties.len() > MAX_PROPERTIES {
        let detail = format!("a message of {bytes} bytes, at most {MAX_BROADCAST_BYTES}");
        return Err(Rejection::ParameterTooLarge { detail });
    }
    Ok(())
}

/// To one that nobody will ever own the message would be on its way for ever, with all that it holds.
fn check_channels(read: &dyn Read, command: &Submit) -> Result<(), Refusal> {
    let count = command.vchannels.len();
    if command.ack_sync_up && count > MAX_CONSUMED_CHANNELS {
        let detail = format!("{count} vchannels that acknowledge by themselves, at most {MAX_CONSUMED_CHANNELS}");
        return Err(Rejection::invalid(detail).into());
    }
    let pchannels = pchannel::count(read)?;
    let is_there = |vchannel: &&String| channel::number(pchannel_of(vchannel)).is_some_and(|number| number < pchannels);
    match command.vchannels.iter().find(|vchannel| !is_there(vchannel)) {
        Some(vchannel) => {
            let (vchannel, pchannel) = (vchannel.escape_debug(), pchannel_of(vchannel).escape_debug());
            Err(Rejection::invalid(format!("vchannel {vchannel}: there is no pchannel {pchannel}")).into())
        }
        None => Ok(()),
    }
}

fn size(payload: &[u8], properties: &[(String, String)]) -> usize {
    payload.len() + properties.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>()
}

/// Who wants a message broadcast.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin {
    Caller,
    /// A change of ours.
    Own {
        /// What it is about, as `store.BroadcastTask` has it.
        subject_id: i64,
        /// It takes something away, of which there is so much and no more: it is accepted beyond the limits.
        takes_away: bool,
        /// It tells of something that was not there before.
        creates: bool,
    },
}

/// Writes a new task.
pub(super) fn insert(step: &mut Step<'_, '_>, command: &Submit, origin: &Origin) -> Result<i64, Refusal> {
    let (own, subject_id, takes_away, creates) = match *origin {
        Origin::Caller => (false, 0, false, false),
        Origin::Own { subject_id, takes_away, creates } => (true, subject_id, takes_away, creates),
    };
    let bytes = size(&command.payload, &command.properties) as u64;
    let mut totals = BROADCAST_TOTALS.get_or_default(step.txn, &())?;
    totals.pending = totals.pending.saturating_add(1);
    totals.pending_bytes = totals.pending_bytes.saturating_add(bytes);
    let too_many = totals.pending > MAX_PENDING_BROADCASTS || totals.pending_bytes > MAX_PENDING_BYTES;
    if too_many && !takes_away {
        let detail = format!(
            "{} messages of {} bytes wait for streaming nodes, at most {MAX_PENDING_BROADCASTS} of {MAX_PENDING_BYTES}",
            totals.pending, totals.pending_bytes
        );
        return Err(Rejection::QuotaExceeded { detail }.into());
    }
    BROADCAST_TOTALS.put(step.txn, &(), &totals);
    let id = id::take(step.txn, 1)?;
    let channel = |vchannel: &String| store::BroadcastChannel { vchannel: vchannel.clone(), ..Default::default() };
    let row = store::BroadcastTask {
        id,
        message_type: command.message_type,
        state: BroadcastState::Pending.into(),
        begun: false,
        channels: command.vchannels.iter().map(channel).collect(),
        keys: lock::normal(&command.keys),
        ack_sync_up: command.ack_sync_up,
        subject_id,
        bytes,
        created_ms: step.now_ms,
        tombstone_ms: 0,
        own,
        creates,
    };
    let property = |(key, value): &(String, String)| store::Property { key: key.clone(), value: value.clone() };
    let message = store::BroadcastMessage {
        payload: command.payload.clone(),
        properties: command.properties.iter().map(property).collect(),
    };
    BROADCASTS.put(step.txn, &id, &row);
    BROADCAST_MESSAGES.put(step.txn, &id, &message);
    BROADCAST_STATES.put(step.txn, &(state_key(BroadcastState::Pending), id), &store::Present {});
    if subject_id != 0 {
        SUBJECT_BROADCASTS.put(step.txn, &(subject_id, id), &store::Present {});
    }
    lock::take(step.txn, &row);
    step.events.push(Event::BroadcastChanged { id });
    Ok(id)
}

pub(super) fn begin(step: &mut Step<'_, '_>, ids: &[i64]) -> Answer {
    check_count(ids)?;
    let mut begun = Vec::with_capacity(ids.len());
    for &id in ids {
        let Some(mut row) = pending(step.txn, id)? else { continue };
        if !row.begun {
            if lock::ahead_of(step.txn, &row)?.is_some() {
                continue;
            }
            row.begun = true;
            BROADCASTS.put(step.txn, &id, &row);
            step.events.push(Event::BroadcastChanged { id });
        }
        begun.push(id);
    }
    Ok(BroadcastReply::Begun { ids: begun })
}

pub(super) fn acked(step: &mut Step<'_, '_>, command: &Acked) -> Answer {
    let id = command.id;
    let Some(mut row) = BROADCASTS.get(step.txn, &id)? else { return Ok(BroadcastReply::Acked { left: None }) };
    if !row.begun {
        return Err(Rejection::invalid(format!("broadcast {id} has not begun")).into());
    }
    let places: BTreeMap<String, usize> =
        row.channels.iter().enumerate().map(|(at, channel)| (channel.vchannel.clone(), at)).collect();
    let mut changed = false;
    for (vchannel, checkpoint) in &command.checkpoints {
        if checkpoint.len() > MAX_CHECKPOINT_BYTES {
            let detail = format!("a checkpoint of {} bytes, at most {MAX_CHECKPOINT_BYTES}", checkpoint.len());
            return Err(Rejection::ParameterTooLarge { detail }.into());
        }
        let Some(channel) = places.get(vchannel).and_then(|at| row.channels.get_mut(*at)) else {
            let detail = format!("broadcast {id} is not for vchannel {vchannel}");
            return Err(Rejection::invalid(detail).into());
        };
        if !channel.acked {
            channel.acked = true;
            channel.checkpoint.clone_from(checkpoint);
            changed = true;
        }
    }
    let left = row.left();
    if row.is_pending() && left == 0 && command.finish {
        end(step, row)?;
    } else if changed {
        BROADCASTS.put(step.txn, &id, &row);
        step.events.push(Event::BroadcastChanged { id });
    }
    Ok(BroadcastReply::Acked { left: Some(u32::try_from(left).unwrap_or(u32::MAX)) })
}

pub(super) fn finish(step: &mut Step<'_, '_>, id: i64) -> Answer {
    match pending(step.txn, id)? {
        Some(row) if row.left() == 0 => {
            end(step, row)?;
            Ok(BroadcastReply::Finished { changed: true })
        }
        _ => Ok(BroadcastReply::Finished { changed: false }),
    }
}

pub(super) fn abandon(step: &mut Step<'_, '_>, id: i64) -> Answer {
    match pending(step.txn, id)? {
        Some(row) if !row.begun && !row.own => {
            remove(step, &row)?;
            Ok(BroadcastReply::Abandoned { changed: true })
        }
        _ => Ok(BroadcastReply::Abandoned { changed: false }),
    }
}

pub(super) fn sweep(step: &mut Step<'_, '_>, ids: &[i64]) -> Answer {
    check_count(ids)?;
    let mut count = 0;
    for &id in ids {
        if BROADCASTS.get(step.txn, &id)?.is_some_and(|row| row.state() == BroadcastState::Tombstone) {
            forget(step, id)?;
            count += 1;
        }
    }
    Ok(BroadcastReply::Swept { count })
}

fn check_count(ids: &[i64]) -> Result<(), Rejection> {
    match ids.len() {
        0..=MAX_NAMED_BROADCASTS => Ok(()),
        count => Err(Rejection::invalid(format!("{count} broadcasts named, at most {MAX_NAMED_BROADCASTS}"))),
    }
}

fn pending(txn: &Txn<'_>, id: i64) -> io::Result<Option<store::BroadcastTask>> {
    Ok(BROADCASTS.get(txn, &id)?.filter(store::BroadcastTask::is_pending))
}

/// Makes a tombstone of a task: its turn is over, and what it carried is not needed any more.
fn end(step: &mut Step<'_, '_>, mut row: store::BroadcastTask) -> Result<(), Refusal> {
    let id = row.id;
    leave_pending(step, &row)?;
    row.state = BroadcastState::Tombstone.into();
    row.tombstone_ms = step.now_ms;
    BROADCASTS.put(step.txn, &id, &row);
    BROADCAST_STATES.put(step.txn, &(state_key(BroadcastState::Tombstone), id), &store::Present {});
    let mut totals = BROADCAST_TOTALS.get_or_default(step.txn, &())?;
    totals.tombstones = totals.tombstones.saturating_add(1);
    BROADCAST_TOTALS.put(step.txn, &(), &totals);
    step.events.push(Event::BroadcastChanged { id });
    if totals.tombstones > MAX_TOMBSTONES {
        let first = BROADCAST_STATES.page(step.txn, &state_key(BroadcastState::Tombstone), None, 2)?;
        // Its caller may not have looked yet, however long it waited for its turn.
        let may_go = |of: i64| of != id || step.apply_version < CHECKED_SINCE;
        if let Some(((_, oldest), _)) = first.into_iter().find(|((_, of), _)| may_go(*of)) {
            forget(step, oldest)?;
        }
    }
    Ok(())
}

/// Takes a pending task away as if it had never been.
pub(super) fn remove(step: &mut Step<'_, '_>, row: &store::BroadcastTask) -> Result<(), Refusal> {
    leave_pending(step, row)?;
    BROADCASTS.delete(step.txn, &row.id);
    step.events.push(Event::BroadcastChanged { id: row.id });
    Ok(())
}

fn leave_pending(step: &mut Step<'_, '_>, row: &store::BroadcastTask) -> Result<(), Refusal> {
    let id = row.id;
    lock::release(step.txn, row);
    BROADCAST_MESSAGES.delete(step.txn, &id);
    BROADCAST_STATES.delete(step.txn, &(state_key(BroadcastState::Pending), id));
    if row.subject_id != 0 {
        SUBJECT_BROADCASTS.delete(step.txn, &(row.subject_id, id));
    }
    let mut totals = BROADCAST_TOTALS.get_or_default(step.txn, &())?;
    let wrong = || BROADCAST_TOTALS.corrupt(&BROADCAST_TOTALS.key(&()), "it does not count the pending tasks");
    totals.pending = totals.pending.checked_sub(1).ok_or_else(wrong)?;
    totals.pending_bytes = totals.pending_bytes.checked_sub(row.bytes).ok_or_else(wrong)?;
    BROADCAST_TOTALS.put(step.txn, &(), &totals);
    Ok(())
}

/// Deletes a tombstone.
fn forget(step: &mut Step<'_, '_>, id: i64) -> Result<(), Refusal> {
    BROADCASTS.delete(step.txn, &id);
    BROADCAST_STATES.delete(step.txn, &(state_key(BroadcastState::Tombstone), id));
    let mut totals = BROADCAST_TOTALS.get_or_default(step.txn, &())?;
    let wrong = || BROADCAST_TOTALS.corrupt(&BROADCAST_TOTALS.key(&()), "it does not count the tombstones");
    totals.tombstones = totals.tombstones.checked_sub(1).ok_or_else(wrong)?;
    BROADCAST_TOTALS.put(step.txn, &(), &totals);
    step.events.push(Event::BroadcastChanged { id });
    Ok(())
}

/// As it stands in the key of the index by state.
pub(super) fn state_key(state: BroadcastState) -> u8 {
    // Milvus' numbers end at 5.
    u8::try_from(i32::from(state)).unwrap_or(u8::MAX)
}
