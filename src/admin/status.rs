//! `Status` of this node and `ClusterStatus` of all: the asked node asks every member, unreachable ones are marked.

use std::time::Instant;

use super::{AskMember, Error, Node};
use crate::limits;
use crate::pb::admin::{Address, ClusterStatusResponse, Member, MemberReport, NodeStatus, Role};

/// Asks every member of the membership that `node` knows, at the same time, each for a second.
pub async fn of_cluster(node: &dyn Node, others: &dyn AskMember) -> Result<ClusterStatusResponse, Error> {
    let own = node.status()?;
    let asked_node = own.node_id;
    let members = match own.members.is_empty() {
        false => own.members.clone(),
        // Before there is a membership, this node is all there is to show.
        true => vec![Member { id: own.node_id, address: own.address.clone(), ..Default::default() }],
    };
    let reports = members.into_iter().map(|member| async {
        match member.id == asked_node {
            true => MemberReport { member: Some(member), status: Some(own.clone()), ..Default::default() },
            false => report(member, others).await,
        }
    });
    let mut reports = futures::future::join_all(reports).await;
    adopt_lags(&mut reports);
    Ok(ClusterStatusResponse { asked_node, reports })
}

async fn report(member: Member, others: &dyn AskMember) -> MemberReport {
    let internal = member.address.as_ref().map(|address| address.internal.clone()).unwrap_or_default();
    let started = Instant::now();
    let answer = tokio::time::timeout(limits::MEMBER_STATUS_TIMEOUT, others.status(&internal)).await;
    let took_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    let (status, error) = match answer {
        Ok(Ok(status)) if status.node_id == member.id => (Some(status), String::new()),
        Ok(Ok(status)) => (None, format!("{internal}: node {} answers there", status.node_id)),
        Ok(Err(error)) => (None, error),
        Err(_) => (None, format!("{internal}: no answer within {} ms", limits::MEMBER_STATUS_TIMEOUT.as_millis())),
    };
    MemberReport { member: Some(member), status, error, took_us }
}

/// Only the leader knows how far the members are; its view of them is shown, whoever was asked.
fn adopt_lags(reports: &mut [MemberReport]) {
    let Some(leader) = leading(reports.iter().filter_map(|report| report.status.as_ref())).cloned() else { return };
    for report in reports {
        let Some(member) = &mut report.member else { continue };
        if let Some(known) = leader.members.iter().find(|known| known.id == member.id) {
            *member = known.clone();
        }
    }
}

/// The node that leads the newest term, if it is among these.
pub fn leading<'a>(statuses: impl Iterator<Item = &'a NodeStatus> + Clone) -> Option<&'a NodeStatus> {
    let term = statuses.clone().map(|status| status.term).max()?;
    statuses.into_iter().find(|status| status.term == term && status.leader == Some(status.node_id))
}

/// The member with this id.
pub fn member(status: &NodeStatus, id: u64) -> Option<&Member> {
    status.members.iter().find(|member| member.id == id)
}

/// Where a member is reached.
pub fn address_of(status: &NodeStatus, id: u64) -> Option<Address> {
    member(status, id)?.address.clone()
}

/// Whether the membership counts this node's vote.
pub fn is_voter(member: &Member) -> bool {
    member.role() == Role::Voter
}
