//! What the host asks of a storage engine. Writes are ordered by one log: whatever was written earlier survives
//! whenever something later does. Only [`Engine::sync`] makes them durable.

use std::io;
use std::sync::Arc;

use crate::kv::{Batch, Read, Space};

/// An ordered store of all spaces with atomic batches and consistent views.
pub trait Engine: Read + 'static {
    /// Writes a batch atomically, in order, without waiting for the disk.
    fn write(&self, batch: Batch) -> io::Result<()>;

    /// Makes everything written before this call durable.
    fn sync(&self) -> io::Result<()>;

    /// A consistent view of this moment; later writes do not show. Holding it delays compaction.
    fn pin(&self) -> Arc<dyn Read>;

    /// Gives back the space of a range whose rows were deleted. Slow; call off the hot path.
    fn reclaim(&self, space: Space, from: &[u8], to: &[u8]) -> io::Result<()>;

    /// Approximate bytes on disk and in memory of a space.
    fn size(&self, space: Space) -> u64;

    /// Whether writes are being delayed because compaction is behind.
    fn stalled(&self) -> bool;
}
