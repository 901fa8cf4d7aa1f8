//! A snapshot as a stream of messages: written by a blocking thread into chunks that a bounded channel carries to the
//! caller, so neither side holds more than a few of them in memory.

use std::io::{self, Write};
use std::mem;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tonic::Status;

use super::Error;
use crate::limits;

/// Cuts what is written into messages.
pub struct Chunks<T> {
    messages: mpsc::Sender<Result<T, Status>>,
    message: Box<dyn Fn(Vec<u8>) -> T + Send>,
    runtime: Handle,
    filling: Vec<u8>,
}

/// Streams what `write` writes, each chunk as the message that `message` makes of it. The permit is held as long.
pub fn stream<T: Send + 'static>(
    permit: OwnedSemaphorePermit,
    message: impl Fn(Vec<u8>) -> T + Send + 'static,
    write: impl FnOnce(&mut Chunks<T>) -> io::Result<()> + Send + 'static,
) -> mpsc::Receiver<Result<T, Status>> {
    let (messages, received) = mpsc::channel(limits::ADMIN_STREAM_BUFFER);
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let mut chunks = Chunks { messages, message: Box::new(message), runtime, filling: Vec::new() };
        if let Err(error) = write(&mut chunks).and_then(|()| chunks.flush()) {
            tracing::warn!(%error, "a snapshot was not saved to its end");
            let status = Error::Failed(format!("the snapshot cannot be read: {error}")).into();
            // A caller that is gone needs no reason.
            let _ = chunks.pass_on(Err(status));
        }
    });
    received
}

impl<T> Chunks<T> {
    /// Sends a message of its own, after what was flushed.
    pub fn send(&self, message: T) -> io::Result<()> {
        self.pass_on(Ok(message))
    }

    fn pass_on(&self, message: Result<T, Status>) -> io::Result<()> {
        let sending = self.messages.send_timeout(message, limits::SNAPSHOT_READER_IDLE_MAX);
        self.runtime.block_on(sending).map_err(|_| io::Error::other("the caller takes nothing more"))
    }
}

impl<T> Write for Chunks<T> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let room = limits::SNAPSHOT_CHUNK_BYTES.saturating_sub(self.filling.len());
        let (taken, _) = data.split_at_checked(room).unwrap_or((data, &[]));
        self.filling.extend_from_slice(taken);
        if self.filling.len() >= limits::SNAPSHOT_CHUNK_BYTES {
            self.flush()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let filled = mem::take(&mut self.filling);
        if filled.is_empty() { Ok(()) } else { self.send((self.message)(filled)) }
    }
}
