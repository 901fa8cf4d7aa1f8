//! The small key-value surface that state machines see. RocksDB stands behind it in production and an ordered map in
//! models and simulations, so nothing above this file names a storage engine.

mod slot;

use std::collections::BTreeMap;
use std::io;
use std::ops::{Bound, ControlFlow};

use parking_lot::Mutex;

pub(crate) use slot::find;
use slot::take;
pub use slot::{Rows, Slot};

/// A named, separately ordered key space (a RocksDB column family).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Space(pub u8);

impl Space {
    /// Local facts of this disk: marker, vote, applied position. Never replicated, never in a snapshot.
    pub const META: Space = Space(0);
    /// The Raft log. Never in a snapshot.
    pub const LOG: Space = Space(1);
    /// Replicated facts of the host itself: apply version, feature announcements, alarms.
    pub const SYSTEM: Space = Space(2);
    /// Replicated facts of the application: its typed tables.
    pub const STATE: Space = Space(3);

    /// Replicated facts of the application: current rows of its key space.
    pub const KEYS: Space = Space(4);
    /// Replicated, not hashed: the key space's history in the order of its revisions.
    pub const REVISIONS: Space = Space(5);
    /// Replicated, not hashed: the key space's history in the order of its keys.
    pub const VERSIONS: Space = Space(6);

    /// Every space, in the order of its number.
    pub const ALL: [Space; 7] =
        [Space::META, Space::LOG, Space::SYSTEM, Space::STATE, Space::KEYS, Space::REVISIONS, Space::VERSIONS];
    /// The spaces that a snapshot carries.
    pub const REPLICATED: [Space; 5] = [Space::SYSTEM, Space::STATE, Space::KEYS, Space::REVISIONS, Space::VERSIONS];

    /// Whether the state hash covers it. History is left out: it says again what the covered rows said once, and to
    /// hash it would double the cost of a write.
    pub fn hashed(self) -> bool {
        !matches!(self, Space::META | Space::LOG | Space::REVISIONS | Space::VERSIONS)
    }

    /// The column family's name.
    pub fn name(self) -> &'static str {
        ["meta", "log", "system", "state", "keys", "revisions", "versions"][self.0 as usize]
    }
}

/// What a scan does with each row: go on, or stop.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> io::Result<ControlFlow<()>> + 'a;

/// A half-open or unbounded range of keys.
#[derive(Clone, Copy, Debug)]
pub struct KeyRange<'a> {
    pub from: Bound<&'a [u8]>,
    pub to: Bound<&'a [u8]>,
}

impl<'a> KeyRange<'a> {
    /// Every key of the space.
    pub const ALL: KeyRange<'static> = KeyRange { from: Bound::Unbounded, to: Bound::Unbounded };

    /// Keys from `from` (inclusive) to `to` (exclusive).
    pub fn new(from: &'a [u8], to: &'a [u8]) -> Self {
        KeyRange { from: Bound::Included(from), to: Bound::Excluded(to) }
    }

    /// Whether it ends before it begins, so that it holds nothing. Ordered maps panic on such bounds.
    pub fn is_inverted(&self) -> bool {
        inverted(self.from, self.to)
    }
}

/// The bound before a key, or no bound.
fn open_end(end: Option<&[u8]>) -> Bound<&[u8]> {
    end.map_or(Bound::Unbounded, Bound::Excluded)
}

/// The first key after every key with this prefix, or `None` when no such key exists.
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}

/// A consistent view of the tables. An `Err` is a storage failure that the node must not survive.
pub trait Read: Send + Sync {
    fn get(&self, space: Space, key: &[u8]) -> io::Result<Option<Vec<u8>>>;

    /// Visits rows in key order (descending when `reverse`).
    fn scan(&self, space: Space, range: KeyRange<'_>, reverse: bool, visit: &mut Visit<'_>) -> io::Result<()>;

    /// Visits every row whose key starts with `prefix`, ascending.
    fn scan_prefix(&self, space: Space, prefix: &[u8], visit: &mut Visit<'_>) -> io::Result<()> {
        let end = prefix_end(prefix);
        self.scan(space, KeyRange { from: Bound::Included(prefix), to: open_end(end.as_deref()) }, false, visit)
    }
}

/// One atomic change across spaces.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub ops: Vec<(Space, Vec<u8>, Option<Vec<u8>>)>,
    /// Ranges deleted before `ops` are written; without an end, everything from the first key on.
    pub cleared: Vec<(Space, Vec<u8>, Option<Vec<u8>>)>,
}

impl Batch {
    pub fn put(&mut self, space: Space, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.ops.push((space, key.into(), Some(value.into())));
    }

    pub fn delete(&mut self, space: Space, key: impl Into<Vec<u8>>) {
        self.ops.push((space, key.into(), None));
    }

