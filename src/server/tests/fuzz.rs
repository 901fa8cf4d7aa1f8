//! Requests that no client sends, to every method of every listener: messages of the right shape with arbitrary
//! contents, and damaged ones. Each is answered or refused; no connection breaks, nothing panics, the nodes serve on.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;

use ::http::uri::PathAndQuery;
use bytes::{Buf, BufMut};
use prost::encoding::encode_varint;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorSet};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use super::etcd::kv;
use super::*;
use crate::forward::CLUSTER;
use crate::pb::etcd::api;
use crate::state::keyspace::KeyspaceCommand;
use crate::state::{AllocId, Command, codec};

/// Requests to each method; fewer to those that wait for something else.
const CALLS: usize = 16;
const SLOW_CALLS: usize = 3;
/// What those that wait are given.
const PATIENCE: Duration = Duration::from_millis(100);
/// Services whose calls wait: for members, leaders and other clients.
const WAITING: [&str; 4] = ["roost.admin.v1.Admin", "etcdserverpb.Cluster", "v3lockpb.Lock", "v3electionpb.Election"];
/// A call that is not answered by then never is.
const HANGS: Duration = Duration::from_secs(30);
const DEPTH_MAX: usize = 5;
/// Whose request ids a peer relays: a peer is believed, and would otherwise end the sessions of the nodes here.
const STRANGER: i64 = 9;
const NUMBERS: [i64; 14] =
    [0, 1, 2, 3, 7, 100, -1, -2, i64::MAX, i64::MIN, i32::MAX as i64, i32::MIN as i64, u32::MAX as i64, 1 << 46];
const TEXTS: [&str; 16] = [
    "",
    "a",
    "b",
    "z",
    "default",
    "_default",
    "dim",
    "8",
    "-1",
    "a/b",
    "中",
    "\0",
    "{\"a\": [1]}",
    "http://127.0.0.1:1",
    "max_length",
    "1e400",
];

/// Takes bytes for messages, in both directions.
#[derive(Clone, Copy)]
pub(super) struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = tonic::Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), tonic::Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = tonic::Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, tonic::Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining()).to_vec()))
    }
}

/// A method: its path, its request, whether either side streams.
#[derive(Clone, Debug)]
struct Target {
    service: String,
    path: String,
    request: String,
    streams: bool,
}

impl Target {
    fn waits(&self) -> bool {
        self.streams || WAITING.contains(&self.service.as_str())
    }
}

/// What the compiled descriptors say.
struct Shapes {
    messages: HashMap<String, DescriptorProto>,
    targets: Vec<Target>,
}

impl Shapes {
    fn known() -> Self {
        let set = FileDescriptorSet::decode(crate::pb::FILE_DESCRIPTOR_SET).unwrap();
        let mut shapes = Shapes { messages: HashMap::new(), targets: Vec::new() };
        for file in &set.file {
            for message in &file.message_type {
                shapes.learn(&format!(".{}", file.package()), message);
            }
            for service in &file.service {
                for method in &service.method {
                    let service = format!("{}.{}", file.package(), service.name());
                    shapes.targets.push(Target {
                        path: format!("/{service}/{}", method.name()),
                        service,
                        request: method.input_type().to_owned(),
                        streams: method.client_streaming() || method.server_streaming(),
                    });
                }
            }
        }
        shapes
    }

    fn learn(&mut self, within: &str, message: &DescriptorProto) {
        let name = format!("{within}.{}", message.name());
        message.nested_type.iter().for_each(|nested| self.learn(&name, nested));
        self.messages.insert(name, message.clone());
    }

