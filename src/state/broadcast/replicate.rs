//! To which other clusters the logs of this one are replicated, or from which one: a configuration that operators give
//! to every cluster alike. What it must be is Milvus' rule, in Milvus' words.

mod check;

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::io;

use prost::Message as _;
use roost_raft::kv::Read;
use serde::{Deserialize, Serialize};

use check::{check, check_unchanged, is_target};

use super::command::{BroadcastReply, Submit};
use super::lock::ResourceKey;
use super::message;
use super::task::{self, Origin};
use crate::error::Rejection;
use crate::pb::common::{MilvusCluster, ReplicateConfiguration};
use crate::pb::messages::{AlterReplicateConfigMessageBody, AlterReplicateConfigMessageHeader, MessageType};
use crate::pb::store;
use crate::state::channel::pchannel_name;
use crate::state::event::Event;
use crate::state::limits::MAX_REPLICATION_BYTES;
use crate::state::pchannel;
use crate::state::step::{Refusal, Step};
use crate::state::tables::{REPLICATION, STREAMING};

/// Takes the place of the configuration that was there. Idempotent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateReplication {
    /// An encoded `common.ReplicateConfiguration`.
    pub configuration: Vec<u8>,
    /// What this cluster is called in it.
    pub cluster_id: String,
    /// This cluster, to which another one is replicated, shall be nobody's copy any more at once, though the other one
    /// may have more.
    pub force_promote: bool,
}

/// From this apply version on: a copy of another cluster takes its configuration from there, changes nothing of its own
/// beside it, and is promoted alone; and pchannels may be added.
const COPIES_SINCE: u32 = 7;

/// What a log of a copy of another cluster has brought: a configuration that was given to the other one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicatedUpdate {
    /// The other cluster's number.
    pub broadcast_id: u64,
    /// An encoded `common.ReplicateConfiguration`.
    pub configuration: Vec<u8>,
    /// All by which it comes.
    pub vchannels: Vec<String>,
    /// That by which it has come.
    pub vchannel: String,
    /// What this cluster is called in it.
    pub cluster_id: String,
}

pub(super) fn update(step: &mut Step<'_, '_>, command: &UpdateReplication) -> Result<BroadcastReply, Refusal> {
    let UpdateReplication { configuration: bytes, cluster_id, force_promote } = command;
    let asked = decoded(bytes)?;
    let old = REPLICATION.get(step.txn, &())?;
    let before = old.as_ref().map(store::Replication::decoded).transpose()?;
    let was_secondary = old.is_some_and(|row| row.secondary);
    let pchannels = pchannels(step.txn)?;
    let since = step.apply_version >= COPIES_SINCE;
    let configuration = match &before {
        Some(before) if since && *force_promote => alone(asked, before, cluster_id, &pchannels)?,
        _ => asked,
    };
    if since && before.as_ref() == Some(&configuration) {
        return Ok(BroadcastReply::Replicated { changed: false });
    }
    check(&configuration, cluster_id, &pchannels)?;
    if let Some(before) = &before {
        check_unchanged(before, &configuration, since)?;
    }
    let secondary = is_target(&configuration, cluster_id);
    if *force_promote && (secondary || !was_secondary) {
        let detail = "force promote is only for a secondary cluster, and to a configuration in which it is none";
        return Err(Rejection::invalid(detail).into());
    }
    if since && was_secondary && !*force_promote {
        return Err(Rejection::NotPrimary.into());
    }
    if before.as_ref() == Some(&configuration) {
        return Ok(BroadcastReply::Replicated { changed: false });
    }
    let count = |configuration: &ReplicateConfiguration| {
        configuration.clusters.iter().map(|cluster| cluster.pchannels.len()).max().unwrap_or(0)
    };
    let header = AlterReplicateConfigMessageHeader {
        is_pchannel_increasing: before.as_ref().is_some_and(|before| count(before) < count(&configuration)),
        replicate_configuration: Some(configuration.clone()),
        force_promote: *force_promote,
        ..AlterReplicateConfigMessageHeader::default()
    };
    put(step, &configuration, secondary)?;
    announce(step, &header, &pchannels)?;
    Ok(BroadcastReply::Replicated { changed: true })
}

