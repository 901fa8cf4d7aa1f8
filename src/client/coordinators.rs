//! Whom a worker node asks: the leader as it was last named, else one node of Roost after the other.

use std::sync::Arc;
use std::time::Duration;

use tonic::Status;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use crate::forward::{Authenticate, Peers};
use crate::pb::session::session_client::SessionClient;

/// How long one node may take to answer one call before the next is asked.
pub(super) const ANSWER_WAIT: Duration = Duration::from_secs(4);

/// Where Roost is reached. Cheap to clone; those of one origin share their connections.
#[derive(Clone)]
pub struct Coordinators {
    endpoints: Arc<[String]>,
    peers: Arc<Peers>,
}

pub(super) type Client = SessionClient<InterceptedService<Channel, Authenticate>>;

impl Coordinators {
    /// `endpoints` are internal listeners (`host:port`) of some nodes, at best of all.
    pub fn new(endpoints: Vec<String>, secret: Option<&str>) -> Self {
        Coordinators { endpoints: endpoints.into(), peers: Arc::new(Peers::new(secret)) }
    }

    pub(super) fn finder(&self) -> Finder {
        Finder { coordinators: self.clone(), next: 0, leader: None }
    }
}

/// Whether asking again, or elsewhere, gives the same.
pub(super) fn is_final(status: &Status) -> bool {
    use tonic::Code::{FailedPrecondition, InvalidArgument, PermissionDenied, Unauthenticated};
    matches!(status.code(), FailedPrecondition | InvalidArgument | PermissionDenied | Unauthenticated)
}

/// Chooses whom to ask: the leader as it was last named, else one node after the other.
pub(super) struct Finder {
    coordinators: Coordinators,
    next: usize,
    leader: Option<String>,
}

impl Finder {
    /// The node to try now; the next time it is another one, unless [`Finder::answered`] says that it was right.
    pub(super) fn endpoint(&mut self) -> Result<String, Status> {
        if let Some(leader) = self.leader.take() {
            return Ok(leader);
        }
        let endpoints = &self.coordinators.endpoints;
        let none = || Status::invalid_argument("no endpoints");
        let endpoint = endpoints.get(self.next % endpoints.len().max(1)).ok_or_else(none)?;
        self.next = self.next.wrapping_add(1);
        Ok(endpoint.clone())
    }

    pub(super) fn client(&self, endpoint: &str) -> Result<Client, Status> {
        let peers = &self.coordinators.peers;
        let channel = peers.channel(endpoint).map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(SessionClient::new(peers.authenticated(channel)))
    }

    pub(super) fn answered(&mut self, by: &str) {
        self.leader = Some(by.to_owned());
    }

    pub(super) async fn ask<T, F>(&mut self, call: impl FnOnce(Client) -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let endpoint = self.endpoint()?;
        let client = self.client(&endpoint)?;
        let late = |_| Status::deadline_exceeded(format!("no answer of {endpoint} in time"));
        let answer = tokio::time::timeout(ANSWER_WAIT, call(client)).await.map_err(late)?;
        if answer.is_ok() {
            self.answered(&endpoint);
        }
        answer
    }
}
