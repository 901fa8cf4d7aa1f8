//! The leader's end: executes what arrives on a stream, all of it at once, and answers in the order of completion.
//! One task serves one stream; it stops reading while too much is in progress, and HTTP/2 holds the rest back.

use std::sync::Arc;
use std::time::Instant;

use futures::stream::{BoxStream, FuturesUnordered};
use futures::{FutureExt, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::batcher::Batcher;
use super::wire::{self, Said};
use crate::call::Call;
use crate::etcd::lessor::Lessor;
use crate::failure::Failure;
use crate::forward::{CLUSTER, retry};
use crate::limits;
use crate::pb::relay::relay_server::Relay as RelayApi;
use crate::pb::relay::{Answer, AnswerBatch, KeepAlive, Question, SubmitBatch, question};
use crate::proposer::Proposer;
use crate::replica::{self, Replica};
use crate::session::Loads;
use crate::state::{Command, worker};

/// What the leader does for any node, itself included.
#[derive(Clone)]
pub(super) struct Desk {
    pub replica: Arc<dyn Replica>,
    pub proposer: Arc<Proposer>,
    pub lessor: Arc<Lessor>,
    pub loads: Arc<Loads>,
}

impl Desk {
    pub async fn propose(&self, call: &Call, command: Command) -> Result<Said, Failure> {
        Ok(Said::Reply(self.proposer.execute(call, command).await?.into()))
    }

    pub async fn renew(&self, lease: i64) -> Result<Said, Failure> {
        Ok(Said::Lease(self.lessor.renew(lease).await?))
    }

    pub async fn time_to_live(&self, lease: i64) -> Result<Said, Failure> {
        Ok(Said::Lease(self.lessor.time_to_live(lease).await?))
    }

    /// Of a session: its lease, and that it has not ended in another way.
    pub async fn keep_alive(&self, asked: KeepAlive) -> Result<Said, Failure> {
        let KeepAlive { server_id, lease_id, load } = asked;
        let time = self.lessor.renew(lease_id).await?;
        // The tables of a leader that has just renewed the lease show every session that was ever acknowledged.
        let lives = || {
            let workers = worker::of_server(self.replica.view()?.as_ref(), server_id)?;
            Ok::<_, Failure>(workers.iter().any(|worker| worker.lease == lease_id))
        };
        if time.is_none() || !lives()? {
            return Ok(Said::Lease(None));
        }
        if let Some(load) = load {
            self.loads.record(server_id, load);
        }
        Ok(Said::Lease(time))
    }

    async fn answer(&self, Question { id, time_left_ms, ask }: Question) -> Answer {
        let deadline = wire::deadline(time_left_ms);
        let said = match ask {
            Some(question::Ask::Propose(proposed)) => match wire::proposed(proposed, deadline) {
                Ok((call, command)) => self.propose(&call, command).await,
                Err(failure) => Err(failure),
            },
            Some(question::Ask::Renew(lease)) => within(deadline, self.renew(lease)).await,
            Some(question::Ask::TimeToLive(lease)) => within(deadline, self.time_to_live(lease)).await,
            Some(question::Ask::KeepAlive(asked)) => within(deadline, self.keep_alive(asked)).await,
            // Of a later version: another leader may know it.
            None => Err(Failure::Again(replica::Error::NotLeader)),
        };
        Answer { id, is: Some(wire::answer(said)) }
    }
}

/// Ends what changes nothing at the deadline.
pub(super) async fn within(
    deadline: Instant,
    said: impl Future<Output = Result<Said, Failure>>,
) -> Result<Said, Failure> {
    let late = |_| Err(Failure::Again(replica::Error::NoQuorum("no answer in time".into())));
    tokio::time::timeout_at(deadline.into(), said).await.unwrap_or_else(late)
}

/// Serves the streams of other nodes. Must stand behind the door of the peer listener: stamps are believed.
#[derive(Clone)]
pub struct RelayService {
    desk: Desk,
}

#[tonic::async_trait]
impl RelayApi for RelayService {
    type SubmitStream = BoxStream<'static, Result<AnswerBatch, Status>>;

    async fn submit(&self, request: Request<Streaming<SubmitBatch>>) -> Result<Response<Self::SubmitStream>, Status> {
        let shown = request.metadata().get(CLUSTER).map_or(&[][..], |value| value.as_bytes());
        if shown != self.desk.replica.cluster_id().as_bytes() {
            return Err(retry::status(&replica::Error::NotLeader));
        }
        let answers = Batcher::new();
        let messages = answers.messages().map(|answers| Ok(AnswerBatch { answers }));
        tokio::spawn(serve(self.desk.clone(), request.into_inner(), Closing(answers)));
        Ok(Response::new(messages.boxed()))
    }
}

impl RelayService {
    pub(super) fn new(desk: Desk) -> Self {
        RelayService { desk }
    }
}

/// Ends the answers when the serving task ends, however it ends.
struct Closing(Arc<Batcher<Answer>>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

async fn serve(desk: Desk, mut questions: Streaming<SubmitBatch>, answers: Closing) {
    let answers = &answers.0;
    let mut running = FuturesUnordered::new();
    loop {
        let (unsent, bytes) = answers.waiting();
        let room = running.len() + unsent < limits::RELAY_QUESTIONS_MAX && bytes < limits::RELAY_BYTES_MAX;
        tokio::select! {
            Some(done) = running.next() => {
                let mut all = vec![done];
                while let Some(Some(more)) = running.next().now_or_never() {
                    all.push(more);
                }
                answers.push(all.into_iter().map(|answer: Answer| (answer.id, answer)));
            }
            batch = questions.message(), if room => match batch {
                Ok(Some(batch)) => running.extend(batch.questions.into_iter().map(|question| desk.answer(question))),
                // Nobody is left to be answered; what has reached the log goes its way.
                Ok(None) | Err(_) => return,
            },
            () = answers.taken(), if !room => {}
        }
    }
}
