//! Runs a scenario in a child process that dies at a named point, and takes back what was never synced.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

use super::journal::Journal;
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
        let journal = Journal::read(&self.journal()).unwrap();
        journal.lose_power(&copy.data(), &self.data(), |path, synced, _| lost(path).then_some(synced)).unwrap();
        copy
    }
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
