//! The past: what changed since a revision, and giving up what nobody may read any more.
//!
//! Compaction is a fact at once; the rows go later, in steps that are commands too, so that every node's history is the
//! same at the same applied index. A step goes through the changes up to the compaction in their order. Each one makes
//! the version of its key before it unreadable, and that one goes; a deletion goes as well, unless it is of the very
//! revision of the compaction, which watchers may still ask for. What remains up to the compaction is the newest
//! version of each key that was there.

use std::io;
use std::ops::{Bound, ControlFlow};

use roost_raft::kv::{KeyRange, Read, Space, Txn};

use super::command::KeyspaceReply;
use super::error::KeyspaceError;
use super::query::{QueryError, Revisions};
use super::rows::{
    Revision, Span, corrupt, decode_event, delete_history, event_row, key_space, version_before, versions_of,
};
use crate::pb::etcd::kv;
use crate::pb::etcd::kv::event::EventType;
use crate::state::Event;
use crate::state::limits::{RECLAIM_BYTES, RECLAIM_ROWS};
use crate::state::tables::KEY_SPACE;

pub(super) fn compact(txn: &mut Txn<'_>, events: &mut Vec<Event>, revision: i64) -> Result<KeyspaceReply, QueryError> {
    let mut space = key_space(txn)?;
    if revision == 0 && space.compacted == 0 {
        // Nothing is below it. etcd takes that as well.
        return Ok(KeyspaceReply::Compacted { revision: space.revision });
    }
    if revision <= space.compacted {
        return Err(KeyspaceError::Compacted.into());
    }
    if revision > space.revision {
        return Err(KeyspaceError::FutureRevision.into());
    }
    space.compacted = revision;
    KEY_SPACE.put(txn, &(), &space);
    events.push(Event::HistoryCompacted { revision });
    Ok(KeyspaceReply::Compacted { revision: space.revision })
}

/// For a new cluster from a backup: goes on at a later revision, and gives up all history.
pub fn skip_revisions(txn: &mut Txn<'_>, margin: i64) -> io::Result<()> {
    let mut space = key_space(txn)?;
    let next = space.revision.checked_add(margin).ok_or_else(|| corrupt("its revisions are used up"))?;
    space.revision = next;
    space.compacted = next;
    KEY_SPACE.put(txn, &(), &space);
    Ok(())
}

/// One step.
pub(super) fn reclaim(txn: &mut Txn<'_>) -> io::Result<KeyspaceReply> {
    let mut space = key_space(txn)?;
    if space.reclaimed >= space.compacted {
        return Ok(KeyspaceReply::HistoryReclaimed { more: false });
    }
    let from = Revision::new(space.reclaim_main, space.reclaim_sub);
    let page = changes_of(txn, from, space.compacted)?;
    for (at, change) in &page.changes {
        if !is_creation(change)
            && let Some((before, _)) = version_before(txn, &change.key, *at)?
        {
            delete_history(txn, &change.key, before);
        }
        if is_deletion(change) && at.main < space.compacted {
            delete_history(txn, &change.key, *at);
        }
    }
    let next = match page.next {
        Some(next) => next,
        None => {
            space.reclaimed = space.compacted;
            // Deletions of that revision go with the next compaction.
            Revision::new(space.compacted, 0)
        }
    };
    (space.reclaim_main, space.reclaim_sub) = (next.main, next.sub);
    KEY_SPACE.put(txn, &(), &space);
    Ok(KeyspaceReply::HistoryReclaimed { more: page.next.is_some() })
}

fn is_deletion(change: &kv::KeyValue) -> bool {
    // A put counts itself, so its version is at least 1.
    change.version == 0
}

/// Whether there was nothing before it but deletions.
fn is_creation(change: &kv::KeyValue) -> bool {
    change.version == 1
}

struct Page {
    changes: Vec<(Revision, kv::KeyValue)>,
    /// The first change that is not in the page; `None` if there is none up to the page's last revision.
    next: Option<Revision>,
}

