//! `roostctl member list|add|promote|remove|replace`.

use std::str::FromStr;

use clap::{Args, Subcommand};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::Context;
use super::confirm::confirm;
use super::connect::Endpoint;
use super::exit::{Failure, one_line};
use super::output::{Report, facts, note, or_dash};
use super::session::Interrupted;
use super::view::{MemberView, member_table, views};
use crate::limits;
use crate::pb::admin::{
    Address, Member, MemberAddRequest, MemberChangeResponse, MemberListRequest, MemberListResponse,
    MemberPromoteRequest, MemberRemoveRequest, MemberReplaceRequest, ReplacePhase, Role,
};

const LIST_JSON: &str = "\
JSON: {\"term\", \"leader\": id or null, \"members\": [{\"id\", \"role\": voter|learner,
       \"address\": {\"peer\", \"client\", \"internal\"}, \"incarnation\", \"matched_index\", \"lag_entries\"}]}
Only the leader knows matched_index and lag_entries; others print null.";
const CHANGE_JSON: &str = "JSON: {\"index\": log index of the change, \"members\": [as member list]}";
const REPLACE_JSON: &str = "\
Adds the new member as a learner, waits until it has caught up, swaps the voters in one step, removes the old one.
Interrupted at any point, the same command continues. --timeout bounds the time without progress, not the whole.
Progress goes to stderr. JSON: as member list, when done";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the members
    #[command(after_help = LIST_JSON)]
    List,
    /// Add a started, empty node as a learner: it receives the log and does not vote
    #[command(after_help = CHANGE_JSON)]
    Add {
        /// An id never used before in this cluster
        #[arg(value_name = "NODE_ID", value_parser = clap::value_parser!(u64).range(1..))]
        id: u64,
        #[command(flatten)]
        address: AddressArgs,
    },
    /// Make a caught-up learner a voter
    #[command(after_help = CHANGE_JSON)]
    Promote {
        #[arg(value_name = "NODE_ID")]
        id: u64,
    },
    /// Remove a member for good
    #[command(after_help = CHANGE_JSON)]
    Remove {
        #[arg(value_name = "NODE_ID")]
        id: u64,
    },
    /// Put a new node in the place of a member, in one resumable operation
    #[command(after_help = REPLACE_JSON)]
    Replace {
        /// The member that goes
        #[arg(value_name = "OLD_ID")]
        old_id: u64,
        /// The node that comes: an id never used before in this cluster
        #[arg(value_name = "NEW_ID", value_parser = clap::value_parser!(u64).range(1..))]
        new_id: u64,
        #[command(flatten)]
        address: AddressArgs,
    },
}

/// Where a new member is reached.
#[derive(Args, Clone, Debug)]
pub struct AddressArgs {
    /// Its peer address, for Raft
    #[arg(long, value_name = "HOST:PORT")]
    peer: Endpoint,
    /// Its client address, for MilvusService
    #[arg(long, value_name = "HOST:PORT")]
    client: Endpoint,
    /// Its internal address, for RootCoord and this tool
    #[arg(long, value_name = "HOST:PORT")]
    internal: Endpoint,
}

impl AddressArgs {
    fn to_wire(&self) -> Address {
        Address { peer: self.peer.to_string(), client: self.client.to_string(), internal: self.internal.to_string() }
    }
}

/// `id=N,peer=H:P,client=H:P,internal=H:P`, in any order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberArg {
    pub id: u64,
    pub peer: Endpoint,
    pub client: Endpoint,
    pub internal: Endpoint,
}

impl FromStr for MemberArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mut id, mut peer, mut client, mut internal) = (None, None, None, None);
        for part in text.split(',') {
            let (key, value) = part.split_once('=').ok_or_else(|| format!("'{part}' is not key=value"))?;
            let address = || value.parse::<Endpoint>();
            let repeated = match key.trim() {
                "id" => {
                    let number: u64 = value.trim().parse().map_err(|_| format!("'{value}' is not a node id"))?;
                    id.replace(number).is_some()
                }
                "peer" => peer.replace(address()?).is_some(),
                "client" => client.replace(address()?).is_some(),
                "internal" => internal.replace(address()?).is_some(),
                other => return Err(format!("unknown key '{other}': use id, peer, client, internal")),
            };
            if repeated {
                return Err(format!("'{key}' is given twice"));
            }
        }
        let missing = |key: &str| format!("'{key}=' is missing");
        let id = id.filter(|id| *id > 0).ok_or_else(|| missing("id"))?;
        Ok(MemberArg {
            id,
            peer: peer.ok_or_else(|| missing("peer"))?,
            client: client.ok_or_else(|| missing("client"))?,
            internal: internal.ok_or_else(|| missing("internal"))?,
        })
    }
}

