//! Says to the coordinator which parts of broadcasts the logs have, where a broadcast wants every node to say so. One
//! queue for all simulated nodes: a real node that dies leaves this to whoever reads the log after it.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::forward::Peers;
use crate::limits;
use crate::pb::common::ImmutableMessage;
use crate::pb::streaming::BroadcastAckRequest;
use crate::pb::streaming::streaming_coord_broadcast_service_client::StreamingCoordBroadcastServiceClient;

/// Hands messages to the task that acknowledges them.
#[derive(Clone)]
pub struct Acks {
    queue: mpsc::Sender<Arc<ImmutableMessage>>,
}

impl Acks {
    /// `endpoints` are internal listeners of the coordinator's nodes. Must be called within a runtime.
    pub fn new(endpoints: Vec<String>, secret: Option<&str>) -> Self {
        let (queue, messages) = mpsc::channel(limits::SIM_STREAM_QUEUE);
        tokio::spawn(run(endpoints, Peers::new(secret), messages));
        Acks { queue }
    }

    /// Waits for a place in the queue.
    pub async fn acknowledge(&self, message: Arc<ImmutableMessage>) {
        // The task ends with the last handle.
        let _ = self.queue.send(message).await;
    }
}

async fn run(endpoints: Vec<String>, peers: Peers, mut messages: mpsc::Receiver<Arc<ImmutableMessage>>) {
    let mut asked = endpoints.iter().cycle();
    while let Some(message) = messages.recv().await {
        let mut pause = limits::SIM_RETRY_MIN;
        for endpoint in asked.by_ref() {
            let Err(why) = acknowledge(&peers, endpoint, &message).await else { break };
            tracing::debug!(endpoint, why, "cannot acknowledge a part of a broadcast");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(limits::SIM_RETRY_MAX);
        }
    }
}

async fn acknowledge(peers: &Peers, endpoint: &str, message: &ImmutableMessage) -> Result<(), String> {
    let channel = peers.channel(endpoint).map_err(|error| error.to_string())?;
    let mut client = StreamingCoordBroadcastServiceClient::new(peers.authenticated(channel));
    let request = BroadcastAckRequest { message: Some(message.clone()), ..BroadcastAckRequest::default() };
    match tokio::time::timeout(limits::SIM_CALL_WAIT, client.ack(request)).await {
        Err(_) => Err("no answer in time".to_owned()),
        Ok(Ok(_)) => Ok(()),
        Ok(Err(status)) => Err(status.to_string()),
    }
}
