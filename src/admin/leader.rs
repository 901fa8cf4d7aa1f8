//! `LeaderShow` and `LeaderTransfer`.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::status::{address_of, is_voter, member};
use super::{Error, Node};
use crate::limits;
use crate::pb::admin::{LeaderShowResponse, LeaderTransferRequest, LeaderTransferResponse, NodeStatus};

pub fn show(status: &NodeStatus) -> LeaderShowResponse {
    LeaderShowResponse {
        leader: status.leader,
        term: status.term,
        address: status.leader.and_then(|leader| address_of(status, leader)),
    }
}

/// This node must lead; otherwise the caller is told who does.
pub fn require(status: &NodeStatus) -> Result<(), Error> {
    if status.members.is_empty() {
        return Err(Error::Uninitialized);
    }
    match status.leader {
        None => Err(Error::NoLeader),
        Some(leader) if leader == status.node_id => Ok(()),
        Some(leader) => Err(Error::NotLeader(format!("node {leader} leads, not node {}", status.node_id))),
    }
}

/// Hands leadership over and waits until another node leads, the named one if one is named.
pub async fn transfer(node: &dyn Node, request: LeaderTransferRequest) -> Result<LeaderTransferResponse, Error> {
    let before = node.status()?;
    require(&before)?;
    let from = before.node_id;
    if request.to == Some(from) {
        return Ok(LeaderTransferResponse { from, to: from, term: before.term, took_ms: 0 });
    }
    if let Some(to) = request.to {
        let target = member(&before, to).ok_or_else(|| Error::NotFound(format!("node {to} is no member")))?;
        if !is_voter(target) {
            return Err(Error::Invalid(format!("node {to} is a learner and cannot lead; promote it first")));
        }
    } else if before.members.iter().filter(|member| is_voter(member)).count() < 2 {
        return Err(Error::Invalid("there is no other voter".to_owned()));
    }
    let limit = match request.timeout_ms {
        0 => limits::TRANSFER_TIMEOUT,
        ms => Duration::from_millis(u64::from(ms)).min(limits::TRANSFER_TIMEOUT_MAX),
    };
    let started = Instant::now();
    node.start_transfer(request.to).await?;
    let Ok(outcome) = timeout(limit, successor(node, before.term)).await else {
        let limit_ms = limit.as_millis();
        return Err(Error::Failed(format!("nobody took over from node {from} within {limit_ms} ms")));
    };
    let (to, term) = outcome?;
    if request.to.is_some_and(|wanted| wanted != to) {
        return Err(Error::Failed(format!("node {to} won the election of term {term} instead")));
    }
    let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(LeaderTransferResponse { from, to, term, took_ms })
}

/// The leader of a term after `term`; this node again, if the target failed.
async fn successor(node: &dyn Node, term: u64) -> Result<(u64, u64), Error> {
    loop {
        let now = node.status()?;
        if let Some(leader) = now.leader.filter(|_| now.term > term) {
            return Ok((leader, now.term));
        }
        sleep(limits::ADMIN_POLL).await;
    }
}

/// Lets another voter lead before this node leaves the membership, and sends the caller there.
pub async fn step_aside(node: &dyn Node) -> Error {
    match transfer(node, LeaderTransferRequest::default()).await {
        Ok(done) => Error::NotLeader(format!("node {} led; node {} leads now and can go on", done.from, done.to)),
        Err(error) => error,
    }
}
