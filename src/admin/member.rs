//! `Init` and the changes of the membership. Each is checked here against the membership in effect, as a courtesy that
//! gives a clear answer; the host's own rules are the truth. A change that is in effect already succeeds.

use super::leader::{require, step_aside};
use super::status::{is_voter, member};
use super::{Error, Node};
use crate::limits;
use crate::pb::admin::{
    Address, InitRequest, InitResponse, Member, MemberAddRequest, MemberChangeResponse, MemberListResponse, NodeStatus,
};

pub fn list(status: NodeStatus) -> MemberListResponse {
    MemberListResponse { members: status.members, term: status.term, leader: status.leader }
}

pub async fn initialize(node: &dyn Node, request: InitRequest) -> Result<InitResponse, Error> {
    let status = node.status()?;
    if !status.members.is_empty() {
        return Err(Error::Initialized(status.cluster_id));
    }
    let mut voters: Vec<(u64, Address)> = Vec::new();
    for Member { id, address, .. } in request.members {
        let address = checked(id, address)?;
        if voters.iter().any(|(other, taken)| *other == id || taken.peer == address.peer) {
            return Err(Error::Invalid(format!("node {id} or its peer address is named twice")));
        }
        voters.push((id, address));
    }
    if !voters.iter().any(|(id, _)| *id == status.node_id) {
        return Err(Error::Invalid(format!("this is node {}, which is not among the members", status.node_id)));
    }
    let cluster_id = node.initialize(voters).await?;
    Ok(InitResponse { cluster_id })
}

pub async fn add(node: &dyn Node, request: MemberAddRequest) -> Result<MemberChangeResponse, Error> {
    let status = node.status()?;
    require(&status)?;
    let address = checked(request.id, request.address)?;
    match member(&status, request.id) {
        Some(found) if found.address.as_ref() == Some(&address) => return Ok(unchanged(status)),
        Some(_) => return Err(Error::Invalid(format!("node {} is a member at another address", request.id))),
        None => free(&status, &address, None)?,
    }
    let index = node.add_learner(request.id, address).await?;
    changed(node, index)
}

pub async fn promote(node: &dyn Node, id: u64) -> Result<MemberChangeResponse, Error> {
    let status = node.status()?;
    require(&status)?;
    let found = member(&status, id).ok_or_else(|| no_member(id))?;
    if is_voter(found) {
        return Ok(unchanged(status));
    }
    caught_up(found)?;
    let index = node.promote(id).await?;
    changed(node, index)
}

pub async fn remove(node: &dyn Node, id: u64) -> Result<MemberChangeResponse, Error> {
    let status = node.status()?;
    require(&status)?;
    let found = member(&status, id).ok_or_else(|| no_member(id))?;
    let voters = status.members.iter().filter(|member| is_voter(member)).count();
    if is_voter(found) && voters < 2 {
        return Err(Error::Invalid(format!("node {id} is the last voter")));
    }
    if id == status.node_id {
        return Err(step_aside(node).await);
    }
    let index = node.remove(id).await?;
    changed(node, index)
}

/// An id and a complete address, or why not.
pub fn checked(id: u64, address: Option<Address>) -> Result<Address, Error> {
    if id == 0 {
        return Err(Error::Invalid("node ids begin at 1".to_owned()));
    }
    let address = address.unwrap_or_default();
    for (name, text) in [("peer", &address.peer), ("client", &address.client), ("internal", &address.internal)] {
        let parsed = text.parse::<http::uri::Authority>().ok();
        let usable = parsed.is_some_and(|at| at.port_u16().is_some_and(|port| port > 0) && !at.host().is_empty());
        if !usable || text.contains('@') {
            return Err(Error::Invalid(format!("node {id}: the {name} address '{text}' is not host:port")));
        }
    }
    Ok(address)
}

/// No member but `except` may be reached at this peer address already: that would be a typing error.
pub fn free(status: &NodeStatus, address: &Address, except: Option<u64>) -> Result<(), Error> {
    let taken = |member: &&Member| {
        Some(member.id) != except && member.address.as_ref().is_some_and(|other| other.peer == address.peer)
    };
    match status.members.iter().find(taken) {
        Some(other) => Err(Error::Invalid(format!("node {} is reached at {} already", other.id, address.peer))),
        None => Ok(()),
    }
}

/// A learner far behind would stall commits once its vote counts.
pub fn caught_up(learner: &Member) -> Result<(), Error> {
    match learner.lag_entries {
        Some(lag) if lag <= limits::PROMOTE_LAG_ENTRIES_MAX => Ok(()),
        Some(lag) => Err(Error::Lagging(format!("node {} is {lag} entries behind; wait for it", learner.id))),
        None => Err(Error::Lagging(format!("node {} has not answered the leader yet", learner.id))),
    }
}

fn no_member(id: u64) -> Error {
    Error::NotFound(format!("node {id} is no member"))
}

fn changed(node: &dyn Node, index: u64) -> Result<MemberChangeResponse, Error> {
    Ok(MemberChangeResponse { index, members: node.status()?.members })
}

fn unchanged(status: NodeStatus) -> MemberChangeResponse {
    MemberChangeResponse { index: status.committed_index, members: status.members }
}
