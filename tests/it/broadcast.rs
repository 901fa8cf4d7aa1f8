//! Broadcasts of three nodes over simulated streaming nodes: every vchannel or no answer, one order for each resource,
//! whoever dies in the middle.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use prost::Message as _;
use roost::pb::messages::{BroadcastHeader, Message, MessageType, ResourceKey};
use roost::pb::sim::Power;
use roost::pb::streaming::consume_request::Request as Wanted;
use roost::pb::streaming::consume_response::Response as Read;
use roost::pb::streaming::deliver_policy::Policy;
use roost::pb::streaming::streaming_coord_broadcast_service_client::StreamingCoordBroadcastServiceClient;
use roost::pb::streaming::streaming_node_handler_service_client::StreamingNodeHandlerServiceClient;
use roost::pb::streaming::{
    BroadcastRequest, BroadcastResponse, ConsumeRequest, CreateConsumerRequest, CreateVChannelConsumerRequest,
    CreateVChannelConsumersRequest, DeliverPolicy, PChannelInfo,
};
use roost::sim::{CREATE_CONSUMER, invariant};
use roost::state::broadcast::message;
use tonic::{Request, Status};

use crate::support::client::channel;
use crate::support::sim::Sim;
use crate::support::{Cluster, soon};

const PCHANNELS: usize = 16;

fn pchannel(number: usize) -> String {
    format!("by-dev-rootcoord-dml_{number}")
}

fn vchannel(number: usize) -> String {
    format!("{}_7v0", pchannel(number))
}

/// To one vchannel of each of these pchannels.
fn to(numbers: &[usize], collection: &str) -> Message {
    let header = BroadcastHeader {
        vchannels: numbers.iter().map(|number| vchannel(*number)).collect(),
        resource_keys: vec![ResourceKey { domain: 2, key: format!("default:{collection}"), shared: false }],
        ..BroadcastHeader::default()
    };
    let own = message::properties(MessageType::CreateCollection, &header);
    let header = (message::BROADCAST_HEADER.to_owned(), message::encoded(&header));
    Message { payload: vec![1], properties: own.into_iter().chain([header]).collect() }
}

/// Through the node that listens at this internal address.
async fn broadcast(internal: String, message: Message) -> Result<BroadcastResponse, Status> {
    let mut client = StreamingCoordBroadcastServiceClient::new(channel(&internal));
    let mut request = Request::new(BroadcastRequest { message: Some(message) });
    request.set_timeout(Duration::from_secs(25));
    Ok(client.broadcast(request).await?.into_inner())
}

/// Three nodes, and streaming nodes that have all pchannels.
async fn streaming() -> (Cluster, Sim) {
    let settings = vec![("ROOST_STREAMING_BALANCER_CHECK_INTERVAL_MS", "300".into())];
    let cluster = Cluster::start_with(3, settings).await;
    let mut arguments = vec!["--nodes=3".to_owned(), "--ttl=2".to_owned()];
    arguments.extend(cluster.endpoints().iter().map(|endpoint| format!("--endpoint={endpoint}")));
    let program = Path::new(env!("CARGO_BIN_EXE_roost-sim"));
    let sim = Sim::start(program, cluster.home(), &cluster.at(9).client, &arguments).unwrap();
    soon("every channel is assigned", async || (channels(&sim).await?.len() == PCHANNELS).then_some(())).await;
    (cluster, sim)
}

/// Who serves which pchannel: address and term by name. A channel that two nodes have is one of theirs.
async fn channels(sim: &Sim) -> Option<BTreeMap<String, (String, PChannelInfo)>> {
    let nodes = sim.nodes().await.ok()?;
    let running = nodes.into_iter().filter(|node| node.power() == Power::Running);
    let channel = |address: String| move |info: PChannelInfo| (info.name.clone(), (address.clone(), info));
    Some(running.flat_map(|node| node.channels.into_iter().map(channel(node.address))).collect())
}

async fn violations(sim: &Sim) -> Vec<String> {
    let wals = sim.wals().await.unwrap();
    let seen = invariant::violations(&wals.wals);
    wals.violations.into_iter().chain(seen).collect()
}

