//! Free space: the watermark below which writes are refused before the disk is really full, and the ballast file that
//! gives an operator room to get out again.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// Watches the file system of one data directory. Sizes in bytes.
#[derive(Clone, Debug)]
pub struct DiskGuard {
    dir: PathBuf,
    min_free: u64,
    ballast: u64,
}

/// What a look at the disk showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskState {
    pub free: u64,
    /// Below the watermark: no more growth.
    pub short: bool,
    /// Comfortably above it: the alarm may go.
    pub ample: bool,
}

impl DiskGuard {
    pub fn new(dir: &Path, min_free: u64, ballast: u64) -> Self {
        DiskGuard { dir: dir.to_path_buf(), min_free, ballast }
    }

    /// Looks at the free space that an unprivileged process could still use.
    pub fn state(&self) -> io::Result<DiskState> {
        let stat = rustix::fs::statvfs(&self.dir)?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        Ok(DiskState {
            free,
            short: free < self.min_free,
            ample: free > self.min_free.saturating_add(self.min_free / 2),
        })
    }

    /// Creates the ballast file when there is ample space for it.
    pub fn keep_ballast(&self) -> io::Result<()> {
        if self.ballast == 0 || self.path().exists() || self.state()?.free < self.min_free.saturating_add(self.ballast)
        {
            return Ok(());
        }
        let unfinished = self.dir.join("ballast.new");
        let file: File = OpenOptions::new().write(true).create(true).truncate(true).open(&unfinished)?;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, self.ballast)?;
        file.sync_all()?;
        std::fs::rename(unfinished, self.path())
    }

    /// Gives the ballast's space back: the disk is short and compaction needs room to free more.
    pub fn drop_ballast(&self) -> io::Result<()> {
        match std::fs::remove_file(self.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.join("ballast")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ballast_is_kept_and_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let guard = DiskGuard::new(dir.path(), 0, 4096);
        guard.keep_ballast().unwrap();
        assert_eq!(std::fs::metadata(guard.path()).unwrap().len(), 4096);
        guard.drop_ballast().unwrap();
        guard.drop_ballast().unwrap();
        assert!(!guard.path().exists());
    }

    #[test]
    fn a_watermark_above_the_free_space_is_short() {
        let dir = tempfile::tempdir().unwrap();
        let state = DiskGuard::new(dir.path(), u64::MAX, 0).state().unwrap();
        assert!(state.short && !state.ample);
    }
}
