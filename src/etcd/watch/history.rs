//! Reads of what happened before, in bounded pieces, off the async threads.

use std::io;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::selector::Selector;
use crate::replica::Replica;
use crate::state::keyspace::{self, KeysChanged, KeyspaceError, QueryError};

/// A piece of history.
pub struct Chunk {
    pub changes: Vec<Arc<KeysChanged>>,
    /// The revision to go on from; everything before it is in this piece or an earlier one.
    pub next: i64,
    /// The newest revision when it was read: the piece is the last one if `next` is after it.
    pub current: i64,
}

/// Why there is no piece.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// History begins at this revision; -1 if the one asked for is before any.
    #[error("history begins at revision {0}")]
    Compacted(i64),
    #[error(transparent)]
    Failed(#[from] io::Error),
}

/// What is to be read.
pub struct Wanted {
    pub selector: Selector,
    pub from: i64,
    pub with_prev: bool,
    pub max_bytes: usize,
}

pub async fn read(replica: &Arc<dyn Replica>, reads: &Arc<Semaphore>, wanted: Wanted) -> Result<Chunk, Unread> {
    // Never closed.
    let permit = reads.clone().acquire_owned().await.map_err(io::Error::other)?;
    let replica = replica.clone();
    let work = move || {
        let _permit = permit;
        read_now(replica.as_ref(), &wanted)
    };
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

fn read_now(replica: &dyn Replica, wanted: &Wanted) -> Result<Chunk, Unread> {
    let Wanted { selector, from, with_prev, max_bytes } = wanted;
    let view = replica.view()?;
    let revisions = keyspace::revisions(view.as_ref())?;
    // etcd's word for "never compacted".
    let begin = if revisions.compacted == 0 { -1 } else { revisions.compacted };
    if *from < begin {
        return Err(Unread::Compacted(begin));
    }
    let (from, current) = ((*from).max(1), revisions.current);
    let mut changes = Vec::new();
    if from > current {
        return Ok(Chunk { changes, next: from, current });
    }
    let mut keep = |revision, events| changes.push(Arc::new(KeysChanged { revision, events: Some(events) }));
    let (key, end) = (selector.key(), selector.range_end());
    match keyspace::changes(view.as_ref(), key, end, from, *with_prev, *max_bytes, &mut keep) {
        Ok(next) => Ok(Chunk { changes, next, current }),
        Err(QueryError::Refused(KeyspaceError::Compacted)) => Err(Unread::Compacted(begin)),
        Err(QueryError::Refused(refused)) => Err(Unread::Failed(io::Error::other(refused))),
        Err(QueryError::Storage(error)) => Err(Unread::Failed(error)),
    }
}