/// The broadcasts in a vchannel in the order of its log, repetitions left out, once all of `expected` are there.
async fn log(sim: &Sim, number: usize, expected: &[u64]) -> Vec<u64> {
    let name = pchannel(number);
    soon(&format!("{name} holds what it should"), async || {
        let (address, info) = channels(sim).await?.remove(&name)?;
        let found = read(&address, info, &vchannel(number), expected.len()).await?;
        expected.iter().all(|id| found.contains(id)).then_some(found)
    })
    .await
}

/// Reads a vchannel from its beginning until it was silent for a while.
async fn read(address: &str, info: PChannelInfo, vchannel: &str, least: usize) -> Option<Vec<u64>> {
    let consumer = CreateVChannelConsumerRequest {
        vchannel: vchannel.to_owned(),
        deliver_policy: Some(DeliverPolicy { policy: Some(Policy::All(())) }),
        ..CreateVChannelConsumerRequest::default()
    };
    let create = CreateVChannelConsumersRequest { create_vchannels: vec![consumer] };
    let wanted = ConsumeRequest { request: Some(Wanted::CreateVchannelConsumers(create)) };
    let mut request = Request::new(tokio_stream::StreamExt::chain(
        tokio_stream::iter([wanted]),
        tokio_stream::pending::<ConsumeRequest>(),
    ));
    let create = BASE64_STANDARD.encode(CreateConsumerRequest { pchannel: Some(info) }.encode_to_vec());
    request.metadata_mut().insert(CREATE_CONSUMER, create.parse().unwrap());
    let mut client = StreamingNodeHandlerServiceClient::new(channel(address));
    let mut answers = client.consume(request).await.ok()?.into_inner();
    let mut found = Vec::new();
    loop {
        let wait = Duration::from_millis(if found.len() < least { 2000 } else { 100 });
        let Ok(answer) = tokio::time::timeout(wait, answers.message()).await else { return Some(found) };
        let Some(Read::Consume(consumed)) = answer.ok()??.response else { continue };
        let properties = consumed.message?.properties;
        let Some(header) = properties.get(message::BROADCAST_HEADER) else { continue };
        let header: BroadcastHeader = message::decoded(header)?;
        if !found.contains(&header.broadcast_id) {
            found.push(header.broadcast_id);
        }
    }
}

