//! `roostctl channel list|describe|history|plan|balance|move`.

use clap::Subcommand;
use serde::Serialize;
use tokio::time::sleep;

use super::Context;
use super::channel_plan::PlanView;
use super::exit::Failure;
use super::output::{Done, Report, facts, or_dash, table};
use super::session::{Secured, Session};
use crate::limits;
use crate::pb::roost_streaming::streaming_client::StreamingClient;
use crate::pb::roost_streaming::{
    BalanceRequest, Channel, DescribeChannelRequest, DescribeChannelResponse, ListChannelsRequest, MoveChannelRequest,
    PlanRequest, Term,
};

const LIST_JSON: &str = "JSON: {\"channels\": [{\"name\", \"state\", \"term\", \"node\", \"address\", \
    \"access_mode\", \"vchannels\", \"pinned\", \"last_assigned_ms\", \"changed_ms\", \"removing\"}], \"version\", \
    \"control_channel\", \"allow_rebalance\"}; node, pinned: a server id or null";
const DESCRIBE_JSON: &str = "JSON: one of the channels of `channel list`";
const HISTORY_JSON: &str = "JSON: {\"terms\": [{\"term\", \"node\", \"address\", \"ordered_ms\", \"assigned_ms\"}]}; \
    assigned_ms: null if the node never took it";
const PLAN_JSON: &str = "JSON: {\"policy\", \"moves\": [{\"channel\", \"from\", \"to\", \"reason\", \"veto\"}], \
    \"cost_before\", \"cost_after\", \"unplaced\": [name], \"no_rebalance\", \"notes\": [text], \
    \"nodes\": [{\"node\", \"weight\", \"load\", \"frozen\", \"draining\", \"suspicion\", \
    \"channels_before\", \"channels_after\", \"vchannels_before\", \"vchannels_after\"}]}";
const DONE_JSON: &str = "JSON: {\"kind\": \"channel\", \"name\", \"done\"}";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the physical channels, and which streaming node has each
    #[command(after_help = LIST_JSON)]
    List,
    /// Show one channel
    #[command(after_help = DESCRIBE_JSON)]
    Describe { channel: String },
    /// Show who had a channel, oldest first
    #[command(after_help = HISTORY_JSON)]
    History { channel: String },
    /// Show what the balancer would do now, without doing it
    #[command(after_help = PLAN_JSON)]
    Plan {
        /// With the reason of each move, and the nodes as the policy sees them
        #[arg(long)]
        explain: bool,
        /// As `channel balance` would: channels that were moved a moment ago may be moved again
        #[arg(long)]
        force: bool,
    },
    /// Balance now, channels that were moved a moment ago included
    #[command(after_help = PLAN_JSON)]
    Balance {
        /// Only have the balancer look now, as it does by itself; it says nothing of what it does
        #[arg(long)]
        no_wait: bool,
    },
    /// Put a channel on a node and keep it there, or take that order back
    #[command(after_help = DONE_JSON)]
    Move {
        channel: String,
        /// Server id of a live streaming node
        #[arg(long, required_unless_present = "anywhere")]
        node: Option<i64>,
        /// Let the balancer decide again
        #[arg(long, conflicts_with = "node")]
        anywhere: bool,
        /// Return once the order stands, not once the node has the channel
        #[arg(long)]
        no_wait: bool,
    },
}

pub async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::List => list(context).await,
        Command::Describe { channel } => {
            let found = described(&context.dialer.any().await?, &channel).await?;
            context.output.print(&ChannelView::from(found.channel.unwrap_or_default()))
        }
        Command::History { channel } => {
            let found = described(&context.dialer.any().await?, &channel).await?;
            context.output.print(&Terms { terms: found.terms.into_iter().map(TermView::from).collect() })
        }
        Command::Plan { explain, force } => {
            let session = context.dialer.with_leader().await?;
            let asked = PlanRequest { force };
            let rpc = session.of(asked, |channel, request| async move { client(channel).plan(request).await });
            context.output.print(&PlanView::new(rpc.await?, explain))
        }
        Command::Balance { no_wait } => {
            let session = context.dialer.with_leader().await?;
            let asked = BalanceRequest { no_wait };
            let rpc = session.of(asked, |channel, request| async move { client(channel).balance(request).await });
            match rpc.await?.plan {
                Some(plan) => context.output.print(&PlanView::new(plan, true)),
                None => context.output.print(&Done { kind: "channels", name: "all", done: "are looked at" }),
            }
        }
        Command::Move { channel, node, no_wait, .. } => order(context, &channel, node, no_wait).await,
    }
}

/// Of the operators' service about streaming.
pub fn client(channel: Secured) -> StreamingClient<Secured> {
    StreamingClient::new(channel).max_decoding_message_size(limits::REPLY_BYTES_MAX)
}

async fn list(context: &Context) -> Result<(), Failure> {
    let session = context.dialer.any().await?;
    let asked = ListChannelsRequest {};
    let rpc = session.of(asked, |channel, request| async move { client(channel).list_channels(request).await });
    let found = rpc.await?;
    context.output.print(&Channels {
        channels: found.channels.into_iter().map(ChannelView::from).collect(),
        version: found.version,
        control_channel: found.control_channel,
        allow_rebalance: found.allow_rebalance,
    })
}

