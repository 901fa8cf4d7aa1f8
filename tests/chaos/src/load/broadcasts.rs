//! Callers of broadcasts, through every node: to some vchannels at once, some of them for the same resources.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use roost::pb::messages::{BroadcastHeader, Message, MessageType, ResourceKey};
use roost::pb::streaming::BroadcastRequest;
use roost::pb::streaming::streaming_coord_broadcast_service_client::StreamingCoordBroadcastServiceClient;
use roost::state::broadcast::message;
use roost::state::{PCHANNELS, pchannel_name};
use tokio::time::sleep;
use tonic::Request;

use super::{CALL, Fate, PAUSE, Shared, fate, lock};
use crate::check::broadcast::Acknowledged;
use crate::support::client::channel;

/// Resources that callers contend for.
const RESOURCES: u32 = 3;
/// VChannels of one broadcast.
const VCHANNELS: (usize, usize) = (2, 5);
const BETWEEN: Duration = Duration::from_millis(50);

pub async fn client(shared: Arc<Shared>, number: usize) {
    while !shared.stopped() {
        // Held until the answer: the epoch is compared with what the logs wrote down by then.
        let epoch = shared.epoch();
        let mut client = StreamingCoordBroadcastServiceClient::new(channel(&shared.through(number).internal));
        let mut request = Request::new(BroadcastRequest { message: Some(drawn(shared.value())) });
        request.set_timeout(CALL);
        match fate(client.broadcast(request)).await {
            Fate::Answered(answer) => {
                let vchannels = answer.results.into_keys().collect();
                lock(&epoch.broadcasts).push(Acknowledged { id: answer.broadcast_id, vchannels });
                epoch.answered.fetch_add(1, Ordering::Relaxed);
                drop(epoch);
                sleep(BETWEEN).await;
            }
            Fate::Unsent => sleep(PAUSE).await,
            Fate::Unknown(_) => {
                epoch.open.fetch_add(1, Ordering::Relaxed);
                drop(epoch);
                sleep(PAUSE).await;
            }
        }
    }
}

/// To some vchannels, in need of one resource.
fn drawn(value: u64) -> Message {
    let count = rand::random_range(VCHANNELS.0..=VCHANNELS.1);
    let numbers: BTreeSet<u16> = (0..count).map(|_| rand::random_range(0..PCHANNELS)).collect();
    let resource = rand::random_range(0..RESOURCES);
    let header = BroadcastHeader {
        vchannels: numbers.into_iter().map(|number| format!("{}_7v0", pchannel_name(number))).collect(),
        resource_keys: vec![ResourceKey {
            domain: 2,
            key: format!("default:chaos{resource}"),
            shared: rand::random_range(0..3) == 0,
        }],
        ..BroadcastHeader::default()
    };
    let own = message::properties(MessageType::CreateCollection, &header);
    let header = (message::BROADCAST_HEADER.to_owned(), message::encoded(&header));
    Message { payload: value.to_be_bytes().to_vec(), properties: own.into_iter().chain([header]).collect() }
}
