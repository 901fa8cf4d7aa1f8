//! To which other clusters the logs of this one are replicated, or from which one: a configuration that operators give
//! to every cluster alike. What it must be is Milvus' rule, in Milvus' words.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use roost_raft::kv::Read;
use serde::{Deserialize, Serialize};

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

pub(super) fn update(step: &mut Step<'_, '_>, command: &UpdateReplication) -> Result<BroadcastReply, Refusal> {
    let UpdateReplication { configuration: bytes, cluster_id, force_promote } = command;
    if bytes.len() > MAX_REPLICATION_BYTES {
        let detail = format!("a configuration of {} bytes, at most {MAX_REPLICATION_BYTES}", bytes.len());
        return Err(Rejection::ParameterTooLarge { detail }.into());
    }
    let configuration = ReplicateConfiguration::decode(bytes.as_slice())
        .map_err(|error| Rejection::invalid(format!("the configuration cannot be read: {error}")))?;
    let old = REPLICATION.get(step.txn, &())?;
    let before = old.as_ref().map(store::Replication::decoded).transpose()?;
    let pchannels: Vec<String> = (0..pchannel::count(step.txn)?).map(pchannel_name).collect();
    check(&configuration, cluster_id, &pchannels)?;
    if let Some(before) = &before {
        check_unchanged(before, &configuration)?;
    }
    let secondary = is_target(&configuration, cluster_id);
    if *force_promote && (secondary || !old.as_ref().is_some_and(|row| row.secondary)) {
        let detail = "force promote is only for a secondary cluster, and to a configuration in which it is none";
        return Err(Rejection::invalid(detail).into());
    }
    if before.as_ref() == Some(&configuration) {
        return Ok(BroadcastReply::Replicated { changed: false });
    }
    let row = store::Replication { configuration: configuration.encode_to_vec(), secondary, updated_ms: step.now_ms };
    REPLICATION.put(step.txn, &(), &row);
    announce(step, configuration, &pchannels, *force_promote)?;
    pchannel::touch(step)?;
    step.events.push(Event::ReplicationChanged);
    Ok(BroadcastReply::Replicated { changed: true })
}

/// Every log learns of it, in the place of its own that separates what is replicated one way from the other.
fn announce(
    step: &mut Step<'_, '_>,
    configuration: ReplicateConfiguration,
    pchannels: &[String],
    force_promote: bool,
) -> Result<(), Refusal> {
    let streaming = STREAMING.get_or_default(step.txn, &())?;
    if !streaming.ever_enabled {
        return Ok(());
    }
    let header = AlterReplicateConfigMessageHeader {
        replicate_configuration: Some(configuration),
        force_promote,
        ..AlterReplicateConfigMessageHeader::default()
    };
    // The control channel stands for its pchannel.
    let channel = |name: &String| match *name == streaming.control_channel {
        true => message::control_channel(name),
        false => name.clone(),
    };
    let submit = Submit {
        message_type: MessageType::AlterReplicateConfig.into(),
        payload: AlterReplicateConfigMessageBody {}.encode_to_vec(),
        properties: message::properties(MessageType::AlterReplicateConfig, &header),
        vchannels: pchannels.iter().map(channel).collect(),
        keys: vec![ResourceKey::cluster(false)],
        ack_sync_up: false,
    };
    task::insert(step, &submit, &Origin::Own { subject_id: 0, takes_away: false })?;
    Ok(())
}

/// Only a cluster that is nobody's copy may broadcast what callers want.
pub(super) fn check_primary(read: &dyn Read) -> Result<(), Refusal> {
    match REPLICATION.get(read, &())? {
        Some(row) if row.secondary => {
            let detail = "this cluster is a replica of another one, and only that one may broadcast".to_owned();
            Err(Rejection::NotPermitted { detail }.into())
        }
        _ => Ok(()),
    }
}

impl store::Replication {
    pub fn decoded(&self) -> std::io::Result<ReplicateConfiguration> {
        ReplicateConfiguration::decode(self.configuration.as_slice())
            .map_err(|error| REPLICATION.corrupt(&REPLICATION.key(&()), &format!("configuration: {error}")))
    }
}

fn is_target(configuration: &ReplicateConfiguration, cluster: &str) -> bool {
    configuration.cross_cluster_topology.iter().any(|edge| edge.target_cluster_id == cluster)
}

/// Everything that one configuration must be by itself. `pchannels`: this cluster's.
pub(super) fn check(configuration: &ReplicateConfiguration, own: &str, pchannels: &[String]) -> Result<(), Rejection> {
    let refuse = |detail: String| Err(Rejection::invalid(detail));
    let clusters = &configuration.clusters;
    let Some(first) = clusters.first() else { return refuse("clusters list cannot be empty".to_owned()) };
    let (mut ids, mut uris) = (BTreeMap::new(), BTreeMap::new());
    for (at, cluster) in clusters.iter().enumerate() {
        let MilvusCluster { cluster_id: id, connection_param, pchannels } = cluster;
        if id.is_empty() {
            return refuse(format!("cluster at index {at} has empty clusterID"));
        }
        if id.contains([' ', '\t', '\n', '\r']) {
            return refuse(format!("cluster at index {at} has clusterID '{id}' containing whitespace characters"));
        }
        let Some(connection) = connection_param else {
            return refuse(format!("cluster '{id}' has nil connection_param"));
        };
        let uri = connection.uri.as_str();
        if uri.is_empty() {
            return refuse(format!("cluster '{id}' has empty URI"));
        }
        if !is_uri(uri) {
            return refuse(format!("cluster '{id}' has invalid URI format: '{uri}'"));
        }
        if let Some(other) = uris.insert(uri, id) {
            return refuse(format!(
                "duplicate URI found: '{uri}' is used by both cluster '{other}' and cluster '{id}'"
            ));
        }
        check_pchannels(id, pchannels)?;
        if pchannels.len() != first.pchannels.len() {
            let (count, expected, like) = (pchannels.len(), first.pchannels.len(), &first.cluster_id);
            return refuse(format!(
                "cluster '{id}' has {count} pchannels, but expected {expected} (same as cluster '{like}')"
            ));
        }
        if ids.insert(id.as_str(), cluster).is_some() {
            return refuse(format!("duplicate clusterID found: '{id}'"));
        }
    }
    let Some(ours) = ids.get(own) else {
        return refuse(format!("current Milvus cluster '{own}' must be included in the clusters list"));
    };
    let names = |list: &[String]| list.iter().cloned().collect::<BTreeSet<String>>();
    if names(&ours.pchannels) != names(pchannels) {
        return refuse(format!(
            "current pchannels do not match the pchannels in the config, current pchannels: [{}], config pchannels: \
             [{}]",
            pchannels.join(" "),
            ours.pchannels.join(" ")
        ));
    }
    check_topology(configuration, &ids)
}

