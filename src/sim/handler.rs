//! Appending to a pchannel of a simulated node and reading from it. The request that creates a producer or a consumer
//! travels in metadata, as Milvus sends it; the first answer on the stream confirms it.

use std::pin::Pin;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures::Stream;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::channels::Open;
use super::consume::Consumers;
use super::message;
use super::node::Node;
use super::orders::{meant, rejected};
use super::wal::Refused;
use crate::limits;
use crate::pb::messages;
use crate::pb::streaming::streaming_node_handler_service_server::StreamingNodeHandlerService;
use crate::pb::streaming::{
    CloseProducerResponse, ConsumeRequest, ConsumeResponse, CreateConsumerRequest, CreateConsumerResponse,
    CreateProducerRequest, CreateProducerResponse, GetReplicateCheckpointRequest, GetReplicateCheckpointResponse,
    GetSalvageCheckpointRequest, GetSalvageCheckpointResponse, PChannelInfo, ProduceMessageResponse,
    ProduceMessageResponseResult, ProduceRequest, ProduceResponse, StreamingCode, StreamingError, consume_response,
    produce_message_response, produce_request, produce_response,
};
use crate::streamingcoord::status::refusal;

/// Metadata with a CreateProducerRequest, or a CreateConsumerRequest, in base64.
pub const CREATE_PRODUCER: &str = "create-producer";
pub const CREATE_CONSUMER: &str = "create-consumer";

/// The metadata of a stream that appends to a pchannel, for clients.
pub fn producer_of(info: PChannelInfo) -> String {
    BASE64_STANDARD.encode(CreateProducerRequest { pchannel: Some(info) }.encode_to_vec())
}

/// See the module.
pub struct Handler {
    node: Arc<Node>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Handler {
    pub fn new(node: Arc<Node>) -> Self {
        Handler { node }
    }

    /// The pchannel that a stream is to be about.
    async fn open(&self, metadata: &MetadataMap, info: Option<PChannelInfo>) -> Result<Arc<Open>, Status> {
        self.node.awake().await;
        rejected(&self.node)?;
        let info = info.ok_or_else(|| refusal(StreamingCode::InvaildArgument, "no pchannel"))?;
        Ok(meant(&self.node, metadata)?.get(&info)?)
    }
}

fn created<T: Message + Default>(metadata: &MetadataMap, key: &'static str) -> Result<T, Status> {
    let bytes = metadata.get(key).and_then(|value| BASE64_STANDARD.decode(value.as_bytes()).ok());
    let decoded = bytes.and_then(|bytes| T::decode(bytes.as_slice()).ok());
    decoded.ok_or_else(|| refusal(StreamingCode::InvaildArgument, format!("no {key} in the metadata")))
}

/// What a stream ends with when its pchannel went away.
pub fn gone(open: &Open) -> Status {
    let PChannelInfo { name, term, .. } = &open.info;
    refusal(StreamingCode::ChannelFenced, format!("{name} is not here any more under term {term}"))
}

#[tonic::async_trait]
impl StreamingNodeHandlerService for Handler {
    type ProduceStream = Answers<ProduceResponse>;
    type ConsumeStream = Answers<ConsumeResponse>;

    async fn get_replicate_checkpoint(
        &self,
        _: Request<GetReplicateCheckpointRequest>,
    ) -> Result<Response<GetReplicateCheckpointResponse>, Status> {
        Err(refusal(StreamingCode::ReplicateViolation, "this cluster is no replica"))
    }

    async fn get_salvage_checkpoint(
        &self,
        _: Request<GetSalvageCheckpointRequest>,
    ) -> Result<Response<GetSalvageCheckpointResponse>, Status> {
        Ok(Response::new(GetSalvageCheckpointResponse::default()))
    }

