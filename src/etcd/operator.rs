//! The operator's API of the leader, for what etcd's Cluster and Maintenance services let any member do: it is asked at
//! the leader's peer listener, also when that is this node's own.

use std::sync::Arc;
use std::time::Instant;

use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use super::error::{LEARNER_NOT_READY, MEMBER_NOT_FOUND, NO_LEADER, TIMEOUT};
use crate::admin::REASON_KEY;
use crate::forward::{Authenticate, Peers};
use crate::limits;
use crate::pb::admin::admin_client::AdminClient;
use crate::replica::Replica;

pub type Client = AdminClient<InterceptedService<Channel, Authenticate>>;

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Operator {
    replica: Arc<dyn Replica>,
    peers: Arc<Peers>,
}

impl Operator {
    pub fn new(replica: Arc<dyn Replica>, peers: Arc<Peers>) -> Self {
        Operator { replica, peers }
    }

    /// Asks the leader, and the next one if it no longer leads. Whatever may have been done is not asked for again.
    pub async fn ask<A, F>(&self, deadline: Instant, rpc: impl Fn(Client) -> F) -> Result<A, Status>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        loop {
            let refused = match self.leader() {
                Some(address) => {
                    let asked = tokio::time::timeout_at(deadline.into(), rpc(self.client(&address)?)).await;
                    match asked.map_err(|_| TIMEOUT.status())? {
                        Ok(answer) => return Ok(answer.into_inner()),
                        Err(status) => status,
                    }
                }
                None => NO_LEADER.status(),
            };
            let passing = refused.message() == NO_LEADER.text || matches!(reason(&refused), "not-leader" | "no-leader");
            if !passing || Instant::now() + limits::LEADER_RETRY_MAX >= deadline {
                return Err(refused);
            }
            tokio::time::sleep(limits::LEADER_RETRY_MAX).await;
        }
    }

    fn leader(&self) -> Option<String> {
        let leader = self.replica.leadership().borrow().leader?;
        self.replica.members().into_iter().find(|member| member.id == leader).map(|member| member.peer)
    }

    fn client(&self, address: &str) -> Result<Client, Status> {
        let channel = self.peers.channel(address);
        let channel = channel.map_err(|error| Status::internal(format!("etcdserver: {address}: {error}")))?;
        let client = AdminClient::new(self.peers.authenticated(channel));
        Ok(client.max_decoding_message_size(limits::ADMIN_MESSAGE_BYTES_MAX))
    }
}

fn reason(status: &Status) -> &str {
    status.metadata().get(REASON_KEY).and_then(|reason| reason.to_str().ok()).unwrap_or_default()
}

/// Whether a learner has to catch up first.
pub fn lagging(status: &Status) -> bool {
    reason(status) == "lagging"
}

/// A refusal of the admin API as etcd's clients expect it.
pub fn told(status: Status) -> Status {
    match status.code() {
        _ if status.message().starts_with("etcdserver:") => status,
        _ if lagging(&status) => LEARNER_NOT_READY.status(),
        Code::NotFound => MEMBER_NOT_FOUND.status(),
        code => Status::new(code, format!("etcdserver: {}", status.message())),
    }
}
