//! The Cluster service: etcd's members are Roost's. A member's id is its node id, and a node is asked for its id, so
//! one that is to be added must run already. Changes are made by the leader's operator API, wherever they are asked
//! for.

use std::sync::Arc;
use std::time::Instant;

use tonic::{Request, Response, Status};

use super::Headers;
use super::error::{self, MEMBER_BAD_URLS, MEMBER_EXISTS, MEMBER_NOT_FOUND, MEMBER_NOT_LEARNER, PEER_URL_EXISTS};
use super::operator::{Client, Operator, lagging, told};
use crate::admin::AskMember;
use crate::call::Call;
use crate::limits;
use crate::pb::admin;
use crate::pb::etcd::api::cluster_server::Cluster;
use crate::pb::etcd::api::*;
use crate::replica::{Peer, Replica};

type Answer<T> = Result<Response<T>, Status>;

/// See the module.
#[derive(Clone)]
pub struct ClusterService {
    replica: Arc<dyn Replica>,
    headers: Headers,
    operator: Operator,
    others: Arc<dyn AskMember>,
}

impl ClusterService {
    pub fn new(replica: Arc<dyn Replica>, headers: Headers, operator: Operator, others: Arc<dyn AskMember>) -> Self {
        ClusterService { replica, headers, operator, others }
    }

    fn header(&self) -> Option<ResponseHeader> {
        Some(self.headers.stamp(0))
    }

    fn known(&self, id: u64) -> Result<Peer, Status> {
        let found = self.replica.members().into_iter().find(|member| member.id == id);
        found.ok_or_else(|| MEMBER_NOT_FOUND.status())
    }

    /// The node that answers at this peer address: its id and where it is reached.
    async fn discover(&self, address: &str, deadline: Instant) -> Result<admin::MemberAddRequest, Status> {
        let unknown = |why: String| {
            let advice = "start the new node first (without cluster.initial_members); it is asked for its id there";
            Status::failed_precondition(format!("etcdserver: no node answers at http://{address}: {why}; {advice}"))
        };
        let asked = tokio::time::timeout_at(deadline.into(), self.others.status(address)).await;
        let status = asked.map_err(|_| unknown("no answer in time".to_owned()))?.map_err(unknown)?;
        let cluster = self.replica.cluster_id();
        if !status.cluster_id.is_empty() && status.cluster_id != cluster {
            let (node, other) = (status.node_id, &status.cluster_id);
            return Err(Status::failed_precondition(format!(
                "etcdserver: node {node} at http://{address} belongs to another cluster ({other}); wipe its data first"
            )));
        }
        Ok(admin::MemberAddRequest { id: status.node_id, address: status.address })
    }

    async fn promote(&self, id: u64, deadline: Instant) -> Result<Vec<Member>, Status> {
        let request = admin::MemberPromoteRequest { id };
        let rpc = |mut client: Client| async move { client.member_promote(request).await };
        self.operator.ask(deadline, rpc).await.map(|done| members(done.members))
    }

    /// A voter begins as a learner and votes once it has caught up.
    async fn promote_when_ready(&self, id: u64, deadline: Instant) -> Result<Vec<Member>, Status> {
        loop {
            match self.promote(id, deadline).await {
                Err(status) if lagging(&status) && Instant::now() + limits::REPLACE_POLL < deadline => {
                    tokio::time::sleep(limits::REPLACE_POLL).await;
                }
                Err(status) if lagging(&status) => {
                    return Err(Status::unavailable(format!(
                        "etcdserver: member {id} was added as a learner and has not caught up yet; promote it later"
                    )));
                }
                outcome => return outcome.map_err(told),
            }
        }
    }
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn member_list(&self, request: Request<MemberListRequest>) -> Answer<MemberListResponse> {
        let call = Call::of(&request)?;
        if request.get_ref().linearizable {
            let barrier = self.replica.read_barrier(call.deadline).await;
            barrier.map_err(|failed| error::status(failed.into()))?;
        }
        let members = self.replica.members().into_iter().map(member).collect();
        Ok(Response::new(MemberListResponse { header: self.header(), members }))
    }

