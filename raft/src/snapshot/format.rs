//! The file format, streamed in both directions:
//!
//! ```text
//! "ROOSTSN1"  u32 length, header (codec), u32 crc32
//! 1  u32 length, u32 crc32, rows of {u8 space, u32 key length, u32 value length, key, value}     repeated
//! 2  u64 rows, 32 bytes BLAKE3 of everything before this record                                   once, at the end
//! ```
//!
//! Zeros may follow, fewer than 512 (see `sealed`). Integers are big-endian. Nothing is trusted before its checksum was
//! seen.

use std::io::{self, Read as _, Write};
use std::ops::ControlFlow;

use super::sealed::BLOCK_BYTES;
use super::{SPACES, SnapshotHeader};
use crate::apply::StateHash;
use crate::codec::{self, corrupt};
use crate::failpoint;
use crate::kv::{KeyRange, Read, Space};

const MAGIC: &[u8; 8] = b"ROOSTSN1";
const CHUNK: u8 = 1;
const TRAILER: u8 = 2;
/// A chunk is closed once it holds this much.
const CHUNK_BYTES: usize = 256 << 10;
/// A longer chunk or header is corruption: one row is bounded by the largest proposal.
const CHUNK_BYTES_MAX: u32 = 64 << 20;

/// One row of a snapshot.
pub type Row = (Space, Vec<u8>, Vec<u8>);

/// Writes everything before it to `out` and hashes it on the way.
struct Hashing<'a> {
    out: &'a mut dyn Write,
    hasher: blake3::Hasher,
}

impl Hashing<'_> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.out.write_all(bytes)
    }

    fn chunk(&mut self, rows: &mut Vec<u8>) -> io::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        self.put(&[CHUNK])?;
        self.put(&length(rows.len())?)?;
        self.put(&crc32fast::hash(rows).to_be_bytes())?;
        self.put(rows)?;
        rows.clear();
        failpoint::point("snapshot.chunk_written");
        Ok(())
    }
}

fn length(len: usize) -> io::Result<[u8; 4]> {
    match u32::try_from(len) {
        Ok(len) if len <= CHUNK_BYTES_MAX => Ok(len.to_be_bytes()),
        _ => Err(corrupt(format!("a snapshot record of {len} bytes is over the limit of {CHUNK_BYTES_MAX}"))),
    }
}

