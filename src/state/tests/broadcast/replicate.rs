//! The configuration of replication between clusters.

use prost::Message;

use super::*;
use crate::pb::common::{ConnectionParam, CrossClusterTopology, MilvusCluster, ReplicateConfiguration};
use crate::pb::messages::MessageType;
use crate::state::broadcast::UpdateReplication;

fn cluster(id: &str, channels: usize) -> MilvusCluster {
    let prefix = if id == "own" { "by-dev-rootcoord-dml".to_owned() } else { id.to_owned() };
    MilvusCluster {
        cluster_id: id.into(),
        connection_param: Some(ConnectionParam { uri: format!("http://{id}:19530"), token: "t".into() }),
        pchannels: (0..channels).map(|number| format!("{prefix}_{number}")).collect(),
    }
}

fn edge(source: &str, target: &str) -> CrossClusterTopology {
    CrossClusterTopology { source_cluster_id: source.into(), target_cluster_id: target.into() }
}

fn configuration(edges: &[(&str, &str)]) -> ReplicateConfiguration {
    ReplicateConfiguration {
        clusters: vec![cluster("own", 16), cluster("b", 16), cluster("c", 16)],
        cross_cluster_topology: edges.iter().map(|(source, target)| edge(source, target)).collect(),
    }
}

fn update(configuration: &ReplicateConfiguration, force_promote: bool) -> Command {
    let (configuration, cluster_id) = (configuration.encode_to_vec(), "own".to_owned());
    command(BroadcastCommand::Replicate(UpdateReplication { configuration, cluster_id, force_promote }))
}

fn replicated(changed: bool) -> Reply {
    Reply::Broadcast(BroadcastReply::Replicated { changed })
}

const FROM_OWN: &[(&str, &str)] = &[("own", "b"), ("own", "c")];
const FROM_B: &[(&str, &str)] = &[("b", "own"), ("b", "c")];

#[test]
fn a_configuration_is_a_fact() {
    let mut world = World::default();
    assert!(world.view().broadcasts().replication().unwrap().is_none());
    let primary = configuration(FROM_OWN);
    assert_eq!(world.run(update(&primary, false)), replicated(true));
    assert_eq!(world.run(update(&primary, false)), replicated(false));
    let row = world.view().broadcasts().replication().unwrap().unwrap();
    assert_eq!((row.decoded().unwrap(), row.secondary), (primary, false));
    assert_eq!(world.count(0xC0), 0, "no streaming node was ever there");
}

#[test]
fn a_secondary_takes_no_broadcasts_of_callers_until_it_is_promoted() {
    let mut world = World::default();
    world.rejected(update(&configuration(FROM_OWN), true));
    world.run(update(&configuration(FROM_B), false));
    let refused = world.rejected(command(BroadcastCommand::Submit(submit(&["a"], &[]))));
    assert!(refused.reason().contains("replica of another"), "{}", refused.reason());
    world.rejected(update(&configuration(FROM_B), true));
    assert_eq!(world.run(update(&configuration(&[]), true)), replicated(true));
    world.submitted(submit(&["a"], &[]));
}

#[test]
fn every_log_learns_of_it() {
    let mut world = World::default();
    super::outbox::enable(&mut world);
    world.run(update(&configuration(FROM_OWN), false));
    let task = world.view().broadcasts().tasks(None, 9).unwrap().remove(0);
    assert_eq!(task.message_type, i32::from(MessageType::AlterReplicateConfig));
    assert_eq!((task.channels.len(), task.keys.len(), task.keys[0].shared), (16, 1, false));
    assert_eq!(task.channels[0].vchannel, "by-dev-rootcoord-dml_0_vcchan");
    assert_eq!(task.channels[1].vchannel, "by-dev-rootcoord-dml_1");
}

#[test]
fn a_configuration_that_contradicts_itself_is_refused() {
    let mut world = World::default();
    let good = configuration(FROM_OWN);
    let edited = |edit: &dyn Fn(&mut ReplicateConfiguration)| {
        let mut bad = good.clone();
        edit(&mut bad);
        bad
    };
    let cases: Vec<(ReplicateConfiguration, &str)> = vec![
        (ReplicateConfiguration::default(), "clusters list cannot be empty"),
        (edited(&|bad| bad.clusters[1].cluster_id.clear()), "cluster at index 1 has empty clusterID"),
        (edited(&|bad| bad.clusters[1].cluster_id = "a b".into()), "containing whitespace characters"),
        (edited(&|bad| bad.clusters[1].connection_param = None), "cluster 'b' has nil connection_param"),
        (edited(&|bad| bad.clusters[1].connection_param = Some(Default::default())), "cluster 'b' has empty URI"),
        (
            edited(&|bad| bad.clusters[1].connection_param.as_mut().unwrap().uri = "10.0.0.1:1".into()),
            "cluster 'b' has invalid URI format: '10.0.0.1:1'",
        ),
        (
            edited(&|bad| bad.clusters[2].connection_param = bad.clusters[1].connection_param.clone()),
            "is used by both cluster 'b' and cluster 'c'",
        ),
        (edited(&|bad| bad.clusters[1].pchannels.clear()), "cluster 'b' has empty pchannels"),
        (edited(&|bad| bad.clusters[1].pchannels[3].clear()), "cluster 'b' has empty pchannel at index 3"),
        (edited(&|bad| bad.clusters[1].pchannels[3] = "b_2".into()), "cluster 'b' has duplicate pchannel: 'b_2'"),
        (edited(&|bad| bad.clusters[1] = cluster("b", 2)), "cluster 'b' has 2 pchannels, but expected 16"),
        (
            edited(&|bad| bad.clusters[2] = MilvusCluster { cluster_id: "b".into(), ..cluster("c", 16) }),
            "duplicate clusterID found: 'b'",
        ),
        (edited(&|bad| _ = bad.clusters.remove(0)), "current Milvus cluster 'own' must be included"),
        (
            edited(&|bad| bad.clusters.iter_mut().for_each(|cluster| _ = cluster.pchannels.pop())),
            "current pchannels do not match",
        ),
        (configuration(&[("x", "b")]), "topology at index 0 references non-existent source cluster: 'x'"),
        (configuration(&[("b", "x")]), "topology at index 0 references non-existent target cluster: 'x'"),
        (configuration(&[("b", "c"), ("b", "c")]), "duplicate topology relationship found: 'b->c'"),
        (configuration(&[("own", "b"), ("b", "c")]), "no center node found"),
    ];
    for (bad, expected) in cases {
        let refused = world.rejected(update(&bad, false)).reason();
        assert!(refused.contains(expected), "{refused}, not {expected}");
    }
    let noise = UpdateReplication { configuration: vec![255], cluster_id: "own".into(), force_promote: false };
    world.rejected(command(BroadcastCommand::Replicate(noise)));
    assert_eq!(world.count(0xC8), 0);
    // What is there stays as it is.
    world.run(update(&good, false));
    let moved = edited(&|bad| bad.clusters[1].connection_param.as_mut().unwrap().uri = "http://else:1".into());
    assert!(world.rejected(update(&moved, false)).reason().contains("connection_param.uri cannot be changed"));
    let token = edited(&|bad| bad.clusters[1].connection_param.as_mut().unwrap().token.clear());
    assert!(world.rejected(update(&token, false)).reason().contains("connection_param.token cannot be changed"));
    let renamed = edited(&|bad| bad.clusters[1].pchannels[0] = "other".into());
    assert!(world.rejected(update(&renamed, false)).reason().contains("pchannels cannot be changed"));
}