fn check_pchannels(cluster: &str, pchannels: &[String]) -> Result<(), Rejection> {
    if pchannels.is_empty() {
        return Err(Rejection::invalid(format!("cluster '{cluster}' has empty pchannels")));
    }
    let mut seen = BTreeSet::new();
    for (at, name) in pchannels.iter().enumerate() {
        if name.is_empty() {
            return Err(Rejection::invalid(format!("cluster '{cluster}' has empty pchannel at index {at}")));
        }
        if !seen.insert(name) {
            return Err(Rejection::invalid(format!("cluster '{cluster}' has duplicate pchannel: '{name}'")));
        }
    }
    Ok(())
}

/// A star, if anything: one cluster is replicated to all others, and to nobody else.
fn check_topology(
    configuration: &ReplicateConfiguration,
    clusters: &BTreeMap<&str, &MilvusCluster>,
) -> Result<(), Rejection> {
    let refuse = |detail: String| Err(Rejection::invalid(detail));
    let edges = &configuration.cross_cluster_topology;
    if edges.is_empty() {
        return Ok(());
    }
    let mut seen = BTreeSet::new();
    // By cluster: to how many it is replicated, and from how many.
    let mut degrees: BTreeMap<&str, (usize, usize)> = clusters.keys().map(|id| (*id, (0, 0))).collect();
    for (at, edge) in edges.iter().enumerate() {
        let (source, target) = (edge.source_cluster_id.as_str(), edge.target_cluster_id.as_str());
        match degrees.get_mut(source) {
            Some((out, _)) => *out += 1,
            None => {
                return refuse(format!("topology at index {at} references non-existent source cluster: '{source}'"));
            }
        }
        match degrees.get_mut(target) {
            Some((_, into)) => *into += 1,
            None => {
                return refuse(format!("topology at index {at} references non-existent target cluster: '{target}'"));
            }
        }
        if !seen.insert((source, target)) {
            return refuse(format!("duplicate topology relationship found: '{source}->{target}'"));
        }
    }
    let is_center = |degree: &(usize, usize)| *degree == (clusters.len() - 1, 0);
    let mut centers = degrees.iter().filter(|(_, degree)| is_center(degree)).map(|(id, _)| *id);
    let Some(center) = centers.next() else {
        return refuse("no center node found, star topology must have exactly one center node".to_owned());
    };
    if centers.next().is_some() {
        return refuse("multiple center nodes found, only one center node is allowed in star topology".to_owned());
    }
    let wrong = degrees.iter().find(|(id, degree)| **id != center && **degree != (0, 1));
    match wrong {
        Some((id, (out, into))) => {
            refuse(format!("cluster '{id}' does not follow star topology pattern (in-degree={into}, out-degree={out})"))
        }
        None => Ok(()),
    }
}

/// A cluster that stays is as it was.
fn check_unchanged(old: &ReplicateConfiguration, new: &ReplicateConfiguration) -> Result<(), Rejection> {
    let known: BTreeMap<&str, &MilvusCluster> =
        old.clusters.iter().map(|cluster| (cluster.cluster_id.as_str(), cluster)).collect();
    for cluster in &new.clusters {
        let id = cluster.cluster_id.as_str();
        let Some(before) = known.get(id) else { continue };
        if before.pchannels != cluster.pchannels {
            return Err(Rejection::invalid(format!(
                "cluster '{id}' pchannels cannot be changed: current=[{}], incoming=[{}]",
                before.pchannels.join(" "),
                cluster.pchannels.join(" ")
            )));
        }
        let connection = |cluster: &MilvusCluster| cluster.connection_param.clone().unwrap_or_default();
        let (old, new) = (connection(before), connection(cluster));
        if old.uri != new.uri {
            return Err(Rejection::invalid(format!(
                "cluster '{id}' connection_param.uri cannot be changed: current={}, incoming={}",
                old.uri, new.uri
            )));
        }
        if old.token != new.token {
            return Err(Rejection::invalid(format!("cluster '{id}' connection_param.token cannot be changed")));
        }
    }
    Ok(())
}

/// A scheme and something behind it, or an absolute path: what Milvus' parser takes.
fn is_uri(text: &str) -> bool {
    if text.chars().any(|letter| letter.is_control() || letter == ' ') {
        return false;
    }
    let is_scheme = |scheme: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        scheme.starts_with(|first: char| first.is_ascii_alphabetic()) && scheme.bytes().all(plain)
    };
    text.starts_with('/') || text.split_once(':').is_some_and(|(scheme, rest)| is_scheme(scheme) && !rest.is_empty())
}
