//! A snapshot on its way to disk: it grows as `FILE.partial` and gets its name only when it is complete, verified and
//! synced, so that a file called `FILE` is always a whole snapshot.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::exit::Failure;

/// Dropped before [`PartialFile::finish`], it removes what was written.
#[derive(Debug)]
pub struct PartialFile {
    target: PathBuf,
    partial: PathBuf,
    file: File,
    hasher: blake3::Hasher,
    bytes: u64,
    force: bool,
    finished: bool,
}

impl PartialFile {
    /// Refuses a `target` that exists unless `force`; a partial file of an earlier attempt is overwritten.
    pub fn create(target: &Path, force: bool) -> Result<Self, Failure> {
        refuse_existing(target, force)?;
        let mut name = target.file_name().ok_or_else(|| not_a_file(target))?.to_owned();
        name.push(".partial");
        let partial = target.with_file_name(name);
        // Readable by the owner only: a snapshot holds everything that the cluster knows, password hashes included.
        let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial);
        let file = opened.map_err(|error| Failure::io(partial.display(), &error))?;
        let hasher = blake3::Hasher::new();
        Ok(PartialFile { target: target.to_owned(), partial, file, hasher, bytes: 0, force, finished: false })
    }

    pub fn write(&mut self, data: &[u8]) -> Result<(), Failure> {
        self.file.write_all(data).map_err(|error| Failure::io(self.partial.display(), &error))?;
        self.hasher.update(data);
        self.bytes += data.len() as u64;
        Ok(())
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Compares with what the sender says it sent, has the content checked, syncs, and gives the file its name. Returns
    /// the checksum.
    pub fn finish(
        mut self,
        bytes: u64,
        blake3: &[u8],
        check: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Result<blake3::Hash, Failure> {
        let hash = self.hasher.finalize();
        if self.bytes != bytes || hash.as_bytes().as_slice() != blake3 {
            let (received, name) = (self.bytes, self.target.display());
            return Err(Failure::Failed(format!(
                "{name}: damaged on the way ({received} of {bytes} bytes, or a wrong checksum); nothing was saved"
            )));
        }
        check(&self.partial).map_err(|error| Failure::io(self.partial.display(), &error))?;
        self.publish().map_err(|error| Failure::io(self.target.display(), &error))?;
        self.finished = true;
        Ok(hash)
    }

    fn publish(&self) -> io::Result<()> {
        self.file.sync_all()?;
        match self.force {
            true => fs::rename(&self.partial, &self.target)?,
            // A link fails if the name was taken meanwhile; a rename would replace that file.
            false => match fs::hard_link(&self.partial, &self.target) {
                Ok(()) => fs::remove_file(&self.partial)?,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
                // Not every file system has hard links.
                Err(_) => fs::rename(&self.partial, &self.target)?,
            },
        }
        sync_parent(&self.target)
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if !self.finished {
            // What remains after a failure here is still named `.partial`, and the next attempt overwrites it.
            let _ = fs::remove_file(&self.partial);
        }
    }
}

/// Makes a new name in `path`'s directory durable.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

fn refuse_existing(target: &Path, force: bool) -> Result<(), Failure> {
    match fs::symlink_metadata(target) {
        Ok(found) if found.is_dir() => Err(not_a_file(target)),
        Ok(_) if !force => Err(Failure::Failed(format!("{} exists; --force replaces it", target.display()))),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::io(target.display(), &error)),
    }
}

fn not_a_file(target: &Path) -> Failure {
    Failure::Failed(format!("{} does not name a file", target.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_complete_snapshot_gets_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("backup");
        let mut file = PartialFile::create(&target, false).unwrap();
        file.write(b"abc").unwrap();
        assert_eq!(names(dir.path()), ["backup.partial"]);
        file.write(b"def").unwrap();
        assert_eq!(file.bytes(), 6);
        file.finish(6, blake3::hash(b"abcdef").as_bytes(), |_| Ok(())).unwrap();
        assert_eq!(names(dir.path()), ["backup"]);
        assert_eq!(fs::read(&target).unwrap(), b"abcdef");
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_or_cut_stream_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("backup");
        let written = || {
            let mut file = PartialFile::create(&target, false).unwrap();
            file.write(b"abc").unwrap();
            file
        };
        assert_eq!(written().finish(3, blake3::hash(b"abd").as_bytes(), |_| Ok(())).unwrap_err().exit_code(), 1);
        assert!(written().finish(4, blake3::hash(b"abc").as_bytes(), |_| Ok(())).is_err());
        assert!(written().finish(3, b"", |_| Ok(())).is_err());
        let unfit = |_: &Path| Err(io::Error::other("not a snapshot"));
        assert!(written().finish(3, blake3::hash(b"abc").as_bytes(), unfit).is_err());
        drop(written());
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn an_existing_file_is_kept_unless_forced() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("backup");
        let save = |force: bool| {
            let mut file = PartialFile::create(&target, force)?;
            file.write(b"new")?;
            file.finish(3, blake3::hash(b"new").as_bytes(), |_| Ok(()))
        };
        fs::write(&target, b"old").unwrap();
        assert!(save(false).unwrap_err().to_string().contains("--force"));
        assert_eq!(fs::read(&target).unwrap(), b"old");
        save(true).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert!(PartialFile::create(dir.path(), true).is_err());
    }

    #[test]
    fn a_file_that_appears_meanwhile_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("backup");
        let file = PartialFile::create(&target, false).unwrap();
        fs::write(&target, b"other").unwrap();
        file.finish(0, blake3::hash(b"").as_bytes(), |_| Ok(())).unwrap_err();
        assert_eq!(fs::read(&target).unwrap(), b"other");
        assert_eq!(names(dir.path()), ["backup"]);
    }

    #[test]
    fn a_partial_file_of_a_killed_attempt_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("backup");
        fs::write(dir.path().join("backup.partial"), b"a long rest of an earlier attempt").unwrap();
        let file = PartialFile::create(&target, false).unwrap();
        file.finish(0, blake3::hash(b"").as_bytes(), |_| Ok(())).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"");
    }
}
