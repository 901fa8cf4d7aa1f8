//! One stream of appends to the node that owns a pchannel under a term. Many appends may be on their way; answers carry
//! their number. After any break the stream is not used again, and what was on its way may have been appended or not.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::AsciiMetadataValue;
use tonic::{Request, Status, Streaming};

use crate::introduce::Introduced;
use crate::limits;
use crate::pb::messages::Message;
use crate::pb::store;
use crate::pb::streaming::produce_message_response::Response as Outcome;
use crate::pb::streaming::produce_request::Request as Asked;
use crate::pb::streaming::produce_response::Response as Answer;
use crate::pb::streaming::streaming_node_handler_service_client::StreamingNodeHandlerServiceClient;
use crate::pb::streaming::{
    CloseProducerRequest, CreateProducerRequest, PChannelInfo, ProduceMessageRequest, ProduceMessageResponseResult,
    ProduceRequest, ProduceResponse, StreamingCode, StreamingError,
};
use crate::streamingcoord::status::streaming_error;

/// The metadata key of an encoded [`CreateProducerRequest`].
const CREATE_PRODUCER: &str = "create-producer";

/// Who owns a pchannel, as the facts say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) pchannel: String,
    pub(super) term: i64,
    pub(super) access_mode: i32,
    pub(super) node: store::StreamingNode,
}

/// Why something was not appended, as far as anybody knows.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("no node owns {0}")]
    NoOwner(String),
    #[error("the tables cannot be read: {0}")]
    Tables(#[from] std::io::Error),
    /// The node is not to be had, or the stream broke.
    #[error("{pchannel} at {address}: {reason}")]
    Broken { pchannel: String, address: String, reason: String },
    #[error("{pchannel} at {address} refused: {}: {}", .error.code().as_str_name(), .error.cause)]
    Refused { pchannel: String, address: String, error: StreamingError },
}

impl Error {
    /// Whether the node says that it does not have the pchannel under this term.
    pub(super) fn is_not_owner(&self) -> bool {
        let Error::Refused { error, .. } = self else { return false };
        matches!(
            error.code(),
            StreamingCode::ChannelNotExist
                | StreamingCode::ChannelFenced
                | StreamingCode::OnShutdown
                | StreamingCode::UnmatchedChannelTerm
        )
    }
}

type Waiting = Mutex<Option<HashMap<i64, oneshot::Sender<Result<ProduceMessageResponseResult, StreamingError>>>>>;

/// See the module.
pub(super) struct Producer {
    pub(super) owner: Owner,
    requests: mpsc::Sender<ProduceRequest>,
    /// By number of the append; `None` when the stream is over.
    waiting: Arc<Waiting>,
    next: Mutex<i64>,
    pump: AbortHandle,
}

impl Producer {
    /// On a connection to its owner.
    pub(super) async fn open(connection: Introduced, owner: Owner) -> Result<Self, Error> {
        let opening = tokio::time::timeout(limits::PRODUCE_WAIT, Self::create(connection, &owner));
        let created = opening.await.unwrap_or_else(|_| Err(owner.broken("no answer in time")));
        let (requests, answers) = created?;
        let waiting = Arc::new(Mutex::new(Some(HashMap::new())));
        let pump = tokio::spawn(pump(answers, waiting.clone())).abort_handle();
        Ok(Producer { owner, requests, waiting, next: Mutex::new(0), pump })
    }

