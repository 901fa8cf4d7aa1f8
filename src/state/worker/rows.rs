//! The workers' rows: made to say what their session keys say, with the book and the latest changes beside them.

use std::collections::BTreeSet;
use std::io;
use std::ops::ControlFlow;

use roost_raft::kv::{Read, Space, Txn};

use super::session::{Place, SessionValue, folder, role_name};
use super::{all, find, number};
use crate::pb::etcd::api::PutRequest;
use crate::pb::store::{self, WorkerRole};
use crate::state::Event;
use crate::state::keyspace;
use crate::state::limits::MAX_WORKERS;
use crate::state::tables::{WORKER_BOOK, WORKER_CHANGES, WORKER_REQUESTS, WORKERS};

/// Changes that are told one by one; who missed more begins with all workers.
pub(super) const KEPT_CHANGES: usize = MAX_WORKERS;
/// Server ids that are left out in a cluster that was made of a backup: more than nodes ever register meanwhile.
const ID_MARGIN: i64 = 1_000_000;

/// Keys that may be sessions were put or deleted: makes the rows say what they say.
pub(in crate::state) fn follow(
    txn: &mut Txn<'_>,
    events: &mut Vec<Event>,
    now_ms: u64,
    keys: &[Vec<u8>],
) -> io::Result<()> {
    let Some(mut rows) = Rows::open(txn, events, now_ms)? else { return Ok(()) };
    let before = rows.book.revision;
    for key in keys {
        rows.settle(key)?;
    }
    if rows.book.revision != before {
        rows.close();
    }
    Ok(())
}

/// The rows in one command.
pub(super) struct Rows<'r, 't> {
    txn: &'r mut Txn<'t>,
    events: &'r mut Vec<Event>,
    now_ms: u64,
    book: store::WorkerBook,
}

impl<'r, 't> Rows<'r, 't> {
    /// `None` before a leader said where sessions are.
    pub fn open(txn: &'r mut Txn<'t>, events: &'r mut Vec<Event>, now_ms: u64) -> io::Result<Option<Self>> {
        let book = WORKER_BOOK.get(txn, &())?;
        Ok(book.map(|book| Rows { txn, events, now_ms, book }))
    }

    /// Returns the book's revision.
    pub fn close(self) -> u64 {
        WORKER_BOOK.put(self.txn, &(), &self.book);
        self.book.revision
    }

    /// Goes by the sessions under `root` from now on. Whether they were others before.
    pub fn found(txn: &'r mut Txn<'t>, events: &'r mut Vec<Event>, now_ms: u64, root: &str) -> io::Result<bool> {
        let (session_prefix, known) = (folder(root), WORKER_BOOK.get(txn, &())?);
        if known.as_ref().is_some_and(|book| book.session_prefix == session_prefix) {
            return Ok(false);
        }
        // Revision 0 stands for none.
        let book = known.unwrap_or(store::WorkerBook { revision: 1, changes_from: 2, ..Default::default() });
        let mut rows = Rows { txn, events, now_ms, book };
        for worker in all(rows.txn)? {
            rows.remove(&worker);
        }
        rows.book.session_prefix = session_prefix;
        for key in sessions_in(rows.txn, &rows.book.session_prefix)? {
            rows.settle(&key)?;
        }
        rows.close();
        Ok(true)
    }

    /// Makes the row of the worker whose session this key may be say what the key says.
    fn settle(&mut self, key: &[u8]) -> io::Result<()> {
        let Some(place) = Place::of(key).filter(|place| place.folder == self.book.session_prefix) else {
            return Ok(());
        };
        let known = find(self.txn, place.id, place.role)?;
        let row = keyspace::current(self.txn, key)?;
        let said = row.and_then(|row| Some((SessionValue::of(&place, &row)?, row)));
        match (known, said) {
            (None, None) => {}
            (Some(worker), None) => self.remove(&worker),
            (Some(worker), Some((value, row))) => self.update(place, &worker, value, &row),
            (None, Some(_)) if self.book.workers >= MAX_WORKERS as u64 => {}
            (None, Some((value, row))) => {
                self.book.workers = self.book.workers.saturating_add(1);
                let worker = self.registered(place, value, &row);
                self.put(worker);
            }
        }
        Ok(())
    }

    /// A worker as it begins.
    fn registered(&self, place: Place<'_>, value: SessionValue, row: &store::KeyRow) -> store::Worker {
        store::Worker {
            id: place.id,
            role: place.role.into(),
            address: value.address,
            version: value.version,
            hostname: value.host_name,
            labels: value.server_labels,
            capacity: value.capacity.map(Into::into),
            lease: row.lease,
            key: super::session::key(place.folder, place.role, place.id),
            draining: value.stopping,
            stopping: value.stopping,
            registered_ms: self.now_ms,
            created_revision: row.create_revision,
            ..store::Worker::default()
        }
    }

