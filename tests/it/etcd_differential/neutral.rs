//! Answers without what may differ: ids of cluster and member, raft terms, and the revision at which a sequence began.

use std::collections::BTreeMap;

use roost::pb::etcd::api::compare::TargetUnion;
use roost::pb::etcd::api::request_op::Request;
use roost::pb::etcd::api::response_op::Response;
use roost::pb::etcd::api::{
    DeleteRangeResponse, PutResponse, RangeRequest, RangeResponse, ResponseHeader, TxnRequest, TxnResponse,
};
use roost::pb::etcd::kv::{Event, KeyValue};

use super::ask::{BASE, BASE_REACH, CHOSEN};

/// How one side counts: the revision at which the sequence began, and the leases whose ids it chose.
#[derive(Debug, Default)]
pub struct Origin {
    pub revision: i64,
    chosen: BTreeMap<i64, i64>,
}

impl Origin {
    pub fn at(revision: i64) -> Self {
        Origin { revision, chosen: BTreeMap::new() }
    }

    /// Remembers an id that the server chose; returns what it is called in the sequence.
    pub fn name_lease(&mut self, id: i64) -> i64 {
        let name = CHOSEN + i64::try_from(self.chosen.len()).unwrap();
        self.chosen.insert(name, id);
        name
    }

    /// Whether the server chose a lease's id since the sequence began.
    pub fn has_chosen(&self) -> bool {
        !self.chosen.is_empty()
    }

    /// From the sequence's counting to the server's.
    pub fn revision_out(&self, revision: i64) -> i64 {
        let since = revision.saturating_sub(BASE);
        if since.unsigned_abs() < BASE_REACH.unsigned_abs() { self.revision + since } else { revision }
    }

    pub fn lease_out(&self, id: i64) -> i64 {
        self.chosen.get(&id).copied().unwrap_or(id)
    }

    pub fn range_out(&self, range: &mut RangeRequest) {
        for revision in [
            &mut range.revision,
            &mut range.min_mod_revision,
            &mut range.max_mod_revision,
            &mut range.min_create_revision,
            &mut range.max_create_revision,
        ] {
            *revision = self.revision_out(*revision);
        }
    }

    pub fn txn_out(&self, txn: &mut TxnRequest) {
        for compare in &mut txn.compare {
            match &mut compare.target_union {
                Some(TargetUnion::CreateRevision(revision) | TargetUnion::ModRevision(revision)) => {
                    *revision = self.revision_out(*revision);
                }
                Some(TargetUnion::Lease(lease)) => *lease = self.lease_out(*lease),
                _ => {}
            }
        }
        for op in txn.success.iter_mut().chain(&mut txn.failure) {
            match &mut op.request {
                Some(Request::RequestRange(range)) => self.range_out(range),
                Some(Request::RequestPut(put)) => put.lease = self.lease_out(put.lease),
                Some(Request::RequestTxn(txn)) => self.txn_out(txn),
                Some(Request::RequestDeleteRange(_)) | None => {}
            }
        }
    }

    /// From the server's counting to the sequence's; 0 means none.
    pub fn revision_in(&self, revision: &mut i64) {
        if *revision != 0 {
            *revision = *revision - self.revision + BASE;
        }
    }

    pub fn lease_in(&self, id: &mut i64) {
        if let Some((name, _)) = self.chosen.iter().find(|(_, chosen)| **chosen == *id) {
            *id = *name;
        }
    }

    pub fn header_in(&self, header: &mut Option<ResponseHeader>) {
        if let Some(header) = header {
            (header.cluster_id, header.member_id, header.raft_term) = (0, 0, 0);
            self.revision_in(&mut header.revision);
        }
    }

    pub fn key_value_in(&self, kv: &mut KeyValue) {
        self.revision_in(&mut kv.create_revision);
        self.revision_in(&mut kv.mod_revision);
        self.lease_in(&mut kv.lease);
    }

    pub fn event_in(&self, event: &mut Event) {
        event.kv.iter_mut().chain(&mut event.prev_kv).for_each(|kv| self.key_value_in(kv));
    }

    pub fn range_in(&self, answer: &mut RangeResponse) {
        self.header_in(&mut answer.header);
        answer.kvs.iter_mut().for_each(|kv| self.key_value_in(kv));
    }

    pub fn put_in(&self, answer: &mut PutResponse) {
        self.header_in(&mut answer.header);
        answer.prev_kv.iter_mut().for_each(|kv| self.key_value_in(kv));
    }

    pub fn delete_in(&self, answer: &mut DeleteRangeResponse) {
        self.header_in(&mut answer.header);
        answer.prev_kvs.iter_mut().for_each(|kv| self.key_value_in(kv));
    }

    pub fn txn_in(&self, answer: &mut TxnResponse) {
        self.header_in(&mut answer.header);
        for response in &mut answer.responses {
            match &mut response.response {
                Some(Response::ResponseRange(range)) => self.range_in(range),
                Some(Response::ResponsePut(put)) => self.put_in(put),
                Some(Response::ResponseDeleteRange(delete)) => self.delete_in(delete),
                Some(Response::ResponseTxn(txn)) => self.txn_in(txn),
                None => {}
            }
        }
    }
}

/// Makes lists of bytes readable: `[97, 0]` becomes `b"a\0"`.
pub fn readable(debug: &str) -> String {
    let mut text = String::new();
    let mut rest = debug;
    while let Some(open) = rest.find('[') {
        text.push_str(&rest[..open]);
        rest = &rest[open..];
        let bytes = rest.find(']').and_then(|close| {
            let inner = rest[1..close].trim().trim_end_matches(',');
            let numbers = inner.split(',').map(|number| number.trim().parse::<u8>());
            Some((close, numbers.collect::<Result<Vec<u8>, _>>().ok()?))
        });
        match bytes {
            Some((close, bytes)) => {
                let long = bytes.len() > 100;
                let shown = if long { format!("{} bytes", bytes.len()) } else { bytes.escape_ascii().to_string() };
                text.push_str(&format!("b\"{shown}\""));
                rest = &rest[close + 1..];
            }
            None => {
                text.push('[');
                rest = &rest[1..];
            }
        }
    }
    text + rest
}

#[test]
fn bytes_are_printed_as_text() {
    assert_eq!(
        readable("P { key: [97, 0], kvs: [], filters: [K { v: [255] }] }"),
        r#"P { key: b"a\x00", kvs: [], filters: [K { v: b"\xff" }] }"#
    );
}
