//! Where rows of the key space stand: keys of the three spaces, and walks over them at any revision.

use std::io;
use std::ops::{Bound, ControlFlow};

use prost::Message;
use roost_raft::kv::{KeyRange, Read, Space, Txn, prefix_end};

use super::query::Revisions;
use crate::pb::etcd::kv;
use crate::pb::store;
use crate::state::tables::KEY_SPACE;

/// What a deletion's row in `VERSIONS` holds; a put's is empty.
pub(super) const DELETED: &[u8] = &[1];
/// Rows of one key that a walk passes over before it looks for the right one directly.
const PASSED_ROWS: usize = 32;

/// Where one change stands: main revision, and its place among the changes of that revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Revision {
    pub main: i64,
    pub sub: i64,
}

impl Revision {
    pub fn new(main: i64, sub: i64) -> Self {
        Revision { main, sub }
    }

    /// The key in `REVISIONS`, and the end of one in `VERSIONS`.
    pub fn key(self) -> [u8; 16] {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&self.main.to_be_bytes());
        key[8..].copy_from_slice(&self.sub.to_be_bytes());
        key
    }

    pub fn parse(key: &[u8]) -> io::Result<Self> {
        let parse = || {
            let (main, rest) = key.split_first_chunk()?;
            let sub = rest.try_into().ok()?;
            Some(Revision { main: i64::from_be_bytes(*main), sub: i64::from_be_bytes(sub) })
        };
        parse().ok_or_else(|| corrupt("a key of history has another shape"))
    }
}

pub(super) fn corrupt(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("key space: {what}"))
}

/// What all rows of a key in `VERSIONS` begin with: sorts as the key does, and none begins with another one.
pub(super) fn versions_of(key: &[u8]) -> Vec<u8> {
    let zeros = key.iter().filter(|byte| **byte == 0).count();
    let mut escaped = Vec::with_capacity(key.len() + zeros + 2 + 16);
    for &byte in key {
        escaped.push(byte);
        if byte == 0 {
            escaped.push(0xff);
        }
    }
    escaped.extend_from_slice(&[0, 1]);
    escaped
}

pub(super) fn version_key(key: &[u8], at: Revision) -> Vec<u8> {
    let mut row = versions_of(key);
    row.extend_from_slice(&at.key());
    row
}

/// The escaped key, and the revision.
fn split_version(row: &[u8]) -> io::Result<(&[u8], Revision)> {
    let at = row.len().checked_sub(16).ok_or_else(|| corrupt("a version's key is too short"))?;
    let (escaped, revision) = row.split_at(at);
    Ok((escaped, Revision::parse(revision)?))
}

fn unescape(escaped: &[u8]) -> io::Result<Vec<u8>> {
    let mut rest = escaped.strip_suffix(&[0, 1]).ok_or_else(|| corrupt("a version's key does not end"))?.iter();
    let mut key = Vec::with_capacity(escaped.len());
    while let Some(&byte) = rest.next() {
        key.push(byte);
        if byte == 0 && rest.next() != Some(&0xff) {
            return Err(corrupt("a version's key is not escaped"));
        }
    }
    Ok(key)
}

/// The row about the key space itself.
pub(super) fn key_space(read: &dyn Read) -> io::Result<store::KeySpace> {
    let first = || store::KeySpace { revision: 1, ..store::KeySpace::default() };
    Ok(KEY_SPACE.get(read, &())?.unwrap_or_else(first))
}

pub(super) fn decode_row(row: &[u8]) -> io::Result<store::KeyRow> {
    store::KeyRow::decode(row).map_err(|error| corrupt(&error.to_string()))
}

pub(super) fn decode_event(row: &[u8]) -> io::Result<kv::KeyValue> {
    kv::KeyValue::decode(row).map_err(|error| corrupt(&error.to_string()))
}

pub(super) fn key_value(key: Vec<u8>, row: store::KeyRow) -> kv::KeyValue {
    let store::KeyRow { create_revision, mod_revision, version, value, lease } = row;
    kv::KeyValue { key, create_revision, mod_revision, version, value, lease }
}

/// The current row of a key.
pub(super) fn current(read: &dyn Read, key: &[u8]) -> io::Result<Option<store::KeyRow>> {
    read.get(Space::KEYS, key)?.map(|row| decode_row(&row)).transpose()
}

pub(super) fn event_row(read: &dyn Read, at: Revision) -> io::Result<kv::KeyValue> {
    match read.get(Space::REVISIONS, &at.key())? {
        Some(row) => decode_event(&row),
        None => Err(corrupt("a version's row of history is missing")),
    }
}

/// The newest version of a key below `end`, and whether it is a deletion.
pub(super) fn version_before(read: &dyn Read, key: &[u8], end: Revision) -> io::Result<Option<(Revision, bool)>> {
    newest_version(read, &versions_of(key), end)
}

fn newest_version(read: &dyn Read, escaped: &[u8], end: Revision) -> io::Result<Option<(Revision, bool)>> {
    let to = [escaped, &end.key()].concat();
    let mut found = None;
    read.scan(Space::VERSIONS, KeyRange::new(escaped, &to), true, &mut |row, mark| {
        found = Some((split_version(row)?.1, mark == DELETED));
        Ok(ControlFlow::Break(()))
    })?;
    Ok(found)
}

