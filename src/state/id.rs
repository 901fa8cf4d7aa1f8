//! Ids of everything: one counter, taken inside apply. An id is never given twice and grows with the log.

use std::fmt;
use std::io;

use roost_raft::kv::{Read, Txn};
use roost_raft::mutation;
use serde::{Deserialize, Serialize};

use super::limits::{FIRST_ID, MAX_IDS};
use super::reply::Reply;
use super::step::{Outcome, Refusal, Step};
use super::tables::ID_COUNTER;
use crate::error::Rejection;
use crate::pb::store;

/// Takes `count` consecutive ids for whoever asked: row ids, segments, tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocId {
    pub count: u32,
}

impl AllocId {
    pub(super) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        if self.count == 0 || self.count > MAX_IDS {
            let detail = format!("the count of ids must be in 1..={MAX_IDS}, got {}", self.count);
            return Err(Rejection::invalid(detail).into());
        }
        let first = take(step.txn, self.count)?;
        if mutation::active("reuse-ids") {
            ID_COUNTER.put(step.txn, &(), &store::IdCounter { next: first });
        }
        Ok(Reply::IdsAllocated { first, count: self.count })
    }
}

impl fmt::Display for AllocId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "alloc ids count={}", self.count)
    }
}

/// The first of `count` new ids.
pub(super) fn take(txn: &mut Txn<'_>, count: u32) -> Result<i64, Refusal> {
    let first = next(txn)?;
    let next = first
        .checked_add(i64::from(count))
        .ok_or_else(|| Refusal::from(Rejection::Internal { detail: "the id space is used up".to_owned() }))?;
    ID_COUNTER.put(txn, &(), &store::IdCounter { next });
    Ok(first)
}

/// The id that comes next.
pub(super) fn next(read: &dyn Read) -> io::Result<i64> {
    Ok(ID_COUNTER.get(read, &())?.map_or(FIRST_ID, |row| row.next))
}
