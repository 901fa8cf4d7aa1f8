//! `roostctl broadcast list|show|abandon`.

use clap::Subcommand;
use serde::Serialize;

use super::Context;
use super::channel::client;
use super::exit::{Failure, one_line};
use super::output::{Done, Report, facts, or_dash, table};
use crate::pb::roost_streaming::{
    AbandonBroadcastRequest, Broadcast, BroadcastChannel, DescribeBroadcastRequest, DescribeBroadcastResponse,
    ListBroadcastsRequest,
};

const LIST_JSON: &str = "JSON: {\"pending\", \"tombstones\", \"broadcasts\": [{\"id\", \"type\", \"state\", \"begun\", \
    \"own\", \"channels\", \"acked\", \"waits_for\", \"bytes\", \"created_ms\", \"finished_ms\"}]}; counts of all";
const SHOW_JSON: &str = "JSON: as in list, and \"resource_keys\", \"attempts\", \"error\", \"ack_sync_up\", \
    \"vchannels\": [{\"vchannel\", \"pchannel\", \"acked\", \"message_id\", \"time_tick\"}]";

const ABANDON_JSON: &str = "JSON: {\"kind\": \"broadcast\", \"name\", \"done\"}";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List broadcasts that are on their way, by id
    #[command(after_help = LIST_JSON)]
    List {
        /// Those that are over and remembered instead
        #[arg(long)]
        finished: bool,
        /// Go on after this id: one answer has at most 1,000
        #[arg(long, value_name = "ID", default_value_t = 0)]
        after: i64,
    },
    /// Show one broadcast: who has it, what it waits for, what went wrong
    #[command(after_help = SHOW_JSON)]
    Show { id: i64 },
    /// Take back what a caller wants broadcast and nobody has begun with
    #[command(after_help = ABANDON_JSON)]
    Abandon { id: i64 },
}

pub async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::List { finished, after } => list(context, finished, after).await,
        Command::Show { id } => show(context, id).await,
        Command::Abandon { id } => abandon(context, id).await,
    }
}

async fn list(context: &Context, finished: bool, after: i64) -> Result<(), Failure> {
    let session = context.dialer.any().await?;
    let state = if finished { "tombstone" } else { "pending" }.to_owned();
    let request = ListBroadcastsRequest { state, after };
    let rpc = session.of(request, |channel, request| async move { client(channel).list_broadcasts(request).await });
    let found = rpc.await?;
    let broadcasts = found.broadcasts.into_iter().map(Line::from).collect();
    context.output.print(&Lines { pending: found.pending, tombstones: found.tombstones, broadcasts })
}

async fn show(context: &Context, id: i64) -> Result<(), Failure> {
    let session = context.dialer.with_leader().await?;
    let request = DescribeBroadcastRequest { id };
    let rpc = session.of(request, |channel, request| async move { client(channel).describe_broadcast(request).await });
    context.output.print(&Shown::from(rpc.await?))
}

async fn abandon(context: &Context, id: i64) -> Result<(), Failure> {
    let session = context.dialer.with_leader().await?;
    let asked = AbandonBroadcastRequest { id };
    let rpc = session.of(asked, |channel, request| async move { client(channel).abandon_broadcast(request).await });
    if !rpc.await?.changed {
        let why = "it has begun, is over, or is of the catalogue";
        return Err(Failure::Failed(format!("broadcast {id} stays: {why}")));
    }
    context.output.print(&Done { kind: "broadcast", name: &id.to_string(), done: "is taken back" })
}

#[derive(Debug, Serialize)]
struct Lines {
    pending: u64,
    tombstones: u64,
    broadcasts: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    id: i64,
    r#type: String,
    state: String,
    begun: bool,
    own: bool,
    channels: u32,
    acked: u32,
    waits_for: Option<i64>,
    bytes: u64,
    created_ms: u64,
    finished_ms: Option<u64>,
}

impl From<Broadcast> for Line {
    fn from(row: Broadcast) -> Self {
        Line {
            id: row.id,
            r#type: row.r#type,
            state: row.state,
            begun: row.begun,
            own: row.own,
            channels: row.channels,
            acked: row.acked,
            waits_for: Some(row.waits_for).filter(|id| *id != 0),
            bytes: row.bytes,
            created_ms: row.created_ms,
            finished_ms: Some(row.finished_ms).filter(|ms| *ms != 0),
        }
    }
}

impl Line {
    /// In one word.
    fn stage(&self) -> &str {
        match (self.state.as_str(), self.begun, self.waits_for) {
            ("pending", true, _) => "begun",
            ("pending", false, Some(_)) => "waits",
            ("pending", false, None) => "pending",
            (state, _, _) => state,
        }
    }

    fn by(&self) -> &'static str {
        if self.own { "catalogue" } else { "caller" }
    }
}

