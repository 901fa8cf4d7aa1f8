//! The key space told the slow and obvious way: every revision is a whole map.

use std::collections::{BTreeMap, BTreeSet};

use crate::pb::etcd::api::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::pb::etcd::api::range_request::{SortOrder, SortTarget};
use crate::pb::etcd::api::request_op::Request;
use crate::pb::etcd::api::response_op::Response;
use crate::pb::etcd::api::*;
use crate::pb::etcd::kv::{Event, KeyValue};
use crate::state::keyspace::KeyspaceError;

pub type Keys = BTreeMap<Vec<u8>, KeyValue>;
pub type Answer<T> = Result<T, KeyspaceError>;

#[derive(Clone)]
pub struct Model {
    /// By revision; the first one is of revision 0 and never read.
    pub at: Vec<Keys>,
    /// By revision.
    pub changes: Vec<Vec<Event>>,
    pub compacted: i64,
    /// Id, then generation, TTL, and what is left of it.
    pub leases: BTreeMap<i64, (u64, i64, i64)>,
    pub generation: u64,
}

impl Default for Model {
    fn default() -> Self {
        let (at, changes) = (vec![Keys::new(); 2], vec![Vec::new(); 2]);
        Model { at, changes, compacted: 0, leases: BTreeMap::new(), generation: 0 }
    }
}

/// A transaction in execution.
struct Draft {
    now: Keys,
    events: Vec<Event>,
}

pub fn within(key: &[u8], from: &[u8], end: &[u8]) -> bool {
    match end {
        [] => key == from,
        [0] => key >= from,
        end => key >= from && key < end,
    }
}

fn head(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader { revision, ..Default::default() })
}

impl Model {
    pub fn current(&self) -> i64 {
        self.at.len() as i64 - 1
    }

    pub fn now(&self) -> &Keys {
        self.at.last().unwrap()
    }

    fn draft(&self) -> Draft {
        Draft { now: self.now().clone(), events: Vec::new() }
    }

    /// What an event shows as the previous value: what there was before its revision.
    fn before(&self, old: &Option<KeyValue>) -> Option<KeyValue> {
        let old = old.as_ref()?;
        if old.mod_revision > self.current() { self.now().get(&old.key).cloned() } else { Some(old.clone()) }
    }

    fn revision(&self, draft: &Draft) -> i64 {
        self.current() + i64::from(!draft.events.is_empty())
    }

    fn commit(&mut self, draft: Draft) {
        if !draft.events.is_empty() {
            self.at.push(draft.now);
            self.changes.push(draft.events);
        }
    }

    pub fn range(&self, request: &RangeRequest) -> Answer<RangeResponse> {
        self.range_in(&self.draft(), request)
    }