    async fn produce(
        &self,
        request: Request<Streaming<ProduceRequest>>,
    ) -> Result<Response<Self::ProduceStream>, Status> {
        let create: CreateProducerRequest = created(request.metadata(), CREATE_PRODUCER)?;
        let open = self.open(request.metadata(), create.pchannel).await?;
        if open.is_read_only() {
            return Err(refusal(StreamingCode::InvaildArgument, "the pchannel is here for reading only"));
        }
        let (answers, sent) = mpsc::channel(limits::SIM_STREAM_QUEUE);
        let producer = Producer { node: self.node.clone(), open, answers };
        tokio::spawn(producer.run(request.into_inner()));
        Ok(Response::new(Box::pin(ReceiverStream::new(sent))))
    }

    async fn consume(
        &self,
        request: Request<Streaming<ConsumeRequest>>,
    ) -> Result<Response<Self::ConsumeStream>, Status> {
        let create: CreateConsumerRequest = created(request.metadata(), CREATE_CONSUMER)?;
        let open = self.open(request.metadata(), create.pchannel).await?;
        let (answers, sent) = mpsc::channel(limits::SIM_STREAM_QUEUE);
        let consumer_server_id = open.server_id;
        let first = CreateConsumerResponse { consumer_server_id, ..CreateConsumerResponse::default() };
        let first = ConsumeResponse { response: Some(consume_response::Response::Create(first)) };
        // The queue is empty.
        let _ = answers.try_send(Ok(first));
        tokio::spawn(Consumers::new(self.node.clone(), open, answers).run(request.into_inner()));
        Ok(Response::new(Box::pin(ReceiverStream::new(sent))))
    }
}

/// One stream that appends.
struct Producer {
    node: Arc<Node>,
    open: Arc<Open>,
    answers: mpsc::Sender<Result<ProduceResponse, Status>>,
}

impl Producer {
    async fn run(self, mut requests: Streaming<ProduceRequest>) {
        let producer_server_id = self.open.server_id;
        let create = CreateProducerResponse { producer_server_id, ..CreateProducerResponse::default() };
        let mut answer = Ok(produce_response::Response::Create(create));
        loop {
            let last = answer.is_err() || matches!(answer, Ok(produce_response::Response::Close(_)));
            let sent = answer.map(|response| ProduceResponse { response: Some(response) });
            if self.answers.send(sent).await.is_err() || last {
                return;
            }
            let request = tokio::select! {
                () = self.open.closed() => None,
                request = requests.message() => match request {
                    Ok(Some(request)) => Some(request),
                    Ok(None) | Err(_) => return,
                },
            };
            answer = match request.map(|request| request.request) {
                None => Err(gone(&self.open)),
                Some(Some(produce_request::Request::Produce(produce))) => {
                    let (request_id, message) = (produce.request_id, produce.message);
                    let response = Some(self.append(message).await);
                    Ok(produce_response::Response::Produce(ProduceMessageResponse { request_id, response }))
                }
                Some(Some(produce_request::Request::Close(_))) => {
                    Ok(produce_response::Response::Close(CloseProducerResponse {}))
                }
                Some(None) => Err(refusal(StreamingCode::InvaildArgument, "an empty request")),
            };
        }
    }

    async fn append(&self, message: Option<messages::Message>) -> produce_message_response::Response {
        self.node.awake().await;
        let PChannelInfo { name, term, .. } = &self.open.info;
        let strays = |message: &messages::Message| {
            message::vchannel(&message.properties).is_some_and(|vchannel| !message::is_on(vchannel, name))
        };
        let appended = match message {
            None => Err(Refused::new(StreamingCode::InvaildArgument, "no message")),
            Some(message) if strays(&message) => {
                Err(Refused::new(StreamingCode::InvaildArgument, format!("its vchannel is not one of {name}")))
            }
            Some(message) => self.open.wal.append(*term, self.open.server_id, message),
        };
        match appended {
            Ok(record) => {
                let id = Some(message::id(record.offset));
                let result = ProduceMessageResponseResult {
                    last_confirmed_id: id.clone(),
                    id,
                    timetick: record.time_tick,
                    ..ProduceMessageResponseResult::default()
                };
                self.node.acknowledge(&record).await;
                produce_message_response::Response::Result(result)
            }
            Err(Refused { code, cause }) => {
                produce_message_response::Response::Error(StreamingError { code: code.into(), cause })
            }
        }
    }
}
