//! A streaming node of tests: Produce over the real wire, into logs that all nodes share and that terms fence.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures::Stream;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use crate::pb::common::MessageId;
use crate::pb::messages::{BroadcastHeader, Message};
use crate::pb::streaming::produce_message_response::Response as Outcome;
use crate::pb::streaming::produce_request::Request as Asked;
use crate::pb::streaming::produce_response::Response as Answer;
use crate::pb::streaming::streaming_node_handler_service_server::{
    StreamingNodeHandlerService, StreamingNodeHandlerServiceServer,
};
use crate::pb::streaming::*;
use crate::state::broadcast::message;
use crate::streamingcoord::status::refusal;

/// One message in a log.
#[derive(Clone, Debug)]
pub struct Record {
    pub vchannel: String,
    pub broadcast_id: u64,
    pub message: Message,
}

/// By pchannel: the latest term, and what was appended.
#[derive(Default)]
pub struct Logs(Mutex<BTreeMap<String, (i64, Vec<Record>)>>);

impl Logs {
    /// Nothing is accepted under older terms any more.
    pub fn fence(&self, pchannel: &str, term: i64) {
        self.0.lock().entry(pchannel.to_owned()).or_default().0 = term;
    }

    fn append(&self, pchannel: &str, term: i64, message: Message) -> Result<i64, StreamingError> {
        let mut logs = self.0.lock();
        let (latest, records) = logs.entry(pchannel.to_owned()).or_default();
        if *latest != term {
            let cause = format!("term {latest} has it, not {term}");
            return Err(StreamingError { code: StreamingCode::ChannelFenced.into(), cause });
        }
        let header: BroadcastHeader = message::decoded(&message.properties[message::BROADCAST_HEADER]).unwrap();
        let vchannel = message.properties[message::VCHANNEL].clone();
        records.push(Record { vchannel, broadcast_id: header.broadcast_id, message });
        Ok(records.len() as i64)
    }

    /// The broadcasts in a vchannel, in the order of its log, each as often as it is there.
    pub fn of(&self, vchannel: &str) -> Vec<u64> {
        let logs = self.0.lock();
        let records = logs.values().flat_map(|(_, records)| records);
        records.filter(|record| record.vchannel == vchannel).map(|record| record.broadcast_id).collect()
    }

    pub fn records(&self) -> Vec<Record> {
        self.0.lock().values().flat_map(|(_, records)| records.clone()).collect()
    }
}

#[derive(Default)]
pub struct Switches {
    /// It takes appends and does not answer.
    pub hangs: AtomicBool,
    /// It does not even take them.
    pub deaf: AtomicBool,
    /// It has nothing, whatever the facts say.
    pub denies: AtomicBool,
    pub streams: AtomicU64,
}

pub struct StreamingNode {
    pub server_id: i64,
    pub address: String,
    pub switches: Arc<Switches>,
    serving: AbortHandle,
}

impl StreamingNode {
    pub async fn start(logs: Arc<Logs>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let switches = Arc::<Switches>::default();
        let service = StreamingNodeHandlerServiceServer::new(Handler { logs, switches: switches.clone() });
        let serving = Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener));
        let serving = tokio::spawn(serving).abort_handle();
        StreamingNode { server_id: 0, address, switches, serving }
    }

    pub fn die(&self) {
        self.serving.abort();
    }
}

struct Handler {
    logs: Arc<Logs>,
    switches: Arc<Switches>,
}

type Answers = Pin<Box<dyn Stream<Item = Result<ProduceResponse, Status>> + Send>>;
type Consumed = Pin<Box<dyn Stream<Item = Result<ConsumeResponse, Status>> + Send>>;

#[tonic::async_trait]
impl StreamingNodeHandlerService for Handler {
    type ProduceStream = Answers;
    type ConsumeStream = Consumed;

    async fn produce(&self, request: Request<Streaming<ProduceRequest>>) -> Result<Response<Answers>, Status> {
        let create = request.metadata().get("create-producer").unwrap().as_bytes();
        let create = CreateProducerRequest::decode(BASE64_STANDARD.decode(create).unwrap().as_slice()).unwrap();
        let PChannelInfo { name, term, .. } = create.pchannel.unwrap();
        assert_eq!(request.metadata().get("cluster").unwrap(), "by-dev");
        if self.switches.denies.load(Ordering::Relaxed) {
            return Err(refusal(StreamingCode::ChannelNotExist, "it is not here"));
        }
        self.switches.streams.fetch_add(1, Ordering::Relaxed);
        let (send, answers) = mpsc::channel(16);
        let (logs, switches, mut asked) = (self.logs.clone(), self.switches.clone(), request.into_inner());
        tokio::spawn(async move {
            let created = CreateProducerResponse { producer_server_id: 1, ..Default::default() };
            let _ = send.send(Ok(ProduceResponse { response: Some(Answer::Create(created)) })).await;
            let mut ids = BTreeSet::new();
            while let Ok(Some(ProduceRequest { request: Some(Asked::Produce(produce)) })) = asked.message().await {
                assert!(ids.insert(produce.request_id), "a number is used twice");
                if switches.deaf.load(Ordering::Relaxed) {
                    continue;
                }
                let outcome = match logs.append(&name, term, produce.message.unwrap()) {
                    Ok(place) => Outcome::Result(ProduceMessageResponseResult {
                        id: Some(MessageId { id: place.to_string(), wal_name: 4 }),
                        timetick: place as u64,
                        ..Default::default()
                    }),
                    Err(error) => Outcome::Error(error),
                };
                if switches.hangs.load(Ordering::Relaxed) {
                    continue;
                }
                let response = ProduceMessageResponse { request_id: produce.request_id, response: Some(outcome) };
                let _ = send.send(Ok(ProduceResponse { response: Some(Answer::Produce(response)) })).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn consume(&self, _: Request<Streaming<ConsumeRequest>>) -> Result<Response<Consumed>, Status> {
        Err(Status::unimplemented("nobody consumes here"))
    }

    async fn get_replicate_checkpoint(
        &self,
        _: Request<GetReplicateCheckpointRequest>,
    ) -> Result<Response<GetReplicateCheckpointResponse>, Status> {
        Err(Status::unimplemented("nothing is replicated here"))
    }

    async fn get_salvage_checkpoint(
        &self,
        _: Request<GetSalvageCheckpointRequest>,
    ) -> Result<Response<GetSalvageCheckpointResponse>, Status> {
        Err(Status::unimplemented("nothing is replicated here"))
    }
}