impl MemberArg {
    fn to_address(&self) -> Address {
        Address { peer: self.peer.to_string(), client: self.client.to_string(), internal: self.internal.to_string() }
    }

    /// As a first voter on the wire.
    pub fn to_voter(&self) -> Member {
        Member { id: self.id, role: Role::Voter.into(), address: Some(self.to_address()), ..Default::default() }
    }

    /// As an entry of the replicated membership.
    pub fn to_entry(&self) -> (u64, roost_raft::types::Member) {
        let Address { peer, client, internal } = self.to_address();
        (self.id, roost_raft::types::Member { peer, client, internal })
    }
}

/// Two members under one id or at one peer address are a typing error.
pub fn check_distinct(members: &[MemberArg]) -> Result<(), Failure> {
    for (at, member) in members.iter().enumerate() {
        for other in members.iter().skip(at + 1) {
            if member.id == other.id {
                return Err(Failure::Usage(format!("member {} is given twice", member.id)));
            }
            if member.peer == other.peer {
                return Err(Failure::Usage(format!("members {} and {} share {}", member.id, other.id, member.peer)));
            }
        }
    }
    Ok(())
}

pub async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::List => list(context).await,
        Command::Add { id, address } => add(context, id, &address).await,
        Command::Promote { id } => promote(context, id).await,
        Command::Remove { id } => remove(context, id).await,
        Command::Replace { old_id, new_id, address } => replace(context, old_id, new_id, &address).await,
    }
}

async fn list(context: &Context) -> Result<(), Failure> {
    context.output.print(&Members::from(ask(context).await?))
}

async fn ask(context: &Context) -> Result<MemberListResponse, Failure> {
    let session = context.dialer.any().await?;
    session.call(MemberListRequest {}, |mut client, request| async move { client.member_list(request).await }).await
}

async fn add(context: &Context, id: u64, address: &AddressArgs) -> Result<(), Failure> {
    let request = MemberAddRequest { id, address: Some(address.to_wire()) };
    let rpc = context.dialer.on_leader(request, |mut client, request| async move { client.member_add(request).await });
    let change = Change::from(rpc.await?);
    note(&format!("node {id} is a learner; when it has caught up: roostctl member promote {id}"));
    context.output.print(&change)
}

async fn promote(context: &Context, id: u64) -> Result<(), Failure> {
    let request = MemberPromoteRequest { id };
    let rpc =
        context.dialer.on_leader(request, |mut client, request| async move { client.member_promote(request).await });
    let change = Change::from(rpc.await?);
    context.output.print(&change)
}

async fn remove(context: &Context, id: u64) -> Result<(), Failure> {
    confirm(context.yes, &format!("Remove member {id} for good? Its id can never be used again."))?;
    let request = MemberRemoveRequest { id };
    let rpc =
        context.dialer.on_leader(request, |mut client, request| async move { client.member_remove(request).await });
    let change = Change::from(rpc.await?);
    context.output.print(&change)
}

async fn replace(context: &Context, old_id: u64, new_id: u64, address: &AddressArgs) -> Result<(), Failure> {
    if old_id == new_id {
        return Err(Failure::Usage("the new member needs an id of its own; ids are never used again".to_owned()));
    }
    confirm(context.yes, &format!("Replace member {old_id} by node {new_id}? Id {old_id} can never be used again."))?;
    let request = MemberReplaceRequest { old_id, new_id, new_address: Some(address.to_wire()) };
    let mut progress_at = Instant::now();
    // The operation continues where it ended, so a moved leader or a broken connection is no reason to give up.
    while let Err(interrupted) = replace_once(context, request.clone(), &mut progress_at).await {
        if !interrupted.passing || progress_at.elapsed() >= context.dialer.timeout {
            note("the replacement is not finished; the same command continues it");
            return Err(interrupted.failure);
        }
        note(&format!("interrupted, continuing: {}", interrupted.failure));
        sleep(limits::CTL_RETRY_PAUSE).await;
    }
    // The node that is asked may not have heard of it yet.
    let deadline = Instant::now() + context.dialer.timeout;
    loop {
        let seen = ask(context).await?;
        if Instant::now() >= deadline || seen.members.iter().all(|member| member.id != old_id) {
            return context.output.print(&Members::from(seen));
        }
        sleep(limits::CTL_RETRY_PAUSE).await;
    }
}