impl Report for Lines {
    fn table(&self) -> String {
        let row = |line: &Line| {
            let acked = format!("{}/{}", line.acked, line.channels);
            let (id, bytes) = (line.id.to_string(), line.bytes.to_string());
            let stage = line.stage().to_owned();
            vec![id, line.r#type.clone(), stage, acked, or_dash(line.waits_for), line.by().to_owned(), bytes]
        };
        let header = ["ID", "TYPE", "STAGE", "ACKED", "WAITS FOR", "BY", "BYTES"];
        let counts = format!("{} pending, {} over", self.pending, self.tombstones);
        match self.broadcasts.is_empty() {
            true => counts,
            false => format!("{}\n{counts}", table(&header, self.broadcasts.iter().map(row))),
        }
    }
}

#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    line: Line,
    ack_sync_up: bool,
    resource_keys: Vec<String>,
    attempts: u32,
    error: Option<String>,
    vchannels: Vec<Channel>,
}

#[derive(Debug, Serialize)]
struct Channel {
    vchannel: String,
    pchannel: String,
    acked: bool,
    message_id: Option<String>,
    time_tick: u64,
}

impl From<DescribeBroadcastResponse> for Shown {
    fn from(found: DescribeBroadcastResponse) -> Self {
        let channel = |BroadcastChannel { vchannel, pchannel, acked, message_id, time_tick }| {
            let message_id = Some(message_id).filter(|id: &String| !id.is_empty());
            Channel { vchannel, pchannel, acked, message_id, time_tick }
        };
        let broadcast = found.broadcast.unwrap_or_default();
        Shown {
            ack_sync_up: broadcast.ack_sync_up,
            line: Line::from(broadcast),
            resource_keys: found.resource_keys,
            attempts: found.attempts,
            error: Some(found.error).filter(|error| !error.is_empty()),
            vchannels: found.channels.into_iter().map(channel).collect(),
        }
    }
}

impl Report for Shown {
    fn table(&self) -> String {
        let head = facts(&[
            ("id", self.line.id.to_string()),
            ("type", self.line.r#type.clone()),
            ("stage", self.line.stage().to_owned()),
            ("by", self.line.by().to_owned()),
            ("waits for", or_dash(self.line.waits_for)),
            ("acknowledged by", if self.ack_sync_up { "consumption" } else { "append" }.to_owned()),
            ("resources", self.resource_keys.join(" ")),
            ("failed", self.attempts.to_string()),
            ("last error", or_dash(self.error.as_deref().map(one_line))),
        ]);
        let row = |channel: &Channel| {
            let acked = if channel.acked { "yes" } else { "no" }.to_owned();
            vec![channel.vchannel.clone(), channel.pchannel.clone(), acked, or_dash(channel.message_id.clone())]
        };
        format!("{head}\n\n{}", table(&["VCHANNEL", "PCHANNEL", "ACKED", "MESSAGE"], self.vchannels.iter().map(row)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broadcast(id: i64) -> Broadcast {
        Broadcast { id, r#type: "DropCollection".into(), state: "pending".into(), channels: 2, ..Default::default() }
    }

    #[test]
    fn a_list_for_people() {
        let waiting = Broadcast { waits_for: 7, own: true, ..broadcast(8) };
        let begun = Broadcast { begun: true, acked: 1, bytes: 9, ..broadcast(7) };
        let broadcasts = [begun, waiting].map(Line::from).into();
        let expected = "ID  TYPE            STAGE  ACKED  WAITS FOR  BY         BYTES\n\
                        7   DropCollection  begun  1/2    -          caller     9\n\
                        8   DropCollection  waits  0/2    7          catalogue  0\n\
                        2 pending, 3 over";
        assert_eq!(Lines { pending: 2, tombstones: 3, broadcasts }.table(), expected);
        assert_eq!(Lines { pending: 0, tombstones: 3, broadcasts: Vec::new() }.table(), "0 pending, 3 over");
    }

    #[test]
    fn one_broadcast_for_people_and_for_programs() {
        let channel =
            BroadcastChannel { vchannel: "p_1v0".into(), pchannel: "p".into(), acked: true, ..Default::default() };
        let found = DescribeBroadcastResponse {
            broadcast: Some(broadcast(7)),
            channels: vec![channel],
            resource_keys: vec!["Cluster:@R".into()],
            attempts: 2,
            error: "no node\nowns p".into(),
        };
        let shown = Shown::from(found);
        let programs = serde_json::to_string(&shown).unwrap();
        assert!(programs.starts_with(r#"{"id":7,"type":"DropCollection","state":"pending","#), "{programs}");
        let people = shown.table();
        assert!(people.contains("last error:      no node owns p"), "{people}");
        assert!(people.ends_with("VCHANNEL  PCHANNEL  ACKED  MESSAGE\np_1v0     p         yes    -"), "{people}");
    }
}
