//! How the simulation's clients talk to a node: one question at a time on a connection, each with a length before it.
//! It stands for the listeners of roostd, and takes the same way from there on: proposer, read barrier, oracle.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use roost::call::Call;
use roost::failure::Failure;
use roost::leader::tso::Oracle;
use roost::pb::etcd::api::RangeRequest;
use roost::proposer::Proposer;
use roost::replica::{self, Replica};
use roost::state::{Command, DEFAULT_DATABASE_ID, RequestId, View, keyspace};
use roost_raft::codec;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use turmoil::net::TcpStream;

pub const PORT: u16 = 19530;
/// How long a node works on a question.
const PATIENCE: Duration = Duration::from_secs(2);
/// The property of a collection that is changed and looked at.
pub const PROPERTY: &str = "simulation";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Question {
    Propose { request: RequestId, command: Command },
    Get { key: Vec<u8> },
    Look { name: String },
    Timestamps { count: u32 },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// An encoded `Reply` of the state machine.
    Reply(Vec<u8>),
    Value(Option<Vec<u8>>),
    /// `None`: no such collection. Inside: its property.
    Collection(Option<Option<u64>>),
    Timestamp(u64),
    /// Not executed here: ask that node.
    NotLeader(Option<u64>),
    /// Not executed, and may be in a moment.
    NotNow,
    Unknown,
}

pub async fn send<T: Serialize>(stream: &mut TcpStream, message: &T) -> io::Result<()> {
    let bytes = codec::encode(message)?;
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), bytes.as_slice()].concat()).await
}

pub async fn receive<T: DeserializeOwned>(stream: &mut TcpStream) -> io::Result<T> {
    let mut bytes = vec![0; stream.read_u32().await? as usize];
    stream.read_exact(&mut bytes).await?;
    codec::decode(&bytes)
}

/// One node's side.
pub struct Door {
    pub replica: Arc<dyn Replica>,
    pub proposer: Arc<Proposer>,
    pub oracle: Arc<Oracle>,
}

impl Door {
    /// Answers on one connection until it breaks.
    pub async fn serve(self: Arc<Self>, mut stream: TcpStream) {
        while let Ok(question) = receive(&mut stream).await {
            let answer = self.answer(question).await;
            if send(&mut stream, &answer).await.is_err() {
                return;
            }
        }
    }

    async fn answer(&self, question: Question) -> Answer {
        // Of the simulated clock: a moment that the process' own clock has not reached.
        let deadline = (Instant::now() + PATIENCE).into_std();
        match question {
            Question::Propose { request, command } => {
                let (principal, source) = (String::new(), "simulation".to_owned());
                let call = Call { request, principal, source, deadline };
                self.replied(self.proposer.execute(&call, command).await)
            }
            Question::Timestamps { count } => match self.oracle.allocate(count, deadline).await {
                Ok(first) => Answer::Timestamp(first),
                Err(_) => self.not_leader(),
            },
            Question::Get { key } => {
                self.read(deadline, |view| {
                    let range = keyspace::range(view.as_ref(), &RangeRequest { key, ..RangeRequest::default() });
                    range.ok().map(|found| Answer::Value(found.kvs.into_iter().next().map(|row| row.value)))
                })
                .await
            }
            Question::Look { name } => {
                self.read(deadline, |view| {
                    let found = View::new(view.as_ref()).collection(DEFAULT_DATABASE_ID, &name).ok()?;
                    let property = |row: roost::pb::store::Collection| {
                        let property = row.properties.into_iter().find(|property| property.key == PROPERTY);
                        property.and_then(|property| property.value.parse().ok())
                    };
                    Some(Answer::Collection(found.map(property)))
                })
                .await
            }
        }
    }

    /// A linearizable read of one view.
    async fn read(
        &self,
        deadline: std::time::Instant,
        with: impl FnOnce(Box<dyn roost_raft::kv::Read + '_>) -> Option<Answer> + Send,
    ) -> Answer {
        if self.replica.read_barrier(deadline).await.is_err() {
            return Answer::Unknown;
        }
        self.replica.view().ok().and_then(with).unwrap_or(Answer::Unknown)
    }

    fn replied(&self, reply: Result<Vec<u8>, Failure>) -> Answer {
        match reply {
            Ok(reply) => Answer::Reply(reply),
            Err(Failure::Again(replica::Error::NotLeader)) => self.not_leader(),
            // Refused before the log.
            Err(Failure::Rejected(_)) => Answer::NotNow,
            Err(Failure::Again(_) | Failure::Decided(_)) => Answer::Unknown,
        }
    }

    fn not_leader(&self) -> Answer {
        Answer::NotLeader(self.replica.leadership().borrow().leader)
    }
}
