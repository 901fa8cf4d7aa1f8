//! `LogTail` and `StateHash`: what was committed, and what it led to.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::sleep;
use tonic::Status;

use super::{Error, Node};
use crate::limits;
use crate::pb::admin::{HashPoint, LogEntry, LogTailRequest, NodeStatus, StateHashRequest, StateHashResponse};

type Entries = mpsc::Sender<Result<LogEntry, Status>>;

/// Starts to stream entries; ends at the last committed one, or with the caller when it follows.
pub fn tail(
    node: Arc<dyn Node>,
    request: LogTailRequest,
    permit: OwnedSemaphorePermit,
) -> Result<mpsc::Receiver<Result<LogEntry, Status>>, Error> {
    let from = start(&node.status()?, &request)?;
    let (entries, received) = mpsc::channel(limits::LOG_TAIL_BATCH);
    tokio::spawn(async move {
        let _permit = permit;
        if let Err(error) = pump(node.as_ref(), from, request.follow, &entries).await {
            // A caller that is gone needs no reason.
            let _ = entries.send(Err(error.into())).await;
        }
    });
    Ok(received)
}

fn start(status: &NodeStatus, request: &LogTailRequest) -> Result<u64, Error> {
    let first = status.first_log_index;
    match request.from_index {
        Some(from) if from < first && from > 0 => {
            Err(Error::NotFound(format!("the log begins at {first}; what came before is in the snapshot only")))
        }
        Some(from) => Ok(from.max(first)),
        None => Ok((status.committed_index + 1).saturating_sub(u64::from(request.last)).max(first)),
    }
}

async fn pump(node: &dyn Node, mut from: u64, follow: bool, entries: &Entries) -> Result<(), Error> {
    // Without `follow` the tail ends where the log ended at the call, also when more is committed meanwhile.
    let end = if follow { u64::MAX } else { node.status()?.committed_index };
    while from <= end {
        let batch = node.entries(from, limits::LOG_TAIL_BATCH).await?;
        let exhausted = batch.is_empty();
        for entry in batch.into_iter().take_while(|entry| entry.index <= end) {
            from = entry.index + 1;
            if entries.send(Ok(entry)).await.is_err() {
                return Ok(());
            }
        }
        if exhausted && !follow {
            return Ok(());
        }
        if exhausted {
            tokio::select! {
                () = sleep(limits::LOG_TAIL_POLL) => {}
                () = entries.closed() => return Ok(()),
            }
            if from < node.status()?.first_log_index {
                return Err(Error::NotFound(format!("the log was shortened past {from}; call again")));
            }
        }
    }
    Ok(())
}

/// The state hash once `min_index` is applied.
pub async fn state_hash(
    node: &dyn Node,
    request: StateHashRequest,
    deadline: Instant,
) -> Result<StateHashResponse, Error> {
    loop {
        let status = node.status()?;
        if status.state_hash_index >= request.min_index {
            let now = HashPoint { index: status.state_hash_index, hash: status.state_hash };
            return Ok(StateHashResponse { node_id: status.node_id, now: Some(now), recent: node.recent_hashes() });
        }
        if Instant::now() >= deadline {
            let (at, wanted) = (status.state_hash_index, request.min_index);
            return Err(Error::Lagging(format!("node {} has applied {at}, not yet {wanted}", status.node_id)));
        }
        sleep(limits::ADMIN_POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_starts_where_it_was_asked_to_or_as_early_as_it_can() {
        let status = NodeStatus { first_log_index: 11, committed_index: 30, ..Default::default() };
        let from = |from_index, last| start(&status, &LogTailRequest { from_index, last, follow: false });
        assert_eq!(from(None, 5), Ok(26));
        assert_eq!(from(None, 100), Ok(11));
        assert_eq!(from(None, 0), Ok(31));
        assert_eq!(from(Some(0), 0), Ok(11));
        assert_eq!(from(Some(12), 0), Ok(12));
        assert!(matches!(from(Some(10), 0), Err(Error::NotFound(_))));
    }
}
