//! What a replicate configuration must be: Milvus' rules, in Milvus' words.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Rejection;
use crate::pb::common::{MilvusCluster, ReplicateConfiguration};

pub(super) fn is_target(configuration: &ReplicateConfiguration, cluster: &str) -> bool {
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

/// A cluster that stays is as it was; `may_grow`: but for pchannels that are added.
pub(super) fn check_unchanged(
    old: &ReplicateConfiguration,
    new: &ReplicateConfiguration,
    may_grow: bool,
) -> Result<(), Rejection> {
    let known: BTreeMap<&str, &MilvusCluster> =
        old.clusters.iter().map(|cluster| (cluster.cluster_id.as_str(), cluster)).collect();
    for cluster in &new.clusters {
        let id = cluster.cluster_id.as_str();
        let Some(before) = known.get(id) else { continue };
        let there: BTreeSet<&String> = cluster.pchannels.iter().collect();
        let has_grown = may_grow && before.pchannels.iter().all(|name| there.contains(name));
        if before.pchannels != cluster.pchannels && !has_grown {
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
