//! Requests of the key space from the validated message to the complete answer, for everything that serves it: the KV
//! service, and Lock and Election, which are made of its operations.

use std::sync::Arc;

use prost::Message;
use roost_raft::kv::Read;
use tokio::sync::Semaphore;
use tonic::Status;

use super::Headers;
use super::error::{self, REQUEST_TOO_LARGE, TIMEOUT, refused, unread};
use super::validate;
use crate::call::Call;
use crate::limits;
use crate::pb::etcd::api;
use crate::pb::etcd::api::request_op::Request as Op;
use crate::relay::Relay;
use crate::replica::Replica;
use crate::state::keyspace::{self, KeyspaceCommand, KeyspaceReply, QueryError};
use crate::state::{Command, Reply};

/// The key space as one node serves it. Cheap to clone.
#[derive(Clone)]
pub struct Keyspace {
    replica: Arc<dyn Replica>,
    relay: Arc<Relay>,
    headers: Headers,
    scans: Arc<Semaphore>,
    hashes: Arc<Semaphore>,
}

/// What a read touches, and so where it runs and with how many others at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// A bounded number of rows: where it was asked for.
    Few,
    /// As many keys as there are: on a thread that may block, few at once.
    Many,
    /// All revisions of all keys, seconds of work: in a row of its own, so that it keeps no range waiting.
    History,
}

impl Reach {
    fn of_many(many: bool) -> Self {
        if many { Reach::Many } else { Reach::Few }
    }
}

impl Keyspace {
    pub fn new(replica: Arc<dyn Replica>, relay: Arc<Relay>, headers: Headers) -> Self {
        let turns = |most| Arc::new(Semaphore::new(most));
        let (scans, hashes) = (turns(limits::ETCD_SCANS_MAX), turns(limits::ETCD_HASHES_MAX));
        Keyspace { replica, relay, headers, scans, hashes }
    }

    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    pub async fn range(&self, call: &Call, request: api::RangeRequest) -> Result<api::RangeResponse, Status> {
        validate::range(&request)?;
        let (barrier, reach) = (!request.serializable, Reach::of_many(!request.range_end.is_empty()));
        let mut response = self.read(call, barrier, reach, move |read| keyspace::range(read, &request)).await?;
        self.complete(&mut response.header);
        Ok(response)
    }

    pub async fn put(&self, call: &Call, request: api::PutRequest) -> Result<api::PutResponse, Status> {
        validate::put(&request)?;
        let mut response: api::PutResponse = self.write(call, KeyspaceCommand::Put, &request).await?;
        self.complete(&mut response.header);
        Ok(response)
    }

    pub async fn delete_range(
        &self,
        call: &Call,
        request: api::DeleteRangeRequest,
    ) -> Result<api::DeleteRangeResponse, Status> {
        validate::delete_range(&request)?;
        let mut response: api::DeleteRangeResponse = self.write(call, KeyspaceCommand::DeleteRange, &request).await?;
        self.complete(&mut response.header);
        Ok(response)
    }

    /// A transaction that can change nothing is read here and never reaches the log.
    pub async fn txn(&self, call: &Call, request: api::TxnRequest) -> Result<api::TxnResponse, Status> {
        validate::txn(&request)?;
        let mut response: api::TxnResponse = match keyspace::reads_only(&request) {
            true => {
                let (barrier, reach) = (!all_serializable(&request), Reach::of_many(reads_many(&request)));
                self.read(call, barrier, reach, move |read| keyspace::read_txn(read, &request)).await?
            }
            false => self.write(call, KeyspaceCommand::Txn, &request).await?,
        };
        self.complete(&mut response.header);
        Ok(response)
    }

    /// A physical compaction is answered once the history's rows are gone, not only out of reach.
    pub async fn compact(
        &self,
        call: &Call,
        request: api::CompactionRequest,
    ) -> Result<api::CompactionResponse, Status> {
        let command = KeyspaceCommand::Compact { revision: request.revision };
        let KeyspaceReply::Compacted { revision } = self.submit(call, command).await? else {
            return Err(confused());
        };
        if request.physical {
            while let KeyspaceReply::HistoryReclaimed { more: true } =
                self.submit(call, KeyspaceCommand::ReclaimHistory).await?
            {}
        }
        Ok(api::CompactionResponse { header: Some(self.headers.stamp(revision)) })
    }

    /// The header of an answer that is not read from the key space, with its revision as this node knows it.
    pub fn header(&self) -> Result<api::ResponseHeader, Status> {
        let view = self.replica.view().map_err(|failed| unread(failed.into()))?;
        let revisions = keyspace::revisions(view.as_ref()).map_err(|failed| unread(failed.into()))?;
        Ok(self.headers.stamp(revisions.current))
    }

