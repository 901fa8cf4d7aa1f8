//! What a client of the simulation does to have a command executed: it keeps one request id, goes from node to node,
//! and tries again until the outcome is known. Now and then a copy of a request arrives somewhere, late.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use roost::call::Requests;
use roost::state::{Command, Reply};
use tokio::time::{Instant, sleep, timeout};
use turmoil::net::TcpStream;

use crate::door::{self, Answer, Question};
use crate::load::Shared;

const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// Longer than a node works on a question.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(2500);
/// How long a call is tried.
const CALL: Duration = Duration::from_secs(6);
const PAUSE_MS: (u64, u64) = (5, 60);
/// Of so many proposals one is also sent as a copy.
const COPIED: u32 = 8;
/// How late a copy may be.
const LATE_MS: u64 = 400;

pub struct Client {
    pub shared: Arc<Shared>,
    pub rng: SmallRng,
    requests: Arc<Requests>,
    open: BTreeMap<usize, TcpStream>,
    /// Where the last proposal was executed.
    leader: usize,
}

impl Client {
    pub fn new(shared: Arc<Shared>, number: u64) -> Self {
        let rng = SmallRng::seed_from_u64(shared.seed.wrapping_mul(1_000_003).wrapping_add(number));
        Client { shared, rng, requests: Requests::new(1000 + number, 1), open: BTreeMap::new(), leader: 0 }
    }

    pub fn some_node(&mut self) -> usize {
        self.rng.random_range(0..self.shared.nodes.len())
    }

    /// Begins anywhere the next time.
    pub fn forget_leader(&mut self) {
        self.leader = self.some_node();
    }

    pub async fn think(&mut self, ms: (u64, u64)) {
        let pause = Duration::from_millis(self.rng.random_range(ms.0..=ms.1));
        sleep(pause).await;
    }

    /// Asks one node once.
    pub async fn ask(&mut self, node: usize, question: &Question) -> io::Result<Answer> {
        let kept = self.open.remove(&node);
        let asking = ask(&self.shared, node, question, kept);
        let (answer, stream) = timeout(ANSWER_TIMEOUT, asking).await??;
        self.open.insert(node, stream);
        Ok(answer)
    }

    /// Has the command executed once. `None`: it may have been, or may still be.
    pub async fn propose(&mut self, command: Command) -> Option<Reply> {
        // Dropped when it is given up: a later copy is then not executed any more.
        let request = self.requests.begin();
        let question = Question::Propose { request: request.id, command };
        if self.rng.random_ratio(1, COPIED) {
            self.send_copy(question.clone());
        }
        let answer = self.answered(&question, |answer| match answer {
            Answer::Reply(reply) => match Reply::decode(&reply) {
                Ok(Reply::WindowFull) => None,
                Ok(Reply::Expired) | Err(_) => Some(None),
                Ok(reply) => Some(Some(reply)),
            },
            _ => None,
        });
        answer.await.flatten()
    }

    /// Asks whoever leads, until an answer is accepted.
    pub async fn answered<T>(&mut self, question: &Question, accept: impl Fn(Answer) -> Option<T>) -> Option<T> {
        let give_up = Instant::now() + CALL;
        while Instant::now() < give_up {
            let node = self.leader;
            self.leader = match self.ask(node, question).await {
                Ok(Answer::NotLeader(Some(leader))) if leader > 0 && leader as usize <= self.shared.nodes.len() => {
                    leader as usize - 1
                }
                Ok(answer) => match accept(answer) {
                    Some(accepted) => return Some(accepted),
                    None => self.some_node(),
                },
                Err(_) => self.some_node(),
            };
            self.think(PAUSE_MS).await;
        }
        None
    }

    /// Asks any node, another one when it does not know.
    pub async fn read(&mut self, question: &Question) -> Option<Answer> {
        let give_up = Instant::now() + CALL;
        while Instant::now() < give_up {
            let node = self.some_node();
            match self.ask(node, question).await {
                Ok(Answer::Unknown) | Err(_) => self.think(PAUSE_MS).await,
                Ok(answer) => return Some(answer),
            }
        }
        None
    }

    fn send_copy(&mut self, question: Question) {
        let (shared, node) = (self.shared.clone(), self.some_node());
        let late = Duration::from_millis(self.rng.random_range(0..LATE_MS));
        tokio::spawn(async move {
            sleep(late).await;
            // Nobody waits for its answer.
            let _ = timeout(ANSWER_TIMEOUT, ask(&shared, node, &question, None)).await;
        });
    }
}

async fn ask(
    shared: &Shared,
    node: usize,
    question: &Question,
    kept: Option<TcpStream>,
) -> io::Result<(Answer, TcpStream)> {
    let mut stream = match kept {
        Some(stream) => stream,
        None => {
            let name = shared.nodes.get(node).cloned().unwrap_or_default();
            timeout(CONNECT_TIMEOUT, TcpStream::connect((name, door::PORT))).await??
        }
    };
    door::send(&mut stream, question).await?;
    let answer = door::receive(&mut stream).await?;
    Ok((answer, stream))
}