/// One attempt, until the server says done. `progress_at` is the time of the last sign of progress.
async fn replace_once(
    context: &Context,
    request: MemberReplaceRequest,
    progress_at: &mut Instant,
) -> Result<(), Interrupted> {
    let session = match context.dialer.with_leader().await {
        Ok(session) => session,
        // The dialer has tried for the whole timeout.
        Err(failure) => return Err(Interrupted { failure, passing: false }),
    };
    let rpc = session.open(request, Some(context.dialer.timeout), |mut client, request| async move {
        client.member_replace(request).await
    });
    let mut feed = rpc.await?;
    while let Some(progress) = feed.next().await? {
        *progress_at = Instant::now();
        note(&one_line(&progress.text));
        if progress.phase() == ReplacePhase::Done {
            return Ok(());
        }
    }
    let failure = Failure::Failed(format!("{}: the replacement ended without an outcome", session.node));
    Err(Interrupted { failure, passing: true })
}

#[derive(Debug, Serialize)]
struct Members {
    term: u64,
    leader: Option<u64>,
    members: Vec<MemberView>,
}

impl From<MemberListResponse> for Members {
    fn from(list: MemberListResponse) -> Self {
        Members { term: list.term, leader: list.leader, members: views(list.members) }
    }
}

impl Report for Members {
    fn table(&self) -> String {
        let summary = facts(&[("leader", or_dash(self.leader)), ("term", self.term.to_string())]);
        format!("{summary}\n\n{}", member_table(&self.members))
    }
}

#[derive(Debug, Serialize)]
struct Change {
    index: u64,
    members: Vec<MemberView>,
}

impl From<MemberChangeResponse> for Change {
    fn from(change: MemberChangeResponse) -> Self {
        Change { index: change.index, members: views(change.members) }
    }
}

impl Report for Change {
    fn table(&self) -> String {
        format!("committed at {}\n\n{}", self.index, member_table(&self.members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_read_in_any_order() {
        let member: MemberArg = "peer=a:1,id=4,internal=a:3,client=a:2".parse().unwrap();
        assert_eq!((member.id, member.peer.to_string()), (4, "a:1".to_owned()));
        assert_eq!(member.to_voter().address.unwrap().internal, "a:3");
    }

    #[test]
    fn a_wrong_member_says_what_is_wrong() {
        for (text, complaint) in [
            ("id=4,peer=a:1,client=a:2", "'internal=' is missing"),
            ("id=0,peer=a:1,client=a:2,internal=a:3", "'id=' is missing"),
            ("id=4,id=5,peer=a:1,client=a:2,internal=a:3", "'id' is given twice"),
            ("id=4,port=a:1", "unknown key 'port'"),
            ("id=4,peer=a", "'a' is not HOST:PORT"),
            ("4", "'4' is not key=value"),
            ("", "'' is not key=value"),
        ] {
            let error = text.parse::<MemberArg>().unwrap_err();
            assert!(error.contains(complaint), "{text}: {error}");
        }
    }

    #[test]
    fn members_are_distinct() {
        let member = |text: &str| text.parse::<MemberArg>().unwrap();
        let one = member("id=1,peer=a:1,client=a:2,internal=a:3");
        let twin = member("id=1,peer=b:1,client=b:2,internal=b:3");
        let squatter = member("id=2,peer=a:1,client=b:2,internal=b:3");
        assert!(check_distinct(std::slice::from_ref(&one)).is_ok());
        assert_eq!(check_distinct(&[one.clone(), twin]).unwrap_err().exit_code(), 2);
        assert!(check_distinct(&[one, squatter]).unwrap_err().to_string().contains("share a:1"));
    }

    #[test]
    fn members_as_table_and_json() {
        let address = Address { peer: "p:1".into(), client: "c:1".into(), internal: "i:1".into() };
        let voter = Member { id: 1, role: Role::Voter.into(), address: Some(address), ..Default::default() };
        let learner = Member { id: 4, role: Role::Learner.into(), lag_entries: Some(120), ..Default::default() };
        let list = Members::from(MemberListResponse { members: vec![voter, learner], term: 3, leader: Some(1) });
        let text = list.table();
        assert!(text.starts_with("leader: 1\nterm:   3\n\nID  ROLE     PEER  CLIENT  INTERNAL  LAG\n"), "{text}");
        assert!(text.contains("\n4   learner                          120"), "{text}");
        let json = serde_json::to_value(&list).unwrap();
        assert_eq!(json["members"][1]["role"], "learner");
        assert_eq!(json["members"][0]["lag_entries"], serde_json::Value::Null);
    }
}
