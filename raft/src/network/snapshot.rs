//! Snapshots on the wire: encoded while they are sent, into a bounded channel; written to a file and verified while
//! they are received. Neither side holds more than a few chunks in memory.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use openraft::errors::RPCError;
use openraft::raft::SnapshotResponse;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::client::{PeerClient, decode, record, rpc_error};
use super::proto::SnapshotChunk;
use crate::codec;
use crate::offload::{self, blocking};
use crate::snapshot::{SnapshotData, SnapshotFile, TemporaryFile};
use crate::types::{TypeConfig, Vote};

/// Bytes of one message.
const CHUNK_BYTES: usize = 512 << 10;
/// Chunks that may wait for the network.
const CHUNKS_QUEUED: usize = 4;
/// A sender that is silent for this long is given up.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Verifying and installing take time in proportion to the state; nothing else waits for the reply.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(1800);

/// Names of files that are being received begin so.
const RECEIVING: &str = "receiving-";

/// Removes what an interrupted transfer left behind. To be called before anything is received.
pub fn remove_partial_snapshots(dir: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(RECEIVING) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Streams a snapshot file's bytes. Encoding runs on a blocking thread and waits for the receiver.
pub fn stream_snapshot(data: SnapshotData) -> mpsc::Receiver<io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(CHUNKS_QUEUED);
    if !offload::has_threads() {
        tokio::spawn(send_in_place(data, sender));
        return receiver;
    }
    tokio::task::spawn_blocking(move || {
        let mut out = ChunkWriter { sender: sender.clone(), chunk: Vec::with_capacity(CHUNK_BYTES) };
        if let Err(error) = data.write_to(&mut out).and_then(|_| out.flush()) {
            // The receiver may be gone; then nobody needs to know.
            let _ = sender.blocking_send(Err(error));
        }
    });
    receiver
}

/// Without a thread that could wait for the receiver, everything is encoded first.
async fn send_in_place(data: SnapshotData, sender: mpsc::Sender<io::Result<Bytes>>) {
    let mut file = Vec::new();
    let chunks = match data.write_to(&mut file) {
        Ok(_) => file.chunks(CHUNK_BYTES).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect(),
        Err(error) => vec![Err(error)],
    };
    for chunk in chunks {
        if sender.send(chunk).await.is_err() {
            return;
        }
    }
}

struct ChunkWriter {
    sender: mpsc::Sender<io::Result<Bytes>>,
    chunk: Vec<u8>,
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.chunk.extend_from_slice(bytes);
        if self.chunk.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK_BYTES));
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the snapshot's receiver went away");
        self.sender.blocking_send(Ok(chunk.into())).map_err(gone)
    }
}

impl PeerClient {
    /// Sends a snapshot and waits until the peer installed it.
    pub(super) async fn send_snapshot(
        &self,
        vote: Vote,
        data: SnapshotData,
    ) -> Result<SnapshotResponse<TypeConfig>, RPCError<TypeConfig>> {
        let head = SnapshotChunk { record: record(&vote)?, data: Bytes::new() };
        let chunks = ReceiverStream::new(stream_snapshot(data)).take_while(|chunk| std::future::ready(chunk.is_ok()));
        let body = chunks.filter_map(|chunk| std::future::ready(chunk.ok()));
        let messages =
            futures::stream::iter([head]).chain(body.map(|data| SnapshotChunk { record: Bytes::new(), data }));
        let mut request = self.sign(messages);
        request.set_timeout(INSTALL_TIMEOUT);
        let mut rpc = self.rpc().map_err(rpc_error)?;
        decode(rpc.install_snapshot(request).await.map_err(rpc_error)?.into_inner())
    }
}

/// Receives a snapshot into `dir`. An unfinished or damaged one leaves nothing behind.
pub async fn receive_snapshot(mut input: Streaming<SnapshotChunk>, dir: &Path) -> Result<(Vote, SnapshotFile), Status> {
    static RECEIVED: AtomicU64 = AtomicU64::new(0);
    let number = RECEIVED.fetch_add(1, Ordering::Relaxed);
    let partial = TemporaryFile(dir.join(format!("{RECEIVING}{number}.snapshot")));
    let head = next(&mut input).await?.ok_or_else(|| Status::invalid_argument("an empty snapshot stream"))?;
    let vote: Vote = codec::decode(&head.record).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let written = write(&mut input, &partial.0).await;
    written?;
    let path = partial.0.clone();
    let file = blocking(move || SnapshotFile::verify(&path)).await;
    let file = file.map_err(|error| Status::data_loss(format!("the received snapshot is refused: {error}")))?;
    Ok((vote, SnapshotFile { temporary: Some(Arc::new(partial)), ..file }))
}

async fn next(input: &mut Streaming<SnapshotChunk>) -> Result<Option<SnapshotChunk>, Status> {
    let message = tokio::time::timeout(IDLE_TIMEOUT, input.message()).await;
    message.map_err(|_| Status::deadline_exceeded("the snapshot's sender fell silent"))?
}

async fn write(input: &mut Streaming<SnapshotChunk>, path: &Path) -> Result<(), Status> {
    let failed = |error: io::Error| Status::internal(format!("cannot store the snapshot: {error}"));
    let path = path.to_path_buf();
    let create = move || {
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        std::fs::File::create(path)
    };
    let mut file = blocking(create).await.map_err(failed)?;
    while let Some(chunk) = next(input).await? {
        let write = move || file.write_all(&chunk.data).map(|()| file);
        file = blocking(write).await.map_err(failed)?;
    }
    Ok(())
}