async fn described(session: &Session, channel: &str) -> Result<DescribeChannelResponse, Failure> {
    let asked = DescribeChannelRequest { name: channel.to_owned() };
    session.of(asked, |channel, request| async move { client(channel).describe_channel(request).await }).await
}

async fn order(context: &Context, channel: &str, node: Option<i64>, no_wait: bool) -> Result<(), Failure> {
    let session = context.dialer.with_leader().await?;
    let asked = MoveChannelRequest { channel: channel.to_owned(), server_id: node.unwrap_or(0) };
    session.of(asked, |channel, request| async move { client(channel).move_channel(request).await }).await?;
    let done = match node {
        None => "may be anywhere",
        Some(_) if no_wait => "is ordered to the node",
        Some(node) => {
            while !described(&session, channel).await?.channel.is_some_and(|found| has(&found, node)) {
                sleep(limits::CTL_RETRY_PAUSE).await;
            }
            "is on the node"
        }
    };
    context.output.print(&Done { kind: "channel", name: channel, done })
}

fn has(channel: &Channel, node: i64) -> bool {
    channel.state == "assigned" && channel.server_id == node
}

/// 0 stands for none on the wire.
pub fn some(number: i64) -> Option<i64> {
    (number != 0).then_some(number)
}

#[derive(Debug, Serialize)]
struct Channels {
    channels: Vec<ChannelView>,
    version: u64,
    control_channel: String,
    allow_rebalance: bool,
}

impl Report for Channels {
    fn table(&self) -> String {
        if self.channels.is_empty() {
            return "no channels: no streaming node was ever there".to_owned();
        }
        let rows = self.channels.iter().map(|one| {
            vec![
                one.name.clone(),
                one.state.clone(),
                one.term.to_string(),
                or_dash(one.node),
                one.address.clone(),
                one.vchannels.to_string(),
                or_dash(one.pinned),
            ]
        });
        let rows = table(&["CHANNEL", "STATE", "TERM", "NODE", "ADDRESS", "VCHANNELS", "PINNED"], rows);
        let rebalance = if self.allow_rebalance { "" } else { "\nrebalancing is turned off" };
        format!("{rows}{rebalance}")
    }
}

#[derive(Debug, Serialize)]
struct ChannelView {
    name: String,
    state: String,
    term: i64,
    node: Option<i64>,
    address: String,
    access_mode: String,
    vchannels: u64,
    pinned: Option<i64>,
    last_assigned_ms: u64,
    changed_ms: u64,
    removing: Vec<TermView>,
}

impl From<Channel> for ChannelView {
    fn from(found: Channel) -> Self {
        ChannelView {
            name: found.name,
            state: found.state,
            term: found.term,
            node: some(found.server_id),
            address: found.address,
            access_mode: found.access_mode,
            vchannels: found.vchannels,
            pinned: some(found.pinned),
            last_assigned_ms: found.last_assigned_ms,
            changed_ms: found.changed_ms,
            removing: found.removing.into_iter().map(TermView::from).collect(),
        }
    }
}

impl Report for ChannelView {
    fn table(&self) -> String {
        let removing: Vec<String> =
            self.removing.iter().map(|past| format!("{} (term {})", or_dash(past.node), past.term)).collect();
        facts(&[
            ("name", self.name.clone()),
            ("state", self.state.clone()),
            ("term", self.term.to_string()),
            ("node", or_dash(self.node)),
            ("address", self.address.clone()),
            ("access mode", self.access_mode.clone()),
            ("vchannels", self.vchannels.to_string()),
            ("pinned to", or_dash(self.pinned)),
            ("last assigned ms", self.last_assigned_ms.to_string()),
            ("in this state since ms", self.changed_ms.to_string()),
            ("still to let go", removing.join(", ")),
        ])
    }
}

#[derive(Debug, Serialize)]
struct Terms {
    terms: Vec<TermView>,
}

#[derive(Debug, Serialize)]
struct TermView {
    term: i64,
    node: Option<i64>,
    address: String,
    ordered_ms: u64,
    assigned_ms: Option<u64>,
}

impl From<Term> for TermView {
    fn from(found: Term) -> Self {
        TermView {
            term: found.term,
            node: some(found.server_id),
            address: found.address,
            ordered_ms: found.ordered_ms,
            assigned_ms: (found.assigned_ms != 0).then_some(found.assigned_ms),
        }
    }
}

impl Report for Terms {
    fn table(&self) -> String {
        let rows = self.terms.iter().map(|past| {
            let took = past.assigned_ms.map(|at| format!("{} ms", at.saturating_sub(past.ordered_ms)));
            let (term, node) = (past.term.to_string(), or_dash(past.node));
            vec![term, node, past.address.clone(), past.ordered_ms.to_string(), or_dash(took)]
        });
        table(&["TERM", "NODE", "ADDRESS", "ORDERED MS", "TAKEN WITHIN"], rows)
    }
}