    async fn member_add(&self, request: Request<MemberAddRequest>) -> Answer<MemberAddResponse> {
        let deadline = Call::of(&request)?.deadline;
        let MemberAddRequest { peer_ur_ls, is_learner } = request.into_inner();
        let address = address_of(&peer_ur_ls)?;
        if self.replica.members().iter().any(|member| member.peer == address) {
            return Err(PEER_URL_EXISTS.into());
        }
        let new = self.discover(&address, deadline).await?;
        if self.known(new.id).is_ok() {
            return Err(MEMBER_EXISTS.into());
        }
        let add = |mut client: Client| {
            let request = new.clone();
            async move { client.member_add(request).await }
        };
        let mut members = members(self.operator.ask(deadline, add).await.map_err(told)?.members);
        if !is_learner {
            members = self.promote_when_ready(new.id, deadline).await?;
        }
        let member = members.iter().find(|member| member.id == new.id).cloned();
        Ok(Response::new(MemberAddResponse { header: self.header(), member, members }))
    }

    async fn member_remove(&self, request: Request<MemberRemoveRequest>) -> Answer<MemberRemoveResponse> {
        let (deadline, id) = (Call::of(&request)?.deadline, request.get_ref().id);
        let rpc = |mut client: Client| async move { client.member_remove(admin::MemberRemoveRequest { id }).await };
        let done = self.operator.ask(deadline, rpc).await.map_err(told)?;
        Ok(Response::new(MemberRemoveResponse { header: self.header(), members: members(done.members) }))
    }

    async fn member_promote(&self, request: Request<MemberPromoteRequest>) -> Answer<MemberPromoteResponse> {
        let (deadline, id) = (Call::of(&request)?.deadline, request.get_ref().id);
        if self.known(id)?.voter {
            return Err(MEMBER_NOT_LEARNER.into());
        }
        let members = self.promote(id, deadline).await.map_err(told)?;
        Ok(Response::new(MemberPromoteResponse { header: self.header(), members }))
    }

    /// A node's address is part of what its peers know of its disk; it changes with the node.
    async fn member_update(&self, request: Request<MemberUpdateRequest>) -> Answer<MemberUpdateResponse> {
        let request = request.into_inner();
        let known = self.known(request.id)?;
        if address_of(&request.peer_ur_ls)? != known.peer {
            return Err(Status::failed_precondition(
                "etcdserver: a member's address cannot be changed; replace the member (roostctl member replace)",
            ));
        }
        let members = self.replica.members().into_iter().map(member).collect();
        Ok(Response::new(MemberUpdateResponse { header: self.header(), members }))
    }
}

/// The one `http://host:port` that a member has here.
fn address_of(urls: &[String]) -> Result<String, Status> {
    let [url] = urls else { return Err(MEMBER_BAD_URLS.into()) };
    let authority = url.strip_prefix("http://").ok_or(MEMBER_BAD_URLS)?.trim_end_matches('/');
    let parsed = authority.parse::<http::uri::Authority>().map_err(|_| MEMBER_BAD_URLS)?;
    match parsed.port_u16() {
        Some(_) if !parsed.host().is_empty() && !authority.contains('@') => Ok(authority.to_owned()),
        _ => Err(MEMBER_BAD_URLS.into()),
    }
}

fn described(id: u64, voter: bool, peer: &str, client: &str) -> Member {
    Member {
        id,
        name: format!("node-{id}"),
        peer_ur_ls: vec![format!("http://{peer}")],
        client_ur_ls: vec![format!("http://{client}")],
        is_learner: !voter,
    }
}

fn member(peer: Peer) -> Member {
    described(peer.id, peer.voter, &peer.peer, &peer.client)
}

fn members(members: Vec<admin::Member>) -> Vec<Member> {
    let member = |member: admin::Member| {
        let address = member.address.clone().unwrap_or_default();
        described(member.id, member.role() == admin::Role::Voter, &address.peer, &address.client)
    };
    members.into_iter().map(member).collect()
}
