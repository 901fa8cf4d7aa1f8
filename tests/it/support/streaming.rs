//! What Milvus' clients of streaming do: they follow the assignments at some node of Roost, and append to a pchannel at
//! the streaming node that has it.

use std::collections::BTreeMap;
use std::time::Duration;

use roost::pb::messages::Message;
use roost::pb::streaming::assignment_discover_response::Response as Told;
use roost::pb::streaming::produce_message_response::Response as Appended;
use roost::pb::streaming::produce_response::Response as Produced;
use roost::pb::streaming::streaming_coord_assignment_service_client::StreamingCoordAssignmentServiceClient;
use roost::pb::streaming::streaming_node_handler_service_client::StreamingNodeHandlerServiceClient;
use roost::pb::streaming::{
    AssignmentDiscoverRequest, AssignmentDiscoverResponse, PChannelInfo, ProduceMessageRequest, ProduceRequest,
    ProduceResponse, StreamingCode, produce_request,
};
use roost::sim::{CREATE_PRODUCER, producer_of};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

use super::client::channel;

/// Nothing that is waited for here takes longer, unless it is broken.
const ANSWER: Duration = Duration::from_secs(5);

/// Who has a pchannel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub term: i64,
    pub server_id: i64,
    pub address: String,
}

/// One full assignment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    pub version: (i64, i64),
    pub owners: BTreeMap<String, Owner>,
}

/// A stream of assignments.
pub struct Discovery {
    answers: Streaming<AssignmentDiscoverResponse>,
    /// Closing it would end the stream.
    _requests: mpsc::Sender<AssignmentDiscoverRequest>,
}

impl Discovery {
    /// At the internal listener of a node.
    pub async fn open(internal: &str) -> Result<Self, Status> {
        Self::over(channel(internal)).await
    }

    /// Over a connection that others may share.
    pub async fn over(channel: Channel) -> Result<Self, Status> {
        let (requests, sent) = mpsc::channel(8);
        let mut client = StreamingCoordAssignmentServiceClient::new(channel);
        let answers = within(client.assignment_discover(ReceiverStream::new(sent))).await?.into_inner();
        Ok(Discovery { answers, _requests: requests })
    }

    /// The next one, however long it takes.
    pub async fn next(&mut self) -> Result<Assignment, Status> {
        let answer = self.answers.message().await?.ok_or_else(|| Status::unavailable("the stream ended"))?;
        let Some(Told::FullAssignment(full)) = answer.response else {
            return Err(Status::internal("not an assignment"));
        };
        let version = full.version_by_revision.map_or((0, 0), |version| (version.global, version.local));
        let mut owners = BTreeMap::new();
        for told in full.assignments {
            let node = told.node.unwrap_or_default();
            for PChannelInfo { name, term, .. } in told.channels {
                owners.insert(name, Owner { term, server_id: node.server_id, address: node.address.clone() });
            }
        }
        Ok(Assignment { version, owners })
    }

    /// What a node says now.
    pub async fn once(internal: &str) -> Result<Assignment, Status> {
        let mut discovery = Self::open(internal).await?;
        within(discovery.next()).await
    }
}

async fn within<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    tokio::time::timeout(ANSWER, call).await.map_err(|_| Status::deadline_exceeded("no answer"))?
}

/// A stream that appends to one pchannel.
pub struct Producer {
    requests: mpsc::Sender<ProduceRequest>,
    answers: Streaming<ProduceResponse>,
}

/// Why a message was not accepted. After a `Lost` one it may have been.
#[derive(Debug)]
pub enum NotAppended {
    Refused(StreamingCode),
    #[allow(dead_code, reason = "only printed")]
    Lost(Status),
}

impl Producer {
    pub async fn open(pchannel: &str, owner: &Owner) -> Result<Self, Status> {
        let (requests, sent) = mpsc::channel(8);
        let info = PChannelInfo { name: pchannel.to_owned(), term: owner.term, access_mode: 0 };
        let create: AsciiMetadataValue = producer_of(info).parse().map_err(|_| Status::internal("base64"))?;
        let mut request = Request::new(ReceiverStream::new(sent));
        request.metadata_mut().insert(CREATE_PRODUCER, create);
        request.metadata_mut().insert("serverid", owner.server_id.into());
        let mut client = StreamingNodeHandlerServiceClient::new(channel(&owner.address));
        let mut answers = within(client.produce(request)).await?.into_inner();
        match within(answers.message()).await?.and_then(|answer| answer.response) {
            Some(Produced::Create(_)) => Ok(Producer { requests, answers }),
            other => Err(Status::internal(format!("not created: {other:?}"))),
        }
    }

    /// The offset of a message that was accepted.
    pub async fn append(&mut self, payload: &[u8]) -> Result<u64, NotAppended> {
        let message = Some(Message { payload: payload.to_vec(), ..Message::default() });
        let produce = ProduceMessageRequest { request_id: 1, message };
        let request = ProduceRequest { request: Some(produce_request::Request::Produce(produce)) };
        // Of a stream that has ended the answer tells.
        let _ = self.requests.send(request).await;
        let lost = |what: &str| NotAppended::Lost(Status::unavailable(what.to_owned()));
        let answer = match within(self.answers.message()).await {
            Ok(answer) => answer.and_then(|answer| answer.response).ok_or_else(|| lost("the stream ended"))?,
            Err(status) => {
                let code = roost::streamingcoord::status::streaming_code(&status);
                return Err(code.map_or(NotAppended::Lost(status), NotAppended::Refused));
            }
        };
        match answer {
            Produced::Produce(answer) => match answer.response {
                Some(Appended::Result(result)) => {
                    let offset = result.id.and_then(|id| id.id.parse().ok());
                    offset.ok_or_else(|| lost("an id that is none"))
                }
                Some(Appended::Error(error)) => Err(NotAppended::Refused(error.code())),
                None => Err(lost("an empty answer")),
            },
            other => Err(lost(&format!("{other:?}"))),
        }
    }
}