pub(super) fn objection(
    read: &dyn Read,
    configuration: &ReplicateConfiguration,
    own: &str,
) -> io::Result<Option<Rejection>> {
    Ok(check(configuration, own, &pchannels(read)?).err())
}

/// All that carry collections.
fn pchannels(read: &dyn Read) -> io::Result<Vec<String>> {
    Ok((0..pchannel::count(read)?).map(pchannel_name).collect())
}

fn decoded(bytes: &[u8]) -> Result<ReplicateConfiguration, Refusal> {
    if bytes.len() > MAX_REPLICATION_BYTES {
        let detail = format!("a configuration of {} bytes, at most {MAX_REPLICATION_BYTES}", bytes.len());
        return Err(Rejection::ParameterTooLarge { detail }.into());
    }
    let unreadable = |error| Rejection::invalid(format!("the configuration cannot be read: {error}"));
    Ok(ReplicateConfiguration::decode(bytes).map_err(unreadable)?)
}

/// What a copy that is promoted by force shall be: this cluster and nobody else, as it was if nothing is asked for.
fn alone(
    asked: ReplicateConfiguration,
    before: &ReplicateConfiguration,
    own: &str,
    pchannels: &[String],
) -> Result<ReplicateConfiguration, Rejection> {
    let is_own = |cluster: &&MilvusCluster| cluster.cluster_id == own;
    let cluster = match asked.clusters.as_slice() {
        [] => before.clusters.iter().find(is_own).cloned().unwrap_or_default(),
        [cluster] if is_own(&cluster) && asked.cross_cluster_topology.is_empty() => return Ok(asked),
        _ => {
            let detail =
                "force promote makes this cluster stand alone: its configuration names no other and no topology";
            return Err(Rejection::invalid(detail));
        }
    };
    let cluster = MilvusCluster { pchannels: pchannels.to_vec(), ..cluster };
    Ok(ReplicateConfiguration { clusters: vec![cluster], cross_cluster_topology: Vec::new() })
}

fn put(step: &mut Step<'_, '_>, configuration: &ReplicateConfiguration, secondary: bool) -> Result<(), Refusal> {
    let configuration = configuration.encode_to_vec();
    let row = store::Replication { configuration, secondary, updated_ms: step.now_ms, coming: None };
    REPLICATION.put(step.txn, &(), &row);
    pchannel::touch(step)?;
    step.events.push(Event::ReplicationChanged);
    Ok(())
}

