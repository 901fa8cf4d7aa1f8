//! How much one request may look at and answer.

use super::error::KeyspaceError;
use super::query::QueryError;
use crate::state::limits::{MAX_COPIED_BYTES, MAX_KEYSPACE_REPLY_BYTES, MAX_RANGE_BYTES, MAX_VISITED_KEYS};

/// What is left of it.
#[derive(Debug)]
pub(super) struct Budget {
    keys: usize,
    bytes: usize,
    copied: usize,
}

impl Budget {
    /// For a command: the log waits for it, and its answer must fit an entry.
    pub fn of_command() -> Self {
        Budget { keys: MAX_VISITED_KEYS, bytes: MAX_KEYSPACE_REPLY_BYTES, copied: MAX_COPIED_BYTES }
    }

    /// For a read, for which nobody else waits.
    pub fn of_read() -> Self {
        Budget { keys: usize::MAX, bytes: MAX_RANGE_BYTES, copied: 0 }
    }

    pub fn take_key(&mut self) -> Result<(), QueryError> {
        self.keys = self.keys.checked_sub(1).ok_or(KeyspaceError::TooManyKeys)?;
        Ok(())
    }

    pub fn take_bytes(&mut self, bytes: usize) -> Result<(), QueryError> {
        self.bytes = self.bytes.checked_sub(bytes).ok_or(KeyspaceError::TooManyKeys)?;
        Ok(())
    }

    /// For a value that the request does not carry but has written again.
    pub fn take_copy(&mut self, bytes: usize) -> Result<(), QueryError> {
        self.copied = self.copied.checked_sub(bytes).ok_or(KeyspaceError::TooManyKeys)?;
        Ok(())
    }

    /// For what was not kept after all.
    pub fn give_back(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
    }
}
