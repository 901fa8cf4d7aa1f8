//! Logging: structured events by `tracing`, to stderr so that stdout stays free for data. Text for people, JSON for
//! programs; the level is the one of the configuration, not of `RUST_LOG`, so that there is one place to look.

use std::io::{self, IsTerminal};

use thiserror::Error;
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Logging could not be started.
#[derive(Debug, Error)]
pub enum Error {
    /// `log.level` is neither a level nor a list of directives.
    #[error("log.level: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// It was started before in this process.
    #[error("cannot start logging: {0}")]
    Installed(Box<dyn std::error::Error + Send + Sync>),
}

/// Starts logging for the whole process. Once.
pub fn init(log: &Log) -> Result<(), Error> {
    let filter = EnvFilter::builder().parse(&log.level)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match log.format {
        // Colours belong on a terminal; in a file they are noise.
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(true).try_init(),
    }
    .map_err(Error::Installed)
}
