//! Physical channels and the streaming nodes that have them: how long a plan takes, how soon a dead node's channels are
//! served elsewhere, how soon all clients know, and what keep-alives cost the log. Roost only; the nodes are simulated.

mod layout;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use roost::pb::admin::StateHashRequest;
use roost::pb::admin::admin_client::AdminClient;
use roost::pb::roost_streaming::MoveChannelRequest;
use roost::pb::roost_streaming::streaming_client::StreamingClient;
use roost::pb::session::session_client::SessionClient;
use roost::pb::session::{KeepAliveRequest, RegisterRequest, Role};
use roost::pb::sim::Power;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;

use crate::cluster::{Cluster, Side};
use crate::connect::{connect, connect_all};
use crate::lab::{Lab, Size};
use crate::ports;
use crate::report::{Goal, Metric, Sample};
use crate::support::sim::Sim;
use crate::support::streaming::{Assignment, Discovery};

const CHANNELS: usize = 1000;
const NODES: u32 = 10;
const TTL: Duration = Duration::from_secs(3);
const LISTENERS: usize = 10_000;
/// Listeners on one connection.
const LISTENERS_AT_ONCE: usize = 100;
const KEEP_ALIVES_FULL: u64 = 1_000_000;
const KEEP_ALIVES_QUICK: u64 = 100_000;
/// Keep-alives on their way at once.
const IN_FLIGHT: usize = 256;
/// Nothing here takes longer, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(120);
const ASK_EVERY: Duration = Duration::from_millis(20);

const fn metric(workload: &'static str, clients: u64, unit: &'static str, most: f64) -> Metric {
    Metric { workload, clients, unit, goal: Goal::OursAtMost(most) }
}

const DEATH: Metric = metric("node death, 1,000 pchannels on 10: served elsewhere, beyond the TTL", 0, "s", 1.0);
const TOLD: Metric = metric("a pchannel moved to told, 16 pchannels", LISTENERS as u64, "s", 1.0);
const KEPT: Metric = metric("log entries for 1,000 keep-alives", 1, "entries", 1.0);

pub async fn run(lab: &Lab) -> Result<Vec<Sample>> {
    let mut samples = tokio::task::block_in_place(layout::run)?;
    samples.push(death(lab).await.context("node death")?);
    samples.push(told(lab).await.context("listeners")?);
    samples.push(kept(lab).await.context("keep-alives")?);
    Ok(samples)
}

