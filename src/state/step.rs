//! One command in execution: the transaction it writes to, the replicated time, and the events it yields.

use std::io;

use roost_raft::kv::{Mark, Txn};

use super::event::Event;
use super::reply::Reply;
use crate::error::Rejection;

/// What a command works with.
pub struct Step<'s, 't> {
    pub txn: &'s mut Txn<'t>,
    /// The replicated clock. Commands know no other.
    pub now_ms: u64,
    /// Where the log has the entry. Commands that share one share it.
    pub index: u64,
    /// Which version of apply all members agreed on: a command whose meaning changed looks here.
    pub apply_version: u32,
    pub events: &'s mut Vec<Event>,
}

/// Why a command did not succeed.
#[derive(Debug)]
pub enum Refusal {
    /// An answer: nothing changed.
    Rejected(Rejection),
    /// The tables cannot be trusted: the node stops.
    Storage(io::Error),
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Refusal::Rejected(rejection)
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Refusal::Storage(error)
    }
}

pub type Outcome = Result<Reply, Refusal>;

impl Step<'_, '_> {
    /// Turns an outcome into the reply, undoing what a rejected command wrote since `mark`.
    pub fn settle(&mut self, mark: Mark, outcome: Outcome) -> io::Result<Reply> {
        match outcome {
            Ok(reply) => Ok(reply),
            Err(Refusal::Rejected(rejection)) => {
                self.txn.rollback(mark);
                Ok(Reply::Rejected(rejection))
            }
            Err(Refusal::Storage(error)) => Err(error),
        }
    }
}
