//! Requests and answers of the key space in few words.

use prost::Message;

use crate::pb::etcd::{api, kv};
use crate::state::keyspace::*;
use crate::state::tests::support::*;
use crate::state::*;

/// What a command answers or why it is refused, with its events.
pub type Answered = (Result<KeyspaceReply, KeyspaceError>, Vec<Event>);

impl World {
    pub fn keyspace(&mut self, command: KeyspaceCommand) -> Answered {
        let (reply, events) = self.apply(&entry(START_MS, None, Command::Keyspace(command)));
        match Reply::decode(&reply).unwrap() {
            Reply::Keyspace(KeyspaceReply::Refused(error)) => (Err(error), events),
            Reply::Keyspace(reply) => (Ok(reply), events),
            reply => panic!("{reply:?}"),
        }
    }

    pub fn put(&mut self, key: &str, value: &str) -> i64 {
        let request = api::PutRequest { key: key.into(), value: value.into(), ..Default::default() };
        self.put_request(request).unwrap().header.unwrap().revision
    }

    pub fn put_request(&mut self, request: api::PutRequest) -> Result<api::PutResponse, KeyspaceError> {
        self.keyspace(put_command(&request)).0.map(done)
    }

    pub fn delete(&mut self, key: &str, range_end: &str) -> api::DeleteRangeResponse {
        let request = api::DeleteRangeRequest { key: key.into(), range_end: range_end.into(), prev_kv: true };
        done(self.keyspace(delete_command(&request)).0.unwrap())
    }

    pub fn txn(&mut self, request: &api::TxnRequest) -> Result<api::TxnResponse, KeyspaceError> {
        self.keyspace(txn_command(request)).0.map(done)
    }

    pub fn range(&self, request: &api::RangeRequest) -> Result<api::RangeResponse, KeyspaceError> {
        range(&self.tables, request).map_err(refusal)
    }
}

pub fn refusal(error: QueryError) -> KeyspaceError {
    match error {
        QueryError::Refused(error) => error,
        QueryError::Storage(error) => panic!("{error}"),
    }
}

pub fn done<T: Message + Default>(reply: KeyspaceReply) -> T {
    match reply {
        KeyspaceReply::Done(bytes) => T::decode(bytes.as_slice()).unwrap(),
        reply => panic!("{reply:?}"),
    }
}

pub fn all() -> api::RangeRequest {
    api::RangeRequest { key: b"\0".to_vec(), range_end: b"\0".to_vec(), ..Default::default() }
}

pub fn show(kvs: &[kv::KeyValue]) -> String {
    let one = |kv: &kv::KeyValue| {
        let (key, value) = (String::from_utf8_lossy(&kv.key), String::from_utf8_lossy(&kv.value));
        format!("{key}={value}@{}-{}v{}", kv.create_revision, kv.mod_revision, kv.version)
    };
    kvs.iter().map(one).collect::<Vec<_>>().join(" ")
}

pub fn put_op(key: &str, value: &str) -> api::RequestOp {
    let put = api::PutRequest { key: key.into(), value: value.into(), prev_kv: true, ..Default::default() };
    put_of(put)
}

pub fn range_op(range: api::RangeRequest) -> api::RequestOp {
    api::RequestOp { request: Some(api::request_op::Request::RequestRange(range)) }
}

pub fn delete_op(key: &str, range_end: &str) -> api::RequestOp {
    let delete = api::DeleteRangeRequest { key: key.into(), range_end: range_end.into(), prev_kv: false };
    delete_of(delete)
}

pub fn txn_op(txn: api::TxnRequest) -> api::RequestOp {
    api::RequestOp { request: Some(api::request_op::Request::RequestTxn(txn)) }
}

pub fn put_of(put: api::PutRequest) -> api::RequestOp {
    api::RequestOp { request: Some(api::request_op::Request::RequestPut(put)) }
}

pub fn delete_of(delete: api::DeleteRangeRequest) -> api::RequestOp {
    api::RequestOp { request: Some(api::request_op::Request::RequestDeleteRange(delete)) }
}

pub fn put_command(request: &api::PutRequest) -> KeyspaceCommand {
    KeyspaceCommand::Put(request.encode_to_vec())
}

pub fn delete_command(request: &api::DeleteRangeRequest) -> KeyspaceCommand {
    KeyspaceCommand::DeleteRange(request.encode_to_vec())
}

pub fn txn_command(request: &api::TxnRequest) -> KeyspaceCommand {
    KeyspaceCommand::Txn(request.encode_to_vec())
}
