//! What is kept of a copy until it is complete, so that it can go on after an interruption. The file is replaced in one
//! step after each page, so that it is whole whenever the copy ends.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::exit::Failure;
use super::super::snapshot_file::sync_parent;

/// The file's layout.
const VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    version: u32,
    /// The ids of both clusters: a copy goes on only between the same two.
    pub source_cluster: u64,
    pub target_cluster: u64,
    pub prefix: String,
    /// The source's revision that is copied.
    pub revision: i64,
    /// Keys of the target under the prefix when the copy began.
    pub target_keys_before: u64,
    /// Whether those are gone.
    pub cleared: bool,
    /// In hexadecimal; everything up to it is in the target.
    last_key: Option<String>,
    pub keys: u64,
    pub bytes: u64,
    pub leased_keys: u64,
    pub leased_bytes: u64,
}

impl Progress {
    pub fn begin(source_cluster: u64, target_cluster: u64, prefix: &str, revision: i64, target_keys: u64) -> Self {
        Progress {
            version: VERSION,
            source_cluster,
            target_cluster,
            prefix: prefix.to_owned(),
            revision,
            target_keys_before: target_keys,
            cleared: target_keys == 0,
            last_key: None,
            keys: 0,
            bytes: 0,
            leased_keys: 0,
            leased_bytes: 0,
        }
    }

    /// What an interrupted copy left in `path`, if there is any.
    pub fn load(path: &Path) -> Result<Option<Self>, Failure> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::io(path.display(), &error)),
        };
        let unreadable = |why: String| Failure::Failed(format!("{}: not the state of a copy: {why}", path.display()));
        let progress: Progress = serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
        if progress.version != VERSION {
            return Err(unreadable(format!("its version is {}", progress.version)));
        }
        match progress.last_key.as_deref().map(from_hex) {
            Some(None) => Err(unreadable("its last key is not hexadecimal".to_owned())),
            _ => Ok(Some(progress)),
        }
    }

    pub fn save(&self, path: &Path) -> Result<(), Failure> {
        let partial = PathBuf::from(format!("{}.partial", path.display()));
        let write = || {
            let mut file = File::create(&partial)?;
            file.write_all(&serde_json::to_vec(self).map_err(io::Error::other)?)?;
            file.sync_all()?;
            fs::rename(&partial, path)?;
            sync_parent(path)
        };
        write().map_err(|error| Failure::io(path.display(), &error))
    }

    /// The copy is complete.
    pub fn forget(path: &Path) -> Result<(), Failure> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Failure::io(path.display(), &error)),
            _ => Ok(()),
        }
    }

    pub fn last_key(&self) -> Option<Vec<u8>> {
        self.last_key.as_deref().and_then(from_hex)
    }

    pub fn reached(&mut self, key: &[u8]) {
        self.last_key = Some(key.iter().map(|byte| format!("{byte:02x}")).collect());
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect();
    let digits = digits?;
    (digits.len() % 2 == 0).then(|| digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        assert_eq!(Progress::load(&path).unwrap(), None);
        let mut progress = Progress::begin(u64::MAX, 2, "by-dev/", 77, 0);
        progress.save(&path).unwrap();
        progress.reached(b"by-dev/\x00\xff");
        progress.keys = 3;
        progress.save(&path).unwrap();
        let loaded = Progress::load(&path).unwrap().unwrap();
        assert_eq!(loaded, progress);
        assert_eq!(loaded.last_key().unwrap(), b"by-dev/\x00\xff");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no partial file is left");
        Progress::forget(&path).unwrap();
        Progress::forget(&path).unwrap();
    }

    #[test]
    fn other_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let good = serde_json::to_string(&Progress::begin(1, 2, "", 3, 0)).unwrap();
        let bad_key = good.replace("\"last_key\":null", "\"last_key\":\"abc\"");
        for text in ["", "{}", "[1]", &good.replace("\"version\":1", "\"version\":2"), &bad_key] {
            fs::write(&path, text).unwrap();
            assert_eq!(Progress::load(&path).unwrap_err().exit_code(), 1, "{text}");
        }
    }
}
