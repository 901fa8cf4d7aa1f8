//! Runs a scenario in a child process that dies at a named point, and takes back what was never synced.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::support::copy_dir;

/// What a dead child left behind.
pub struct Crashed {
    root: TempDir,
    /// What it said before, line by line.
    pub said: Vec<String>,
    pub aborted: bool,
}

/// Runs `scenario` on a new disk with the named failpoint armed.
pub fn run(scenario: &str, failpoint: &str, env: &[(&str, &str)]) -> Crashed {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("data")).unwrap();
    let empty = Crashed { root, said: Vec::new(), aborted: false };
    empty.launch(scenario, failpoint, env)
}

impl Crashed {
    /// The node's data directory.
    pub fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    /// Runs another scenario on what is left. What was said before still counts.
    pub fn run_again(self, scenario: &str, failpoint: &str) -> Crashed {
        self.launch(scenario, failpoint, &[])
    }

    fn journal(&self) -> PathBuf {
        self.root.path().join("journal")
    }

    fn launch(mut self, scenario: &str, failpoint: &str, env: &[(&str, &str)]) -> Crashed {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::child::scenario", "--nocapture", "--test-threads=1"])
            .env("ROOST_CRASH_SCENARIO", scenario)
            .env("ROOST_CRASH_DATA", self.data())
            .env("ROOST_FAILPOINTS", failpoint)
            .env("ROOST_SYNC_JOURNAL", self.journal())
            .env("LD_PRELOAD", shim())
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        self.said.extend(text.lines().filter_map(|line| line.strip_prefix('@')).map(str::to_string));
        let errors = String::from_utf8_lossy(&output.stderr);
        self.aborted = errors.contains(": abort");
        let done = self.said.last().is_some_and(|line| line == "done");
        assert!(self.aborted || done, "the child failed by itself: {text}\n{errors}");
        self
    }

    /// A copy of what is left after a power loss: every file that `lost` names ends where it was last synced.
    pub fn lose_power(&self, lost: impl Fn(&Path) -> bool) -> Crashed {
        let root = tempfile::tempdir().unwrap();
        let copy = Crashed { root, said: self.said.clone(), aborted: self.aborted };
        copy_dir(&self.data(), &copy.data());
        let journal = fs::read_to_string(self.journal()).unwrap_or_default();
        let synced = synced_sizes(&journal);
        for file in files(&copy.data()) {
            let original = self.data().join(file.strip_prefix(copy.data()).unwrap());
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            // RocksDB's own text log and lock hold no data; IDENTITY is made anew.
            if name == "LOCK" || name.starts_with("LOG") || name == "IDENTITY" || !lost(&file) {
                continue;
            }
            if name == "synced.mark" {
                fs::write(&file, severest_mark(&journal)).unwrap();
                continue;
            }
            let kept = synced.get(&original).copied().unwrap_or(0);
            let handle = fs::OpenOptions::new().write(true).open(&file).unwrap();
            if handle.metadata().unwrap().len() > kept {
                handle.set_len(kept).unwrap();
            }
        }
        copy
    }
}

/// Each file's size at its last sync, as the shim noted.
fn synced_sizes(journal: &str) -> HashMap<PathBuf, u64> {
    let mut sizes = HashMap::new();
    for line in journal.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        match fields.as_slice() {
            ["S", size, path] => {
                sizes.insert(PathBuf::from(path), size.parse().unwrap());
            }
            ["R", from, to] => {
                let size = sizes.remove(Path::new(from)).unwrap_or(0);
                sizes.insert(PathBuf::from(to), size);
            }
            ["T" | "U", path] => {
                sizes.remove(Path::new(path));
            }
            ["W", ..] => {}
            other => panic!("a strange line in the journal: {other:?}"),
        }
    }
    sizes
}

/// The kernel may write pages back at any time, so the disk holds the mark as it was at its last sync or after any
/// write since. This is the version of those that demands the longest log.
fn severest_mark(journal: &str) -> Vec<u8> {
    let mut content = vec![0u8; 56];
    let mut versions = vec![content.clone()];
    for line in journal.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        match fields.as_slice() {
            ["W", offset, hex] => {
                let offset: usize = offset.parse().unwrap();
                for (at, digits) in (offset..).zip(hex.as_bytes().chunks(2)) {
                    content[at] = u8::from_str_radix(str::from_utf8(digits).unwrap(), 16).unwrap();
                }
                versions.push(content.clone());
            }
            ["S", _, path] if path.ends_with("synced.mark") => versions = vec![content.clone()],
            _ => {}
        }
    }
    let number = |slot: &[u8], at: usize| u64::from_be_bytes(slot[at..at + 8].try_into().unwrap());
    let demanded = |mark: &Vec<u8>| mark.chunks(28).map(|slot| (number(slot, 0), number(slot, 8))).max().unwrap().1;
    versions.into_iter().max_by_key(demanded).unwrap()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The preloaded library, compiled once.
fn shim() -> PathBuf {
    static SHIM: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = SHIM.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sync_shim.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/sync_shim.c");
        let compiler =
            Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&path).arg(source).arg("-ldl").status();
        assert!(compiler.is_ok_and(|status| status.success()), "crash tests need a C compiler named cc");
        (dir, path)
    });
    path.clone()
}
