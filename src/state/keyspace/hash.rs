//! etcd's HashKV: a checksum over history that two clusters with the same operations share.

use std::ops::ControlFlow;

use roost_raft::kv::{KeyRange, Read, Space};

use super::error::KeyspaceError;
use super::query::{HashedKeys, QueryError, Revisions};
use super::rows::{Revision, Span, decode_event, key_space, versions_of, walk_at};
use crate::pb::etcd::kv;

/// The name of the bucket in which etcd keeps its history.
const BUCKET: &[u8] = b"key";

/// What etcd names as the compaction's revision before the first one.
const NEVER_COMPACTED: i64 = -1;

pub(super) fn history(read: &dyn Read, revision: i64) -> Result<HashedKeys, QueryError> {
    let Revisions { current, compacted } = Revisions::of(&key_space(read)?);
    if revision > 0 && revision <= compacted {
        return Err(KeyspaceError::Compacted.into());
    }
    if revision > current {
        return Err(KeyspaceError::FutureRevision.into());
    }
    // Like etcd's, a negative one means a time before all changes.
    let until = if revision == 0 { current } else { revision.max(-1) };
    // Of the compacted revisions only those count that are still readable at `until`; when nothing is readable there,
    // etcd counts what compaction leaves.
    let readable_at = if anything_at(read, until)? { until } else { compacted };
    let mut crc = Crc32c::default();
    crc.update(BUCKET);
    let end = Revision::new(until.saturating_add(1), 0).key();
    read.scan(Space::REVISIONS, KeyRange::new(&[], &end), false, &mut |key, row| {
        let at = Revision::parse(key)?;
        let change = decode_event(row)?;
        let deletion = change.version == 0;
        if at.main <= compacted && (deletion || !is_newest(read, &change, at, readable_at)?) {
            return Ok(ControlFlow::Continue(()));
        }
        crc.update(&at.main.to_be_bytes());
        crc.update(b"_");
        crc.update(&at.sub.to_be_bytes());
        if deletion {
            crc.update(b"t");
        }
        crc.update(row);
        Ok(ControlFlow::Continue(()))
    })?;
    let compact_revision = if compacted == 0 { NEVER_COMPACTED } else { compacted };
    Ok(HashedKeys { hash: crc.value(), current_revision: current, compact_revision })
}

fn anything_at(read: &dyn Read, revision: i64) -> Result<bool, QueryError> {
    let mut found = false;
    walk_at(read, Span::new(b"", b"\0"), revision, &mut |_, _| {
        found = true;
        Ok::<_, QueryError>(ControlFlow::Break(()))
    })?;
    Ok(found)
}

/// Whether no later version of the key is at or below `revision`.
fn is_newest(read: &dyn Read, change: &kv::KeyValue, at: Revision, revision: i64) -> std::io::Result<bool> {
    let prefix = versions_of(&change.key);
    let after = [prefix.as_slice(), &Revision::new(at.main, at.sub + 1).key()].concat();
    let end = [prefix.as_slice(), &Revision::new(revision.saturating_add(1), 0).key()].concat();
    let mut newest = true;
    read.scan(Space::VERSIONS, KeyRange::new(&after, &end), false, &mut |_, _| {
        newest = false;
        Ok(ControlFlow::Break(()))
    })?;
    Ok(newest)
}

/// CRC-32C (Castagnoli), reflected, as iSCSI has it.
struct Crc32c(u32);

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ 0x82f6_3b78 } else { value >> 1 };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
}

impl Default for Crc32c {
    fn default() -> Self {
        Crc32c(u32::MAX)
    }
}

impl Crc32c {
    fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 >> 8) ^ TABLE[((self.0 ^ u32::from(*byte)) & 0xff) as usize];
        }
    }

    fn value(&self) -> u32 {
        !self.0
    }
}
