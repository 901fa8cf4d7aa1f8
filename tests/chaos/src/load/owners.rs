//! Looks again and again at what streaming nodes hold, and at what was committed by then.

use std::sync::Arc;
use std::time::Duration;

use roost::pb::roost_streaming::ListChannelsRequest;
use roost::pb::roost_streaming::streaming_client::StreamingClient;
use roost::pb::sim::NodesRequest;
use roost::pb::sim::sim_client::SimClient;
use tokio::time::{sleep, timeout};
use tonic::Status;
use tonic::transport::Channel;

use super::{CALL, PAUSE, Shared};
use crate::check::owner::{Held, committed};
use crate::support::client::channel;

const LOOK_EVERY: Duration = Duration::from_millis(60);

pub async fn client(shared: Arc<Shared>, sim: SimClient<Channel>) {
    for number in 0.. {
        if shared.stopped() {
            return;
        }
        let looked = timeout(CALL, look(&shared, sim.clone(), number)).await;
        sleep(if matches!(looked, Ok(Ok(()))) { LOOK_EVERY } else { PAUSE }).await;
    }
}

async fn look(shared: &Shared, mut sim: SimClient<Channel>, number: usize) -> Result<(), Status> {
    let nodes = sim.nodes(NodesRequest {}).await?.into_inner().nodes;
    let held: Vec<Held> = nodes
        .into_iter()
        .flat_map(|node| {
            let held = move |pchannel, term| Held { pchannel, term, server_id: node.server_id };
            node.channels.into_iter().map(move |info| held(info.name, info.term))
        })
        .collect();
    let mut facts = StreamingClient::new(channel(&shared.through(number).internal));
    let channels = facts.list_channels(ListChannelsRequest {}).await?.into_inner().channels;
    let facts = channels.into_iter().map(|row| (row.name, (row.term, row.server_id))).collect();
    shared.found(committed(&held, &facts));
    Ok(())
}
