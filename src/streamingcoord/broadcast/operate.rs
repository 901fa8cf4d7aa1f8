//! What operators ask about broadcasts (`proto/roost/streaming.proto`).

use prost::Message as _;

use super::board::Board;
use crate::call::Call;
use crate::error::Rejection;
use crate::failure::Failure;
use crate::ledger::{Ledger, reply};
use crate::limits;
use crate::pb::messages::{MessageType, ResourceDomain};
use crate::pb::roost_streaming::{
    AbandonBroadcastRequest, AbandonBroadcastResponse, Broadcast, BroadcastChannel, DescribeBroadcastRequest,
    DescribeBroadcastResponse, ListBroadcastsRequest, ListBroadcastsResponse,
};
use crate::pb::store::{self, BroadcastState};
use crate::pb::streaming::AckedCheckpoint;
use crate::state::broadcast::message::pchannel_of;
use crate::state::{BroadcastCommand, BroadcastReply, Command, Reply, View};

/// Those in a state, by id, a page of them.
pub async fn list(
    ledger: &Ledger,
    call: &Call,
    request: ListBroadcastsRequest,
) -> Result<ListBroadcastsResponse, Failure> {
    let state = match request.state.as_str() {
        "" | "pending" => BroadcastState::Pending,
        "tombstone" => BroadcastState::Tombstone,
        other => return Err(Rejection::invalid(format!("no state of a broadcast is called {}", shown(other))).into()),
    };
    let read = move |view: &View<'_>| {
        let view = view.broadcasts();
        let after = Some(request.after).filter(|after| *after != 0);
        let mut broadcasts = Vec::new();
        for id in view.ids(state, after, limits::BROADCASTS_LISTED)? {
            if let Some(row) = view.task(id)? {
                broadcasts.push(line(view.waits_for(&row)?, &row));
            }
        }
        let totals = view.totals()?;
        Ok(ListBroadcastsResponse { broadcasts, pending: totals.pending, tombstones: totals.tombstones })
    };
    ledger.list(call, read).await
}

/// On the leader, who knows what went wrong last.
pub async fn describe(
    ledger: &Ledger,
    board: &Board,
    call: &Call,
    request: DescribeBroadcastRequest,
) -> Result<DescribeBroadcastResponse, Failure> {
    let id = request.id;
    let view = ledger.view(call).await?;
    let view = View::new(view.as_ref()).broadcasts();
    let Some(row) = view.task(id)? else {
        return Err(Rejection::invalid(format!("there is no broadcast {id}, or no more")).into());
    };
    let channel = |channel: &store::BroadcastChannel| {
        let checkpoint = AckedCheckpoint::decode(channel.checkpoint.as_slice()).unwrap_or_default();
        BroadcastChannel {
            vchannel: channel.vchannel.clone(),
            pchannel: pchannel_of(&channel.vchannel).to_owned(),
            acked: channel.acked,
            message_id: checkpoint.message_id.map(|id| id.id).unwrap_or_default(),
            time_tick: checkpoint.time_tick,
        }
    };
    let (attempts, error) = board.trouble(id);
    Ok(DescribeBroadcastResponse {
        channels: row.channels.iter().map(channel).collect(),
        resource_keys: row.keys.iter().map(key).collect(),
        broadcast: Some(line(view.waits_for(&row)?, &row)),
        attempts,
        error: error.unwrap_or_default(),
    })
}

/// On the leader, on which callers wait for it.
pub async fn abandon(
    ledger: &Ledger,
    board: &Board,
    call: &Call,
    request: AbandonBroadcastRequest,
) -> Result<AbandonBroadcastResponse, Failure> {
    let id = request.id;
    let command = Command::Broadcast(BroadcastCommand::Abandon { id });
    let done = reply!(Reply::Broadcast(BroadcastReply::Abandoned { changed }) => changed);
    let changed = ledger.propose(call, command, done).await?;
    if changed {
        board.given_up(id, "an operator took it back");
    }
    Ok(AbandonBroadcastResponse { changed })
}

/// `waits_for`: an earlier one.
fn line(waits_for: Option<i64>, row: &store::BroadcastTask) -> Broadcast {
    let pending = row.is_pending();
    Broadcast {
        id: row.id,
        r#type: MessageType::try_from(row.message_type)
            .map_or_else(|_| row.message_type.to_string(), |kind| kind.as_str_name().to_owned()),
        state: if pending { "pending" } else { "tombstone" }.to_owned(),
        begun: row.begun,
        own: row.own,
        channels: u32::try_from(row.channels.len()).unwrap_or(u32::MAX),
        acked: u32::try_from(row.channels.len() - row.left()).unwrap_or(u32::MAX),
        // The locks of one that is over are not there to be compared with.
        waits_for: waits_for.filter(|_| pending).unwrap_or(0),
        bytes: row.bytes,
        created_ms: row.created_ms,
        finished_ms: row.tombstone_ms,
        ack_sync_up: row.ack_sync_up,
    }
}

/// As Milvus prints them: `CollectionName:default:c@X`.
fn key(key: &store::ResourceKey) -> String {
    let domain = i32::try_from(key.domain).ok().and_then(|number| ResourceDomain::try_from(number).ok());
    let domain = domain.map_or_else(|| key.domain.to_string(), |domain| domain.as_str_name().to_owned());
    let domain = domain.strip_prefix("ResourceDomain").unwrap_or(&domain);
    format!("{domain}:{}@{}", key.key, if key.shared { "R" } else { "X" })
}

fn shown(text: &str) -> String {
    crate::state::name::shown(text).escape_debug().to_string()
}
