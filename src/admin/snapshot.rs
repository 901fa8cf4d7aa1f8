//! `SnapshotSave`, `SnapshotStatus` and `SnapshotTrigger`.

use std::io::{self, Write};

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tonic::Status;

use super::node::SnapshotSource;
use super::{Error, Node, chunks};
use crate::pb::admin::snapshot_save_chunk::Part;
use crate::pb::admin::{NodeStatus, SnapshotEnd, SnapshotSaveChunk, SnapshotStatusResponse, SnapshotTriggerResponse};

/// Starts to stream what `source` pins. The permit is held as long as the pin.
pub fn save(source: SnapshotSource, permit: OwnedSemaphorePermit) -> mpsc::Receiver<Result<SnapshotSaveChunk, Status>> {
    let part = |part| SnapshotSaveChunk { part: Some(part) };
    chunks::stream(
        permit,
        move |data| part(Part::Data(data)),
        move |chunks| {
            chunks.send(part(Part::Begin(source.begin)))?;
            let mut out = Hashing { out: chunks, hasher: blake3::Hasher::new(), bytes: 0 };
            (source.write)(&mut out)?;
            let Hashing { out: chunks, hasher, bytes } = out;
            chunks.flush()?;
            chunks.send(part(Part::End(SnapshotEnd { bytes, blake3: hasher.finalize().as_bytes().to_vec() })))
        },
    )
}

/// Hashes and counts what is written.
struct Hashing<'a, W> {
    out: &'a mut W,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl<W: Write> Write for Hashing<'_, W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.out.write(data)?;
        let (taken, _) = data.split_at_checked(written).unwrap_or((data, &[]));
        self.hasher.update(taken);
        self.bytes += taken.len() as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
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
