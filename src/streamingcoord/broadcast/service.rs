//! StreamingCoordBroadcastService, on the leader: a caller's message becomes a task, and the caller waits until every
//! vchannel has it; nodes acknowledge what they have consumed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message as _;
use tonic::{Request, Response, Status};

use super::board::{Board, Results, Sight};
use super::request::{self, Acknowledgement};
use crate::call::Call;
use crate::error::Rejection;
use crate::failure::Failure;
use crate::forward::retry;
use crate::ledger::{Ledger, reply};
use crate::pb::store;
use crate::pb::streaming::streaming_coord_broadcast_service_server::StreamingCoordBroadcastService;
use crate::pb::streaming::{
    AckedCheckpoint, BroadcastAckRequest, BroadcastAckResponse, BroadcastRequest, BroadcastResponse,
    ProduceMessageResponseResult, StreamingCode,
};
use crate::replica::{self, Replica};
use crate::state::{BroadcastCommand, BroadcastReply, Command, Reply, View};
use crate::streamingcoord::status::refusal;

/// The board forgets what ended long ago, so a caller looks at the facts now and then.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The service; cheap to clone.
#[derive(Clone)]
pub struct BroadcastService {
    pub ledger: Ledger,
    pub replica: Arc<dyn Replica>,
    pub board: Arc<Board>,
    /// What this cluster is called where several are replicated.
    pub cluster: String,
}

impl BroadcastService {
    async fn submit(&self, call: &Call, asked: BroadcastRequest) -> Result<BroadcastResponse, Failure> {
        let message = asked.message.ok_or_else(|| Rejection::invalid("there is no message"))?;
        let submit = request::submission(message)?;
        let channels = submit.vchannels.len();
        let command = Command::Broadcast(BroadcastCommand::Submit(submit));
        let submitted = reply!(Reply::Broadcast(BroadcastReply::Submitted { id }) => id);
        let id = self.ledger.propose(call, command, submitted).await?;
        let results = self.results(id, channels, call.deadline).await?;
        Ok(BroadcastResponse { results, broadcast_id: id.unsigned_abs() })
    }

    /// Waits until the message was appended to all of its vchannels.
    async fn results(&self, id: i64, channels: usize, deadline: Instant) -> Result<Results, Failure> {
        let (mut changes, mut leadership) = (self.board.changes(), self.replica.leadership());
        // By an earlier copy of this call, perhaps, the task is over already.
        let mut look_at_facts = true;
        loop {
            changes.borrow_and_update();
            if !leadership.borrow_and_update().is_self {
                // The next leader goes on with the task: under the same request id the caller finds it again.
                return Err(Failure::Again(replica::Error::Unknown("another node leads now".into())));
            }
            let error = match self.board.look(id, channels) {
                Sight::Complete(results) => return Ok(results),
                Sight::Going(error) => error,
                Sight::Over(error) => {
                    look_at_facts = true;
                    error
                }
                Sight::GivenUp(why) => {
                    let detail = format!("broadcast {id} was given up: {why}");
                    return Err(Failure::Decided(Rejection::Unavailable { detail }));
                }
            };
            if std::mem::take(&mut look_at_facts) {
                match View::new(self.replica.view()?.as_ref()).broadcasts().task(id)? {
                    Some(task) if task.left() == 0 => return Ok(stored(&task)),
                    Some(_) => {}
                    // It was delivered and is forgotten, or an earlier leader or an operator gave it up.
                    None => {
                        let detail = format!("broadcast {id} is not remembered any more");
                        return Err(Failure::Decided(Rejection::OutcomeUnknown { detail }));
                    }
                }
            }
            tokio::select! {
                // Neither is ever closed before this node stops.
                _ = changes.changed() => {}
                _ = leadership.changed() => {}
                () = tokio::time::sleep(LOOK_EVERY) => look_at_facts = true,
                () = tokio::time::sleep_until(deadline.into()) => {
                    let why = error.map(|error| format!(": {error}")).unwrap_or_default();
                    let detail = format!("broadcast {id} is on its way, and not everywhere yet{why}");
                    return Err(Failure::Decided(Rejection::OutcomeUnknown { detail }));
                }
            }
        }
    }

    async fn acknowledge(&self, call: &Call, asked: BroadcastAckRequest) -> Result<BroadcastAckResponse, Failure> {
        match request::acknowledgement(asked, &self.cluster)? {
            Acknowledgement::Own(acked) => {
                let command = Command::Broadcast(BroadcastCommand::Acked(acked));
                let answered = reply!(Reply::Broadcast(BroadcastReply::Acked { left }) => left);
                // One that is not known any more was acknowledged by all long ago.
                self.ledger.propose(call, command, answered).await?;
            }
            Acknowledgement::Replicated(update) => {
                let command = Command::Broadcast(BroadcastCommand::Replicated(update));
                let done = reply!(Reply::Broadcast(BroadcastReply::Replicated { changed }) => changed);
                self.ledger.propose(call, command, done).await?;
            }
        }
        Ok(BroadcastAckResponse {})
    }
}

/// What the facts keep of the nodes' answers.
fn stored(task: &store::BroadcastTask) -> Results {
    let one = |channel: &store::BroadcastChannel| {
        let checkpoint = AckedCheckpoint::decode(channel.checkpoint.as_slice()).unwrap_or_default();
        let result = ProduceMessageResponseResult {
            id: checkpoint.message_id,
            timetick: checkpoint.time_tick,
            last_confirmed_id: checkpoint.last_confirmed_message_id,
            ..ProduceMessageResponseResult::default()
        };
        (channel.vchannel.clone(), result)
    };
    task.channels.iter().map(one).collect()
}

#[tonic::async_trait]
impl StreamingCoordBroadcastService for BroadcastService {
    async fn broadcast(&self, request: Request<BroadcastRequest>) -> Result<Response<BroadcastResponse>, Status> {
        answer(self.submit(&Call::of(&request)?, request.into_inner()).await)
    }

    async fn ack(&self, request: Request<BroadcastAckRequest>) -> Result<Response<BroadcastAckResponse>, Status> {
        answer(self.acknowledge(&Call::of(&request)?, request.into_inner()).await)
    }
}

fn answer<T>(result: Result<T, Failure>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(refused)
}

/// As Milvus' streaming services refuse.
pub fn refused(failure: Failure) -> Status {
    let code = |rejection: &Rejection| match rejection {
        Rejection::ParameterInvalid { .. } | Rejection::ParameterTooLarge { .. } => StreamingCode::InvaildArgument,
        Rejection::QuotaExceeded { .. } => StreamingCode::ResourceAcquired,
        Rejection::NotPermitted { .. } | Rejection::NotPrimary | Rejection::NotSecondary => {
            StreamingCode::ReplicateViolation
        }
        Rejection::Unimplemented { .. } => StreamingCode::Unrecoverable,
        _ => StreamingCode::Inner,
    };
    match failure {
        Failure::Rejected(rejection) | Failure::Decided(rejection) => refusal(code(&rejection), rejection.reason()),
        Failure::Again(error) => retry::status(&error),
    }
}
