//! The newest entries in memory, so that apply and up-to-date followers never read the disk.

use std::collections::VecDeque;

use crate::types::Entry;

/// Bytes of encoded entries that are kept.
const BYTES_MAX: usize = 64 << 20;
/// Entries that are kept, whatever their size.
const ENTRIES_MAX: usize = 65_536;

/// A contiguous tail of the log.
#[derive(Default)]
pub struct LogCache {
    entries: VecDeque<(Entry, usize)>,
    bytes: usize,
}

impl LogCache {
    /// Appends `entry` of `size` encoded bytes. A gap to the newest entry starts the tail anew.
    pub fn push(&mut self, entry: Entry, size: usize) {
        let follows = self.entries.back().is_none_or(|(last, _)| last.log_id.index() + 1 == entry.log_id.index());
        if !follows {
            self.clear();
        }
        self.bytes += size;
        self.entries.push_back((entry, size));
        while self.bytes > BYTES_MAX || self.entries.len() > ENTRIES_MAX {
            self.pop_front();
        }
    }

    /// Entries of `start..end` up to `bytes_max` (at least one), or `None` when `start` is not held.
    pub fn range(&self, start: u64, end: u64, bytes_max: usize) -> Option<Vec<Entry>> {
        let first = self.entries.front()?.0.log_id.index();
        let last = self.entries.back()?.0.log_id.index();
        if start < first || start > last {
            return None;
        }
        let mut bytes = 0;
        let skip = usize::try_from(start - first).ok()?;
        let wanted = self.entries.iter().skip(skip).take_while(|(entry, _)| entry.log_id.index() < end);
        let within = wanted.take_while(|(_, size)| {
            let fits = bytes == 0 || bytes + size <= bytes_max;
            bytes += size;
            fits
        });
        Some(within.map(|(entry, _)| entry.clone()).collect())
    }

    /// Forgets entries after `index`.
    pub fn truncate_after(&mut self, index: u64) {
        while self.entries.back().is_some_and(|(entry, _)| entry.log_id.index() > index) {
            if let Some((_, size)) = self.entries.pop_back() {
                self.bytes -= size;
            }
        }
    }

    /// Forgets entries up to `index`.
    pub fn purge(&mut self, index: u64) {
        while self.entries.front().is_some_and(|(entry, _)| entry.log_id.index() <= index) {
            self.pop_front();
        }
    }

    pub fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    fn pop_front(&mut self) {
        if let Some((_, size)) = self.entries.pop_front() {
            self.bytes -= size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{CommittedLeaderId, LogId, Payload};

    fn entry(index: u64) -> Entry {
        Entry { log_id: LogId::new(CommittedLeaderId::new(1), index), payload: Payload::Blank }
    }

    fn filled(indexes: std::ops::RangeInclusive<u64>) -> LogCache {
        let mut cache = LogCache::default();
        indexes.for_each(|index| cache.push(entry(index), 10));
        cache
    }

    fn indexes(entries: Option<Vec<Entry>>) -> Option<Vec<u64>> {
        entries.map(|entries| entries.iter().map(|entry| entry.log_id.index()).collect())
    }

    #[test]
    fn a_range_is_bounded_in_bytes_but_never_empty() {
        let cache = filled(5..=9);
        assert_eq!(indexes(cache.range(6, 9, 1000)), Some(vec![6, 7, 8]));
        assert_eq!(indexes(cache.range(6, 9, 20)), Some(vec![6, 7]));
        assert_eq!(indexes(cache.range(6, 9, 1)), Some(vec![6]));
        assert_eq!(indexes(cache.range(4, 9, 1000)), None);
        assert_eq!(indexes(cache.range(10, 12, 1000)), None);
    }

    #[test]
    fn truncation_purge_and_gaps() {
        let mut cache = filled(5..=9);
        cache.truncate_after(7);
        cache.purge(5);
        assert_eq!(indexes(cache.range(6, 100, 1000)), Some(vec![6, 7]));
        cache.push(entry(20), 10);
        assert_eq!(indexes(cache.range(6, 100, 1000)), None);
        assert_eq!(indexes(cache.range(20, 100, 1000)), Some(vec![20]));
    }
}
