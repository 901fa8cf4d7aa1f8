//! Asking another member about itself, on its internal listener.

use std::sync::Arc;

use tonic::Request;

use crate::forward::Peers;
use crate::limits;
use crate::pb::admin::admin_client::AdminClient;
use crate::pb::admin::{NodeStatus, StatusRequest};

/// How the other members are reached; a trait for tests.
#[tonic::async_trait]
pub trait AskMember: Send + Sync + 'static {
    /// The status of the node at this internal address, or why there is none. The caller bounds the time.
    async fn status(&self, internal: &str) -> Result<NodeStatus, String>;
}

/// Over the channels to the other nodes.
pub struct MemberCalls {
    peers: Arc<Peers>,
}

impl MemberCalls {
    pub fn new(peers: Arc<Peers>) -> Self {
        MemberCalls { peers }
    }
}

#[tonic::async_trait]
impl AskMember for MemberCalls {
    async fn status(&self, internal: &str) -> Result<NodeStatus, String> {
        let channel = self.peers.channel(internal).map_err(|error| format!("bad address {internal}: {error}"))?;
        let mut client = AdminClient::new(self.peers.authenticated(channel))
            .max_decoding_message_size(limits::ADMIN_MESSAGE_BYTES_MAX);
        let mut request = Request::new(StatusRequest {});
        request.set_timeout(limits::MEMBER_STATUS_TIMEOUT);
        match client.status(request).await {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => Err(format!("{internal}: {}", innermost(&status))),
        }
    }
}

/// The cause of a broken connection stands innermost; the outer ones only say "transport error".
fn innermost(status: &tonic::Status) -> String {
    let mut cause: &dyn std::error::Error = status;
    let mut text = status.message().to_owned();
    while let Some(source) = cause.source() {
        cause = source;
        text = cause.to_string();
    }
    text
}