    async fn create(
        connection: Introduced,
        owner: &Owner,
    ) -> Result<(mpsc::Sender<ProduceRequest>, Streaming<ProduceResponse>), Error> {
        let (requests, receiver) = mpsc::channel(limits::APPENDS_AT_ONCE);
        let mut request = Request::new(ReceiverStream::new(receiver));
        let info = PChannelInfo { name: owner.pchannel.clone(), term: owner.term, access_mode: owner.access_mode };
        let create = BASE64_STANDARD.encode(CreateProducerRequest { pchannel: Some(info) }.encode_to_vec());
        let create: AsciiMetadataValue = create.parse().map_err(|error| owner.broken(error))?;
        request.metadata_mut().insert(CREATE_PRODUCER, create);
        let mut client = StreamingNodeHandlerServiceClient::new(connection);
        let mut answers = client.produce(request).await.map_err(|status| owner.refused(&status))?.into_inner();
        match answers.message().await.map_err(|status| owner.refused(&status))?.and_then(|answer| answer.response) {
            Some(Answer::Create(_)) => Ok((requests, answers)),
            _ => Err(owner.broken("it did not begin with an answer to create")),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.requests.is_closed() || self.waiting.lock().is_none()
    }

    /// Whatever goes wrong but a refusal of this one message, or a crowd before it, ends the stream.
    pub(super) async fn append(&self, message: Message) -> Result<ProduceMessageResponseResult, Error> {
        let over = || self.owner.broken("the stream is over");
        let place = tokio::time::timeout(limits::PRODUCE_WAIT, self.requests.reserve());
        let place = place.await.map_err(|_| self.owner.broken("others wait for the node"))?.map_err(|_| over())?;
        let (sender, answer) = oneshot::channel();
        let request_id = {
            let mut next = self.next.lock();
            *next = next.wrapping_add(1);
            *next
        };
        match self.waiting.lock().as_mut() {
            Some(waiting) => _ = waiting.insert(request_id, sender),
            None => return Err(over()),
        }
        let produce = ProduceMessageRequest { request_id, message: Some(message) };
        place.send(ProduceRequest { request: Some(Asked::Produce(produce)) });
        let outcome = match tokio::time::timeout(limits::PRODUCE_WAIT, answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => {
                self.end();
                return Err(self.owner.broken("the stream broke"));
            }
            Err(_) => {
                self.end();
                return Err(self.owner.broken("no answer to an append in time"));
            }
        };
        outcome.map_err(|error| {
            let (pchannel, address) = (self.owner.pchannel.clone(), self.owner.node.address.clone());
            Error::Refused { pchannel, address, error }
        })
    }

    /// Everybody who waits is told that the stream broke.
    pub(super) fn end(&self) {
        *self.waiting.lock() = None;
        self.pump.abort();
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        let close = ProduceRequest { request: Some(Asked::Close(CloseProducerRequest {})) };
        // A node that is too slow to take it sees the stream end.
        let _ = self.requests.try_send(close);
        self.pump.abort();
    }
}

impl Owner {
    pub(super) fn broken(&self, reason: impl ToString) -> Error {
        let (pchannel, address) = (self.pchannel.clone(), self.node.address.clone());
        Error::Broken { pchannel, address, reason: reason.to_string() }
    }

    fn refused(&self, status: &Status) -> Error {
        match streaming_error(status) {
            Some(error) => {
                let (pchannel, address) = (self.pchannel.clone(), self.node.address.clone());
                Error::Refused { pchannel, address, error }
            }
            None => self.broken(status),
        }
    }
}

/// Hands answers to whoever waits for them, until the stream ends.
async fn pump(mut answers: Streaming<ProduceResponse>, waiting: Arc<Waiting>) {
    while let Ok(Some(ProduceResponse { response: Some(Answer::Produce(answer)) })) = answers.message().await {
        let sender = waiting.lock().as_mut().and_then(|waiting| waiting.remove(&answer.request_id));
        let outcome = match answer.response {
            Some(Outcome::Result(result)) => Ok(result),
            Some(Outcome::Error(error)) => Err(error),
            None => Err(StreamingError { code: StreamingCode::Unknown.into(), cause: "an empty answer".to_owned() }),
        };
        if let Some(sender) = sender {
            // Whoever waited may have given up.
            let _ = sender.send(outcome);
        }
    }
    *waiting.lock() = None;
}
