//! A simulated node on its wire, without a coordinator: the test gives it its id.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};

use super::acks::Acks;
use super::node::Node;
use super::register::{Registrar, Way};
use super::wal::Wals;
use super::{CREATE_CONSUMER, CREATE_PRODUCER};
use crate::client::{Coordinators, Registration};
use crate::pb::messages::Message;
use crate::pb::session::Role;
use crate::pb::sim::{Knobs, Power};
use crate::pb::streaming::consume_response::Response as Consumed;
use crate::pb::streaming::create_v_channel_consumer_response::Response as Created;
use crate::pb::streaming::deliver_policy::Policy;
use crate::pb::streaming::produce_message_response::Response as Appended;
use crate::pb::streaming::produce_response::Response as Produced;
use crate::pb::streaming::streaming_node_handler_service_client::StreamingNodeHandlerServiceClient;
use crate::pb::streaming::streaming_node_manager_service_client::StreamingNodeManagerServiceClient;
use crate::pb::streaming::{
    ConsumeRequest, ConsumeResponse, CreateConsumerRequest, CreateProducerRequest, CreateVChannelConsumerRequest,
    DeliverPolicy, PChannelInfo, ProduceMessageRequest, ProduceRequest, ProduceResponse, StreamingCode,
    StreamingNodeManagerAssignRequest, StreamingNodeManagerCollectStatusRequest, StreamingNodeManagerRemoveRequest,
    consume_request, produce_request,
};
use crate::streamingcoord::status::streaming_code;

const PATIENCE: Duration = Duration::from_secs(20);

struct Lab {
    wals: Arc<Wals>,
}

impl Lab {
    fn new() -> Self {
        Lab { wals: Arc::new(Wals::new(true)) }
    }

    /// A node that is registered under this id.
    async fn node(&self, server_id: i64) -> (Arc<Node>, Wire) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let way = Way::Sessions(Coordinators::new(Vec::new(), None));
        let registration = Registration { role: Role::StreamingNode, ..Registration::default() };
        let registrar = Registrar { registration, way };
        let node = Node::new(1, address, self.wals.clone(), registrar, Acks::new(Vec::new(), None));
        let node = Arc::new(node);
        tokio::spawn(node.clone().serve(listener));
        node.begin_life(server_id);
        (node, Wire::to(address, server_id))
    }
}

/// The coordinator's and the producers' side.
#[derive(Clone)]
struct Wire {
    channel: Channel,
    server_id: i64,
}

struct Producer {
    requests: mpsc::Sender<ProduceRequest>,
    answers: Streaming<ProduceResponse>,
}

fn info(term: i64) -> PChannelInfo {
    PChannelInfo { name: "dml_0".into(), term, access_mode: 0 }
}

fn message(vchannel: &str) -> Message {
    let properties = [("_vc".to_owned(), vchannel.to_owned()), ("_t".to_owned(), "2".to_owned())];
    Message { payload: b"row".to_vec(), properties: properties.into() }
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it does not take so long")
}

impl Wire {
    fn to(address: SocketAddr, server_id: i64) -> Self {
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        Wire { channel, server_id }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("serverid", self.server_id.into());
        request
    }

    fn creating<T>(&self, key: &'static str, create: &impl prost::Message, stream: T) -> Request<T> {
        let mut request = self.request(stream);
        let text: AsciiMetadataValue = BASE64_STANDARD.encode(create.encode_to_vec()).parse().unwrap();
        request.metadata_mut().insert(key, text);
        request
    }

    fn manager(&self) -> StreamingNodeManagerServiceClient<Channel> {
        StreamingNodeManagerServiceClient::new(self.channel.clone())
    }

    async fn assign(&self, term: i64) -> Result<(), Status> {
        let request = self.request(StreamingNodeManagerAssignRequest { pchannel: Some(info(term)) });
        within(self.manager().assign(request)).await.map(drop)
    }

    async fn remove(&self, term: i64) -> Result<(), Status> {
        let request = self.request(StreamingNodeManagerRemoveRequest { pchannel: Some(info(term)) });
        within(self.manager().remove(request)).await.map(drop)
    }

    async fn produce(&self, term: i64) -> Result<Producer, Status> {
        let (requests, sent) = mpsc::channel(8);
        let create = CreateProducerRequest { pchannel: Some(info(term)) };
        let request = self.creating(CREATE_PRODUCER, &create, ReceiverStream::new(sent));
        let mut client = StreamingNodeHandlerServiceClient::new(self.channel.clone());
        let mut answers = within(client.produce(request)).await?.into_inner();
        let first = within(answers.message()).await?.unwrap();
        assert!(
            matches!(first.response, Some(Produced::Create(create)) if create.producer_server_id == self.server_id)
        );
        Ok(Producer { requests, answers })
    }

