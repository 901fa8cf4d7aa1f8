//! Why a configuration was refused. Every message names the key, and where its value came from.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// A configuration that cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },

    /// The file is not YAML, has an unknown key or a value of the wrong type. `reason` has the path of the key.
    #[error("configuration file {}: {reason}", path.display())]
    File { path: PathBuf, reason: String },

    /// An environment variable or a flag holds a value of the wrong type.
    #[error("{origin}: {reason} (it sets {key})")]
    Override { origin: String, key: String, reason: String },

    /// An environment variable looks like a setting, but there is no such key.
    #[error("{variable}: there is no configuration key {key}; {reason}")]
    UnknownVariable { variable: String, key: String, reason: String },

    /// Each value has the right type, but they do not make a usable node.
    #[error("invalid configuration:{}", list(problems))]
    Invalid { problems: Vec<Problem> },
}

/// One key that has to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Path of the key, such as `raft.election_min_ms`.
    pub key: String,
    /// What it is, and what is expected of it.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.reason)
    }
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}