/// Waits until nothing is on its way.
async fn quiet(cluster: &Cluster) {
    soon("every broadcast is over", async || {
        let listed = cluster.ctl(&["-o", "json", "broadcast", "list"]).await.json();
        (listed["pending"] == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broadcast_reaches_every_log_through_any_node_and_ddl_leaves_by_itself() {
    let (cluster, sim) = streaming().await;
    let mut ids = Vec::new();
    for through in cluster.ids() {
        let answer = broadcast(cluster.at(through).internal, to(&[0, 1, 2], "c")).await.unwrap();
        assert_eq!(answer.results.len(), 3);
        ids.push(answer.broadcast_id);
    }
    for number in 0..3 {
        assert_eq!(log(&sim, number, &ids).await, ids, "one order");
    }
    cluster.client(1).create("books").await.unwrap();
    cluster.client(2).remove("books").await.unwrap();
    quiet(&cluster).await;
    let over = cluster.ctl(&["-o", "json", "broadcast", "list", "--finished"]).await.json();
    let rows = over["broadcasts"].as_array().unwrap();
    let kinds: Vec<&str> = rows.iter().map(|row| row["type"].as_str().unwrap()).collect();
    assert_eq!(kinds[3..], ["CreateCollection", "DropCollection"], "{over}");
    let id = over["broadcasts"][3]["id"].to_string();
    let shown = cluster.ctl(&["-o", "json", "broadcast", "show", &id]).await.json();
    assert_eq!((&shown["own"], &shown["acked"]), (&true.into(), &shown["channels"]), "{shown}");
    assert_eq!(violations(&sim).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ddl_waits_for_nobody_and_is_told_when_nodes_come_back() {
    let (cluster, sim) = streaming().await;
    for node in 1..=3 {
        sim.power(node, Power::Crashed).await.unwrap();
    }
    for name in ["a", "b"] {
        cluster.client(1).create(name).await.unwrap();
    }
    cluster.client(1).remove("b").await.unwrap();
    // What a caller wants waits as well, until an operator takes it back.
    let asked = tokio::spawn(broadcast(cluster.at(2).internal, to(&[3], "d")));
    let id = soon("it waits", async || {
        let listed = cluster.ctl(&["-o", "json", "broadcast", "list"]).await.json();
        let row = listed["broadcasts"].as_array()?.iter().find(|row| row["own"] == false)?.clone();
        Some(row["id"].to_string())
    })
    .await;
    cluster.ctl(&["broadcast", "abandon", &id]).await.ok();
    let given_up = asked.await.unwrap().unwrap_err();
    assert!(given_up.message().contains("was given up: an operator took it back"), "{given_up:?}");
    cluster.ctl(&["broadcast", "abandon", &id]).await.refused(1, &format!("broadcast {id} stays"));
    for node in 1..=3 {
        sim.power(node, Power::Running).await.unwrap();
    }
    quiet(&cluster).await;
    let over = cluster.ctl(&["-o", "json", "broadcast", "list", "--finished"]).await.json();
    let rows = over["broadcasts"].as_array().unwrap();
    let told = |kind: &str| rows.iter().filter(|row| row["type"] == kind).count();
    let (created, dropped) = (told("CreateCollection"), told("DropCollection"));
    assert_eq!(created, dropped + 1, "b is told as made and dropped, or not at all: {over}");
    assert!(rows.iter().all(|row| row["acked"] == row["channels"]), "{over}");
    assert_eq!(violations(&sim).await, [""; 0]);
}

/// Broadcasts of one resource to all channels from several callers, who repeat what was not answered as it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_and_nodes_that_die_in_the_middle_leave_one_order_everywhere() {
    let (mut cluster, sim) = streaming().await;
    let numbers = [0, 5, 10, 15];
    let mut acknowledged = Vec::new();
    for round in 0..5_u32 {
        let leader = cluster.leader().await;
        let through: Vec<u64> = cluster.answering().into_iter().filter(|id| *id != leader).collect();
        let call = |n: usize| broadcast(cluster.at(through[n % through.len()]).internal, to(&numbers, "c"));
        let calls: Vec<_> = (0..8).map(call).collect();
        let calls = futures::future::join_all(calls);
        tokio::pin!(calls);
        // In the middle: the calls have been sent, and have not all been answered.
        let early = tokio::time::timeout(Duration::from_millis(5), &mut calls).await;
        match round {
            0 => cluster.node(leader).kill(),
            1 => sim.power(1, Power::Crashed).await.unwrap(),
            2 => {
                sim.power(2, Power::Crashed).await.unwrap();
                cluster.node(leader).kill();
            }
            3 => sim.power(3, Power::Paused).await.unwrap(),
            _ => {
                sim.power(1, Power::Paused).await.unwrap();
                cluster.node(leader).kill();
            }
        }
        let answers = match early {
            Ok(answers) => answers,
            Err(_) => calls.await,
        };
        for answer in answers.into_iter().flatten() {
            assert_eq!(answer.results.len(), numbers.len());
            acknowledged.push(answer.broadcast_id);
        }
        match round {
            0 => cluster.node(leader).start(),
            1 => sim.power(1, Power::Running).await.unwrap(),
            2 => {
                sim.power(2, Power::Running).await.unwrap();
                cluster.node(leader).start();
            }
            3 => sim.power(3, Power::Running).await.unwrap(),
            _ => {
                sim.power(1, Power::Running).await.unwrap();
                cluster.node(leader).start();
            }
        }
        cluster.ready().await;
    }
    quiet(&cluster).await;
    assert!(!acknowledged.is_empty());
    let first = log(&sim, numbers[0], &acknowledged).await;
    for number in &numbers[1..] {
        assert_eq!(log(&sim, *number, &first).await, first, "one order in every log");
    }
    assert_eq!(violations(&sim).await, [""; 0]);
    // Equal on all nodes.
    cluster.hash().await;
}
