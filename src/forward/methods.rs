//! What the ingress knows of each method: where it must run, whether it streams, and where its reply keeps Milvus'
//! status, so that the ingress can answer any method in Milvus' own words. Shapes come from the compiled descriptors.

use std::collections::HashMap;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use http_body_util::{BodyExt, Full};
use prost::Message;
use prost_types::{DescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto};
use tonic::body::Body;

use crate::error::Rejection;
use crate::pb;
use crate::quota::COLLECTION_WRITES;

/// Which node executes a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The node that was asked.
    Here,
    /// The leader.
    Leader,
    /// The leader, which writes to the log under the call's request id.
    Log,
    /// The leader, and never sent again once it may have arrived: moving the leadership twice is not moving it once.
    Once,
}

const STATUS_TYPE: &str = ".milvus.proto.common.Status";
const MILVUS: &str = "milvus.proto.milvus.MilvusService";
const ROOT_COORD: &str = "milvus.proto.rootcoord.RootCoord";
const TIMESTAMP: &str = "roost.tso.v1.Timestamp";
const SESSION: &str = "roost.session.v1.Session";
const ADMIN: &str = "roost.admin.v1.Admin";
const STREAMING_ASSIGNMENT: &str = "milvus.proto.streaming.StreamingCoordAssignmentService";

/// Writes about users, roles and grants that both APIs have.
const ACCESS_WRITES: &[&str] = &[
    "CreateCredential",
    "UpdateCredential",
    "DeleteCredential",
    "CreateRole",
    "AlterRole",
    "DropRole",
    "OperateUserRole",
    "OperatePrivilege",
    "RestoreRBAC",
    "CreatePrivilegeGroup",
    "DropPrivilegeGroup",
    "OperatePrivilegeGroup",
];

/// Everything that does not run where it was asked.
const ROUTES: &[(&str, Route, &[&str])] = &[
    // Connect hands out a timestamp as the client's identifier.
    (MILVUS, Route::Leader, &["Connect", "AllocTimestamp"]),
    (MILVUS, Route::Log, COLLECTION_WRITES),
    // A flush hands out a timestamp.
    (MILVUS, Route::Leader, &["Flush", "FlushAll"]),
    (MILVUS, Route::Log, &["CreateIndex", "AlterIndex", "DropIndex"]),
    (MILVUS, Route::Log, &["LoadCollection", "LoadPartitions", "ReleaseCollection", "ReleasePartitions"]),
    // The leader knows the proxies.
    (ROOT_COORD, Route::Leader, &["AllocTimestamp", "GetQuotaMetrics", "InvalidateCollectionMetaCache"]),
    (ROOT_COORD, Route::Log, COLLECTION_WRITES),
    (ROOT_COORD, Route::Log, &["AllocID"]),
    (MILVUS, Route::Log, &["CreateDatabase", "DropDatabase", "AlterDatabase"]),
    (MILVUS, Route::Log, &["CreatePartition", "DropPartition", "CreateAlias", "DropAlias", "AlterAlias"]),
    (ROOT_COORD, Route::Log, &["CreateDatabase", "DropDatabase", "AlterDatabase"]),
    (ROOT_COORD, Route::Log, &["CreatePartition", "DropPartition", "CreateAlias", "DropAlias", "AlterAlias"]),
    (MILVUS, Route::Log, ACCESS_WRITES),
    (MILVUS, Route::Log, &["OperatePrivilegeV2", "UpdateReplicateConfiguration"]),
    ("milvus.proto.streaming.StreamingCoordBroadcastService", Route::Log, &["Broadcast", "Ack"]),
    (ROOT_COORD, Route::Log, ACCESS_WRITES),
    ("roost.access.v1.Access", Route::Log, &["SetCondition"]),
    ("roost.catalog.v1.Catalog", Route::Log, &["CreateCollection", "AlterCollection", "DropCollection"]),
    (STREAMING_ASSIGNMENT, Route::Log, &["UpdateWALBalancePolicy", "UpdateReplicateConfiguration"]),
    // The leader's balancer.
    ("roost.streaming.v1.Streaming", Route::Leader, &["Plan", "DescribeBroadcast", "Balance"]),
    ("roost.streaming.v1.Streaming", Route::Log, &["MoveChannel", "AbandonBroadcast"]),
    (TIMESTAMP, Route::Leader, &["Allocate"]),
    (SESSION, Route::Log, &["Register", "Leave", "Drain", "Freeze"]),
    // The leader knows the loads.
    (SESSION, Route::Leader, &["List"]),
    (
        ADMIN,
        Route::Once,
        &["MemberAdd", "MemberPromote", "MemberRemove", "MemberReplace", "LeaderTransfer", "AlarmDisarm"],
    ),
    (ADMIN, Route::Leader, &["TsoNow"]),
];

