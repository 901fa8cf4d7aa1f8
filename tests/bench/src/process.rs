//! A server process under test: started with a log, measured, and killed when dropped.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Linux counts CPU time in hundredths of a second for user space, on every architecture that we build for.
const TICKS_PER_SECOND: u64 = 100;
/// Lines of its log that are shown when a server fails.
const LOG_LINES_SHOWN: usize = 15;

#[derive(Debug)]
pub struct Server {
    name: String,
    start: Command,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts `program` in `directory`, which must exist; its output goes to a log in there.
    pub fn start<A: AsRef<OsStr>>(
        name: &str,
        directory: &Path,
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let output = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        // util-linux' setpriv becomes the program itself: a server must not outlive a benchmark that was killed.
        let mut start = Command::new("setpriv");
        start
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(arguments)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let child = start.spawn().with_context(|| format!("starting {}", program.display()))?;
        Ok(Server { name: name.to_owned(), start, child, log })
    }

    /// As power does that goes: nothing of it runs any more when this returns.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again, with the same arguments and the same log.
    pub fn start_again(&mut self) -> Result<()> {
        self.child = self.start.spawn().with_context(|| format!("starting {} again", self.name))?;
        Ok(())
    }

    /// CPU time of all its threads since it started.
    pub fn cpu(&self) -> Result<Duration> {
        cpu_of(&self.child.id().to_string())
    }

    /// Bytes of memory that it holds now.
    pub fn resident_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
        let kib: u64 = line.split_whitespace().next().context("VmRSS")?.parse()?;
        Ok(kib * 1024)
    }

    /// Fails, with the end of its log, if it does not run any more.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended with {status}:\n{}", self.name, self.log_tail()),
        }
    }

    pub fn log_tail(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }
}

/// CPU time of this process: the load's own.
pub fn own_cpu() -> Result<Duration> {
    cpu_of("self")
}

fn cpu_of(process: &str) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name in parentheses may hold anything; behind it come fields 3 and on. User time is 14, system time 15.
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields).context("/proc/PID/stat")?;
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).map(|one| one.parse::<u64>().unwrap_or(0)).sum();
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
