//! Where the state stands. Written in the same batch as the rows it describes, so the two can never disagree.

use std::io;

use super::hash::StateHash;
use crate::codec;
use crate::kv::{Batch, Read, Space};
use crate::types::{LogId, StoredMembership};

const APPLIED: &[u8] = b"applied";
const MEMBERSHIP: &[u8] = b"membership";
const HASH: &[u8] = b"hash";

/// The last applied entry, the membership in force there, and the hash of all replicated rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    pub applied: Option<LogId>,
    pub membership: StoredMembership,
    pub hash: StateHash,
}

impl Position {
    /// Reads the position that belongs to `view`.
    pub fn read(view: &dyn Read) -> io::Result<Self> {
        fn fact<T: serde::de::DeserializeOwned + Default>(view: &dyn Read, key: &[u8]) -> io::Result<T> {
            view.get(Space::META, key)?.map_or_else(|| Ok(T::default()), |bytes| codec::decode(&bytes))
        }
        Ok(Position { applied: fact(view, APPLIED)?, membership: fact(view, MEMBERSHIP)?, hash: fact(view, HASH)? })
    }

    /// Adds the position to the batch that brings the state there.
    pub fn put(&self, batch: &mut Batch) -> io::Result<()> {
        batch.put(Space::META, MEMBERSHIP, codec::encode(&self.membership)?);
        self.put_progress(batch)
    }

    /// The same where `before` is what the rows say: members change rarely, and their row is the longest.
    pub fn put_after(&self, before: &Position, batch: &mut Batch) -> io::Result<()> {
        if self.membership == before.membership { self.put_progress(batch) } else { self.put(batch) }
    }

    fn put_progress(&self, batch: &mut Batch) -> io::Result<()> {
        batch.put(Space::META, APPLIED, codec::encode(&self.applied)?);
        batch.put(Space::META, HASH, codec::encode(&self.hash)?);
        Ok(())
    }
}