    /// Deletes `from..to`; takes effect before every put of the same batch.
    pub fn clear(&mut self, space: Space, from: impl Into<Vec<u8>>, to: impl Into<Vec<u8>>) {
        self.cleared.push((space, from.into(), Some(to.into())));
    }

    /// Deletes every row of the space; takes effect before every put of the same batch.
    pub fn clear_all(&mut self, space: Space) {
        self.cleared.push((space, Vec::new(), None));
    }

    pub fn is_empty(&self) -> bool {
        self.ops.is_empty() && self.cleared.is_empty()
    }
}

/// Read-your-writes overlay of one apply batch. Rows reach the engine only when the whole batch is done, so a rejected
/// command can be rolled back to its mark.
pub struct Txn<'a> {
    base: &'a dyn Read,
    rows: Rows,
    undo: Vec<(Slot, Option<Option<Vec<u8>>>)>,
    bytes: usize,
    known: Mutex<KnownRows>,
}

/// Rows as they were read from below a [`Txn`]: whoever writes it needs the old rows and need not read them again.
#[derive(Debug, Default)]
pub struct KnownRows {
    rows: Rows,
    bytes: usize,
}

/// What a transaction remembers of what it read. A larger row is read again, which it then outweighs.
const KNOWN_ROW_BYTES_MAX: usize = 64 << 10;
const KNOWN_BYTES_MAX: usize = 16 << 20;

impl KnownRows {
    fn remember(&mut self, space: Space, key: &[u8], row: Option<&[u8]>) {
        let bytes = key.len() + row.map_or(0, <[u8]>::len);
        if space.hashed() && bytes <= KNOWN_ROW_BYTES_MAX && self.bytes + bytes <= KNOWN_BYTES_MAX {
            self.bytes += bytes;
            self.rows.insert((space, key.to_vec()), row.map(<[u8]>::to_vec));
        }
    }

    /// Takes the row out, if it was read: `Some(None)` if there was none.
    pub fn take(&mut self, space: Space, key: &[u8]) -> Option<Option<Vec<u8>>> {
        take(&mut self.rows, space, key)
    }

    /// All that is left.
    pub fn into_rows(self) -> Rows {
        self.rows
    }
}

/// What a write takes in a [`Txn`] beside its bytes. Which commands of a shared entry are executed depends on it (see
/// `BATCHED_WRITE_BYTES_MAX` of apply/store.rs): a change needs a new apply version.
const ROW_BYTES: usize = 128;

/// A point in a [`Txn`] to roll back to.
#[derive(Clone, Copy, Debug)]
pub struct Mark(usize);

impl<'a> Txn<'a> {
    pub fn new(base: &'a dyn Read) -> Self {
        Txn { base, rows: BTreeMap::new(), undo: Vec::new(), bytes: 0, known: Mutex::default() }
    }

    pub fn put(&mut self, space: Space, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.set(space, key.into(), Some(value.into()));
    }

    pub fn delete(&mut self, space: Space, key: impl Into<Vec<u8>>) {
        self.set(space, key.into(), None);
    }

    fn set(&mut self, space: Space, key: Vec<u8>, value: Option<Vec<u8>>) {
        // Its key lies here twice; what was rolled back counts as well.
        self.bytes += ROW_BYTES + 2 * key.len() + value.as_ref().map_or(0, Vec::len);
        let slot = (space, key);
        let old = self.rows.insert(slot.clone(), value);
        self.undo.push((slot, old));
    }

    /// About how much memory the writes take. Depends on the writes alone, so it is the same on every node.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The current point. Everything before it is kept by a later [`Txn::rollback`].
    pub fn mark(&self) -> Mark {
        Mark(self.undo.len())
    }

    /// Undoes every write since `mark`.
    pub fn rollback(&mut self, mark: Mark) {
        while self.undo.len() > mark.0 {
            let Some((slot, old)) = self.undo.pop() else { return };
            match old {
                Some(value) => self.rows.insert(slot, value),
                None => self.rows.remove(&slot),
            };
        }
    }

    /// The rows to write: `(space, key, new value or deletion)` in key order.
    pub fn into_rows(self) -> Rows {
        self.rows
    }

    /// [`Txn::into_rows`], and what was read of the rows of hashed spaces that stand below it.
    pub fn into_parts(self) -> (Rows, KnownRows) {
        (self.rows, self.known.into_inner())
    }
}