/// Streams the replicated rows of `view`. Returns how many there were.
pub fn write_snapshot(view: &dyn Read, header: &SnapshotHeader, out: &mut dyn Write) -> io::Result<u64> {
    let mut out = Hashing { out, hasher: blake3::Hasher::new() };
    let head = codec::encode(header)?;
    out.put(MAGIC)?;
    out.put(&length(head.len())?)?;
    out.put(&head)?;
    out.put(&crc32fast::hash(&head).to_be_bytes())?;
    let mut rows = 0u64;
    let mut chunk = Vec::with_capacity(CHUNK_BYTES * 2);
    for space in SPACES {
        view.scan(space, KeyRange::ALL, false, &mut |key, value| {
            chunk.push(space.0);
            chunk.extend_from_slice(&length(key.len())?);
            chunk.extend_from_slice(&length(value.len())?);
            chunk.extend_from_slice(key);
            chunk.extend_from_slice(value);
            rows += 1;
            if chunk.len() >= CHUNK_BYTES {
                out.chunk(&mut chunk)?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    out.chunk(&mut chunk)?;
    let digest = *out.hasher.finalize().as_bytes();
    out.out.write_all(&[TRAILER])?;
    out.out.write_all(&rows.to_be_bytes())?;
    out.out.write_all(&digest)?;
    out.out.flush()?;
    Ok(rows)
}

/// Reads a snapshot chunk by chunk and checks it on the way. Whole only once [`SnapshotReader::next_chunk`] gave
/// `None`.
pub struct SnapshotReader<R> {
    input: R,
    hasher: blake3::Hasher,
    header: SnapshotHeader,
    hash: StateHash,
    rows: u64,
    done: bool,
}

impl<R: io::Read> SnapshotReader<R> {
    /// Reads the header.
    pub fn open(mut input: R) -> io::Result<Self> {
        let mut magic = [0; MAGIC.len()];
        fill(&mut input, &mut magic)?;
        if magic != *MAGIC {
            return Err(corrupt("not a Roost snapshot, or one of another format"));
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&magic);
        let mut len = [0; 4];
        fill(&mut input, &mut len)?;
        hasher.update(&len);
        let head = body(&mut input, u32::from_be_bytes(len))?;
        hasher.update(&head);
        let mut crc = [0; 4];
        fill(&mut input, &mut crc)?;
        hasher.update(&crc);
        if crc32fast::hash(&head).to_be_bytes() != crc {
            return Err(corrupt("the snapshot's header is damaged (checksum)"));
        }
        let header = codec::decode(&head)?;
        Ok(SnapshotReader { input, hasher, header, hash: StateHash::default(), rows: 0, done: false })
    }

    pub fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    pub fn into_header(self) -> SnapshotHeader {
        self.header
    }

    /// Rows read so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The next rows, or `None` at the end, after the trailer proved the file whole.
    pub fn next_chunk(&mut self) -> io::Result<Option<Vec<Row>>> {
        if self.done {
            return Ok(None);
        }
        let mut tag = [0; 1];
        fill(&mut self.input, &mut tag)?;
        match tag[0] {
            CHUNK => self.chunk().map(Some),
            TRAILER => self.trailer().map(|()| None),
            other => Err(corrupt(format!("the snapshot holds an unknown record {other}"))),
        }
    }

    fn chunk(&mut self) -> io::Result<Vec<Row>> {
        let mut head = [0; 8];
        fill(&mut self.input, &mut head)?;
        let [a, b, c, d, crc @ ..] = head;
        let data = body(&mut self.input, u32::from_be_bytes([a, b, c, d]))?;
        if crc32fast::hash(&data).to_be_bytes() != crc {
            return Err(corrupt("the snapshot is damaged (chunk checksum)"));
        }
        self.hasher.update(&[CHUNK]);
        self.hasher.update(&head);
        self.hasher.update(&data);
        let mut rest = data.as_slice();
        let mut rows = Vec::new();
        while !rest.is_empty() {
            let row = parse_row(&mut rest).ok_or_else(|| corrupt("the snapshot is damaged (row)"))?;
            self.hash.add(row.0, &row.1, &row.2);
            rows.push(row);
        }
        self.rows += rows.len() as u64;
        Ok(rows)
    }

    fn trailer(&mut self) -> io::Result<()> {
        let mut trailer = [0; 40];
        fill(&mut self.input, &mut trailer)?;
        let (rows, digest) = trailer.split_at(8);
        if self.rows.to_be_bytes() != rows || self.hasher.finalize().as_bytes() != digest {
            return Err(corrupt("the snapshot is damaged (trailer)"));
        }
        if self.hash != self.header.hash {
            return Err(corrupt("the snapshot's rows do not have the state hash that its header names"));
        }
        let mut padding = Vec::new();
        self.input.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut padding)?;
        if padding.len() >= BLOCK_BYTES || padding.iter().any(|byte| *byte != 0) {
            return Err(corrupt("bytes follow the snapshot's end"));
        }
        self.done = true;
        Ok(())
    }
}

fn fill(input: &mut impl io::Read, bytes: &mut [u8]) -> io::Result<()> {
    input.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => corrupt("the snapshot is truncated"),
        _ => error,
    })
}

fn body(input: &mut impl io::Read, len: u32) -> io::Result<Vec<u8>> {
    if len > CHUNK_BYTES_MAX {
        return Err(corrupt(format!("the snapshot names a record of {len} bytes; the limit is {CHUNK_BYTES_MAX}")));
    }
    // Grows with what really arrives: a forged length costs nothing.
    let mut data = Vec::new();
    input.by_ref().take(u64::from(len)).read_to_end(&mut data)?;
    if data.len() != len as usize {
        return Err(corrupt("the snapshot is truncated"));
    }
    Ok(data)
}

fn parse_row(rest: &mut &[u8]) -> Option<Row> {
    let (space, after) = rest.split_first()?;
    let (key_len, after) = after.split_first_chunk()?;
    let (value_len, after) = after.split_first_chunk()?;
    let (key, after) = after.split_at_checked(u32::from_be_bytes(*key_len) as usize)?;
    let (value, after) = after.split_at_checked(u32::from_be_bytes(*value_len) as usize)?;
    let space = SPACES.into_iter().find(|known| known.0 == *space)?;
    *rest = after;
    Some((space, key.to_vec(), value.to_vec()))
}
