//! Nodes are asked now and then how they are; what follows of their answers.

use std::io;
use std::time::Instant;

use super::Reigning;
use crate::failure::Failure;
use crate::limits;
use crate::state::limits::MAX_PCHANNEL_ORDERS;
use crate::state::{PChannelCommand, View};
use crate::streamingcoord::balancer::health::Answer;
use crate::streamingcoord::balancer::picture::streaming_nodes;

impl Reigning<'_> {
    pub(super) fn ask_health(&mut self) -> io::Result<()> {
        let view = self.balancer.replica.view()?;
        let view = View::new(view.as_ref());
        self.health.ask(&self.balancer.nodes, &streaming_nodes(&view)?, &view.pchannels()?);
        Ok(())
    }

    pub(super) async fn examine(&mut self, answer: Answer) -> Result<(), Failure> {
        let rows = View::new(self.balancer.replica.view()?.as_ref()).pchannels()?;
        let findings = self.health.take(&answer, &rows, self.balancer.config.balancer_max_recovery_lag_ms);
        self.balancer.metrics.nodes_silent.set(i64::try_from(self.health.silent()).unwrap_or(i64::MAX));
        let node = answer.node;
        match answer.said {
            Ok(_) => self.failures.answered(node.server_id),
            Err(error) => {
                tracing::warn!(node = node.server_id, %error, "a streaming node does not say how it is");
                let now = Instant::now();
                self.failures.unreachable(node.server_id, now, &error.to_string());
                self.retry_at = self.failures.next_due(now);
            }
        }
        for info in findings.stale {
            tracing::warn!(
                node = node.server_id,
                pchannel = info.name,
                term = info.term,
                "a node has what is another's"
            );
            let (nodes, node) = (self.balancer.nodes.clone(), node.clone());
            // What fails is found again with the next check.
            tokio::spawn(async move { nodes.remove(&node, info, limits::NODE_STATUS_WAIT).await });
        }
        for lost in findings.lost.chunks(MAX_PCHANNEL_ORDERS) {
            tracing::warn!(node = node.server_id, channels = lost.len(), "a node does not have what it was given");
            self.propose(PChannelCommand::MarkUnavailable { lost: lost.to_vec() }).await?;
        }
        Ok(())
    }
}