/// Keys that a request means, in etcd's two fields: an empty end is the one key, `\0` is no end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span<'a> {
    key: &'a [u8],
    end: &'a [u8],
}

impl<'a> Span<'a> {
    pub fn new(key: &'a [u8], range_end: &'a [u8]) -> Self {
        Span { key, end: range_end }
    }

    /// The one key, if it is one.
    pub fn single(&self) -> Option<&'a [u8]> {
        self.end.is_empty().then_some(self.key)
    }

    fn endless(&self) -> bool {
        self.end == [0]
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        match self.single() {
            Some(single) => single == key,
            None => key >= self.key && (self.endless() || key < self.end),
        }
    }

    /// Whether no key can be in it.
    fn inverted(&self) -> bool {
        !self.end.is_empty() && !self.endless() && self.end <= self.key
    }

    fn range(&self) -> KeyRange<'a> {
        let from = Bound::Included(self.key);
        match self.single() {
            Some(key) => KeyRange { from, to: Bound::Included(key) },
            None if self.endless() => KeyRange { from, to: Bound::Unbounded },
            None => KeyRange { from, to: Bound::Excluded(self.end) },
        }
    }
}

/// What a walk does with each key. The closure decodes the key's row, which is not free.
pub(super) type VisitKey<'v, E> =
    dyn FnMut(&[u8], &mut dyn FnMut() -> io::Result<kv::KeyValue>) -> Result<ControlFlow<()>, E> + 'v;

/// Visits the keys that are there now, in their order.
pub(super) fn walk<E: From<io::Error>>(
    read: &dyn Read,
    span: Span<'_>,
    reverse: bool,
    visit: &mut VisitKey<'_, E>,
) -> Result<(), E> {
    if let Some(key) = span.single() {
        if let Some(row) = read.get(Space::KEYS, key)? {
            let _ = visit(key, &mut || Ok(key_value(key.to_vec(), decode_row(&row)?)))?;
        }
        return Ok(());
    }
    if span.inverted() {
        return Ok(());
    }
    let mut stopped = Ok(());
    read.scan(Space::KEYS, span.range(), reverse, &mut |key, row| match visit(key, &mut || {
        Ok(key_value(key.to_vec(), decode_row(row)?))
    }) {
        Ok(flow) => Ok(flow),
        Err(error) => {
            stopped = Err(error);
            Ok(ControlFlow::Break(()))
        }
    })?;
    stopped
}

/// Visits the keys that were there at `revision`, in their order.
pub(super) fn walk_at<E: From<io::Error>>(
    read: &dyn Read,
    span: Span<'_>,
    revision: i64,
    visit: &mut VisitKey<'_, E>,
) -> Result<(), E> {
    // The first change after the revision that is asked for.
    let beyond = Revision::new(revision.saturating_add(1), 0);
    if let Some(key) = span.single() {
        if let Some((at, false)) = version_before(read, key, beyond)? {
            let _ = visit(key, &mut || event_row(read, at))?;
        }
        return Ok(());
    }
    if span.inverted() {
        return Ok(());
    }
    let mut from = versions_of(span.key);
    let to = (!span.endless()).then(|| versions_of(span.end));
    loop {
        let range =
            KeyRange { from: Bound::Included(&from), to: to.as_deref().map_or(Bound::Unbounded, Bound::Excluded) };
        let mut seen = Seen::default();
        let mut crowded = false;
        let mut flow = Ok(ControlFlow::Continue(()));
        read.scan(Space::VERSIONS, range, false, &mut |row, mark| {
            let (escaped, at) = split_version(row)?;
            if escaped != seen.escaped {
                flow = seen.settle(read, visit);
                if !matches!(flow, Ok(ControlFlow::Continue(()))) {
                    return Ok(ControlFlow::Break(()));
                }
                seen = Seen { escaped: escaped.to_vec(), newest: None, rows: 0 };
            }
            if at < beyond {
                seen.newest = Some((at, mark == DELETED));
            }
            seen.rows += 1;
            crowded = seen.rows > PASSED_ROWS;
            Ok(if crowded { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        if flow?.is_break() {
            return Ok(());
        }
        if crowded {
            seen.newest = newest_version(read, &seen.escaped, beyond)?;
        }
        let last = seen.settle(read, visit)?;
        match prefix_end(&seen.escaped) {
            Some(next) if crowded && last.is_continue() => from = next,
            _ => return Ok(()),
        }
    }
}

/// The key that a walk over versions is at.
#[derive(Default)]
struct Seen {
    escaped: Vec<u8>,
    newest: Option<(Revision, bool)>,
    rows: usize,
}

impl Seen {
    fn settle<E: From<io::Error>>(&self, read: &dyn Read, visit: &mut VisitKey<'_, E>) -> Result<ControlFlow<()>, E> {
        match self.newest {
            Some((at, false)) => visit(&unescape(&self.escaped)?, &mut || event_row(read, at)),
            _ => Ok(ControlFlow::Continue(())),
        }
    }
}

impl Revisions {
    pub(super) fn of(space: &store::KeySpace) -> Self {
        Revisions { current: space.revision, compacted: space.compacted }
    }
}

/// Deletes one row of history from both of its spaces.
pub(super) fn delete_history(txn: &mut Txn<'_>, key: &[u8], at: Revision) {
    txn.delete(Space::REVISIONS, at.key());
    txn.delete(Space::VERSIONS, version_key(key, at));
}
