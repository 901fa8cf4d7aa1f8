//! One stream from this node to one leader: questions out, answers in. It breaks when the stream ends, or when another
//! leader is known, because one that is dead or cut off may never answer; then all its open questions are told so.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tonic::metadata::AsciiMetadataValue;
use tonic::{Request, Status};

use super::batcher::Batcher;
use crate::forward::retry::{self, Attempt};
use crate::forward::{CLUSTER, Peers};
use crate::limits;
use crate::pb::relay::relay_client::RelayClient;
use crate::pb::relay::{AnswerBatch, Question, SubmitBatch, answer};
use crate::replica::Replica;

/// What became of one question.
type Answered = Result<answer::Is, Attempt>;

pub(super) struct Link {
    /// The node that led when the link was made.
    pub leader: u64,
    questions: Arc<Batcher<Question>>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    last: u64,
    waiting: HashMap<u64, oneshot::Sender<Answered>>,
    broken: Option<Instant>,
}

impl Link {
    /// Starts to connect to `leader`, whose peer listener is at `address`.
    pub fn start(leader: u64, address: String, replica: Arc<dyn Replica>, peers: Arc<Peers>) -> Arc<Self> {
        let link = Arc::new(Link { leader, questions: Batcher::new(), open: Mutex::default() });
        let breaking = Breaking { link: link.clone(), sent: Attempt::Unknown };
        tokio::spawn(run(breaking, address, replica, peers));
        link
    }

    /// When it broke.
    pub fn broken(&self) -> Option<Instant> {
        self.open.lock().broken
    }

    /// Sends a question; its id is set here. It is taken back when the value is dropped.
    pub fn ask(self: &Arc<Self>, mut question: Question) -> Result<Asked, Attempt> {
        let (sender, answer) = oneshot::channel();
        let mut open = self.open.lock();
        if open.broken.is_some() {
            return Err(Attempt::NotDone);
        }
        open.last += 1;
        let id = open.last;
        open.waiting.insert(id, sender);
        drop(open);
        question.id = id;
        self.questions.push([(id, question)]);
        Ok(Asked { link: self.clone(), id, answer, done: false })
    }

    /// Questions without an answer, and how many of them have not left yet.
    #[cfg(test)]
    pub fn open_and_unsent(&self) -> (usize, usize) {
        let open = self.open.lock();
        (open.waiting.len(), self.questions.waiting().0)
    }

    fn answered(&self, batch: AnswerBatch) {
        let mut open = self.open.lock();
        for answer in batch.answers {
            let Some(waiter) = open.waiting.remove(&answer.id) else { continue };
            // An answer of a kind that this version does not know says nothing about what was done.
            let _ = waiter.send(answer.is.ok_or(Attempt::Unknown));
        }
    }

    /// Tells everybody who waits: a question that was not sent was not executed, and one that was sent is `sent`.
    fn break_off(&self, sent: Attempt) {
        let mut open = self.open.lock();
        open.broken = Some(Instant::now());
        for (id, waiter) in open.waiting.drain() {
            let attempt = if self.questions.remove(id) { Attempt::NotDone } else { sent };
            let _ = waiter.send(Err(attempt));
        }
        self.questions.close();
    }
}

/// A question on its way.
pub(super) struct Asked {
    link: Arc<Link>,
    id: u64,
    answer: oneshot::Receiver<Answered>,
    done: bool,
}

impl Asked {
    pub async fn answer(mut self, deadline: Instant) -> Answered {
        match tokio::time::timeout_at(deadline.into(), &mut self.answer).await {
            Ok(answered) => {
                self.done = true;
                answered.unwrap_or(Err(Attempt::Unknown))
            }
            Err(_) if self.link.questions.remove(self.id) => Err(Attempt::NotDone),
            Err(_) => Err(Attempt::Unknown),
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        self.link.questions.remove(self.id);
        self.link.open.lock().waiting.remove(&self.id);
    }
}

/// Breaks the link when its task ends, however it ends.
struct Breaking {
    link: Arc<Link>,
    sent: Attempt,
}

impl Drop for Breaking {
    fn drop(&mut self) {
        self.link.break_off(self.sent);
    }
}

async fn run(mut breaking: Breaking, address: String, replica: Arc<dyn Replica>, peers: Arc<Peers>) {
    let link = breaking.link.clone();
    tokio::select! {
        ended = converse(&link, &address, &replica, &peers) => {
            let why = match ended {
                Ok(()) => "the leader ended it".to_owned(),
                Err(status) => {
                    // The door or the service turned the stream away before it read any question.
                    if retry::asked(status.metadata().as_ref()) == Some(Attempt::NotDone) {
                        breaking.sent = Attempt::NotDone;
                    }
                    status.message().to_owned()
                }
            };
            tracing::debug!(leader = link.leader, address, why, "the stream to the leader ended");
        }
        () = deposed(&replica, link.leader) => {}
    }
}

/// Returns when the stream has ended.
async fn converse(link: &Link, address: &str, replica: &Arc<dyn Replica>, peers: &Peers) -> Result<(), Status> {
    let channel = peers.channel(address).map_err(|error| Status::unavailable(error.to_string()))?;
    let mut client = RelayClient::new(peers.authenticated(channel))
        .max_decoding_message_size(limits::RELAY_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(limits::RELAY_MESSAGE_BYTES_MAX);
    let mut request = Request::new(link.questions.messages().map(|questions| SubmitBatch { questions }));
    let cluster = AsciiMetadataValue::try_from(replica.cluster_id());
    let cluster = cluster.map_err(|_| Status::internal("the cluster's id does not fit a header"))?;
    request.metadata_mut().insert(CLUSTER, cluster);
    let mut answers = client.submit(request).await?.into_inner();
    while let Some(batch) = answers.message().await? {
        link.answered(batch);
    }
    Ok(())
}

/// Waits until this node knows another leader.
async fn deposed(replica: &Arc<dyn Replica>, leader: u64) {
    let mut leadership = replica.leadership();
    // It fails only when the replica is gone.
    let _ = leadership.wait_for(|seen| seen.leader.is_some_and(|current| current != leader)).await;
}
