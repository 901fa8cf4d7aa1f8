//! `roostctl leader show|transfer`.

use clap::Subcommand;
use serde::Serialize;

use super::Context;
use super::connect::Endpoint;
use super::exit::Failure;
use super::output::{Report, facts, note, or_dash};
use super::view::AddressView;
use crate::pb::admin::{LeaderShowResponse, LeaderTransferRequest, LeaderTransferResponse};

const SHOW_JSON: &str = "\
JSON: {\"leader\": id or null, \"term\": n, \"address\": {\"peer\", \"client\", \"internal\"} or null}
Every endpoint given is asked; the answer of the highest term counts. Without a leader the exit code is 4.";
const TRANSFER_JSON: &str = "JSON: {\"from\": id, \"to\": id, \"term\": n, \"took_ms\": n}";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show who leads
    #[command(after_help = SHOW_JSON)]
    Show,
    /// Hand leadership to another voter and wait for the outcome
    #[command(after_help = TRANSFER_JSON)]
    Transfer {
        /// The next leader; without it the leader chooses the voter that holds most of the log
        #[arg(value_name = "NODE_ID")]
        to: Option<u64>,
    },
}

pub async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Show => show(context).await,
        Command::Transfer { to } => transfer(context, to).await,
    }
}

#[derive(Debug, PartialEq, Serialize)]
struct Leader {
    leader: Option<u64>,
    term: u64,
    address: Option<AddressView>,
}

impl Report for Leader {
    fn table(&self) -> String {
        let address = self.address.clone().unwrap_or_default();
        facts(&[
            ("leader", or_dash(self.leader)),
            ("term", self.term.to_string()),
            ("peer", address.peer),
            ("client", address.client),
            ("internal", address.internal),
        ])
    }
}

async fn show(context: &Context) -> Result<(), Failure> {
    let leader = newest(context.dialer.every().await)?;
    context.output.print(&leader)?;
    match leader.leader {
        Some(_) => Ok(()),
        None => Err(Failure::NoLeader(format!("nobody leads term {}", leader.term))),
    }
}

/// The view of the highest term. Within a term, a node that knows the leader knows more than one that does not.
fn newest(answers: Vec<(Endpoint, Result<LeaderShowResponse, Failure>)>) -> Result<Leader, Failure> {
    let mut newest: Option<LeaderShowResponse> = None;
    let mut failures = Vec::new();
    for (_, answer) in answers {
        match answer {
            Ok(answer) => {
                let rank = |answer: &LeaderShowResponse| (answer.term, answer.leader.is_some());
                if newest.as_ref().is_none_or(|newest| rank(newest) < rank(&answer)) {
                    newest = Some(answer);
                }
            }
            Err(failure) => failures.push(failure),
        }
    }
    match newest {
        Some(newest) => Ok(Leader {
            leader: newest.leader,
            term: newest.term,
            address: newest.address.filter(|_| newest.leader.is_some()).map(AddressView::from),
        }),
        None => Err(most_telling(failures)),
    }
}

/// A node that refuses says more than one that is away.
fn most_telling(failures: Vec<Failure>) -> Failure {
    let (away, refusing): (Vec<_>, Vec<_>) =
        failures.into_iter().partition(|failure| matches!(failure, Failure::Unreachable(_)));
    let texts = away.iter().map(|failure| match failure {
        Failure::Unreachable(why) => why.clone(),
        other => other.to_string(),
    });
    let away = texts.collect::<Vec<_>>().join("; ");
    refusing.into_iter().next().unwrap_or(Failure::Unreachable(away))
}

#[derive(Debug, Serialize)]
struct Transferred {
    from: u64,
    to: u64,
    term: u64,
    took_ms: u64,
}

impl From<LeaderTransferResponse> for Transferred {
    fn from(done: LeaderTransferResponse) -> Self {
        Transferred { from: done.from, to: done.to, term: done.term, took_ms: done.took_ms }
    }
}

impl Report for Transferred {
    fn table(&self) -> String {
        format!("leader {} -> {} in term {} after {} ms", self.from, self.to, self.term, self.took_ms)
    }
}

async fn transfer(context: &Context, to: Option<u64>) -> Result<(), Failure> {
    // The server gives up a little earlier than we do, so that its reason arrives.
    let timeout_ms = u32::try_from(context.dialer.timeout.as_millis() * 8 / 10).unwrap_or(u32::MAX);
    let request = LeaderTransferRequest { to, timeout_ms };
    let rpc =
        context.dialer.on_leader(request, |mut client, request| async move { client.leader_transfer(request).await });
    let done = rpc.await?;
    if done.from == done.to {
        note(&format!("node {} led already; nothing was to do", done.to));
    }
    context.output.print(&Transferred::from(done))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::admin::Address;

    fn answered(term: u64, leader: Option<u64>) -> (Endpoint, Result<LeaderShowResponse, Failure>) {
        let address = leader.map(|id| Address { client: format!("c{id}:1"), ..Default::default() });
        ("n:1".parse().unwrap(), Ok(LeaderShowResponse { leader, term, address }))
    }

    fn away() -> (Endpoint, Result<LeaderShowResponse, Failure>) {
        ("n:1".parse().unwrap(), Err(Failure::Unreachable("n:1: refused".into())))
    }

    #[test]
    fn an_isolated_former_leader_is_outvoted_by_its_term() {
        let leader = newest(vec![answered(3, Some(1)), away(), answered(4, Some(2)), answered(4, None)]).unwrap();
        assert_eq!((leader.leader, leader.term), (Some(2), 4));
        assert_eq!(leader.address.unwrap().client, "c2:1");
    }

    #[test]
    fn the_documented_json() {
        let leader = newest(vec![answered(9, None)]).unwrap();
        assert_eq!(serde_json::to_string(&leader).unwrap(), r#"{"leader":null,"term":9,"address":null}"#);
        let leader = newest(vec![answered(9, Some(3))]).unwrap();
        assert_eq!(
            serde_json::to_string(&leader).unwrap(),
            r#"{"leader":3,"term":9,"address":{"peer":"","client":"c3:1","internal":""}}"#
        );
    }

    #[test]
    fn nobody_there_is_unreachable_and_a_refusal_wins() {
        assert_eq!(newest(vec![away(), away()]).unwrap_err().exit_code(), 3);
        let refusing = ("n:2".parse().unwrap(), Err(Failure::Failed("n:2: wrong secret".into())));
        assert_eq!(newest(vec![away(), refusing]).unwrap_err().exit_code(), 1);
    }
}
