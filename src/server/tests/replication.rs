//! A copy of another cluster, as clients of MilvusService, RootCoord and StreamingCoord see it.

use super::*;
use crate::pb::common::{
    ConnectionParam, CrossClusterTopology, ImmutableMessage, MilvusCluster, ReplicateConfiguration,
};
use crate::pb::messages::{AlterReplicateConfigMessageHeader, BroadcastHeader, MessageType};
use crate::pb::streaming::BroadcastAckRequest;
use crate::pb::streaming::streaming_coord_broadcast_service_client::StreamingCoordBroadcastServiceClient;
use crate::state::broadcast::message;
use crate::state::{PCHANNELS, pchannel_name};

const NOT_PRIMARY: (i32, &str) = (65535, "cluster is not primary, cannot do any DDL/DCL");

/// Of this cluster, `by-dev`, and another one.
fn configuration(source: &str, target: &str) -> ReplicateConfiguration {
    let cluster = |id: &str, channel: &dyn Fn(u16) -> String| MilvusCluster {
        cluster_id: id.into(),
        connection_param: Some(ConnectionParam { uri: format!("http://{id}:19530"), token: "t".into() }),
        pchannels: (0..PCHANNELS).map(channel).collect(),
    };
    ReplicateConfiguration {
        clusters: vec![cluster("by-dev", &pchannel_name), cluster("b", &|number| format!("b_{number}"))],
        cross_cluster_topology: vec![CrossClusterTopology {
            source_cluster_id: source.into(),
            target_cluster_id: target.into(),
        }],
    }
}

fn update(configuration: ReplicateConfiguration, force_promote: bool) -> UpdateReplicateConfigurationRequest {
    UpdateReplicateConfigurationRequest { replicate_configuration: Some(configuration), force_promote }
}

fn short<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(Duration::from_secs(1));
    request
}

fn shown(status: &common::Status) -> (i32, &str) {
    (status.code, status.reason.as_str())
}