/// When a configuration has come by all logs, it is this cluster's: whatever was replicated before stands before it.
/// What has come already is a success.
pub(super) fn replicated(step: &mut Step<'_, '_>, command: &ReplicatedUpdate) -> Result<BroadcastReply, Refusal> {
    let ReplicatedUpdate { broadcast_id, configuration: bytes, vchannels, vchannel, cluster_id } = command;
    let asked = decoded(bytes)?;
    let Some(mut row) = REPLICATION.get(step.txn, &())? else { return Err(Rejection::NotSecondary.into()) };
    let before = row.decoded()?;
    // One that was taken out stands for itself again.
    let configuration = match asked.clusters.iter().any(|cluster| cluster.cluster_id == *cluster_id) {
        true => asked,
        false => ReplicateConfiguration {
            clusters: before.clusters.iter().filter(|cluster| cluster.cluster_id == *cluster_id).cloned().collect(),
            cross_cluster_topology: Vec::new(),
        },
    };
    if configuration == before {
        return Ok(BroadcastReply::Replicated { changed: false });
    }
    if !row.secondary {
        return Err(Rejection::NotSecondary.into());
    }
    if !vchannels.contains(vchannel) {
        return Err(Rejection::invalid(format!("broadcast {broadcast_id} is not for vchannel {vchannel}")).into());
    }
    let pchannels = pchannels(step.txn)?;
    if vchannels.len() > pchannels.len().saturating_add(1) {
        let detail = format!("a configuration that comes by {} vchannels, expected one a pchannel", vchannels.len());
        return Err(Rejection::invalid(detail).into());
    }
    check(&configuration, cluster_id, &pchannels)?;
    let mut coming = row.coming.take().unwrap_or_default();
    match coming.broadcast_id.cmp(broadcast_id) {
        Ordering::Greater => return Ok(BroadcastReply::Replicated { changed: false }),
        Ordering::Less => coming = store::ReplicatedConfiguration::default(),
        Ordering::Equal => {}
    }
    let mut come: BTreeSet<String> = coming.vchannels.into_iter().collect();
    come.insert(vchannel.clone());
    if vchannels.iter().all(|one| come.contains(one)) {
        let secondary = is_target(&configuration, cluster_id);
        put(step, &configuration, secondary)?;
        return Ok(BroadcastReply::Replicated { changed: true });
    }
    let vchannels = come.into_iter().collect();
    let coming =
        store::ReplicatedConfiguration { broadcast_id: *broadcast_id, configuration: bytes.clone(), vchannels };
    REPLICATION.put(step.txn, &(), &store::Replication { coming: Some(coming), ..row });
    Ok(BroadcastReply::Replicated { changed: false })
}

/// Every log learns of it, in the place of its own that separates what is replicated one way from the other.
fn announce(
    step: &mut Step<'_, '_>,
    header: &AlterReplicateConfigMessageHeader,
    pchannels: &[String],
) -> Result<(), Refusal> {
    let streaming = STREAMING.get_or_default(step.txn, &())?;
    if !streaming.ever_enabled {
        return Ok(());
    }
    // The control channel stands for its pchannel.
    let channel = |name: &String| match *name == streaming.control_channel {
        true => message::control_channel(name),
        false => name.clone(),
    };
    let submit = Submit {
        message_type: MessageType::AlterReplicateConfig.into(),
        payload: AlterReplicateConfigMessageBody {}.encode_to_vec(),
        properties: message::properties(MessageType::AlterReplicateConfig, header),
        vchannels: pchannels.iter().map(channel).collect(),
        keys: vec![ResourceKey::cluster(false)],
        ack_sync_up: false,
    };
    task::insert(step, &submit, &Origin::Own { subject_id: 0, takes_away: false, creates: false })?;
    Ok(())
}

/// Only a cluster that is nobody's copy may broadcast what callers want.
pub(super) fn check_primary(step: &Step<'_, '_>) -> Result<(), Refusal> {
    if !is_secondary(step)? {
        return Ok(());
    }
    if step.apply_version >= COPIES_SINCE {
        return Err(Rejection::NotPrimary.into());
    }
    let detail = "this cluster is a replica of another one, and only that one may broadcast".to_owned();
    Err(Rejection::NotPermitted { detail }.into())
}

/// Only such a cluster changes its catalogue and access.
pub(in crate::state) fn check_may_change(step: &Step<'_, '_>) -> Result<(), Refusal> {
    match step.apply_version >= COPIES_SINCE && is_secondary(step)? {
        true => Err(Rejection::NotPrimary.into()),
        false => Ok(()),
    }
}

fn is_secondary(step: &Step<'_, '_>) -> Result<bool, Refusal> {
    Ok(REPLICATION.get(step.txn, &())?.is_some_and(|row| row.secondary))
}

impl store::Replication {
    pub fn decoded(&self) -> std::io::Result<ReplicateConfiguration> {
        ReplicateConfiguration::decode(self.configuration.as_slice())
            .map_err(|error| REPLICATION.corrupt(&REPLICATION.key(&()), &format!("configuration: {error}")))
    }
}
