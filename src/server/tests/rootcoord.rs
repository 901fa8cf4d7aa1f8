//! RootCoord as a whole: which methods it has, and those that are about the coordinator itself.

use ::http::uri::PathAndQuery;

use super::fuzz::Raw;
use super::*;
use crate::pb::internal::{BackupEzkRequest, ChannelTimeTickMsg, ShowConfigurationsRequest};
use crate::pb::rootcoord::GetPChannelInfoRequest;

/// Every method of Milvus' RootCoord that is not deprecated, in its order.
const METHODS: &[&str] = &[
    "GetComponentStates",
    "GetTimeTickChannel",
    "GetStatisticsChannel",
    "CreateCollection",
    "DropCollection",
    "TruncateCollection",
    "AddCollectionField",
    "HasCollection",
    "DescribeCollection",
    "DescribeCollectionInternal",
    "CreateAlias",
    "DropAlias",
    "AlterAlias",
    "DescribeAlias",
    "ListAliases",
    "ShowCollections",
    "ShowCollectionIDs",
    "AlterCollection",
    "AlterCollectionField",
    "AddCollectionFunction",
    "AlterCollectionFunction",
    "DropCollectionFunction",
    "CreatePartition",
    "DropPartition",
    "HasPartition",
    "ShowPartitions",
    "ShowPartitionsInternal",
    "ShowSegments",
    "GetPChannelInfo",
    "AllocTimestamp",
    "AllocID",
    "UpdateChannelTimeTick",
    "InvalidateCollectionMetaCache",
    "ShowConfigurations",
    "GetMetrics",
    "CreateCredential",
    "UpdateCredential",
    "DeleteCredential",
    "ListCredUsers",
    "GetCredential",
    "CreateRole",
    "AlterRole",
    "DropRole",
    "OperateUserRole",
    "SelectRole",
    "SelectUser",
    "OperatePrivilege",
    "SelectGrant",
    "ListPolicy",
    "BackupRBAC",
    "RestoreRBAC",
    "CreatePrivilegeGroup",
    "DropPrivilegeGroup",
    "ListPrivilegeGroups",
    "OperatePrivilegeGroup",
    "CheckHealth",
    "RenameCollection",
    "CreateDatabase",
    "DropDatabase",
    "ListDatabases",
    "DescribeDatabase",
    "AlterDatabase",
    "GetQuotaMetrics",
    "BackupEzk",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_method_is_served_by_every_node() {
    let nodes = cluster().await;
    for node in &nodes {
        let mut grpc = tonic::client::Grpc::new(dial(&node.internal).await);
        for method in METHODS {
            let path = format!("/milvus.proto.rootcoord.RootCoord/{method}");
            grpc.ready().await.unwrap();
            let asked = grpc.unary(Request::new(Vec::new()), PathAndQuery::try_from(path).unwrap(), Raw).await;
            assert_eq!(asked.map(drop).map_err(|status| status.code()), Ok(()), "{method}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_shows_what_it_was_told() {
    let nodes = cluster().await;
    let mut client = nodes[1].rootcoord().await;
    let mut shown = async |pattern: &str| {
        let request = ShowConfigurationsRequest { pattern: pattern.into(), ..Default::default() };
        let reply = client.show_configurations(request).await.unwrap().into_inner();
        assert_eq!(reply.status.unwrap().code, 0);
        reply.configuations.into_iter().map(|pair| (pair.key, pair.value)).collect::<Vec<_>>()
    };
    assert_eq!(shown("").await.len(), 2);
    assert_eq!(shown("MAXPARTITION").await, [("rootCoord.maxPartitionNum".to_owned(), "1024".to_owned())]);
    assert_eq!(shown("nothing").await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_tells_of_itself_and_its_machine() {
    let nodes = cluster().await;
    let request = GetMetricsRequest { request: "{\"metric_type\":\"system_info\"}".into(), ..Default::default() };
    let reply = nodes[1].rootcoord().await.get_metrics(request.clone()).await.unwrap().into_inner();
    assert_eq!((reply.status.unwrap().code, reply.component_name.as_str()), (0, "rootcoord2"));
    let told: serde_json::Value = serde_json::from_str(&reply.response).unwrap();
    let own = &told["self"];
    assert_eq!((own["id"].as_u64(), own["type"].as_str()), (Some(2), Some("rootcoord")));
    assert_eq!(own["hardware_infos"]["ip"].as_str(), Some(nodes[1].internal.as_str()));
    assert!(own["hardware_infos"]["memory"].as_u64() > own["hardware_infos"]["memory_usage"].as_u64());
    assert_eq!(told["connections"]["name"].as_str(), Some("rootcoord2"));
    let reply = nodes[2].milvus().await.get_metrics(request).await.unwrap().into_inner();
    let told: serde_json::Value = serde_json::from_str(&reply.response).unwrap();
    let kinds: Vec<_> = told["nodes_info"].as_array().unwrap().iter().map(|node| &node["infos"]["name"]).collect();
    assert_eq!(kinds, ["proxy3", "rootcoord3"]);
    let unknown = GetMetricsRequest { request: "{\"metric_type\":\"x\"}".into(), ..Default::default() };
    let refused = nodes[0].rootcoord().await.get_metrics(unknown).await.unwrap().into_inner().status.unwrap();
    assert_eq!((refused.code, refused.reason.as_str()), (1200, "metric not found[metric=x]"));
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_tell_what_they_carry() {
    let nodes = cluster().await;
    let mut milvus = nodes[0].milvus().await;
    for name in ["a", "b"] {
        let request = CreateCollectionRequest { shards_num: 2, ..new_collection(name) };
        assert_eq!(milvus.create_collection(request).await.unwrap().into_inner().code, 0);
    }
    let described = milvus.describe_collection(describe("b")).await.unwrap().into_inner();
    let mut client = nodes[2].rootcoord().await;
    let pchannel = described.physical_channel_names[1].clone();
    let ask = |pchannel: String| GetPChannelInfoRequest { pchannel, ..Default::default() };
    let found = client.get_p_channel_info(ask(pchannel)).await.unwrap().into_inner().collections;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].collection_id, described.collection_id);
    assert_eq!(found[0].vchannel, described.virtual_channel_names[1]);
    assert_eq!((found[0].partitions.len(), found[0].state), (1, 0));
    assert!(client.get_p_channel_info(ask("x".into())).await.unwrap().into_inner().collections.is_empty());
    let channel = client.get_time_tick_channel(crate::pb::internal::GetTimeTickChannelRequest {}).await.unwrap();
    assert_eq!(channel.into_inner().value, "by-dev-rootcoord-timetick");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_may_tell_is_refused_with_the_reason() {
    let nodes = cluster().await;
    let mut client = nodes[0].rootcoord().await;
    let tick = |msg_type: i32, names: usize| ChannelTimeTickMsg {
        base: Some(common::MsgBase { msg_type, source_id: 7, ..Default::default() }),
        channel_names: vec!["c".into(); names],
        timestamps: vec![1],
        ..Default::default()
    };
    for (message, code, text) in [
        (tick(0, 1), 1100, "invalid message type: invalid parameter[expected=TimeTick][actual=Undefined]"),
        (tick(1200, 2), 5, "invalid TimeTickMsg, timestamp and channelname size mismatch: service internal error"),
        (tick(1200, 1), 5, "skip ChannelTimeTickMsg from un-recognized session 7: service internal error"),
    ] {
        let status = client.update_channel_time_tick(message).await.unwrap().into_inner();
        assert_eq!((status.code, status.reason.as_str()), (code, text));
    }
    let mut key = async |database: &str| {
        let request = BackupEzkRequest { db_name: database.into(), ..Default::default() };
        client.backup_ezk(request).await.unwrap().into_inner().status.unwrap().code
    };
    assert_eq!((key("nowhere").await, key("").await), (800, 3000));
}