    fn message(&self, name: &str, depth: usize, random: &mut StdRng) -> Vec<u8> {
        let mut out = Vec::new();
        for field in &self.messages[name].field {
            let most = if field.label() == Label::Repeated { 3 } else { 1 };
            for _ in 0..random.random_range(0..=most) {
                let tag = u64::try_from(field.number()).unwrap() << 3;
                let bytes = match field.r#type() {
                    Type::Double | Type::Fixed64 | Type::Sfixed64 => {
                        encode_varint(tag | 1, &mut out);
                        out.put_i64_le(number(random));
                        continue;
                    }
                    Type::Float | Type::Fixed32 | Type::Sfixed32 => {
                        encode_varint(tag | 5, &mut out);
                        out.put_i32_le(number(random) as i32);
                        continue;
                    }
                    Type::Message | Type::Group if depth >= DEPTH_MAX => continue,
                    Type::Message | Type::Group => self.message(field.type_name(), depth + 1, random),
                    Type::String => TEXTS.choose(random).unwrap().as_bytes().to_vec(),
                    // A schema travels as bytes, a command too.
                    Type::Bytes if field.name() == "schema" && random.random_bool(0.9) => {
                        self.message(".milvus.proto.schema.CollectionSchema", 0, random)
                    }
                    Type::Bytes if field.name() == "command" && random.random_bool(0.9) => a_command(random),
                    Type::Bytes => arbitrary(random),
                    _ => {
                        let value = if field.name() == "node" { STRANGER } else { number(random) };
                        encode_varint(tag, &mut out);
                        encode_varint(value.cast_unsigned(), &mut out);
                        continue;
                    }
                };
                encode_varint(tag | 2, &mut out);
                encode_varint(bytes.len() as u64, &mut out);
                out.extend(bytes);
            }
        }
        out
    }

    /// A request, damaged every third time.
    fn request(&self, target: &Target, random: &mut StdRng) -> Vec<u8> {
        let mut bytes = self.message(&target.request, 0, random);
        if random.random_bool(0.3) {
            damage(&mut bytes, random);
        }
        bytes
    }
}

fn number(random: &mut StdRng) -> i64 {
    if random.random_bool(0.2) { random.random() } else { *NUMBERS.choose(random).unwrap() }
}

fn arbitrary(random: &mut StdRng) -> Vec<u8> {
    match random.random_range(0..3) {
        0 => TEXTS.choose(random).unwrap().as_bytes().to_vec(),
        1 => vec![random.random(); random.random_range(0..600)],
        _ => (0..random.random_range(0..12)).map(|_| random.random()).collect(),
    }
}

fn damage(bytes: &mut Vec<u8>, random: &mut StdRng) {
    for _ in 0..random.random_range(1..4) {
        let place = random.random_range(0..=bytes.len());
        match random.random_range(0..3) {
            0 => bytes.insert(place, random.random()),
            1 => bytes.truncate(place),
            _ => bytes.get_mut(place).into_iter().for_each(|byte| *byte = random.random()),
        }
    }
}

/// As a peer relays it.
fn a_command(random: &mut StdRng) -> Vec<u8> {
    let put = api::PutRequest { key: arbitrary(random), value: arbitrary(random), ..Default::default() };
    let keyspace = match random.random_range(0..7) {
        0 => KeyspaceCommand::Put(put.encode_to_vec()),
        1 => KeyspaceCommand::Txn(arbitrary(random)),
        2 => KeyspaceCommand::GrantLease { id: number(random), ttl_s: number(random) },
        3 => KeyspaceCommand::RevokeLease { id: number(random) },
        4 => KeyspaceCommand::ExpireLeases { leases: vec![(number(random), 1); random.random_range(0..3)] },
        5 => KeyspaceCommand::Compact { revision: number(random) },
        _ => KeyspaceCommand::DeleteRange(arbitrary(random)),
    };
    let count = number(random) as u32;
    let command = match random.random_bool(0.2) {
        true => Command::AllocId(AllocId { count }),
        false => Command::Keyspace(keyspace),
    };
    let mut bytes = codec::encode(&command).unwrap();
    if random.random_bool(0.5) {
        damage(&mut bytes, random);
    }
    bytes
}

