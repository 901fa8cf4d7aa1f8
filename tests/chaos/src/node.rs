//! One roostd process with its disk, its journal of what was synced, and the control file of its shim.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::journal::Journal;

/// Lines of its log that are shown when a node fails.
const LOG_LINES_SHOWN: usize = 12;

/// What every node is started with.
#[derive(Clone, Debug)]
pub struct Program {
    pub roostd: PathBuf,
    pub shim: PathBuf,
    /// A mutation to switch on, in a build that has them.
    pub mutation: Option<String>,
}

pub struct Node {
    pub id: u64,
    home: PathBuf,
    program: Program,
    /// `PORT=PORT,...`: where the node finds its peers.
    routes: String,
    control: File,
    child: Option<Child>,
    pub paused: bool,
}

impl Node {
    /// A node that does not run yet, on an empty disk below `home`.
    pub fn new(id: u64, home: &Path, program: Program, routes: String, config: &str) -> Result<Self> {
        let data = data_dir(home);
        if data.exists() {
            // A directory that may be a mount point stays.
            for entry in fs::read_dir(&data)? {
                let path = entry?.path();
                if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
            }
        }
        fs::create_dir_all(&data)?;
        fs::write(home.join("roost.yaml"), config)?;
        let control = OpenOptions::new().write(true).create(true).truncate(true).open(home.join("control"))?;
        control.write_all_at(&[0; 24], 0)?;
        let node = Node { id, home: home.to_owned(), program, routes, control, child: None, paused: false };
        if node.journal().exists() {
            fs::remove_file(node.journal())?;
        }
        Ok(node)
    }

    pub fn data_dir(&self) -> PathBuf {
        data_dir(&self.home)
    }

    fn journal(&self) -> PathBuf {
        self.home.join("journal")
    }

    fn log(&self) -> PathBuf {
        self.home.join(format!("node{}.log", self.id))
    }

    pub fn start(&mut self) -> Result<()> {
        if self.runs()? {
            return Ok(());
        }
        if self.journal().exists() {
            Journal::read(&self.journal())?.write(&self.journal())?;
        }
        let log = OpenOptions::new().create(true).append(true).open(self.log())?;
        // util-linux' setpriv becomes the program itself: a node must not outlive a run that was killed.
        let mut command = Command::new("setpriv");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ROOST") {
                command.env_remove(name);
            }
        }
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&self.program.roostd)
            .arg("--config")
            .arg(self.home.join("roost.yaml"))
            .env("LD_PRELOAD", &self.program.shim)
            .env("ROOST_SYNC_JOURNAL", self.journal())
            .env("ROOST_SHIM_CONTROL", self.home.join("control"))
            .env("ROOST_SHIM_ROUTES", &self.routes)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        if let Some(mutation) = &self.program.mutation {
            command.env("ROOST_MUTATION", mutation);
        }
        self.child = Some(command.spawn().context("starting roostd by util-linux' setpriv")?);
        self.paused = false;
        Ok(())
    }

    /// Whether the process exists; a paused one does.
    pub fn runs(&mut self) -> Result<bool> {
        match &mut self.child {
            Some(child) => Ok(child.try_wait()?.is_none()),
            None => Ok(false),
        }
    }

    /// How it ended, if it did without being told to.
    pub fn ended(&mut self) -> Result<Option<String>> {
        let Some(child) = &mut self.child else { return Ok(None) };
        Ok(child.try_wait()?.map(|status| format!("node {} ended with {status}:\n{}", self.id, self.log_tail())))
    }

    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            // Already dead is dead.
            drop(child.kill());
            child.wait()?;
        }
        self.paused = false;
        Ok(())
    }

    /// kill -9, and every file ends where it was last synced, or, if `tear`, somewhere behind that: the kernel may have
    /// written back more.
    pub fn lose_power(&mut self, tear: bool) -> Result<()> {
        self.kill()?;
        let data = self.data_dir();
        let cut = |_: &Path, synced: u64, whole: u64| {
            Some(if tear && whole > synced { rand::random_range(synced..=whole) } else { synced })
        };
        Journal::read(&self.journal())?.lose_power(&data, &data, cut)?;
        Journal::of_disk(&data)?.write(&self.journal())?;
        Ok(())
    }

    /// SIGTERM: it hands over, drains and ends.
    pub fn terminate(&mut self) -> Result<()> {
        self.signal("TERM")
    }

    /// SIGSTOP: the process hangs, its connections stay.
    pub fn pause(&mut self) -> Result<()> {
        self.paused = true;
        self.signal("STOP")
    }

    pub fn resume(&mut self) -> Result<()> {
        if self.paused {
            self.paused = false;
            self.signal("CONT")?;
        }
        Ok(())
    }

    fn signal(&self, name: &str) -> Result<()> {
        let Some(child) = &self.child else { bail!("node {} does not run", self.id) };
        let done = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status()?;
        if done.success() { Ok(()) } else { bail!("kill -{name} of node {} failed", self.id) }
    }

    /// Milliseconds by which its wall clock is wrong.
    pub fn step_clock(&self, by_ms: i64) -> Result<()> {
        Ok(self.control.write_all_at(&(by_ms * 1_000_000).to_ne_bytes(), 0)?)
    }

    /// Microseconds by which every sync takes longer.
    pub fn slow_sync(&self, by_us: i64) -> Result<()> {
        Ok(self.control.write_all_at(&by_us.to_ne_bytes(), 8)?)
    }

    /// Microseconds a second by which its wall clock is too fast, from now on.
    pub fn drift_clock(&self, by_ppm: i64) -> Result<()> {
        Ok(self.control.write_all_at(&by_ppm.to_ne_bytes(), 16)?)
    }

    pub fn log_tail(&self) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = self.kill();
    }
}

/// Where the node of this home keeps its data.
pub fn data_dir(home: &Path) -> PathBuf {
    home.join("data")
}
