//! One change of the key space: every row that a put or a deletion touches, under one main revision.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use prost::Message;
use roost_raft::kv::{Read, Space, Txn};

use super::budget::Budget;
use super::command::KeysChanged;
use super::error::KeyspaceError;
use super::lease;
use super::query::{QueryError, Revisions};
use super::range::header;
use super::rows::{self, DELETED, Revision, Span, key_space, key_value, version_key, walk};
use crate::pb::etcd::api::{DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse};
use crate::pb::etcd::kv;
use crate::pb::store;
use crate::state::Event;
use crate::state::limits::{MAX_CHANGED_KEYS, MAX_DELETED_KEY_BYTES, MAX_EVENT_BYTES};
use crate::state::tables::KEY_SPACE;
use crate::state::worker;

/// The changes of one main revision. Nothing of it is seen at earlier revisions; [`Writer::finish`] makes it the
/// current one.
pub(super) struct Writer<'w, 't> {
    txn: &'w mut Txn<'t>,
    space: store::KeySpace,
    changed: i64,
    /// `None` once they are too large to be held.
    events: Option<Vec<kv::Event>>,
    event_bytes: usize,
    /// Changed keys that may be sessions of worker nodes.
    sessions: Vec<Vec<u8>>,
}

impl<'w, 't> Writer<'w, 't> {
    pub fn new(txn: &'w mut Txn<'t>) -> io::Result<Self> {
        let space = key_space(txn)?;
        Ok(Writer { txn, space, changed: 0, events: Some(Vec::new()), event_bytes: 0, sessions: Vec::new() })
    }

    pub fn read(&self) -> &dyn Read {
        self.txn
    }

    /// Where the key space stands, counting what was changed so far.
    pub fn revisions(&self) -> Revisions {
        let Revisions { current, compacted } = Revisions::of(&self.space);
        Revisions { current: current + i64::from(self.changed > 0), compacted }
    }

    /// Makes the changes the newest revision, and reports them. Returns the current revision.
    pub fn finish(self, events: &mut Vec<Event>, now_ms: u64) -> io::Result<i64> {
        let Writer { txn, mut space, changed, events: changes, sessions, .. } = self;
        if changed > 0 {
            space.revision += 1;
            KEY_SPACE.put(txn, &(), &space);
            let changed = KeysChanged { revision: space.revision, events: changes };
            events.push(Event::KeysChanged(Arc::new(changed)));
        }
        if !sessions.is_empty() {
            worker::follow(txn, events, now_ms, &sessions)?;
        }
        Ok(space.revision)
    }

    /// Notes a key whose worker, if it is a worker's, changes with it.
    fn touch(&mut self, key: &[u8]) {
        if worker::may_be_session(key) {
            self.sessions.push(key.to_vec());
        }
    }

    pub fn put(&mut self, request: PutRequest, budget: &mut Budget) -> Result<PutResponse, QueryError> {
        let PutRequest { key, mut value, mut lease, prev_kv, ignore_value, ignore_lease } = request;
        if key.is_empty() {
            return Err(KeyspaceError::Malformed.into());
        }
        if lease != 0 && !lease::may_be_joined(self.txn, lease)? {
            return Err(KeyspaceError::LeaseNotFound.into());
        }
        budget.take_key()?;
        let old = rows::current(self.txn, &key)?;
        if ignore_value || ignore_lease {
            let old = old.as_ref().ok_or(KeyspaceError::KeyNotFound)?;
            if ignore_value {
                budget.take_copy(old.value.len())?;
                value.clone_from(&old.value);
            }
            if ignore_lease {
                lease = old.lease;
            }
        }
        let shown = match &old {
            Some(old) if prev_kv => {
                budget.take_bytes(key.len() + old.value.len() + 64)?;
                Some(key_value(key.clone(), old.clone()))
            }
            _ => None,
        };
        self.set(key, value, lease, old)?;
        Ok(PutResponse { header: header(self.revisions().current), prev_kv: shown })
    }

    fn set(&mut self, key: Vec<u8>, value: Vec<u8>, lease: i64, old: Option<store::KeyRow>) -> Result<(), QueryError> {
        let at = self.next_change()?;
        self.touch(&key);
        lease::attach(self.txn, &key, old.as_ref().map_or(0, |old| old.lease), lease);
        let row = store::KeyRow {
            create_revision: old.as_ref().map_or(at.main, |old| old.create_revision),
            mod_revision: at.main,
            version: old.as_ref().map_or(0, |old| old.version) + 1,
            value,
            lease,
        };
        self.txn.put(Space::KEYS, key.as_slice(), row.encode_to_vec());
        self.txn.put(Space::VERSIONS, version_key(&key, at), Vec::new());
        let kv = key_value(key, row);
        self.txn.put(Space::REVISIONS, at.key(), kv.encode_to_vec());
        self.report(kv::event::EventType::Put, kv, old);
        Ok(())
    }

