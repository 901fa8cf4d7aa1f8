//! `SnapshotSave`, `SnapshotStatus` and `SnapshotTrigger`. A saved snapshot is written by a blocking thread into chunks
//! that a bounded channel carries to the caller, so neither side holds more than a few of them in memory.

use std::io::{self, Write};
use std::mem;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tonic::Status;

use super::node::SnapshotSource;
use super::{Error, Node};
use crate::limits;
use crate::pb::admin::snapshot_save_chunk::Part;
use crate::pb::admin::{NodeStatus, SnapshotEnd, SnapshotSaveChunk, SnapshotStatusResponse, SnapshotTriggerResponse};

type Chunks = mpsc::Sender<Result<SnapshotSaveChunk, Status>>;

/// Starts to stream what `source` pins. The permit is held as long as the pin.
pub fn save(source: SnapshotSource, permit: OwnedSemaphorePermit) -> mpsc::Receiver<Result<SnapshotSaveChunk, Status>> {
    let (chunks, received) = mpsc::channel(limits::ADMIN_STREAM_BUFFER);
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let mut out = ChunkWriter::new(chunks.clone(), runtime.clone());
        if let Err(error) = write_all(source, &mut out) {
            tracing::warn!(%error, "a snapshot was not saved to its end");
            let status = Error::Failed(format!("the snapshot cannot be read: {error}")).into();
            // A caller that is gone needs no reason.
            let _ = runtime.block_on(chunks.send_timeout(Err(status), limits::SNAPSHOT_READER_IDLE_MAX));
        }
    });
    received
}

fn write_all(source: SnapshotSource, out: &mut ChunkWriter) -> io::Result<()> {
    out.send(Part::Begin(source.begin))?;
    (source.write)(out)?;
    out.flush()?;
    let end = SnapshotEnd { bytes: out.bytes, blake3: out.hasher.finalize().as_bytes().to_vec() };
    out.send(Part::End(end))
}

/// Cuts what is written into chunks and hashes it on the way.
struct ChunkWriter {
    chunks: Chunks,
    runtime: Handle,
    filling: Vec<u8>,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl ChunkWriter {
    fn new(chunks: Chunks, runtime: Handle) -> Self {
        ChunkWriter { chunks, runtime, filling: Vec::new(), hasher: blake3::Hasher::new(), bytes: 0 }
    }

    fn send(&self, part: Part) -> io::Result<()> {
        let chunk = Ok(SnapshotSaveChunk { part: Some(part) });
        let sending = self.chunks.send_timeout(chunk, limits::SNAPSHOT_READER_IDLE_MAX);
        self.runtime.block_on(sending).map_err(|_| io::Error::other("the caller takes nothing more"))
    }
}

impl Write for ChunkWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let room = limits::SNAPSHOT_CHUNK_BYTES.saturating_sub(self.filling.len());
        let (taken, _) = data.split_at_checked(room).unwrap_or((data, &[]));
        self.filling.extend_from_slice(taken);
        self.hasher.update(taken);
        self.bytes += taken.len() as u64;
        if self.filling.len() >= limits::SNAPSHOT_CHUNK_BYTES {
            self.flush()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let filled = mem::take(&mut self.filling);
        if filled.is_empty() { Ok(()) } else { self.send(Part::Data(filled)) }
    }
}

pub fn status(status: &NodeStatus) -> SnapshotStatusResponse {
    SnapshotStatusResponse {
        node_id: status.node_id,
        index: status.snapshot_index,
        term: status.snapshot_term,
        first_log_index: status.first_log_index,
        last_log_index: status.last_log_index,
        applied_index: status.applied_index,
    }
}

pub async fn trigger(node: &dyn Node) -> Result<SnapshotTriggerResponse, Error> {
    let index = node.build_snapshot().await?;
    Ok(SnapshotTriggerResponse { node_id: node.status()?.node_id, index })
}
