//! Long and blocking work, kept from the tasks of Raft's own thread. A runtime that is one thread (a simulation, a unit
//! test) has no other: there it is done in place, which also makes its moment the same in every run.

use std::io;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::{block_in_place, spawn_blocking};

/// Whether the current runtime has threads for such work.
pub fn has_threads() -> bool {
    matches!(Handle::try_current().map(|handle| handle.runtime_flavor()), Ok(RuntimeFlavor::MultiThread))
}

/// Runs long work so that the other tasks of this worker, Raft's core among them, go on elsewhere.
pub fn off_the_core<T>(work: impl FnOnce() -> T) -> T {
    if has_threads() { block_in_place(work) } else { work() }
}

/// Runs work that waits for the disk.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    if has_threads() { spawn_blocking(work).await.map_err(io::Error::other)? } else { work() }
}