/// A cluster with its simulated nodes, once each of them has its share of the channels.
async fn start(lab: &Lab, channels: usize, nodes: u32) -> Result<(Cluster, Sim, Assignment)> {
    let settings = format!("streaming: {{ pchannels: {channels} }}\n");
    let cluster = Cluster::start_with(lab, Side::Roost, &settings).await?;
    let mut arguments = vec![format!("--nodes={nodes}"), format!("--ttl={}", TTL.as_secs())];
    arguments.extend(cluster.internal().iter().map(|internal| format!("--endpoint={internal}")));
    let control = format!("127.0.0.1:{}", ports::free()?);
    let sim = Sim::start(&lab.roost_sim, cluster.home(), &control, &arguments)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let serving = sim.nodes().await.unwrap_or_default();
        let all = serving.len() == nodes as usize && serving.iter().all(|node| !node.channels.is_empty());
        let told = Discovery::once(&cluster.internal()[0]).await.unwrap_or_default();
        if all && told.owners.len() == channels {
            return Ok((cluster, sim, told));
        }
        ensure!(Instant::now() < deadline, "{} of {channels} channels after {PATIENCE:?}", told.owners.len());
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// From the crash to all channels told to be at others, less the time for which nobody can know.
async fn death(lab: &Lab) -> Result<Sample> {
    let (cluster, sim, before) = start(lab, CHANNELS, NODES).await?;
    let dead = sim.nodes().await?.into_iter().next().context("no node")?;
    ensure!(before.owners.values().any(|owner| owner.server_id == dead.server_id), "it had channels");
    let mut discovery = Discovery::open(&cluster.internal()[1]).await?;
    sim.power(dead.number, Power::Crashed).await?;
    let crashed = Instant::now();
    loop {
        let told = tokio::time::timeout(PATIENCE, discovery.next()).await.context("nothing is told")??;
        let elsewhere = told.owners.values().all(|owner| owner.server_id != dead.server_id);
        if elsewhere && told.owners.len() == CHANNELS {
            break;
        }
    }
    let took = crashed.elapsed();
    let note = format!("{:.2} s after the crash, TTL {TTL:?}, {} channels", took.as_secs_f64(), dead.channels.len());
    Ok(Sample::new(DEATH, took.saturating_sub(TTL).as_secs_f64()).with_note(&note))
}

/// From an operator's order to the last of many listeners, spread over all nodes, that knows the new owner.
async fn told(lab: &Lab) -> Result<Sample> {
    let (cluster, _sim, before) = start(lab, 16, 2).await?;
    let (name, owner) = before.owners.iter().next().context("no channel")?;
    let to = before.owners.values().find(|other| other.server_id != owner.server_id).context("one node only")?;
    let mut listeners = JoinSet::new();
    let (ready, mut readies) = mpsc::channel(LISTENERS);
    for channel in connect_all(cluster.internal(), LISTENERS / LISTENERS_AT_ONCE).await? {
        for _ in 0..LISTENERS_AT_ONCE {
            let (channel, name, to, ready) = (channel.clone(), name.clone(), to.server_id, ready.clone());
            listeners.spawn(async move {
                let mut discovery = Discovery::over(channel).await?;
                discovery.next().await?;
                // Nobody waits for it after an error.
                let _ = ready.send(()).await;
                loop {
                    let told = discovery.next().await?;
                    if told.owners.get(&name).is_some_and(|owner| owner.server_id == to) {
                        return Ok::<Instant, tonic::Status>(Instant::now());
                    }
                }
            });
        }
    }
    for _ in 0..LISTENERS {
        tokio::time::timeout(PATIENCE, readies.recv()).await.context("listeners that are told nothing")?;
    }
    let mut client = StreamingClient::new(connect(&cluster.internal()[0]).await?);
    let ordered = Instant::now();
    client.move_channel(MoveChannelRequest { channel: name.clone(), server_id: to.server_id }).await?;
    let mut last = ordered;
    while let Some(heard) = tokio::time::timeout(PATIENCE, listeners.join_next()).await.context("some hear nothing")? {
        last = last.max(heard??);
    }
    Ok(Sample::new(TOLD, (last - ordered).as_secs_f64()))
}

/// How far the log moves while one node's session is renewed again and again.
async fn kept(lab: &Lab) -> Result<Sample> {
    let cluster = Cluster::start(lab, Side::Roost).await?;
    let channel = connect(&cluster.internal()[0]).await?;
    let mut client = SessionClient::new(channel.clone());
    let request = RegisterRequest {
        request_id: b"bench".to_vec(),
        role: Role::StreamingNode.into(),
        address: "127.0.0.1:1".to_owned(),
        ttl_s: 60,
        ..RegisterRequest::default()
    };
    let registered = client.register(request).await?.into_inner();
    let (server_id, lease_id) = (registered.server_id, registered.lease_id);
    let count = if lab.size == Size::Quick { KEEP_ALIVES_QUICK } else { KEEP_ALIVES_FULL };
    let (requests, sent) = mpsc::channel(IN_FLIGHT);
    let mut answers = client.keep_alive(ReceiverStream::new(sent)).await?.into_inner();
    let (before, began) = (log_index(&cluster).await?, Instant::now());
    tokio::spawn(async move {
        for _ in 0..count {
            // The other side says why.
            let _ = requests.send(KeepAliveRequest { server_id, lease_id, load: None }).await;
        }
    });
    for _ in 0..count {
        match tokio::time::timeout(PATIENCE, answers.message()).await.context("no answer")?? {
            Some(answer) if answer.alive => {}
            other => bail!("not renewed: {other:?}"),
        }
    }
    let (entries, took) = (log_index(&cluster).await? - before, began.elapsed());
    let note = format!("{entries} entries, {count} keep-alives in {:.1} s", took.as_secs_f64());
    Ok(Sample::new(KEPT, entries as f64 * 1000.0 / count as f64).with_note(&note))
}

async fn log_index(cluster: &Cluster) -> Result<u64> {
    let mut admin = AdminClient::new(connect(&cluster.internal()[0]).await?);
    let hash = admin.state_hash(StateHashRequest { min_index: 0 }).await?.into_inner();
    Ok(hash.now.context("no state")?.index)
}
