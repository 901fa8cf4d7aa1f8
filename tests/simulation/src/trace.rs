//! What happened, in its order, condensed to a hash: equal runs have equal hashes. Two runs that should have been equal
//! are compared line by line.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// Has the nodes' own log written to stderr, as far as the filter lets it through, with virtual times.
pub fn log(filter: &str) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter)?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    log.with_timer(VirtualTime).init();
    Ok(())
}

struct VirtualTime;

impl FormatTime for VirtualTime {
    fn format_time(&self, out: &mut Writer<'_>) -> fmt::Result {
        match turmoil::sim_elapsed() {
            Some(now) => write!(out, "{:>12}", now.as_micros()),
            None => write!(out, "{:>12}", "-"),
        }
    }
}

#[derive(Clone, Default)]
pub struct Trace(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    hasher: blake3::Hasher,
    /// Kept on demand.
    lines: Option<Vec<String>>,
    /// Where the simulation stands, for what happens outside of its hosts.
    now: Duration,
}

impl Trace {
    pub fn keeping_lines() -> Self {
        Trace(Arc::new(Mutex::new(Inner { lines: Some(Vec::new()), ..Inner::default() })))
    }

    /// Tells what the time is between the steps of the simulation.
    pub fn set_now(&self, now: Duration) {
        self.0.lock().now = now;
    }

    /// Virtual time since the beginning: inside of a host that host's own.
    pub fn now(&self) -> Duration {
        turmoil::sim_elapsed().unwrap_or_else(|| self.0.lock().now)
    }

    pub fn note(&self, what: fmt::Arguments<'_>) {
        let now = self.now();
        let mut inner = self.0.lock();
        let line = format!("{:>12} {what}", now.as_micros());
        inner.hasher.update(line.as_bytes());
        if let Some(lines) = &mut inner.lines {
            lines.push(line);
        }
    }

    pub fn hash(&self) -> blake3::Hash {
        self.0.lock().hasher.finalize()
    }

    pub fn lines(&self) -> Vec<String> {
        self.0.lock().lines.clone().unwrap_or_default()
    }
}
