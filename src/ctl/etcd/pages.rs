//! Keys under a prefix at one revision, read in pages of a bounded size, and their hash.

use super::store::{Denied, Store};
use crate::limits;
use crate::pb::etcd::api::RangeRequest;
use crate::pb::etcd::kv::KeyValue;

/// The first key and the end of the range that holds all keys with the prefix, in etcd's forms.
pub fn bounds(prefix: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let key = if prefix.is_empty() { vec![0] } else { prefix.to_vec() };
    let kept = prefix.iter().rposition(|byte| *byte < 0xff);
    let end = kept.map(|last| prefix[..last].iter().copied().chain([prefix[last] + 1]).collect());
    (key, end.unwrap_or_else(|| vec![0]))
}

/// The least key after `key`.
pub fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// What a key costs to move.
pub fn bytes_of(row: &KeyValue) -> u64 {
    (row.key.len() + row.value.len()) as u64
}

/// Reads on from where it is. The number of keys in a page follows from the size of the last one.
pub struct Pages {
    next: Vec<u8>,
    end: Vec<u8>,
    revision: i64,
    limit: i64,
    done: bool,
}

impl Pages {
    /// Keys with the prefix after `last` at `revision`.
    pub fn new(prefix: &[u8], last: Option<&[u8]>, revision: i64) -> Self {
        let (first, end) = bounds(prefix);
        Pages { next: last.map_or(first, after), end, revision, limit: limits::CTL_COPY_FIRST_PAGE_KEYS, done: false }
    }

    /// The next rows in the order of their keys; none at the end.
    pub async fn next(&mut self, store: &mut Store) -> Result<Vec<KeyValue>, Denied> {
        while !self.done {
            let request = RangeRequest {
                key: self.next.clone(),
                range_end: self.end.clone(),
                limit: self.limit,
                revision: self.revision,
                ..RangeRequest::default()
            };
            let answer = match store.range(request).await {
                Err(Denied::TooLarge) if self.limit > 1 => {
                    self.limit = (self.limit / 2).max(1);
                    continue;
                }
                answer => answer?,
            };
            self.done = !answer.more;
            if let Some(last) = answer.kvs.last() {
                self.next = after(&last.key);
                self.limit = next_limit(self.limit, answer.kvs.iter().map(bytes_of).sum());
            }
            return Ok(answer.kvs);
        }
        Ok(Vec::new())
    }
}

/// How many keys make a page of the wanted size, if they are as large as those of the last page.
fn next_limit(limit: i64, bytes: u64) -> i64 {
    let wanted = limits::CTL_COPY_PAGE_BYTES;
    let fitting = u128::from(wanted) * limit.unsigned_abs() as u128 / u128::from(bytes.max(1));
    // Twice as many at most: the next keys may be larger.
    i64::try_from(fitting).unwrap_or(i64::MAX).clamp(1, limit.saturating_mul(2)).min(limits::CTL_COPY_PAGE_KEYS_MAX)
}

/// Number and hash of rows without a lease: BLAKE3 over length (u64, little-endian) and bytes of each key and value, in
/// the order of the keys.
#[derive(Default)]
pub struct Digest {
    hasher: blake3::Hasher,
    pub keys: u64,
}

impl Digest {
    pub fn add(&mut self, rows: &[KeyValue]) {
        for row in rows.iter().filter(|row| row.lease == 0) {
            self.keys += 1;
            for part in [&row.key, &row.value] {
                self.hasher.update(&(part.len() as u64).to_le_bytes());
                self.hasher.update(part);
            }
        }
    }

    pub fn hash(&self) -> blake3::Hash {
        self.hasher.finalize()
    }

    /// Of everything in the store with the prefix at `revision`.
    pub async fn of(store: &mut Store, prefix: &[u8], revision: i64) -> Result<Self, Denied> {
        let (mut digest, mut pages) = (Digest::default(), Pages::new(prefix, None, revision));
        loop {
            let rows = pages.next(store).await?;
            if rows.is_empty() {
                return Ok(digest);
            }
            digest.add(&rows);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_becomes_a_range() {
        assert_eq!(bounds(b"by-dev"), (b"by-dev".to_vec(), b"by-dew".to_vec()));
        assert_eq!(bounds(b"a\xff\xff"), (b"a\xff\xff".to_vec(), b"b".to_vec()));
        assert_eq!(bounds(b"\xff"), (b"\xff".to_vec(), vec![0]));
        assert_eq!(bounds(b""), (vec![0], vec![0]));
    }

    #[test]
    fn pages_grow_and_shrink_with_the_keys() {
        let bytes = limits::CTL_COPY_PAGE_BYTES;
        assert_eq!(next_limit(64, bytes * 4), 16);
        assert_eq!(next_limit(64, 100), 128);
        assert_eq!(next_limit(1, bytes * 100), 1);
        assert_eq!(next_limit(limits::CTL_COPY_PAGE_KEYS_MAX, 1), limits::CTL_COPY_PAGE_KEYS_MAX);
    }

    #[test]
    fn the_hash_tells_keys_values_and_their_borders_apart() {
        let row = |key: &str, value: &str, lease| KeyValue {
            key: key.into(),
            value: value.into(),
            lease,
            ..KeyValue::default()
        };
        let hash = |rows: &[KeyValue]| {
            let mut digest = Digest::default();
            digest.add(rows);
            (digest.keys, digest.hash())
        };
        let one = hash(&[row("a", "bc", 0)]);
        assert_ne!(one, hash(&[row("ab", "c", 0)]));
        assert_ne!(one, hash(&[row("a", "bc", 0), row("b", "", 0)]));
        assert_eq!(one, hash(&[row("a", "bc", 0), row("leased", "x", 7)]));
    }
}
