//! Rows that the last write read or wrote, kept in memory. The next write asks for much the same ones: the clock, a
//! node's session, counters, the apply version. One row found here instead of in RocksDB saves a microsecond or two of
//! the thread that everything waits for.

use std::io;

use crate::kv::{KeyRange, KnownRows, Read, Rows, Space, Visit, find};

/// Larger rows are not kept: to copy one costs as much as to find it.
const ROW_BYTES_MAX: usize = 4 << 10;
/// What is kept at most.
const BYTES_MAX: usize = 256 << 10;

/// See the module. What it holds is what the engine holds, because every write of those spaces makes a new one.
#[derive(Debug, Default)]
pub(super) struct RecentRows {
    rows: Rows,
    bytes: usize,
}

impl RecentRows {
    /// A row as it is after the write.
    pub fn keep(&mut self, space: Space, key: &[u8], row: Option<&[u8]>) {
        if self.has_room(space, key, row) {
            self.rows.insert((space, key.to_vec()), row.map(<[u8]>::to_vec));
        }
    }

    /// Rows that were read and not written.
    pub fn keep_read(&mut self, read: KnownRows) {
        for ((space, key), row) in read.into_rows() {
            if self.has_room(space, &key, row.as_deref()) {
                self.rows.insert((space, key), row);
            }
        }
    }

    /// Whether the row is of the kind that is asked for again, and small enough; then its bytes are counted.
    fn has_room(&mut self, space: Space, key: &[u8], row: Option<&[u8]>) -> bool {
        let bytes = key.len() + row.map_or(0, <[u8]>::len);
        let fits =
            matches!(space, Space::SYSTEM | Space::STATE) && bytes <= ROW_BYTES_MAX && self.bytes + bytes <= BYTES_MAX;
        self.bytes += if fits { bytes } else { 0 };
        fits
    }

    /// The rows of `engine`, those that are here from here.
    pub fn over<'a>(&'a self, engine: &'a dyn Read) -> Warm<'a> {
        Warm { recent: self, engine }
    }
}

/// See [`RecentRows::over`].
pub(super) struct Warm<'a> {
    recent: &'a RecentRows,
    engine: &'a dyn Read,
}

impl Read for Warm<'_> {
    fn get(&self, space: Space, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        match find(&self.recent.rows, space, key) {
            Some(row) => Ok(row.clone()),
            None => self.engine.get(space, key),
        }
    }

    fn scan(&self, space: Space, range: KeyRange<'_>, reverse: bool, visit: &mut Visit<'_>) -> io::Result<()> {
        self.engine.scan(space, range, reverse, visit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::MemTables;

    #[test]
    fn rows_are_found_here_and_all_others_in_the_engine() {
        let mut engine = MemTables::default();
        engine.commit([((Space::STATE, b"other".to_vec()), Some(b"row".to_vec()))].into());
        let mut recent = RecentRows::default();
        recent.keep(Space::STATE, b"clock", Some(b"7"));
        recent.keep(Space::STATE, b"gone", None);
        let warm = recent.over(&engine);
        assert_eq!(warm.get(Space::STATE, b"clock").unwrap().as_deref(), Some(&b"7"[..]));
        assert_eq!(warm.get(Space::STATE, b"gone").unwrap(), None);
        assert_eq!(warm.get(Space::STATE, b"other").unwrap().as_deref(), Some(&b"row"[..]));
        assert_eq!(warm.get(Space::SYSTEM, b"clock").unwrap(), None);
    }

    #[test]
    fn what_is_large_or_of_another_space_is_not_kept() {
        let mut recent = RecentRows::default();
        recent.keep(Space::STATE, b"large", Some(&[0; ROW_BYTES_MAX]));
        recent.keep(Space::KEYS, b"key", Some(b"value"));
        assert!(recent.rows.is_empty());
        for row in 0..1000u32 {
            recent.keep(Space::STATE, &row.to_be_bytes(), Some(&[0; ROW_BYTES_MAX / 2]));
        }
        assert!(recent.bytes <= BYTES_MAX && recent.rows.len() >= BYTES_MAX / ROW_BYTES_MAX, "{}", recent.rows.len());
    }
}