/// Methods whose replies grow with what the cluster holds: few run at once.
const LISTINGS: &[(&str, &[&str])] = &[
    (MILVUS, &["ShowCollections", "BatchDescribeCollection", "ListDatabases", "ListAliases", "ShowPartitions"]),
    (
        ROOT_COORD,
        &[
            "ShowCollections",
            "ShowCollectionIDs",
            "GetPChannelInfo",
            "ListDatabases",
            "ListAliases",
            "ShowPartitions",
            "ShowPartitionsInternal",
        ],
    ),
    (MILVUS, ACCESS_LISTINGS),
    (ROOT_COORD, ACCESS_LISTINGS),
    (ROOT_COORD, &["ListPolicy", "GetQuotaMetrics"]),
    (SESSION, &["List"]),
];
const ACCESS_LISTINGS: &[&str] = &["ListCredUsers", "SelectRole", "SelectUser", "SelectGrant", "BackupRBAC"];

/// Packages of the etcd v3 API.
const ETCD: &[&str] = &["etcdserverpb", "v3lockpb", "v3electionpb"];
/// Methods that wait for other clients.
const ETCD_WAITS: &[(&str, &str)] = &[("v3lockpb.Lock", "Lock"), ("v3electionpb.Election", "Campaign")];
/// Streams with an end of their own, which a node that stops waits for.
const ETCD_TRANSFERS: &[(&str, &str)] = &[("etcdserverpb.Maintenance", "Snapshot")];

/// How long a call of an etcd client may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EtcdCall {
    /// One answer, within the usual time.
    Unary,
    /// One answer, once other clients let go: within the time that the caller gives, however long.
    Waits,
    /// As long as its two ends want.
    Stream,
    /// As long as its many pieces take.
    Transfer,
}

/// Where a reply message keeps its `common.Status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StatusAt {
    /// The reply is one.
    Whole,
    /// In this field.
    Field(u32),
}

/// One method of one service.
#[derive(Clone, Copy, Debug)]
pub struct Method {
    pub route: Route,
    pub client_streaming: bool,
    pub server_streaming: bool,
    pub listing: bool,
    /// Served on the client listener. What is not may not be passed on from there either: the leader's peer listener
    /// serves everything, to whoever has the secret.
    pub for_clients: bool,
    /// Set for the etcd v3 API, whose services pass on what the leader must do by themselves.
    pub etcd: Option<EtcdCall>,
    status: Option<StatusAt>,
}

/// Every method that this binary knows, by its path `/package.Service/Method`.
#[derive(Debug)]
pub struct Methods {
    by_path: HashMap<String, Method>,
}

impl Methods {
    /// Reads the descriptors that were compiled in.
    pub fn known() -> Result<Self, prost::DecodeError> {
        let set = FileDescriptorSet::decode(pb::FILE_DESCRIPTOR_SET)?;
        let mut messages = HashMap::new();
        for file in &set.file {
            for message in &file.message_type {
                messages.insert(format!(".{}.{}", file.package(), message.name()), message);
            }
        }
        let by_path = set.file.iter().flat_map(|file| methods_of(file, &messages)).collect();
        Ok(Methods { by_path })
    }

