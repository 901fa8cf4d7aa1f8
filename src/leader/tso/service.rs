//! Timestamps by stream: requests that have arrived together are answered after one leadership check.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use futures::{Stream, StreamExt, stream};
use tonic::{Request, Response, Status, Streaming};

use super::oracle::{Error, Oracle};
use crate::forward::retry;
use crate::limits;
use crate::pb::tso::timestamp_server::Timestamp;
use crate::pb::tso::{AllocateRequest, AllocateResponse, ClockRequest, ClockResponse};
use crate::replica;

/// The service; cheap to clone.
#[derive(Clone)]
pub struct TimestampService {
    oracle: Arc<Oracle>,
}

type Answers = Vec<Result<AllocateResponse, Status>>;

impl TimestampService {
    pub fn new(oracle: Arc<Oracle>) -> Self {
        TimestampService { oracle }
    }

    /// Takes all ranges of the batch, proves leadership once, then answers.
    async fn answer(oracle: Arc<Oracle>, batch: Vec<Result<AllocateRequest, Status>>) -> Answers {
        let deadline = Instant::now() + limits::CALL_TIME_DEFAULT;
        let mut answers = Answers::with_capacity(batch.len());
        let mut term = None;
        for request in batch {
            let AllocateRequest { id, count } = match request {
                Ok(request) => request,
                Err(broken) => {
                    answers.push(Err(broken));
                    break;
                }
            };
            match oracle.take(count, deadline).await {
                // Ranges of two reigns in one batch: the earlier reign is over, so its ranges may not be answered.
                Ok((_, taken)) if term.is_some_and(|earlier| earlier != taken) => return vec![Err(moved())],
                Ok((first, taken)) => {
                    term = Some(taken);
                    answers.push(Ok(AllocateResponse { id, first, count, error: String::new() }));
                }
                Err(Error::NotLeader) => return vec![Err(moved())],
                Err(error) => {
                    answers.push(Ok(AllocateResponse { id, first: 0, count: 0, error: error.to_string() }));
                }
            }
        }
        match term {
            Some(term) if oracle.confirm(term).await.is_err() => vec![Err(moved())],
            _ => answers,
        }
    }
}

/// Ends the stream; its caller opens another one, which goes to the new leader.
fn moved() -> Status {
    retry::status(&replica::Error::NotLeader)
}

#[tonic::async_trait]
impl Timestamp for TimestampService {
    type AllocateStream = Pin<Box<dyn Stream<Item = Result<AllocateResponse, Status>> + Send>>;

    async fn allocate(
        &self,
        request: Request<Streaming<AllocateRequest>>,
    ) -> Result<Response<Self::AllocateStream>, Status> {
        let oracle = self.oracle.clone();
        let answers = request
            .into_inner()
            .ready_chunks(limits::TIMESTAMP_BATCH_MAX)
            .then(move |batch| Self::answer(oracle.clone(), batch))
            .flat_map(stream::iter);
        Ok(Response::new(Box::pin(answers)))
    }

    async fn clock(&self, _request: Request<ClockRequest>) -> Result<Response<ClockResponse>, Status> {
        Ok(Response::new(ClockResponse { now_ms: self.oracle.clock.wall_ms() }))
    }
}
