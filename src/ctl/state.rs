//! `roostctl state hash`: whether the members hold the same state, row for row.

use std::collections::BTreeMap;

use clap::Subcommand;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::Context;
use super::exit::Failure;
use super::output::{Report, or_dash, table};
use super::session::Session;
use super::view::hex;
use crate::limits;
use crate::pb::admin::{MemberListRequest, StateHashRequest, StateHashResponse};

const JSON: &str = "\
JSON: {\"index\", \"equal\": bool, \"nodes\": [{\"node_id\", \"hash\": hex or null, \"error\": text or null}]}
With --all, every member is asked until all that answer show the hash of one common index. The exit code is 1 when
hashes differ, when a member does not answer, or when no common index was found within --timeout.";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the hash over every replicated row
    #[command(after_help = JSON)]
    Hash {
        /// Ask every member, at a common applied index
        #[arg(long)]
        all: bool,
    },
}

pub async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let Command::Hash { all } = command;
    let session = context.dialer.any().await?;
    if !all {
        let answer = ask(&session, 0).await?;
        let now = answer.now.unwrap_or_default();
        let node = Node { node_id: answer.node_id, hash: Some(hex(&now.hash)), error: None };
        return context.output.print(&Hashes { index: now.index, equal: true, nodes: vec![node] });
    }
    let hashes = compare(context, &session).await?;
    context.output.print(&hashes)?;
    hashes.judge()
}

async fn ask(session: &Session, min_index: u64) -> Result<StateHashResponse, Failure> {
    let request = StateHashRequest { min_index };
    session.call(request, |mut client, request| async move { client.state_hash(request).await }).await
}

/// Asks until the members meet at an index: each round waits for the furthest index of the round before.
async fn compare(context: &Context, session: &Session) -> Result<Hashes, Failure> {
    let rpc =
        session.call(MemberListRequest {}, |mut client, request| async move { client.member_list(request).await });
    let members = rpc.await?.members;
    let deadline = Instant::now() + context.dialer.timeout;
    let dialed = members.into_iter().map(|member| async move {
        let internal = member.address.unwrap_or_default().internal;
        (member.id, context.dialer.exactly(&internal).await)
    });
    let sessions = futures::future::join_all(dialed).await;
    let mut min_index = 0;
    loop {
        let asked = sessions.iter().map(|(id, session)| async move {
            let answer = match session {
                Ok(session) => ask(session, min_index).await.map_err(|failure| failure.to_string()),
                Err(failure) => Err(failure.to_string()),
            };
            (*id, answer.map(points))
        });
        let answers = futures::future::join_all(asked).await;
        let furthest = answers.iter().filter_map(|(_, answer)| answer.as_ref().ok()?.keys().next_back()).max();
        min_index = furthest.copied().unwrap_or(min_index);
        match meet(answers) {
            Some(hashes) => return Ok(hashes),
            None if Instant::now() + limits::CTL_RETRY_PAUSE < deadline => sleep(limits::CTL_RETRY_PAUSE).await,
            None => return Err(Failure::Failed("the members never met at one index; try under less load".to_owned())),
        }
    }
}

/// What one member knows: hashes by log index.
type Points = BTreeMap<u64, Vec<u8>>;

fn points(answer: StateHashResponse) -> Points {
    answer.recent.into_iter().chain(answer.now).map(|point| (point.index, point.hash)).collect()
}

/// The hashes at the highest index that every answering member knows, if there is one.
fn meet(answers: Vec<(u64, Result<Points, String>)>) -> Option<Hashes> {
    let known: Vec<&Points> = answers.iter().filter_map(|(_, answer)| answer.as_ref().ok()).collect();
    let index = match known.split_first() {
        Some((first, others)) => {
            let common = |index: &&u64| others.iter().all(|other| other.contains_key(*index));
            *first.keys().rev().find(common)?
        }
        None => 0,
    };
    let nodes: Vec<Node> = answers
        .into_iter()
        .map(|(node_id, answer)| match answer {
            Ok(hashes) => Node { node_id, hash: hashes.get(&index).map(|hash| hex(hash)), error: None },
            Err(error) => Node { node_id, hash: None, error: Some(error) },
        })
        .collect();
    let mut hashes = nodes.iter().filter_map(|node| node.hash.as_ref());
    let first = hashes.next();
    let equal = hashes.all(|hash| Some(hash) == first);
    Some(Hashes { index, equal, nodes })
}

#[derive(Debug, Serialize)]
struct Hashes {
    index: u64,
    equal: bool,
    nodes: Vec<Node>,
}

#[derive(Debug, Serialize)]
struct Node {
    node_id: u64,
    hash: Option<String>,
    error: Option<String>,
}

impl Report for Hashes {
    fn table(&self) -> String {
        let rows = self.nodes.iter().map(|node| {
            let hash = node.hash.clone().or_else(|| node.error.clone());
            vec![node.node_id.to_string(), self.index.to_string(), or_dash(hash)]
        });
        table(&["NODE", "INDEX", "HASH"], rows)
    }
}

impl Hashes {
    fn judge(&self) -> Result<(), Failure> {
        if !self.equal {
            return Err(Failure::Failed(format!("the members' states DIFFER at index {}", self.index)));
        }
        match self.nodes.iter().find(|node| node.hash.is_none()) {
            Some(node) => Err(Failure::Failed(format!("node {} was not compared", node.node_id))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn knows(node_id: u64, hashes: &[(u64, u8)]) -> (u64, Result<Points, String>) {
        (node_id, Ok(hashes.iter().map(|(index, hash)| (*index, vec![*hash])).collect()))
    }

    #[test]
    fn members_meet_at_the_highest_common_index() {
        let hashes =
            meet(vec![knows(1, &[(5, 50), (6, 60), (8, 80)]), knows(2, &[(4, 40), (6, 60), (7, 70)])]).unwrap();
        assert_eq!((hashes.index, hashes.equal), (6, true));
        assert!(hashes.judge().is_ok());
        assert_eq!(hashes.table(), "NODE  INDEX  HASH\n1     6      3c\n2     6      3c");
    }

    #[test]
    fn members_that_never_meet_are_asked_again() {
        assert!(meet(vec![knows(1, &[(5, 50)]), knows(2, &[(6, 60)])]).is_none());
    }

    #[test]
    fn a_difference_and_an_absence_both_fail() {
        let differing = meet(vec![knows(1, &[(5, 50)]), knows(2, &[(5, 51)])]).unwrap();
        assert!(!differing.equal);
        assert!(differing.judge().unwrap_err().to_string().contains("DIFFER"));
        let absent = meet(vec![knows(1, &[(5, 50)]), (2, Err("refused".into()))]).unwrap();
        assert!(absent.equal);
        assert_eq!(absent.judge().unwrap_err().to_string(), "node 2 was not compared");
        assert!(absent.table().ends_with("2     5      refused"));
    }
}