    pub fn delete_range(
        &mut self,
        request: &DeleteRangeRequest,
        budget: &mut Budget,
    ) -> Result<DeleteRangeResponse, QueryError> {
        if request.key.is_empty() {
            return Err(KeyspaceError::Malformed.into());
        }
        let span = Span::new(&request.key, &request.range_end);
        let doomed = self.doomed(span, request.prev_kv, budget)?;
        let deleted = i64::try_from(doomed.len()).unwrap_or(i64::MAX);
        let mut prev_kvs = Vec::new();
        for (key, row, has_value) in doomed {
            if request.prev_kv {
                prev_kvs.push(key_value(key.clone(), row.clone()));
            }
            self.delete(key, row, has_value)?;
        }
        Ok(DeleteRangeResponse { header: header(self.revisions().current), deleted, prev_kvs })
    }

    /// The keys to delete with their rows, and whether a row's value was kept: a large deletion must not bring all
    /// values into memory.
    fn doomed(
        &self,
        span: Span<'_>,
        values: bool,
        budget: &mut Budget,
    ) -> Result<Vec<(Vec<u8>, store::KeyRow, bool)>, QueryError> {
        let mut found = Vec::new();
        let mut key_bytes = 0;
        let mut event_bytes = self.event_bytes;
        walk(self.txn, span, false, &mut |key, load| {
            budget.take_key()?;
            key_bytes += key.len();
            if found.len() >= MAX_CHANGED_KEYS || key_bytes > MAX_DELETED_KEY_BYTES {
                return Err(QueryError::Refused(KeyspaceError::TooManyKeys));
            }
            let kv = load()?;
            if values {
                budget.take_bytes(kv.encoded_len() + 8)?;
            }
            event_bytes += 2 * key.len() + kv.value.len();
            let keep = values || event_bytes <= MAX_EVENT_BYTES;
            let kv::KeyValue { key, create_revision, mod_revision, version, value, lease } = kv;
            let value = if keep { value } else { Vec::new() };
            found.push((key, store::KeyRow { create_revision, mod_revision, version, value, lease }, keep));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(found)
    }

    /// Deletes a key that is there. Without `has_value` its old value is not known and cannot be reported.
    fn delete(&mut self, key: Vec<u8>, old: store::KeyRow, has_value: bool) -> Result<(), QueryError> {
        let at = self.next_change()?;
        self.touch(&key);
        lease::attach(self.txn, &key, old.lease, 0);
        self.txn.delete(Space::KEYS, key.as_slice());
        self.txn.put(Space::VERSIONS, version_key(&key, at), DELETED);
        let mut gone = kv::KeyValue { key, ..kv::KeyValue::default() };
        self.txn.put(Space::REVISIONS, at.key(), gone.encode_to_vec());
        gone.mod_revision = at.main;
        if has_value {
            self.report(kv::event::EventType::Delete, gone, Some(old));
        } else {
            self.events = None;
        }
        Ok(())
    }

    /// Deletes a key if it is there.
    pub fn delete_key(&mut self, key: Vec<u8>) -> Result<(), QueryError> {
        match rows::current(self.txn, &key)? {
            Some(old) => self.delete(key, old, true),
            None => Err(rows::corrupt("a lease has a key that is not there").into()),
        }
    }

    fn next_change(&mut self) -> Result<Revision, QueryError> {
        let at = Revision::new(self.space.revision + 1, self.changed);
        self.changed += 1;
        if self.changed > MAX_CHANGED_KEYS as i64 {
            return Err(KeyspaceError::TooManyKeys.into());
        }
        Ok(at)
    }

    fn report(&mut self, kind: kv::event::EventType, kv: kv::KeyValue, old: Option<store::KeyRow>) {
        let Some(events) = &mut self.events else { return };
        let old_bytes = old.as_ref().map_or(0, |old| kv.key.len() + old.value.len());
        self.event_bytes += kv.key.len() + kv.value.len() + old_bytes;
        if self.event_bytes > MAX_EVENT_BYTES {
            self.events = None;
            return;
        }
        let prev_kv = match old {
            // Changed before by this very command: like etcd's, the event shows what there was before the revision.
            Some(old) if old.mod_revision == kv.mod_revision => {
                let earlier =
                    events.iter().find(|event| event.kv.as_ref().is_some_and(|earlier| earlier.key == kv.key));
                earlier.and_then(|event| event.prev_kv.clone())
            }
            old => old.map(|old| key_value(kv.key.clone(), old)),
        };
        events.push(kv::Event { r#type: kind.into(), kv: Some(kv), prev_kv });
    }
}