impl Read for Txn<'_> {
    fn get(&self, space: Space, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        if let Some(value) = find(&self.rows, space, key) {
            return Ok(value.clone());
        }
        let row = self.base.get(space, key)?;
        self.known.lock().remember(space, key, row.as_deref());
        Ok(row)
    }

    fn scan(&self, space: Space, range: KeyRange<'_>, reverse: bool, visit: &mut Visit<'_>) -> io::Result<()> {
        let own = overlay_range(&self.rows, space, range);
        let own: Box<dyn Iterator<Item = _>> = if reverse { Box::new(own.rev()) } else { Box::new(own) };
        let mut own = own.map(|((_, key), value)| (key.as_slice(), value.as_deref())).peekable();
        let before = |a: &[u8], b: &[u8]| if reverse { a > b } else { a < b };
        let mut stopped = false;
        self.base.scan(space, range, reverse, &mut |key, value| {
            while let Some((mine, row)) = own.next_if(|(mine, _)| before(mine, key)) {
                if let Some(row) = row
                    && visit(mine, row)?.is_break()
                {
                    stopped = true;
                    return Ok(ControlFlow::Break(()));
                }
            }
            let step = match own.next_if(|(mine, _)| *mine == key) {
                Some((_, None)) => ControlFlow::Continue(()),
                Some((_, Some(row))) => visit(key, row)?,
                None => visit(key, value)?,
            };
            stopped = step.is_break();
            Ok(step)
        })?;
        for (key, row) in own {
            if stopped {
                break;
            }
            if let Some(row) = row {
                stopped = visit(key, row)?.is_break();
            }
        }
        Ok(())
    }
}

fn overlay_range<'r>(
    rows: &'r Rows,
    space: Space,
    range: KeyRange<'_>,
) -> impl DoubleEndedIterator<Item = (&'r (Space, Vec<u8>), &'r Option<Vec<u8>>)> {
    let from = match range.from {
        Bound::Included(key) => Bound::Included((space, key.to_vec())),
        Bound::Excluded(key) => Bound::Excluded((space, key.to_vec())),
        Bound::Unbounded => Bound::Included((space, Vec::new())),
    };
    let to = match range.to {
        Bound::Included(key) => Bound::Included((space, key.to_vec())),
        Bound::Excluded(key) => Bound::Excluded((space, key.to_vec())),
        Bound::Unbounded => Bound::Excluded((Space(space.0 + 1), Vec::new())),
    };
    (!inverted(from.as_ref(), to.as_ref())).then(|| rows.range((from, to))).into_iter().flatten()
}

fn inverted<T: Ord>(from: Bound<T>, to: Bound<T>) -> bool {
    match (from, to) {
        (Bound::Included(a), Bound::Included(b)) => a > b,
        (Bound::Included(a) | Bound::Excluded(a), Bound::Excluded(b) | Bound::Included(b)) => a >= b,
        _ => false,
    }
}

/// An in-memory table set, for models and unit tests.
#[derive(Clone, Debug, Default)]
pub struct MemTables {
    rows: Rows,
}

impl MemTables {
    /// Writes what [`Txn::into_rows`] returned.
    pub fn commit(&mut self, rows: Rows) {
        for ((space, key), value) in rows {
            self.set(space, key, value);
        }
    }

    /// Writes a batch: first its cleared ranges, then its rows.
    pub fn write(&mut self, batch: &Batch) {
        for (space, from, to) in &batch.cleared {
            self.delete(*space, KeyRange { from: Bound::Included(from), to: open_end(to.as_deref()) });
        }
        for (space, key, value) in &batch.ops {
            self.set(*space, key.clone(), value.clone());
        }
    }

    fn set(&mut self, space: Space, key: Vec<u8>, value: Option<Vec<u8>>) {
        match value {
            Some(value) => self.rows.insert((space, key), Some(value)),
            None => self.rows.remove(&(space, key)),
        };
    }

    /// Number of rows in `space`.
    pub fn len(&self, space: Space) -> usize {
        overlay_range(&self.rows, space, KeyRange::ALL).count()
    }

    pub fn delete_range(&mut self, space: Space, from: &[u8], to: &[u8]) {
        self.delete(space, KeyRange::new(from, to));
    }

    fn delete(&mut self, space: Space, range: KeyRange<'_>) {
        let doomed: Vec<_> = overlay_range(&self.rows, space, range).map(|(slot, _)| slot.clone()).collect();
        for slot in doomed {
            self.rows.remove(&slot);
        }
    }
}

impl Read for MemTables {
    fn get(&self, space: Space, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        Ok(find(&self.rows, space, key).cloned().flatten())
    }

    fn scan(&self, space: Space, range: KeyRange<'_>, reverse: bool, visit: &mut Visit<'_>) -> io::Result<()> {
        let rows = overlay_range(&self.rows, space, range);
        let rows: Box<dyn Iterator<Item = _>> = if reverse { Box::new(rows.rev()) } else { Box::new(rows) };
        for ((_, key), value) in rows {
            if let Some(value) = value
                && visit(key, value)?.is_break()
            {
                return Ok(());
            }
        }
        Ok(())
    }
}