    fn range_in(&self, draft: &Draft, request: &RangeRequest) -> Answer<RangeResponse> {
        let current = self.revision(draft);
        let keys = match request.revision {
            revision if revision > current => return Err(KeyspaceError::FutureRevision),
            revision if revision <= 0 || revision == current => &draft.now,
            revision if revision < self.compacted => return Err(KeyspaceError::Compacted),
            revision => &self.at[revision as usize],
        };
        let mut kvs: Vec<KeyValue> = keys.values().cloned().collect();
        kvs.retain(|kv| within(&kv.key, &request.key, &request.range_end));
        let count = kvs.len() as i64;
        if request.count_only {
            return Ok(RangeResponse { header: head(current), kvs: vec![], more: false, count });
        }
        let limit = if request.limit > 0 { request.limit as usize } else { usize::MAX };
        let filters = (request.min_mod_revision, request.max_mod_revision);
        let more_filters = (request.min_create_revision, request.max_create_revision);
        if request.sort_order() == SortOrder::None && (filters, more_filters) == ((0, 0), (0, 0)) {
            kvs.truncate(limit.saturating_add(1));
        }
        let inside =
            |revision: i64, (min, max): (i64, i64)| (min == 0 || revision >= min) && (max == 0 || revision <= max);
        kvs.retain(|kv| inside(kv.mod_revision, filters) && inside(kv.create_revision, more_filters));
        let number = |kv: &KeyValue| match request.sort_target() {
            SortTarget::Version => kv.version,
            SortTarget::Create => kv.create_revision,
            SortTarget::Mod => kv.mod_revision,
            SortTarget::Key | SortTarget::Value => 0,
        };
        let text = |kv: &KeyValue| match request.sort_target() {
            SortTarget::Key => kv.key.clone(),
            SortTarget::Value => kv.value.clone(),
            _ => Vec::new(),
        };
        match request.sort_order() {
            SortOrder::Descend => kvs.sort_by_key(|kv| std::cmp::Reverse((number(kv), text(kv)))),
            _ => kvs.sort_by_key(|kv| (number(kv), text(kv))),
        }
        let more = kvs.len() > limit;
        kvs.truncate(limit);
        if request.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value.clear());
        }
        Ok(RangeResponse { header: head(current), kvs, more, count })
    }

    pub fn put(&mut self, request: &PutRequest) -> Answer<PutResponse> {
        let mut draft = self.draft();
        let response = self.put_in(&mut draft, request)?;
        self.commit(draft);
        Ok(response)
    }

    fn put_in(&self, draft: &mut Draft, request: &PutRequest) -> Answer<PutResponse> {
        if request.lease != 0 && !self.leases.contains_key(&request.lease) {
            return Err(KeyspaceError::LeaseNotFound);
        }
        let old = draft.now.get(&request.key).cloned();
        let (mut value, mut lease) = (request.value.clone(), request.lease);
        if request.ignore_value {
            value = old.as_ref().ok_or(KeyspaceError::KeyNotFound)?.value.clone();
        }
        if request.ignore_lease {
            lease = old.as_ref().ok_or(KeyspaceError::KeyNotFound)?.lease;
        }
        let revision = self.current() + 1;
        let kv = KeyValue {
            key: request.key.clone(),
            create_revision: old.as_ref().map_or(revision, |old| old.create_revision),
            mod_revision: revision,
            version: old.as_ref().map_or(1, |old| old.version + 1),
            value,
            lease,
        };
        draft.now.insert(request.key.clone(), kv.clone());
        draft.events.push(Event { r#type: 0, kv: Some(kv), prev_kv: self.before(&old) });
        Ok(PutResponse { header: head(revision), prev_kv: old.filter(|_| request.prev_kv) })
    }

    pub fn delete(&mut self, request: &DeleteRangeRequest) -> DeleteRangeResponse {
        let mut draft = self.draft();
        let response = self.delete_in(&mut draft, request);
        self.commit(draft);
        response
    }

    fn delete_in(&self, draft: &mut Draft, request: &DeleteRangeRequest) -> DeleteRangeResponse {
        let named: Vec<_> =
            draft.now.keys().filter(|key| within(key, &request.key, &request.range_end)).cloned().collect();
        let mut prev_kvs = Vec::new();
        for key in &named {
            let old = draft.now.remove(key);
            prev_kvs.extend(old.clone().filter(|_| request.prev_kv));
            let kv = KeyValue { key: key.clone(), mod_revision: self.current() + 1, ..Default::default() };
            draft.events.push(Event { r#type: 1, kv: Some(kv), prev_kv: self.before(&old) });
        }
        DeleteRangeResponse { header: head(self.revision(draft)), deleted: named.len() as i64, prev_kvs }
    }

    pub fn txn(&mut self, request: &TxnRequest) -> Answer<TxnResponse> {
        let before = self.now().clone();
        let mut leaves = Vec::new();
        flatten(&before, request, &mut leaves);
        for op in &leaves {
            if let Request::RequestPut(put) = op {
                if (put.ignore_value || put.ignore_lease) && !before.contains_key(&put.key) {
                    return Err(KeyspaceError::KeyNotFound);
                }
                if put.lease != 0 && !self.leases.contains_key(&put.lease) {
                    return Err(KeyspaceError::LeaseNotFound);
                }
            }
        }
        for op in &leaves {
            if let Request::RequestRange(range) = op {
                match range.revision {
                    0 => {}
                    revision if revision > self.current() => return Err(KeyspaceError::FutureRevision),
                    revision if revision < self.compacted => return Err(KeyspaceError::Compacted),
                    _ => {}
                }
            }
        }
        let mut draft = self.draft();
        let mut response = self.txn_in(&before, &mut draft, request)?;
        response.header = head(self.revision(&draft));
        self.commit(draft);
        Ok(response)
    }

    fn txn_in(&self, before: &Keys, draft: &mut Draft, request: &TxnRequest) -> Answer<TxnResponse> {
        let succeeded = request.compare.iter().all(|compare| holds(before, compare));
        let mut responses = Vec::new();
        for op in if succeeded { &request.success } else { &request.failure } {
            let response = match op.request.as_ref().unwrap() {
                Request::RequestRange(range) => Response::ResponseRange(self.range_in(draft, range)?),
                Request::RequestPut(put) => Response::ResponsePut(self.put_in(draft, put)?),
                Request::RequestDeleteRange(delete) => Response::ResponseDeleteRange(self.delete_in(draft, delete)),
                Request::RequestTxn(nested) => Response::ResponseTxn(self.txn_in(before, draft, nested)?),
            };
            responses.push(ResponseOp { response: Some(response) });
        }
        Ok(TxnResponse { header: head(0), succeeded, responses })
    }

    pub fn compact(&mut self, revision: i64) -> Answer<i64> {
        match revision {
            0 if self.compacted == 0 => {}
            revision if revision <= self.compacted => return Err(KeyspaceError::Compacted),
            revision if revision > self.current() => return Err(KeyspaceError::FutureRevision),
            revision => self.compacted = revision,
        }
        Ok(self.current())
    }

    pub fn grant(&mut self, id: i64, ttl_s: i64) -> Answer<i64> {
        if self.leases.contains_key(&id) {
            return Err(KeyspaceError::LeaseExists);
        }
        self.generation += 1;
        self.leases.insert(id, (self.generation, ttl_s, 0));
        Ok(self.current())
    }

    pub fn keys_of(&self, lease: i64) -> BTreeSet<Vec<u8>> {
        self.now().values().filter(|kv| kv.lease == lease).map(|kv| kv.key.clone()).collect()
    }

    pub fn revoke(&mut self, id: i64) -> Answer<i64> {
        self.leases.get(&id).ok_or(KeyspaceError::LeaseNotFound)?;
        let mut draft = self.draft();
        for key in self.keys_of(id) {
            self.delete_in(&mut draft, &DeleteRangeRequest { key, ..Default::default() });
        }
        self.leases.remove(&id);
        self.commit(draft);
        Ok(self.current())
    }

    /// What compaction leaves when every row that may go is gone: revision and key.
    pub fn history(&self) -> Vec<(i64, Vec<u8>)> {
        let mut left = Vec::new();
        for (revision, events) in self.changes.iter().enumerate() {
            let revision = revision as i64;
            for (place, event) in events.iter().enumerate() {
                let kv = event.kv.as_ref().unwrap();
                let later = |event: &&Event| event.kv.as_ref().unwrap().key == kv.key;
                let same = events[place + 1..].iter().find(later);
                let after =
                    self.changes[revision as usize + 1..].iter().take((self.compacted - revision).max(0) as usize);
                let overtaken = same.or_else(|| after.flatten().find(later)).is_some();
                // A deletion is never overtaken: what follows it is a new key. It goes when nobody may watch it now.
                let gone = if event.r#type == 1 { revision < self.compacted } else { overtaken };
                if revision > self.compacted || !gone {
                    left.push((revision, kv.key.clone()));
                }
            }
        }
        left
    }
}

fn flatten<'t>(before: &Keys, request: &'t TxnRequest, leaves: &mut Vec<&'t Request>) {
    let succeeded = request.compare.iter().all(|compare| holds(before, compare));
    for op in if succeeded { &request.success } else { &request.failure } {
        match op.request.as_ref().unwrap() {
            Request::RequestTxn(nested) => flatten(before, nested, leaves),
            leaf => leaves.push(leaf),
        }
    }
}

fn holds(keys: &Keys, compare: &Compare) -> bool {
    let named: Vec<_> = keys.values().filter(|kv| within(&kv.key, &compare.key, &compare.range_end)).collect();
    if named.is_empty() {
        return compare.target() != CompareTarget::Value && holds_for(&KeyValue::default(), compare);
    }
    named.into_iter().all(|kv| holds_for(kv, compare))
}

fn holds_for(kv: &KeyValue, compare: &Compare) -> bool {
    let wanted = compare.target_union.clone().unwrap();
    let order = match (compare.target(), wanted) {
        (CompareTarget::Version, TargetUnion::Version(wanted)) => kv.version.cmp(&wanted),
        (CompareTarget::Create, TargetUnion::CreateRevision(wanted)) => kv.create_revision.cmp(&wanted),
        (CompareTarget::Mod, TargetUnion::ModRevision(wanted)) => kv.mod_revision.cmp(&wanted),
        (CompareTarget::Lease, TargetUnion::Lease(wanted)) => kv.lease.cmp(&wanted),
        (CompareTarget::Value, TargetUnion::Value(wanted)) => kv.value.cmp(&wanted),
        other => panic!("{other:?}"),
    };
    match compare.result() {
        CompareResult::Equal => order.is_eq(),
        CompareResult::NotEqual => order.is_ne(),
        CompareResult::Greater => order.is_gt(),
        CompareResult::Less => order.is_lt(),
    }
}