    async fn consume(&self, term: i64) -> (mpsc::Sender<ConsumeRequest>, Streaming<ConsumeResponse>) {
        let (requests, sent) = mpsc::channel(8);
        let create = CreateConsumerRequest { pchannel: Some(info(term)) };
        let request = self.creating(CREATE_CONSUMER, &create, ReceiverStream::new(sent));
        let mut client = StreamingNodeHandlerServiceClient::new(self.channel.clone());
        let mut answers = within(client.consume(request)).await.unwrap().into_inner();
        let first = within(answers.message()).await.unwrap().unwrap();
        assert!(matches!(first.response, Some(Consumed::Create(_))));
        (requests, answers)
    }
}

impl Producer {
    /// The offset, or why it was not accepted: a code in the answer, or the stream's end.
    async fn append(&mut self, vchannel: &str) -> Result<String, StreamingCode> {
        let produce = ProduceMessageRequest { request_id: 9, message: Some(message(vchannel)) };
        let request = ProduceRequest { request: Some(produce_request::Request::Produce(produce)) };
        // Of a stream that has ended the answer tells.
        let _ = self.requests.send(request).await;
        match within(self.answers.message()).await {
            Ok(Some(ProduceResponse { response: Some(Produced::Produce(answer)) })) => {
                assert_eq!(answer.request_id, 9);
                match answer.response.unwrap() {
                    Appended::Result(result) => Ok(result.id.unwrap().id),
                    Appended::Error(error) => Err(error.code()),
                }
            }
            Err(status) => Err(streaming_code(&status).unwrap_or(StreamingCode::Unknown)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn appends_at_once_take_an_offset_each() {
    const EACH: u64 = 2_000;
    let wal = Wals::new(true).open("dml_0", 1, 7).unwrap();
    let many = || (0..EACH).map(|_| wal.append(1, 7, message("v")).unwrap().offset).collect::<Vec<u64>>();
    let mut offsets: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(many)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    offsets.sort_unstable();
    assert!(offsets.into_iter().eq(0..4 * EACH));
}

#[tokio::test]
async fn a_channel_moves_and_its_log_stays() {
    let lab = Lab::new();
    let ((_one, first), (_two, second)) = (lab.node(7).await, lab.node(8).await);
    first.assign(2).await.unwrap();
    let mut producer = first.produce(2).await.unwrap();
    assert_eq!(producer.append("dml_0_449v0").await.unwrap(), "0");
    assert_eq!(producer.append("dml_1_449v0").await, Err(StreamingCode::InvaildArgument), "of another pchannel");
    first.remove(2).await.unwrap();
    assert_eq!(producer.append("dml_0_449v0").await, Err(StreamingCode::ChannelFenced));
    second.assign(3).await.unwrap();
    assert_eq!(second.produce(3).await.unwrap().append("dml_0_450v0").await.unwrap(), "1");
    assert_eq!(streaming_code(&first.assign(2).await.unwrap_err()), Some(StreamingCode::IgnoredOperation));
    assert_eq!(streaming_code(&second.produce(2).await.err().unwrap()), Some(StreamingCode::UnmatchedChannelTerm));

    // Read through the new owner: all of one vchannel, written by both.
    let (requests, mut answers) = second.consume(3).await;
    let all = Some(DeliverPolicy { policy: Some(Policy::All(())) });
    let vchannel = "dml_0_449v0".to_owned();
    let create = CreateVChannelConsumerRequest { vchannel, deliver_policy: all, ..Default::default() };
    let request = Some(consume_request::Request::CreateVchannelConsumer(create));
    requests.send(ConsumeRequest { request }).await.unwrap();
    let created = within(answers.message()).await.unwrap().unwrap().response;
    let Some(Consumed::CreateVchannel(created)) = created else { panic!("{created:?}") };
    assert_eq!(created.response, Some(Created::ConsumerId(1)));
    let consumed = within(answers.message()).await.unwrap().unwrap().response;
    let Some(Consumed::Consume(consumed)) = consumed else { panic!("{consumed:?}") };
    let read = consumed.message.unwrap();
    assert_eq!((read.id.unwrap().id.as_str(), read.payload.as_slice()), ("0", b"row".as_slice()));
    assert!(u64::from_str_radix(&read.properties["_tt"], 36).unwrap() > 0);
    second.produce(3).await.unwrap().append("dml_0_449v0").await.unwrap();
    let consumed = within(answers.message()).await.unwrap().unwrap().response;
    assert!(matches!(consumed, Some(Consumed::Consume(_))), "what is written later comes as well: {consumed:?}");
}

#[tokio::test]
async fn a_paused_owner_that_comes_back_appends_nothing() {
    let lab = Lab::new();
    let ((old, first), (_new, second)) = (lab.node(7).await, lab.node(8).await);
    first.assign(2).await.unwrap();
    let mut producer = first.produce(2).await.unwrap();
    producer.append("dml_0").await.unwrap();
    old.power(Power::Paused).await;
    let hanging = tokio::spawn(async move { producer.append("dml_0").await });
    second.assign(3).await.unwrap();
    assert_eq!(second.produce(3).await.unwrap().append("dml_0").await.unwrap(), "1");
    assert!(!hanging.is_finished(), "a paused node answers nothing");
    old.power(Power::Running).await;
    assert_eq!(within(hanging).await.unwrap(), Err(StreamingCode::ChannelFenced));
    let accepted: Vec<u64> = lab.wals.describe("dml_0", 0)[0].epochs.iter().map(|epoch| epoch.accepted).collect();
    assert_eq!(accepted, [1, 1]);
}

#[tokio::test]
async fn a_crash_cuts_connections_and_forgets() {
    let lab = Lab::new();
    let (node, wire) = lab.node(7).await;
    wire.assign(2).await.unwrap();
    let mut producer = wire.produce(2).await.unwrap();
    node.power(Power::Crashed).await;
    assert!(producer.append("dml_0").await.is_err());
    assert!(node.describe().channels.is_empty());
    assert_eq!(node.describe().power(), Power::Crashed);
    node.power(Power::Running).await;
    node.begin_life(9);
    let refused = wire.assign(3).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::Unknown, "node not match[expectedNodeID=7][actualNodeID=9]")
    );
}

#[tokio::test]
async fn switches_reject_isolate_and_lag() {
    let lab = Lab::new();
    let (node, wire) = lab.node(7).await;
    node.turn(Knobs { reject: StreamingCode::Inner.into(), lag_ms: 5_000, ..Knobs::default() });
    assert_eq!(streaming_code(&wire.assign(2).await.unwrap_err()), Some(StreamingCode::Inner));
    node.turn(Knobs { lag_ms: 5_000, ..Knobs::default() });
    wire.assign(2).await.unwrap();
    let mut manager = wire.manager();
    let status = manager.collect_status(wire.request(StreamingNodeManagerCollectStatusRequest {}));
    let wals = within(status).await.unwrap().into_inner().metrics.unwrap().wals;
    let Some(crate::pb::streaming::streaming_node_wal_metrics::Metrics::Rw(rw)) = wals[0].metrics else { panic!() };
    assert_eq!((wals[0].info.clone(), (rw.mvcc_time_tick - rw.recovery_time_tick) >> 18), (Some(info(2)), 5_000));

    node.turn(Knobs { isolated: true, ..Knobs::default() });
    let asked = {
        let wire = wire.clone();
        tokio::spawn(async move { wire.remove(2).await })
    };
    wire.produce(2).await.unwrap().append("dml_0").await.unwrap();
    assert!(!asked.is_finished(), "the coordinator is not answered, producers are");
    node.turn(Knobs::default());
    within(asked).await.unwrap().unwrap();
}

#[tokio::test]
async fn nonsense_is_refused() {
    let lab = Lab::new();
    let (_node, wire) = lab.node(7).await;
    wire.assign(2).await.unwrap();
    let mut client = StreamingNodeHandlerServiceClient::new(wire.channel.clone());
    let empty = tokio_stream::empty::<ProduceRequest>();
    let refused = client.produce(wire.request(empty)).await.unwrap_err();
    assert_eq!(streaming_code(&refused), Some(StreamingCode::InvaildArgument), "no create-producer");
    let mut noise = wire.request(tokio_stream::empty::<ProduceRequest>());
    noise.metadata_mut().insert(CREATE_PRODUCER, "/////".parse().unwrap());
    assert_eq!(streaming_code(&client.produce(noise).await.unwrap_err()), Some(StreamingCode::InvaildArgument));
    let nothing = wire.request(StreamingNodeManagerAssignRequest { pchannel: None });
    let refused = wire.manager().assign(nothing).await.unwrap_err();
    assert_eq!(streaming_code(&refused), Some(StreamingCode::InvaildArgument));
    let mut producer = wire.produce(2).await.unwrap();
    producer.requests.send(ProduceRequest { request: None }).await.unwrap();
    assert!(within(producer.answers.message()).await.is_err());
}
