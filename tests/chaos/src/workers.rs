//! After the healing: that worker nodes and channels settle, and that what clients were told of channels and broadcasts
//! is in the simulated logs.

use std::collections::{BTreeMap, BTreeSet};

use roost::pb::roost_streaming::ListBroadcastsRequest;
use roost::pb::roost_streaming::streaming_client::StreamingClient;
use roost::pb::session::Worker;
use tokio::time::{Instant, sleep, timeout};

use crate::check::{append, broadcast};
use crate::cluster::Cluster;
use crate::history::{Checker, Violation};
use crate::load::{Epoch, lock};
use crate::support::client::channel;
use crate::support::sim::Sim;
use crate::support::streaming::{Discovery, Owner};
use crate::verify::{ALIVE_IN, ASK_EVERY, Memory};

/// Waits until all nodes tell the same workers, which are those that live, and the same assignment, which is what the
/// streaming nodes have, and checks their logs.
pub async fn settled(cluster: &Cluster, epoch: &Epoch, memory: &mut Memory) -> Vec<Violation> {
    let Some(sim) = cluster.workers() else { return Vec::new() };
    let began = Instant::now();
    let mut seen = String::new();
    while let Err(why) = converged(cluster, sim).await {
        seen = why;
        if began.elapsed() > ALIVE_IN {
            return vec![Checker::Liveness.found(format!("channels {ALIVE_IN:?} after healing: {seen}"))];
        }
        sleep(ASK_EVERY).await;
    }
    memory.slowest = memory.slowest.max(began.elapsed());
    match logs(cluster, sim, epoch, memory).await {
        Ok(found) => found,
        Err(why) => vec![Checker::Liveness.found(format!("after {seen}: {why}"))],
    }
}

/// Compares what clients were told with what the logs wrote down, and the broadcasts in them with each other.
async fn logs(cluster: &Cluster, sim: &Sim, epoch: &Epoch, memory: &mut Memory) -> Result<Vec<Violation>, String> {
    let text = |status: tonic::Status| format!("roost-sim: {status}");
    let after = memory.checked_broadcast;
    let seen = sim.wals_after(after).await.map_err(text)?;
    let ids = seen.wals.iter().flat_map(|wal| &wal.broadcasts).map(|part| part.broadcast_id);
    let upto = ids.max().unwrap_or(after);
    let began = Instant::now();
    while let Some(id) = pending(cluster).await?.filter(|id| *id <= upto) {
        if began.elapsed() > ALIVE_IN {
            return Ok(vec![Checker::Liveness.found(format!("broadcast {id} is not over {ALIVE_IN:?} after healing"))]);
        }
        sleep(ASK_EVERY).await;
    }
    // All of them are over: each part is in its log.
    let wals = sim.wals_after(after).await.map_err(text)?;
    let appends = std::mem::take(&mut *lock(&epoch.appends));
    let acknowledged = std::mem::take(&mut *lock(&epoch.broadcasts));
    memory.appends += appends.len() as u64;
    memory.broadcasts += acknowledged.len() as u64;
    memory.checked_broadcast = upto;
    let mut found = append::explained(&appends, &wals.wals);
    found.extend(wals.violations.into_iter().map(|what| Checker::Channels.found(what)));
    found.extend(broadcast::explained(&acknowledged, &wals.wals, after, upto));
    let early = sim.early_deaths().await.map_err(text)?;
    found.extend(early.into_iter().map(|what| Checker::Sessions.found(what)));
    Ok(found)
}

/// The id of the first broadcast that is not over, as some node says.
async fn pending(cluster: &Cluster) -> Result<Option<u64>, String> {
    let mut why = String::new();
    for place in cluster.places() {
        let mut operator = StreamingClient::new(channel(&cluster.addresses(place).internal));
        match timeout(ALIVE_IN, operator.list_broadcasts(ListBroadcastsRequest::default())).await {
            Ok(Ok(answer)) => return Ok(answer.into_inner().broadcasts.first().map(|first| first.id.unsigned_abs())),
            Ok(Err(status)) => why = format!("place {place}: {status}"),
            Err(_) => why = format!("place {place} does not answer"),
        }
    }
    Err(why)
}

/// Takes the operator's orders back that workers be drained.
pub async fn nobody_drains(cluster: &Cluster) -> Vec<Violation> {
    let began = Instant::now();
    while cluster.workers().is_some() {
        let mut known = None;
        for place in cluster.places() {
            if let Ok(workers) = cluster.sessions(place).await {
                known = Some(workers);
                break;
            }
        }
        // One that leaves by itself goes on doing so.
        let drained = |worker: &&Worker| worker.draining;
        let drained = known.as_ref().map(|workers| workers.iter().filter(drained).map(|worker| worker.server_id));
        match drained.map(Iterator::collect::<Vec<i64>>) {
            Some(ids) if ids.is_empty() => break,
            Some(ids) => {
                for id in ids {
                    cluster.drain(id, false).await;
                }
            }
            None => {}
        }
        if began.elapsed() > ALIVE_IN {
            return vec![Checker::Liveness.found(format!("workers drain {ALIVE_IN:?} after healing: {known:?}"))];
        }
        sleep(ASK_EVERY).await;
    }
    Vec::new()
}

/// Why not, in words.
async fn converged(cluster: &Cluster, sim: &Sim) -> Result<(), String> {
    let nodes = sim.nodes().await.map_err(|status| status.to_string())?;
    let live: BTreeSet<(i64, String)> = nodes.iter().map(|node| (node.server_id, node.address.clone())).collect();
    let mut held = BTreeMap::new();
    for node in nodes {
        for info in node.channels {
            let owner = Owner { term: info.term, server_id: node.server_id, address: node.address.clone() };
            if let Some(other) = held.insert(info.name.clone(), owner.clone()) {
                return Err(format!("{} is served by {other:?} and {owner:?}", info.name));
            }
        }
    }
    for place in cluster.places() {
        let told = Discovery::once(&cluster.addresses(place).internal).await;
        let told = told.map_err(|status| format!("place {place}: {status}"))?;
        if told.owners.is_empty() || told.owners != held {
            return Err(format!("place {place} says {told:?}, the nodes have {held:?}"));
        }
        let workers = cluster.sessions(place).await.map_err(|status| format!("place {place}: {status}"))?;
        let workers: BTreeSet<(i64, String)> =
            workers.into_iter().map(|worker| (worker.server_id, worker.address)).collect();
        if workers != live {
            return Err(format!("place {place} knows the workers {workers:?}, and these live: {live:?}"));
        }
    }
    Ok(())
}
