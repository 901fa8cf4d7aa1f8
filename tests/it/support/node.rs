//! One `roostd` process with its directory, which outlives it.

use std::fs::{self, File, OpenOptions};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::config::Settings;

/// Lines of a log that a failed test prints, and their length.
const TAIL_LINES: usize = 40;
const LINE_CHARS: usize = 240;

pub struct Node {
    pub id: u64,
    /// Holds `data/`, `roost.yaml` and `log`.
    pub home: PathBuf,
    pub settings: Settings,
    child: Option<Child>,
    pub paused: bool,
}

impl Node {
    pub fn new(id: u64, home: PathBuf, yaml: &str) -> Self {
        fs::create_dir_all(&home).unwrap();
        fs::write(home.join("roost.yaml"), yaml).unwrap();
        Node { id, home, settings: Settings::new(), child: None, paused: false }
    }

    pub fn data_dir(&self) -> PathBuf {
        self.home.join("data")
    }

    /// What the node said so far, over all its lives.
    pub fn log(&self) -> String {
        fs::read_to_string(self.home.join("log")).unwrap_or_default()
    }

    pub fn start(&mut self) {
        assert!(!self.runs(), "node {} runs already", self.id);
        let log: File = OpenOptions::new().create(true).append(true).open(self.home.join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_roostd"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ROOST") {
                command.env_remove(name);
            }
        }
        command.arg("--config").arg(self.home.join("roost.yaml"));
        command.envs(self.settings.iter().map(|(key, value)| (key, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        self.paused = false;
    }

    /// Whether the process exists; a paused one does.
    pub fn runs(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// Whether it was started and then ended without being told to.
    pub fn has_ended(&mut self) -> bool {
        self.child.is_some() && !self.runs()
    }

    /// Whether it runs and is not paused.
    pub fn answers(&mut self) -> bool {
        self.runs() && !self.paused
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Already dead is dead.
            let _ = child.kill();
            child.wait().unwrap();
        }
    }

    /// SIGSTOP: the process hangs, its connections stay.
    pub fn pause(&mut self) {
        self.signal("STOP");
        self.paused = true;
    }

    pub fn resume(&mut self) {
        self.signal("CONT");
        self.paused = false;
    }

    pub fn terminate(&self) {
        self.signal("TERM");
    }

    fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("the node runs").id().to_string();
        let done = Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap();
        assert!(done.success(), "kill -{name} {pid}");
    }

    /// Waits for the process to end by itself.
    pub fn ended(&mut self, within: Duration) -> ExitStatus {
        let deadline = Instant::now() + within;
        let child = self.child.as_mut().expect("the node was started");
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                self.child = None;
                return status;
            }
            assert!(Instant::now() < deadline, "node {} did not end within {within:?}", self.id);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<String> = log.lines().map(|line| line.chars().take(LINE_CHARS).collect()).collect();
            let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
            eprintln!("---- node {} ({} lines of log)\n{tail}", self.id, lines.len());
        }
    }
}
