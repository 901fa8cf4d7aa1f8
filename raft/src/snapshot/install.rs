//! Replacing the whole state by a snapshot, so that a crash at any point leaves either the old state or the new one.
//!
//! The file is verified and durable first; a synced marker in `Space::META` then says "this file is being installed".
//! The rows are cleared and written in batches; the last batch writes the position and removes the marker. A start that
//! finds the marker does it all again from the file.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::Path;

use super::{SPACES, SnapshotData, SnapshotFile, SnapshotReader};
use crate::apply::Position;
use crate::codec;
use crate::failpoint;
use crate::kv::{Batch, Space};
use crate::storage::engine::Engine;

const INSTALLING: &[u8] = b"installing";
const INSTALL_FILE: &str = "installing.snapshot";

/// Brings `data` into `dir` as a verified, durable file that [`install`] can use.
pub fn stage(data: SnapshotData, dir: &Path) -> io::Result<SnapshotFile> {
    let path = dir.join(INSTALL_FILE);
    std::fs::create_dir_all(dir)?;
    if let SnapshotData::File(file) = &data {
        std::fs::rename(&file.path, &path)?;
    } else {
        let mut out = BufWriter::new(File::create(&path)?);
        data.write_to(&mut out)?;
        out.flush()?;
    }
    File::open(&path)?.sync_all()?;
    File::open(dir)?.sync_all()?;
    SnapshotFile::verify(&path)
}

/// Replaces all replicated rows by those of `file`, then removes the file.
pub fn install(engine: &dyn Engine, file: &SnapshotFile) -> io::Result<()> {
    let mut batch = Batch::default();
    batch.put(Space::META, INSTALLING, codec::encode(&file.header.last_log_id)?);
    engine.write(batch)?;
    engine.sync()?;
    failpoint::point("install.marked");
    replace_rows(engine, file)
}

/// Finishes an installation that was under way when the process died.
pub fn resume_install(engine: &dyn Engine, dir: &Path) -> io::Result<()> {
    if engine.get(Space::META, INSTALLING)?.is_none() {
        return Ok(());
    }
    let file = SnapshotFile::verify(&dir.join(INSTALL_FILE)).map_err(|error| {
        let why = format!(
            "a snapshot was being installed when this node died, and its file cannot be used ({error}). Start this \
             node on an empty directory under a new node id and run `roostctl member replace`"
        );
        io::Error::new(error.kind(), why)
    })?;
    tracing::info!(last_log_id = ?file.header.last_log_id, "finishing the installation of a snapshot");
    replace_rows(engine, &file)
}

fn replace_rows(engine: &dyn Engine, file: &SnapshotFile) -> io::Result<()> {
    let mut batch = Batch::default();
    SPACES.iter().for_each(|space| batch.clear_all(*space));
    engine.write(batch)?;
    failpoint::point("install.cleared");
    let mut reader = SnapshotReader::open(BufReader::new(File::open(&file.path)?))?;
    while let Some(rows) = reader.next_chunk()? {
        let mut batch = Batch::default();
        rows.into_iter().for_each(|(space, key, value)| batch.put(space, key, value));
        engine.write(batch)?;
        failpoint::point("install.chunk");
    }
    let header = &file.header;
    let position = Position { applied: header.last_log_id, membership: header.membership.clone(), hash: header.hash };
    let mut batch = Batch::default();
    position.put(&mut batch)?;
    batch.delete(Space::META, INSTALLING);
    engine.write(batch)?;
    failpoint::point("install.written");
    // The file is the only copy until the rows are durable.
    engine.sync()?;
    failpoint::point("install.synced");
    std::fs::remove_file(&file.path)
}
