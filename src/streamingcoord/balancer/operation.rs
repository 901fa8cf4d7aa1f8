//! One assignment, from its committed term to the node's word that it has the channel: first those that may still hold
//! it under older terms let go of it, then the new owner takes it.
//!
//! To let go is waited for as long as the old owner lives, but not beyond the operation's time: then the log's fence
//! stands in, which refuses what is appended under an older term once the new owner has opened it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;

use crate::limits;
use crate::pb::store;
use crate::pb::streaming::PChannelInfo;
use crate::replica::Replica;
use crate::state::{AssignOrder, worker};
use crate::streamingcoord::nodes::{NodeError, Nodes};

/// What an operation needs.
pub struct Operation {
    pub nodes: Arc<Nodes>,
    pub replica: Arc<dyn Replica>,
    /// ASSIGNING, as committed.
    pub row: store::PChannel,
    /// How long each half of it may take.
    pub wait: Duration,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The node has the channel.
    Taken,
    /// The node did not take it.
    Failed(NodeError),
}

/// The end of an operation.
#[derive(Debug)]
pub struct Ended {
    pub channel: String,
    pub term: i64,
    pub node: i64,
    pub outcome: Outcome,
    pub took: Duration,
}

impl Operation {
    pub async fn run(self) -> Ended {
        let started = Instant::now();
        let node = self.row.node.clone().unwrap_or_default();
        join_all(self.row.histories.iter().map(|past| self.removed(past, started))).await;
        let channel = self.info(self.row.term);
        let outcome = match self.nodes.assign(&node, channel, self.wait).await {
            Ok(()) => Outcome::Taken,
            Err(error) => Outcome::Failed(error),
        };
        let Operation { row: store::PChannel { name, term, .. }, .. } = self;
        let took = started.elapsed();
        match &outcome {
            Outcome::Taken => tracing::info!(took_ms = took.as_millis() as u64, "the node has the channel"),
            Outcome::Failed(error) => tracing::warn!(%error, "the node did not take the channel"),
        }
        Ended { channel: name, term, node: node.server_id, outcome, took }
    }

    fn info(&self, term: i64) -> PChannelInfo {
        PChannelInfo { name: self.row.name.clone(), term, access_mode: self.row.access_mode }
    }

    /// Returns when the node has let go of the channel, is gone, or the time is up.
    async fn removed(&self, past: &store::PChannelTerm, started: Instant) {
        let node = past.node.clone().unwrap_or_default();
        let mut pause = limits::NODE_RETRY_MIN;
        while self.lives(node.server_id) {
            let left = self.wait.saturating_sub(started.elapsed());
            if left.is_zero() {
                tracing::warn!(node = node.server_id, term = past.term, "an old owner did not let go; it is fenced");
                return;
            }
            let info = PChannelInfo { access_mode: past.access_mode, ..self.info(past.term) };
            let answer = tokio::select! {
                answer = self.nodes.remove(&node, info, left) => answer,
                () = self.gone(node.server_id) => return,
            };
            match answer {
                Ok(()) => return,
                Err(error) => tracing::debug!(node = node.server_id, term = past.term, %error, "not removed yet"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(limits::NODE_RETRY_MAX);
        }
    }

    /// Waits until the node is not registered any more: it need not be waited for then.
    async fn gone(&self, node: i64) {
        while self.lives(node) {
            tokio::time::sleep(limits::NODE_LOOK).await;
        }
    }

    /// Whether the node is registered. If the tables cannot be read it counts as alive, and the time decides.
    fn lives(&self, node: i64) -> bool {
        let found = self.replica.view().and_then(|view| {
            worker::find(view.as_ref(), node, store::WorkerRole::StreamingNode).map(|worker| worker.is_some())
        });
        found.unwrap_or(true)
    }
}

/// A deliberate error, made by a mutation only: has nodes take channels under terms that may never be committed.
pub async fn told_early(nodes: &Nodes, replica: &dyn Replica, orders: &[AssignOrder]) -> io::Result<()> {
    for AssignOrder { name, term, node } in orders {
        let found = worker::find(replica.view()?.as_ref(), *node, store::WorkerRole::StreamingNode)?;
        let Some(worker) = found else { continue };
        let node = store::StreamingNode { server_id: worker.id, address: worker.address };
        let channel = PChannelInfo { name: name.clone(), term: term + 1, ..PChannelInfo::default() };
        // One that does not take it is asked again when it should be.
        let _ = nodes.assign(&node, channel, limits::NODE_STATUS_WAIT).await;
    }
    tokio::time::sleep(limits::NODE_STATUS_WAIT / 4).await;
    Ok(())
}
