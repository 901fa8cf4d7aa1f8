//! What etcd's tools want around a snapshot: zeros up to a multiple of 512 bytes, then the SHA-256 of everything
//! before. `etcdctl snapshot save` refuses a stream of any other length. A file that came by that way is read like any
//! other.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

/// A sealed snapshot is padded to a multiple of it.
pub(super) const BLOCK_BYTES: usize = 512;
const DIGEST_BYTES: usize = 32;

/// Writes a snapshot and, at the end, its seal.
pub struct Sealing<'a> {
    out: &'a mut dyn Write,
    hasher: Sha256,
    bytes: usize,
}

impl<'a> Sealing<'a> {
    pub fn new(out: &'a mut dyn Write) -> Self {
        Sealing { out, hasher: Sha256::new(), bytes: 0 }
    }

    pub fn finish(mut self) -> io::Result<()> {
        let padding = self.bytes.next_multiple_of(BLOCK_BYTES) - self.bytes;
        self.write_all([0; BLOCK_BYTES].get(..padding).unwrap_or_default())?;
        self.out.write_all(&self.hasher.finalize())?;
        self.out.flush()
    }
}

impl Write for Sealing<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.out.write(data)?;
        let (taken, _) = data.split_at_checked(written).unwrap_or((data, &[]));
        self.hasher.update(taken);
        self.bytes += taken.len();
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The snapshot in a file: all of it, or what stands before a seal that fits.
pub(crate) fn content(path: &Path) -> io::Result<io::Take<BufReader<File>>> {
    let mut file = BufReader::with_capacity(256 << 10, File::open(path)?);
    let bytes = file.get_ref().metadata()?.len();
    let before = bytes.saturating_sub(DIGEST_BYTES as u64);
    // Only a file of such a length is worth a second reading.
    if before > 0 && before.is_multiple_of(BLOCK_BYTES as u64) {
        let mut hasher = Sha256::new();
        io::copy(&mut file.by_ref().take(before), &mut hasher)?;
        let mut digest = [0; DIGEST_BYTES];
        file.read_exact(&mut digest)?;
        file.seek(SeekFrom::Start(0))?;
        if *hasher.finalize() == digest {
            return Ok(file.take(before));
        }
    }
    Ok(file.take(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::StateHash;
    use crate::kv::{MemTables, Space, Txn};
    use crate::snapshot::{SnapshotFile, SnapshotHeader, write_snapshot};

    /// A snapshot of rows of so many bytes.
    fn write(rows: u32, out: &mut dyn Write) {
        let tables = MemTables::default();
        let mut txn = Txn::new(&tables);
        let mut hash = StateHash::default();
        for row in 0..rows {
            let (key, value) = (row.to_be_bytes(), [row as u8; 100]);
            txn.put(Space::STATE, key, value);
            hash.add(Space::STATE, &key, &value);
        }
        let membership = Default::default();
        let header = SnapshotHeader { cluster_id: None, node_id: 1, last_log_id: None, membership, hash };
        write_snapshot(&txn, &header, out).unwrap();
    }

    #[test]
    fn a_sealed_snapshot_is_read_as_what_it_seals() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sealed");
        for rows in [0, 1, 7, 3000] {
            let mut plain = Vec::new();
            write(rows, &mut plain);
            let mut file = Vec::new();
            let mut sealing = Sealing::new(&mut file);
            write(rows, &mut sealing);
            sealing.finish().unwrap();
            assert_eq!(file.len() % BLOCK_BYTES, DIGEST_BYTES, "what etcdctl looks for");
            assert!(file.starts_with(&plain));
            std::fs::write(&path, &file).unwrap();
            assert_eq!(SnapshotFile::verify(&path).unwrap().rows, u64::from(rows));
            let mut read = Vec::new();
            content(&path).unwrap().read_to_end(&mut read).unwrap();
            assert!(read.starts_with(&plain) && read.len() == file.len() - DIGEST_BYTES);

            // A byte of the padding, of the digest, and one too few or too many.
            for place in [plain.len(), file.len() - DIGEST_BYTES, file.len() - 1] {
                let mut damaged = file.clone();
                damaged[place] ^= 1;
                std::fs::write(&path, &damaged).unwrap();
                assert!(SnapshotFile::verify(&path).is_err(), "{rows} rows, byte {place}");
            }
            std::fs::write(&path, &file[..file.len() - 1]).unwrap();
            assert!(SnapshotFile::verify(&path).is_err());
            std::fs::write(&path, [&file[..], &[0]].concat()).unwrap();
            assert!(SnapshotFile::verify(&path).is_err());
        }
    }
}