/// As many changes from `from` to revision `last` as one step may look at.
fn changes_of(read: &dyn Read, from: Revision, last: i64) -> io::Result<Page> {
    let (from, to) = (from.key(), Revision::new(last.saturating_add(1), 0).key());
    let mut page = Page { changes: Vec::new(), next: None };
    let mut bytes = 0;
    read.scan(Space::REVISIONS, KeyRange::new(&from, &to), false, &mut |key, row| {
        let at = Revision::parse(key)?;
        if page.changes.len() >= RECLAIM_ROWS || bytes >= RECLAIM_BYTES {
            page.next = Some(at);
            return Ok(ControlFlow::Break(()));
        }
        bytes += row.len();
        let change = decode_event(row)?;
        page.changes.push((at, kv::KeyValue { value: Vec::new(), ..change }));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(page)
}

/// What [`super::changes`] is asked for.
pub(super) struct Wanted<'a> {
    pub span: Span<'a>,
    pub from: i64,
    pub with_prev: bool,
    pub max_bytes: usize,
}

/// Groups changes to whole revisions, and ends after the one that fills the page.
struct Gatherer<'v> {
    visit: &'v mut dyn FnMut(i64, Vec<kv::Event>),
    main: i64,
    events: Vec<kv::Event>,
    bytes: usize,
    max_bytes: usize,
}

impl Gatherer<'_> {
    /// Whether the change may still come in: `false` if the page was full before its revision.
    fn enter(&mut self, main: i64) -> bool {
        if main != self.main {
            self.flush();
            if self.bytes >= self.max_bytes {
                return false;
            }
            self.main = main;
        }
        true
    }

    fn flush(&mut self) {
        if !self.events.is_empty() {
            (self.visit)(self.main, std::mem::take(&mut self.events));
        }
    }
}

/// Returns the revision to go on from.
pub(super) fn changes(
    read: &dyn Read,
    wanted: &Wanted<'_>,
    visit: &mut dyn FnMut(i64, Vec<kv::Event>),
) -> Result<i64, QueryError> {
    let revisions = Revisions::of(&key_space(read)?);
    if wanted.from < revisions.compacted {
        return Err(KeyspaceError::Compacted.into());
    }
    let max_bytes = wanted.max_bytes;
    let mut gatherer = Gatherer { visit, main: wanted.from, events: Vec::new(), bytes: 0, max_bytes };
    let mut next = None;
    let mut take = |at: Revision, change: &mut dyn FnMut() -> io::Result<Option<kv::KeyValue>>, bytes: usize| {
        if !gatherer.enter(at.main) {
            next = Some(at.main);
            return Ok(ControlFlow::Break(()));
        }
        gatherer.bytes += bytes;
        if let Some(change) = change()? {
            let prev_kv = match wanted.with_prev && at.main > revisions.compacted && !is_creation(&change) {
                // What there was before the revision, not before an earlier change of the same command.
                true => previous(read, &change.key, Revision::new(at.main, 0))?,
                false => None,
            };
            gatherer.bytes += prev_kv.as_ref().map_or(0, |kv| kv.key.len() + kv.value.len());
            gatherer.events.push(event(at, change, prev_kv));
        }
        Ok(ControlFlow::Continue(()))
    };
    let from = Revision::new(wanted.from, 0).key();
    match wanted.span.single() {
        // Its own versions, instead of everybody's changes.
        Some(key) => {
            let prefix = versions_of(key);
            let start = [prefix.as_slice(), &from].concat();
            let end = [prefix.as_slice(), &[0xff; 16]].concat();
            read.scan(Space::VERSIONS, KeyRange::new(&start, &end), false, &mut |row, _| {
                let at = Revision::parse(row.get(prefix.len()..).unwrap_or_default())?;
                let change = event_row(read, at)?;
                let bytes = change.key.len() + change.value.len();
                let mut change = Some(change);
                take(at, &mut || Ok(change.take()), bytes)
            })?;
        }
        None => {
            let range = KeyRange { from: Bound::Included(&from), to: Bound::Unbounded };
            read.scan(Space::REVISIONS, range, false, &mut |row, value| {
                let change = &mut || Ok(Some(decode_event(value)?).filter(|kv| wanted.span.contains(&kv.key)));
                take(Revision::parse(row)?, change, value.len())
            })?;
        }
    }
    if next.is_none() {
        gatherer.flush();
    }
    Ok(next.unwrap_or(revisions.current.saturating_add(1).max(wanted.from)))
}

fn event(at: Revision, change: kv::KeyValue, prev_kv: Option<kv::KeyValue>) -> kv::Event {
    let (kind, kv) = match is_deletion(&change) {
        true => (EventType::Delete, kv::KeyValue { mod_revision: at.main, ..change }),
        false => (EventType::Put, change),
    };
    kv::Event { r#type: kind.into(), kv: Some(kv), prev_kv }
}

/// What the key held before a change.
fn previous(read: &dyn Read, key: &[u8], at: Revision) -> io::Result<Option<kv::KeyValue>> {
    match version_before(read, key, at)? {
        Some((before, false)) => event_row(read, before).map(Some),
        _ => Ok(None),
    }
}