    /// Reads one view, after everything that was acknowledged before if `barrier`. What may touch many keys is kept off
    /// the threads that serve calls.
    pub async fn read<T, Q>(&self, call: &Call, barrier: bool, reach: Reach, query: Q) -> Result<T, Status>
    where
        T: Send + 'static,
        Q: FnOnce(&dyn Read) -> Result<T, QueryError> + Send + 'static,
    {
        if barrier {
            let done = self.replica.read_barrier(call.deadline).await;
            done.map_err(|failed| error::status(failed.into()))?;
        }
        let turns = match reach {
            Reach::Few => None,
            Reach::Many => Some(&self.scans),
            Reach::History => Some(&self.hashes),
        };
        let Some(turns) = turns else {
            let view = self.replica.view().map_err(|failed| unread(failed.into()))?;
            return query(view.as_ref()).map_err(unread);
        };
        let turn = tokio::time::timeout_at(call.deadline.into(), turns.clone().acquire_owned()).await;
        // The semaphore is never closed.
        let Ok(Ok(turn)) = turn else { return Err(TIMEOUT.status()) };
        let replica = self.replica.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            query(replica.view()?.as_ref())
        });
        // Cut off by the end of the process, or a fault of ours that was reported where it happened.
        let read = reading.await.map_err(|cut_off| Status::internal(format!("etcdserver: {cut_off}")))?;
        read.map_err(unread)
    }

    async fn write<M, R>(&self, call: &Call, command: fn(Vec<u8>) -> KeyspaceCommand, request: &M) -> Result<R, Status>
    where
        M: Message,
        R: Message + Default,
    {
        if request.encoded_len() + limits::ETCD_REQUEST_ENVELOPE_BYTES > limits::ETCD_REQUEST_BYTES_MAX {
            return Err(REQUEST_TOO_LARGE.status());
        }
        match self.submit(call, command(request.encode_to_vec())).await? {
            KeyspaceReply::Done(reply) => R::decode(reply.as_slice()).map_err(|_| confused()),
            // Executed, and the answer is lost: to the caller that is no different from one that came too late.
            KeyspaceReply::DoneBefore => Err(TIMEOUT.status()),
            _ => Err(confused()),
        }
    }

    /// What the log does with `command`, short of refusing it.
    pub(super) async fn submit(&self, call: &Call, command: KeyspaceCommand) -> Result<KeyspaceReply, Status> {
        match self.decide(call, command).await? {
            KeyspaceReply::Refused(why) => Err(refused(why)),
            reply => Ok(reply),
        }
    }

    /// What the log says to `command`, refusals included.
    pub(super) async fn decide(&self, call: &Call, command: KeyspaceCommand) -> Result<KeyspaceReply, Status> {
        match self.relay.submit(call, Command::Keyspace(command)).await.map_err(error::status)? {
            Reply::Keyspace(reply) => Ok(reply),
            _ => Err(confused()),
        }
    }

    /// The state machine knows the revision; the rest of the header belongs to this node.
    fn complete(&self, header: &mut Option<api::ResponseHeader>) {
        *header = Some(self.headers.stamp(header.as_ref().map_or(0, |known| known.revision)));
    }
}

/// The log answered with something that does not belong to the command.
pub(super) fn confused() -> Status {
    Status::internal("etcdserver: the log gave an answer that does not fit the request")
}

/// Whether the caller asks for nothing that needs the newest state. One without operations only compares.
fn all_serializable(request: &api::TxnRequest) -> bool {
    let mut ops = request.success.iter().chain(&request.failure).peekable();
    ops.peek().is_some() && ops.all(|op| matches!(&op.request, Some(Op::RequestRange(range)) if range.serializable))
}

/// Whether more than a bounded number of keys may be read.
fn reads_many(request: &api::TxnRequest) -> bool {
    let many = |op: &api::RequestOp| match &op.request {
        Some(Op::RequestRange(range)) => !range.range_end.is_empty(),
        Some(Op::RequestTxn(nested)) => reads_many(nested),
        _ => false,
    };
    request.compare.iter().any(|compare| !compare.range_end.is_empty())
        || request.success.iter().chain(&request.failure).any(many)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use futures::future::join_all;

    use super::*;
    use crate::testing;

    #[tokio::test(flavor = "multi_thread")]
    async fn hashes_keep_no_range_waiting_and_scans_no_hash() {
        let (keyspace, _) = testing::keyspace();
        let all = api::RangeRequest { key: b"a".into(), range_end: b"b".into(), ..Default::default() };
        for (slow, quick) in [(Reach::History, Reach::Many), (Reach::Many, Reach::History)] {
            let (ends, end) = mpsc::channel::<()>();
            let end = Arc::new(parking_lot::Mutex::new(end));
            let (began, mut begun) = tokio::sync::mpsc::unbounded_channel();
            let busy: Vec<_> = (0..limits::ETCD_SCANS_MAX + 1)
                .map(|_| {
                    let (keyspace, end, began) = (keyspace.clone(), end.clone(), began.clone());
                    let wait = move |_: &dyn Read| {
                        let _ = began.send(());
                        let _ = end.lock().recv();
                        Ok(())
                    };
                    tokio::spawn(async move { keyspace.read(&testing::call(), false, slow, wait).await })
                })
                .collect();
            let at_once = if slow == Reach::History { limits::ETCD_HASHES_MAX } else { limits::ETCD_SCANS_MAX };
            for _ in 0..at_once {
                begun.recv().await.unwrap();
            }
            let within = Duration::from_secs(10);
            let call = testing::call();
            let other = keyspace.read(&call, false, quick, |read| keyspace::hash(read, 0));
            tokio::time::timeout(within, other).await.expect("it does not wait for the others").unwrap();
            if slow == Reach::History {
                tokio::time::timeout(within, keyspace.range(&call, all.clone())).await.unwrap().unwrap();
            }
            assert!(begun.try_recv().is_err(), "{slow:?}: no more than {at_once} at once");
            drop(ends);
            assert!(join_all(busy).await.into_iter().all(|done| done.unwrap().is_ok()));
        }
    }
}