    fn update(&mut self, place: Place<'_>, known: &store::Worker, value: SessionValue, row: &store::KeyRow) {
        let now = self.registered(place, value, row);
        if known.created_revision != now.created_revision || known.lease != now.lease {
            // Another process under the same id.
            self.forget_request(known);
            return self.put(now);
        }
        let now = store::Worker {
            draining: now.draining || known.drain_ordered,
            frozen: known.frozen,
            registered_ms: known.registered_ms,
            revision: known.revision,
            drain_ordered: known.drain_ordered,
            request: known.request.clone(),
            ..now
        };
        if now != *known {
            self.put(now);
        }
    }

    /// Writes a changed row.
    pub fn put(&mut self, mut worker: store::Worker) {
        worker.revision = self.changed(worker.id, worker.role());
        WORKERS.put(self.txn, &(worker.id, number(worker.role())), &worker);
    }

    fn remove(&mut self, worker: &store::Worker) {
        WORKERS.delete(self.txn, &(worker.id, number(worker.role())));
        self.forget_request(worker);
        self.book.workers = self.book.workers.saturating_sub(1);
        self.changed(worker.id, worker.role());
    }

    fn forget_request(&mut self, worker: &store::Worker) {
        if !worker.request.is_empty() {
            WORKER_REQUESTS.delete(self.txn, &worker.request);
        }
    }

    /// Writes the change down and tells of it. Returns its revision.
    fn changed(&mut self, id: i64, role: WorkerRole) -> u64 {
        let book = &mut self.book;
        book.revision = book.revision.saturating_add(1);
        WORKER_CHANGES.put(self.txn, &book.revision, &store::WorkerName { id, role: role.into() });
        if book.revision.saturating_sub(book.changes_from) >= KEPT_CHANGES as u64 {
            WORKER_CHANGES.delete(self.txn, &book.changes_from);
            book.changes_from = book.changes_from.saturating_add(1);
        }
        let event = Event::WorkerChanged { id };
        if self.events.last() != Some(&event) {
            self.events.push(event);
        }
        book.revision
    }
}

/// The keys in a folder that are named as sessions of workers, a bounded number of each role.
fn sessions_in(read: &dyn Read, folder: &str) -> io::Result<Vec<Vec<u8>>> {
    let mut keys = Vec::new();
    for role in [WorkerRole::StreamingNode, WorkerRole::QueryNode, WorkerRole::DataNode, WorkerRole::Proxy] {
        let most = keys.len() + MAX_WORKERS;
        let prefix = format!("{folder}{}-", role_name(role)).into_bytes();
        read.scan_prefix(Space::KEYS, &prefix, &mut |key, _| {
            keys.push(key.to_vec());
            Ok(if keys.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
    }
    Ok(keys)
}

/// For a new cluster from a backup: ends all sessions, with whatever else is bound to their leases.
pub fn forget_all(txn: &mut Txn<'_>) -> io::Result<()> {
    let leases: BTreeSet<i64> = all(txn)?.into_iter().map(|worker| worker.lease).filter(|lease| *lease != 0).collect();
    for lease in leases {
        keyspace::revoke(txn, &mut Vec::new(), 0, lease).map_err(io::Error::other)?;
    }
    Ok(())
}

/// For a new cluster from a backup: goes on at a later revision, so that whoever watched the old one reads anew, and
/// with server ids that the old cluster did not give out after the backup.
pub fn skip_revisions(txn: &mut Txn<'_>, margin: u64) -> io::Result<()> {
    let Some(mut book) = WORKER_BOOK.get(txn, &())? else { return Ok(()) };
    WORKER_CHANGES.clear(txn)?;
    book.revision = book.revision.saturating_add(margin);
    book.changes_from = book.revision.saturating_add(1);
    let counter = super::register::counter_key(&book.session_prefix);
    WORKER_BOOK.put(txn, &(), &book);
    let Some(row) = keyspace::current(txn, &counter)? else { return Ok(()) };
    let Some(next) = super::register::counted(&row.value).and_then(|next| next.checked_add(ID_MARGIN)) else {
        return Ok(());
    };
    let put = PutRequest { key: counter, value: next.to_string().into_bytes(), ..PutRequest::default() };
    keyspace::put_all(txn, &mut Vec::new(), 0, vec![put]).map_err(io::Error::other)?;
    Ok(())
}
