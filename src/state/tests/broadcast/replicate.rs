//! The configuration of replication between clusters.

use prost::Message;

use super::*;
use crate::error::Rejection;
use crate::pb::common::{ConnectionParam, CrossClusterTopology, MilvusCluster, ReplicateConfiguration};
use crate::pb::messages::{AlterReplicateConfigMessageHeader, MessageType};
use crate::state::broadcast::{ReplicatedUpdate, UpdateReplication, message};
use crate::state::tests::access::{create_role, root};

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

/// This cluster and nobody else, on so many pchannels.
fn alone(channels: usize) -> ReplicateConfiguration {
    ReplicateConfiguration { clusters: vec![cluster("own", channels)], cross_cluster_topology: Vec::new() }
}

#[test]
fn a_secondary_changes_nothing_of_its_own_until_it_is_promoted() {
    let mut world = World::default();
    world.run(Command::CreateCollection(create_collection("", "c")));
    let id = world.view().collection(1, "c").unwrap().unwrap().id;
    world.rejected(update(&alone(16), true));
    world.run(update(&configuration(FROM_B), false));
    let load = Command::Load(LoadCommand::Collection(load_of(id)));
    let changes = [
        command(BroadcastCommand::Submit(submit(&["a"], &[]))),
        create_database("d"),
        alter_database("default", &[("k", "v")], &[]),
        drop_database("d"),
        Command::CreateCollection(create_collection("", "d")),
        alter("c", &[("k", "v")], &[]),
        change(CollectionChange::Settings(alter_settings("c", "d"))),
        drop_collection("", "c"),
        create_partition("c", "p"),
        drop_partition("c", "p"),
        create_alias("", "a", "c"),
        Command::Index(IndexCommand::Create(index_of(id, 101, "i"))),
        load.clone(),
        Command::Access(create_role("r")),
    ];
    let before = world.facts();
    for asked in &changes {
        assert_eq!(world.rejected(asked.clone()), Rejection::NotPrimary, "{asked}");
    }
    assert_eq!(world.facts(), before);
    // What is not of the catalogue goes on.
    world.run(alloc(1)).into_result().unwrap();
    world.run(erase_collection(id)).into_result().unwrap();
    world.access(root());
    // Promoted it is alone, and what it is told again is done already.
    for other in [configuration(FROM_B), configuration(&[]), alone(15)] {
        world.rejected(update(&other, true));
    }
    assert_eq!(world.run(update(&ReplicateConfiguration::default(), true)), replicated(true));
    assert_eq!(world.run(update(&ReplicateConfiguration::default(), true)), replicated(false));
    assert_eq!(world.run(update(&alone(16), true)), replicated(false));
    let row = world.view().broadcasts().replication().unwrap().unwrap();
    assert_eq!((row.decoded().unwrap(), row.secondary), (alone(16), false));
    world.submitted(submit(&["a"], &[]));
    world.run(Command::Access(create_role("r"))).into_result().unwrap();
}

fn come(configuration: &ReplicateConfiguration, broadcast_id: u64, channel: &str) -> Command {
    command(BroadcastCommand::Replicated(ReplicatedUpdate {
        broadcast_id,
        configuration: configuration.encode_to_vec(),
        vchannels: vec![vchannel("a"), vchannel("b")],
        vchannel: vchannel(channel),
        cluster_id: "own".into(),
    }))
}

#[test]
fn roles_are_switched_when_the_configuration_has_come_by_all_logs() {
    let mut world = World::default();
    assert_eq!(world.rejected(come(&configuration(FROM_OWN), 7, "a")), Rejection::NotSecondary);
    world.run(update(&configuration(FROM_B), false));
    let switched = configuration(FROM_OWN);
    assert_eq!(world.rejected(update(&switched, false)), Rejection::NotPrimary, "it comes by the logs");
    let is_secondary = |world: &World| world.view().broadcasts().replication().unwrap().unwrap().secondary;
    assert_eq!(world.run(come(&switched, 7, "a")), replicated(false));
    assert_eq!(world.run(come(&switched, 7, "a")), replicated(false), "again");
    world.rejected(come(&switched, 7, "c"));
    // A newer one takes its place, and an older one is void.
    assert_eq!(world.run(come(&switched, 9, "b")), replicated(false));
    assert_eq!(world.run(come(&switched, 7, "b")), replicated(false));
    assert!(is_secondary(&world));
    assert_eq!(world.run(come(&switched, 9, "a")), replicated(true));
    assert!(!is_secondary(&world));
    assert_eq!(world.run(come(&switched, 9, "b")), replicated(false), "a late copy");
    assert_eq!(world.rejected(come(&configuration(FROM_B), 9, "b")), Rejection::NotSecondary);
    world.run(create_database("d")).into_result().unwrap();
    // And back, by a word of the operator, for this cluster is the first one now.
    assert_eq!(world.run(update(&configuration(FROM_B), false)), replicated(true));
    assert_eq!(world.rejected(create_database("e")), Rejection::NotPrimary);
}

#[test]
fn a_copy_that_is_taken_out_stands_for_itself() {
    let mut world = World::default();
    world.run(update(&configuration(FROM_B), false));
    let without = ReplicateConfiguration {
        clusters: vec![cluster("b", 16), cluster("c", 16)],
        cross_cluster_topology: vec![edge("b", "c")],
    };
    world.run(come(&without, 1, "a"));
    assert_eq!(world.run(come(&without, 1, "b")), replicated(true));
    let row = world.view().broadcasts().replication().unwrap().unwrap();
    assert_eq!((row.decoded().unwrap(), row.secondary), (alone(16), false));
}

#[test]
fn pchannels_may_be_added_under_a_configuration() {
    let mut world = World::default();
    super::outbox::enable(&mut world);
    world.run(update(&configuration(FROM_OWN), false));
    world.run(Command::PChannel(PChannelCommand::Add { names: (0..18).map(pchannel_name).collect() }));
    assert!(world.rejected(update(&configuration(&[]), false)).reason().contains("current pchannels do not match"));
    let grown = ReplicateConfiguration {
        clusters: vec![cluster("own", 18), cluster("b", 18), cluster("c", 18)],
        ..configuration(FROM_OWN)
    };
    assert_eq!(world.run(update(&grown, false)), replicated(true));
    let tasks = world.view().broadcasts().tasks(None, 9).unwrap();
    let says = |id| {
        let carried = world.view().broadcasts().message(id).unwrap().unwrap();
        let header = carried.properties.into_iter().find(|property| property.key == message::HEADER).unwrap();
        let header: AlterReplicateConfigMessageHeader = message::decoded(&header.value).unwrap();
        header.is_pchannel_increasing
    };
    assert_eq!((says(tasks[0].id), says(tasks[1].id), tasks[1].channels.len()), (false, true, 18));
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
