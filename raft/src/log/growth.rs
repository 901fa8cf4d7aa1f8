//! How many bytes of log lie after each point, to keep logs by bytes and to trigger snapshots.

use std::collections::VecDeque;

/// A sample is taken whenever this many bytes were appended.
const STEP: u64 = 1 << 20;

/// Cumulative log size at sampled indexes.
#[derive(Debug, Default)]
pub struct LogGrowth {
    samples: VecDeque<(u64, u64)>,
    total: u64,
}

impl LogGrowth {
    /// A log that already holds `bytes` up to `last_index` when it is opened.
    pub fn opened(last_index: u64, bytes: u64) -> Self {
        LogGrowth { samples: VecDeque::from([(last_index, bytes)]), total: bytes }
    }

    pub fn appended(&mut self, index: u64, bytes: u64) {
        self.total += bytes;
        if self.samples.back().is_none_or(|(_, at)| self.total - at >= STEP) {
            self.samples.push_back((index, self.total));
        }
    }

    /// Bytes appended after `index`, within one sample's precision.
    pub fn bytes_after(&self, index: u64) -> u64 {
        let before = self.samples.iter().rev().find(|(at, _)| *at <= index).map_or(0, |(_, bytes)| *bytes);
        self.total - before
    }

    /// The highest index up to which the log may go while at least `keep_bytes` stay.
    pub fn purge_point(&self, keep_bytes: u64) -> Option<u64> {
        self.samples.iter().rev().find(|(_, bytes)| self.total - bytes >= keep_bytes).map(|(index, _)| *index)
    }

    pub fn purged(&mut self, index: u64) {
        // The last sample at or below the purge point stays: it is the base of the differences.
        while self.samples.get(1).is_some_and(|(at, _)| *at <= index) {
            self.samples.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_purge_point_leaves_what_is_to_be_kept() {
        let mut growth = LogGrowth::opened(0, 0);
        (1..=10).for_each(|index| growth.appended(index, STEP));
        assert_eq!(growth.purge_point(3 * STEP), Some(7));
        assert_eq!(growth.bytes_after(7), 3 * STEP);
        assert_eq!(growth.purge_point(11 * STEP), None);
        growth.purged(7);
        assert_eq!(growth.bytes_after(7), 3 * STEP);
    }
}
