//! What is called back about broadcasts of a type: before one is accepted, when a vchannel has it, when all have it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::Rejection;
use crate::pb::messages::{Message, MessageType};
use crate::pb::store;

/// Why a callback could not do its work now. It is called again.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotYet(pub String);

/// Called by the leader. What is acknowledged may be called back more than once, by this leader or by the next one.
#[tonic::async_trait]
pub trait Callback: Send + Sync + 'static {
    /// Whether the message may be broadcast.
    async fn check(&self, _message: &Message) -> Result<(), Rejection> {
        Ok(())
    }

    /// One vchannel has the message; in any order of the vchannels.
    async fn acked_once(&self, _task: &store::BroadcastTask, _channel: &store::BroadcastChannel) -> Result<(), NotYet> {
        Ok(())
    }

    /// All of them have it. The broadcast keeps its resources until this succeeds.
    async fn acked(&self, _task: &store::BroadcastTask) -> Result<(), NotYet> {
        Ok(())
    }
}

/// By type of message. Put together before the node serves.
#[derive(Clone, Default)]
pub struct Callbacks {
    by_type: BTreeMap<i32, Arc<dyn Callback>>,
}

impl Callbacks {
    /// Takes the place of an earlier one for that type.
    pub fn register(&mut self, kind: MessageType, callback: Arc<dyn Callback>) {
        self.by_type.insert(kind.into(), callback);
    }

    pub(super) fn of(&self, message_type: i32) -> Option<&Arc<dyn Callback>> {
        self.by_type.get(&message_type)
    }
}