    pub fn get(&self, path: &str) -> Option<Method> {
        self.by_path.get(path).copied()
    }

    #[cfg(test)]
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Method)> {
        self.by_path.iter().map(|(path, method)| (path.as_str(), method))
    }
}

fn methods_of(file: &FileDescriptorProto, messages: &HashMap<String, &DescriptorProto>) -> Vec<(String, Method)> {
    let mut methods = Vec::new();
    for service in &file.service {
        let full_name = format!("{}.{}", file.package(), service.name());
        for method in &service.method {
            let found = Method {
                route: route(&full_name, method.name()),
                client_streaming: method.client_streaming(),
                server_streaming: method.server_streaming(),
                listing: LISTINGS.iter().any(|(name, names)| *name == full_name && names.contains(&method.name())),
                for_clients: full_name == MILVUS || ETCD.contains(&file.package()),
                etcd: ETCD.contains(&file.package()).then(|| etcd_call(&full_name, method)),
                status: status_at(method.output_type(), messages),
            };
            methods.push((format!("/{full_name}/{}", method.name()), found));
        }
    }
    methods
}

fn route(service: &str, method: &str) -> Route {
    let listed = ROUTES.iter().find(|(name, _, methods)| *name == service && methods.contains(&method));
    listed.map_or(Route::Here, |(_, route, _)| *route)
}

fn etcd_call(service: &str, method: &MethodDescriptorProto) -> EtcdCall {
    let named = (service, method.name());
    match method.client_streaming() || method.server_streaming() {
        true if ETCD_TRANSFERS.contains(&named) => EtcdCall::Transfer,
        true => EtcdCall::Stream,
        false if ETCD_WAITS.contains(&named) => EtcdCall::Waits,
        false => EtcdCall::Unary,
    }
}

fn status_at(reply: &str, messages: &HashMap<String, &DescriptorProto>) -> Option<StatusAt> {
    if reply == STATUS_TYPE {
        return Some(StatusAt::Whole);
    }
    let field = messages.get(reply)?.field.iter().find(|field| field.type_name() == STATUS_TYPE)?;
    u32::try_from(field.number()).ok().map(StatusAt::Field)
}

impl Method {
    /// The encoded `common.Status` within the body of a reply.
    pub fn status_in<'b>(&self, body: &'b [u8]) -> Option<&'b [u8]> {
        let reply = crate::access::message(body)?;
        match self.status? {
            StatusAt::Whole => Some(reply),
            StatusAt::Field(number) => crate::access::field(reply, number),
        }
    }

    /// A reply that says no: in the reply's status where it has one, else as a gRPC error.
    pub fn refuse(&self, rejection: &Rejection) -> Response<Body> {
        let Some(at) = self.status else {
            return rejection.to_tonic().into_http();
        };
        let status = rejection.to_status().encode_to_vec();
        let message = match at {
            StatusAt::Whole => status,
            StatusAt::Field(number) => nested(number, &status),
        };
        let mut frame = BytesMut::with_capacity(message.len() + FRAME_HEADER);
        frame.put_u8(0); // not compressed
        // A status is a few hundred bytes.
        frame.put_u32(u32::try_from(message.len()).unwrap_or(0));
        frame.put_slice(&message);
        grpc_reply(frame.freeze())
    }
}

/// Compression flag and length of a gRPC message.
const FRAME_HEADER: usize = 5;
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// A message with one length-delimited field.
fn nested(number: u32, value: &[u8]) -> Vec<u8> {
    const LENGTH_DELIMITED: u64 = 2;
    let mut message = Vec::with_capacity(value.len() + 12);
    prost::encoding::encode_varint(u64::from(number) << 3 | LENGTH_DELIMITED, &mut message);
    prost::encoding::encode_varint(value.len() as u64, &mut message);
    message.extend_from_slice(value);
    message
}