/// One listener of one node.
struct Door {
    channel: Channel,
    /// What a caller shows there.
    shown: Vec<(&'static str, String)>,
}

impl Door {
    /// Sends one request; what it means that there was no answer.
    async fn knock(&self, target: &Target, bytes: Vec<u8>) -> Result<(), String> {
        let waits = target.waits();
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        grpc.ready().await.map_err(|error| format!("the connection broke: {error}"))?;
        let mut request = Request::new(tokio_stream::iter([bytes]));
        for (name, value) in &self.shown {
            request.metadata_mut().insert(*name, MetadataValue::try_from(value).unwrap());
        }
        request.set_timeout(if waits { PATIENCE } else { HANGS });
        let path = PathAndQuery::try_from(&target.path).unwrap();
        let asked = async {
            // The reply's first message; streams may have none.
            let mut reply = grpc.streaming(request, path, Raw).await?.into_inner();
            reply.message().await.map(|_| ())
        };
        let refused = match tokio::time::timeout(if waits { PATIENCE * 3 } else { HANGS }, asked).await {
            Err(_) if !waits => return Err("no answer".to_owned()),
            Err(_) | Ok(Ok(())) => return Ok(()),
            Ok(Err(refused)) => refused,
        };
        let timed_out = waits && matches!(refused.code(), Code::Cancelled | Code::DeadlineExceeded);
        let undecodable = refused.message().contains("decode Protobuf");
        if timed_out || undecodable {
            return Ok(());
        }
        // A status that the server gave has no cause here; a broken connection is one.
        match std::error::Error::source(&refused) {
            Some(cause) => Err(format!("{refused}: {cause}")),
            None if refused.code() == Code::Internal => Err(refused.to_string()),
            None => Ok(()),
        }
    }
}

async fn attack(shapes: &Shapes, door: &Door, services: &[&str], seed: u64) {
    let mut targets: Vec<&Target> =
        shapes.targets.iter().filter(|target| services.contains(&target.service.as_str())).collect();
    targets.sort_by(|one, other| one.path.cmp(&other.path));
    let found: std::collections::BTreeSet<&str> = targets.iter().map(|target| target.service.as_str()).collect();
    assert_eq!(found.len(), services.len(), "{found:?}");
    for target in targets {
        let mut random = StdRng::seed_from_u64(seed);
        for number in 0..if target.waits() { SLOW_CALLS } else { CALLS } {
            let bytes = shapes.request(target, &mut random);
            if let Err(why) = door.knock(target, bytes.clone()).await {
                panic!("{} number {number} of seed {seed}: {why}: {bytes:?}", target.path);
            }
        }
    }
}

/// How often anything panicked in this process.
fn count_panics() -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let (usual, counted) = (std::panic::take_hook(), count.clone());
    std::panic::set_hook(Box::new(move |info| {
        counted.fetch_add(1, Ordering::Relaxed);
        usual(info);
    }));
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn arbitrary_requests_are_answered_or_refused() {
    let panics = count_panics();
    let shapes = Shapes::known();
    let nodes = cluster().await;
    let open = async |address: &str| Door { channel: dial(address).await, shown: Vec::new() };
    let each = (1..).zip(&nodes).map(async |(seed, node)| {
        let client = [super::super::etcd::NAMES, &["milvus.proto.milvus.MilvusService"]].concat();
        attack(&shapes, &open(&node.client).await, &client, seed).await;
        let internal = [
            "milvus.proto.rootcoord.RootCoord",
            "roost.tso.v1.Timestamp",
            "roost.admin.v1.Admin",
            "roost.access.v1.Access",
        ];
        attack(&shapes, &open(&node.internal).await, &internal, seed).await;
        let cluster = (CLUSTER, "solo".to_owned());
        let stamp = ["roost-principal", "roost-source"].map(|name| (name, String::new()));
        let shown = [("roost-secret", secret_proof(SECRET)), cluster, ("roost-request", "9.9.9.9".to_owned())];
        let peer = Door { channel: dial(&node.peer).await, shown: shown.into_iter().chain(stamp).collect() };
        let forwarded = ["roost.relay.v1.Relay", "milvus.proto.milvus.MilvusService", "roost.tso.v1.Timestamp"];
        attack(&shapes, &peer, &forwarded, seed).await;
    });
    futures::future::join_all(each).await;
    for node in &nodes {
        assert!(!node.serving.is_finished());
        kv(node).await.put(api::PutRequest { key: "k".into(), ..Default::default() }).await.unwrap();
    }
    assert_eq!(panics.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_frame_of_the_relay_may_hold_anything() {
    let panics = count_panics();
    let shapes = Shapes::known();
    let nodes = cluster().await;
    let shown = vec![("roost-secret", secret_proof(SECRET)), (CLUSTER, "solo".to_owned())];
    let door = Door { channel: dial(&nodes[0].peer).await, shown };
    let target = shapes.targets.iter().find(|target| target.path == "/roost.relay.v1.Relay/Submit").unwrap();
    let mut random = StdRng::seed_from_u64(11);
    for _ in 0..20 {
        // Some get no answer, which takes its time.
        let frames: Vec<_> = (0..20).map(|_| shapes.request(target, &mut random)).collect();
        let knocks = frames.iter().map(|frame| door.knock(target, frame.clone()));
        for (why, frame) in futures::future::join_all(knocks).await.into_iter().zip(&frames) {
            assert!(why.is_ok(), "{why:?}: {frame:?}");
        }
    }
    kv(&nodes[2]).await.put(api::PutRequest { key: "k".into(), ..Default::default() }).await.unwrap();
    assert_eq!(panics.load(Ordering::Relaxed), 0);
}