/// That the configuration was consumed from the log of one vchannel.
fn consumed(configuration: &ReplicateConfiguration, number: u16) -> BroadcastAckRequest {
    let vchannels: Vec<String> = [0, 1].into_iter().map(pchannel_name).collect();
    let header = AlterReplicateConfigMessageHeader {
        replicate_configuration: Some(configuration.clone()),
        ..Default::default()
    };
    let broadcast = BroadcastHeader { broadcast_id: 3, vchannels, ..BroadcastHeader::default() };
    let added = [
        (message::BROADCAST_HEADER.to_owned(), message::encoded(&broadcast)),
        (message::VCHANNEL.to_owned(), pchannel_name(number)),
        (message::REPLICATE_HEADER.to_owned(), String::new()),
    ];
    let own = message::properties(MessageType::AlterReplicateConfig, &header);
    let copy = ImmutableMessage { id: None, payload: Vec::new(), properties: own.into_iter().chain(added).collect() };
    BroadcastAckRequest { message: Some(copy), ..BroadcastAckRequest::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_refuses_changes_at_every_door() {
    let nodes = cluster().await;
    let (mut client, mut internal) = (nodes[1].milvus().await, nodes[2].rootcoord().await);
    assert_eq!(client.create_collection(new_collection("c")).await.unwrap().into_inner().code, 0);
    let copy = update(configuration("b", "by-dev"), false);
    assert_eq!(client.update_replicate_configuration(copy).await.unwrap().into_inner(), common::Status::default());
    let index = CreateIndexRequest {
        collection_name: "c".into(),
        field_name: "vector".into(),
        ..CreateIndexRequest::default()
    };
    let partition = CreatePartitionRequest {
        collection_name: "c".into(),
        partition_name: "p".into(),
        ..CreatePartitionRequest::default()
    };
    let alias = CreateAliasRequest { collection_name: "c".into(), alias: "a".into(), ..CreateAliasRequest::default() };
    let database = CreateDatabaseRequest { db_name: "d".into(), ..CreateDatabaseRequest::default() };
    let role = CreateRoleRequest {
        entity: Some(RoleEntity { name: "r".into(), ..RoleEntity::default() }),
        ..CreateRoleRequest::default()
    };
    let gone = DropCollectionRequest { collection_name: "c".into(), ..DropCollectionRequest::default() };
    let answers = [
        client.create_collection(new_collection("d")).await,
        client.drop_collection(gone.clone()).await,
        client.create_partition(partition.clone()).await,
        client.create_alias(alias.clone()).await,
        client.create_database(database.clone()).await,
        client.create_index(index).await,
        client.create_role(role.clone()).await,
        internal.create_collection(new_collection("d")).await,
        internal.drop_collection(gone).await,
        internal.create_partition(partition).await,
        internal.create_alias(alias).await,
        internal.create_database(database).await,
        internal.create_role(role).await,
    ];
    for (at, answer) in answers.into_iter().enumerate() {
        assert_eq!(shown(&answer.unwrap().into_inner()), NOT_PRIMARY, "call {at}");
    }
    let found = client.describe_collection(describe("c")).await.unwrap().into_inner();
    assert_eq!((found.status.unwrap().code, found.aliases.len()), (0, 0), "it can be read");
    let timestamp = internal.alloc_timestamp(CountedRequest { count: 1, ..Default::default() }).await.unwrap();
    assert_eq!(timestamp.into_inner().status.unwrap().code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_switched_by_what_comes_from_the_primary_and_by_force() {
    let nodes = cluster().await;
    let mut client = nodes[1].milvus().await;
    let (copy, primary) = (configuration("b", "by-dev"), configuration("by-dev", "b"));
    assert_eq!(client.update_replicate_configuration(update(copy.clone(), false)).await.unwrap().into_inner().code, 0);
    // What is wrong is refused at once, whoever decides.
    let wrong = update(configuration("x", "b"), false);
    let refused = client.update_replicate_configuration(wrong).await.unwrap().into_inner();
    assert_eq!(refused.code, 1100, "{refused:?}");
    let early =
        client.update_replicate_configuration(short(update(primary.clone(), false))).await.unwrap().into_inner();
    assert_eq!(early.code, 2, "{early:?}");
    assert!(early.reason.contains("has not come from the primary"), "{}", early.reason);
    // Operators give the new configuration to both, and this one follows.
    let waiting = tokio::spawn({
        let (mut client, asked) = (client.clone(), update(primary.clone(), false));
        async move { client.update_replicate_configuration(asked).await }
    });
    let mut logs = StreamingCoordBroadcastServiceClient::new(dial(&nodes[2].internal).await);
    logs.ack(consumed(&primary, 0)).await.unwrap();
    let still = client.create_collection(new_collection("c")).await.unwrap().into_inner();
    assert_eq!(shown(&still), NOT_PRIMARY, "by one of two logs");
    logs.ack(consumed(&primary, 1)).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().into_inner(), common::Status::default());
    assert_eq!(client.create_collection(new_collection("c")).await.unwrap().into_inner().code, 0);
    logs.ack(consumed(&primary, 1)).await.unwrap();
    let late = logs.ack(consumed(&copy, 1)).await.unwrap_err();
    assert!(late.message().contains("replicate message cannot be received in primary role"), "{late:?}");
    // Demoted again, and promoted without the other one.
    assert_eq!(client.update_replicate_configuration(update(copy, false)).await.unwrap().into_inner().code, 0);
    let still = client.create_collection(new_collection("d")).await.unwrap().into_inner();
    assert_eq!(shown(&still), NOT_PRIMARY);
    let force = UpdateReplicateConfigurationRequest { replicate_configuration: None, force_promote: true };
    for _ in 0..2 {
        let promoted = client.update_replicate_configuration(force.clone()).await.unwrap().into_inner();
        assert_eq!(promoted, common::Status::default());
    }
    assert_eq!(client.create_collection(new_collection("d")).await.unwrap().into_inner().code, 0);
    let shown = client.get_replicate_configuration(GetReplicateConfigurationRequest {}).await.unwrap().into_inner();
    let shown = shown.configuration.unwrap();
    assert_eq!((shown.clusters.len(), shown.cross_cluster_topology.len()), (1, 0));
}