/// A unary call's reply of one message, which has its header of five bytes already.
pub fn grpc_reply(frame: Bytes) -> Response<Body> {
    let trailers = HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static("0"))]);
    let body = Full::new(frame).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_names_a_method_and_every_milvus_reply_can_say_no() {
        let methods = Methods::known().unwrap();
        for (service, route, names) in ROUTES {
            for name in *names {
                let method = methods.get(&format!("/{service}/{name}"));
                assert_eq!(method.map(|m| m.route), Some(*route), "{service}/{name}");
            }
        }
        for (service, names) in LISTINGS {
            for name in *names {
                assert!(methods.get(&format!("/{service}/{name}")).unwrap().listing, "{service}/{name}");
            }
        }
        // Milvus' streaming services refuse by gRPC's status.
        let with_status = |path: &str| path.starts_with("/milvus.") && !path.starts_with("/milvus.proto.streaming.");
        for (path, method) in methods.iter().filter(|(path, _)| with_status(path)) {
            assert!(method.status.is_some(), "{path}");
        }
        assert!(methods.get("/milvus.proto.milvus.MilvusService/Nonsense").is_none());
        let etcd = |path: &str| methods.get(path).unwrap().etcd;
        assert_eq!(etcd("/etcdserverpb.KV/Put"), Some(EtcdCall::Unary));
        for path in ["/etcdserverpb.Watch/Watch", "/v3electionpb.Election/Observe"] {
            assert_eq!(etcd(path), Some(EtcdCall::Stream), "{path}");
        }
        for (service, method) in ETCD_TRANSFERS {
            assert_eq!(etcd(&format!("/{service}/{method}")), Some(EtcdCall::Transfer), "{service}");
        }
        for (service, method) in ETCD_WAITS {
            assert_eq!(etcd(&format!("/{service}/{method}")), Some(EtcdCall::Waits), "{service}");
        }
        assert_eq!(etcd("/roost.admin.v1.Admin/Status"), None);
        let for_clients = |path: &str| methods.get(path).unwrap().for_clients;
        assert!(for_clients("/milvus.proto.milvus.MilvusService/CreateCollection"));
        assert!(for_clients("/etcdserverpb.KV/Put"));
        for path in [
            "/milvus.proto.rootcoord.RootCoord/CreateCollection",
            "/roost.admin.v1.Admin/MemberRemove",
            "/roost.access.v1.Access/SetCondition",
            "/roost.tso.v1.Timestamp/Allocate",
            "/roost.session.v1.Session/Register",
        ] {
            assert!(!for_clients(path), "{path}");
        }
    }

    /// What has no rule, or streams its requests, would pass unchecked.
    #[test]
    fn every_method_of_milvus_clients_can_be_checked() {
        let (methods, rules) = (Methods::known().unwrap(), crate::access::Rules::known().unwrap());
        let of_clients = methods.iter().filter(|(_, method)| method.for_clients && method.etcd.is_none());
        let mut count = 0;
        for (path, method) in of_clients {
            assert!(rules.get(path).is_some() && !method.client_streaming, "{path}");
            count += 1;
        }
        assert!(count > 60);
    }

    #[tokio::test]
    async fn a_refusal_is_a_reply_of_the_methods_own_type() {
        let methods = Methods::known().unwrap();
        let no = Rejection::RateLimited { detail: "full".into() };
        let reply = async |name: &str| {
            let response = methods.get(&format!("/{MILVUS}/{name}")).unwrap().refuse(&no);
            let collected = response.into_body().collect().await.unwrap();
            assert_eq!(collected.trailers().unwrap().get(GRPC_STATUS).unwrap(), "0");
            collected.to_bytes().slice(FRAME_HEADER..)
        };
        let bare = pb::common::Status::decode(reply("CreateCollection").await).unwrap();
        assert_eq!(bare.code, 8);
        let inside = pb::milvus::ConnectResponse::decode(reply("Connect").await).unwrap();
        assert_eq!(inside.status.unwrap(), bare);
        let third = pb::milvus::ComponentStates::decode(reply("GetComponentStates").await).unwrap();
        assert_eq!(third.status.unwrap().code, 8);
    }
}
