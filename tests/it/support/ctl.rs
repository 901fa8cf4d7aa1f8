//! `roostctl`, as a process.

use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

/// No command of these tests takes longer, whatever the machine does beside them.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// What a finished command left.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn new(output: Output) -> Self {
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Its JSON; it must have succeeded.
    #[track_caller]
    pub fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    #[track_caller]
    pub fn code_is(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// It failed with this code, and said this, only on stderr.
    #[track_caller]
    pub fn refused(self, code: i32, says: &str) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.stderr.contains(says), "expected `{says}`: {self:?}");
        assert_eq!(self.stdout, "", "data only on stdout");
        self
    }
}

/// The command, not yet started. Endpoints are internal addresses; none leaves the default.
pub fn command(endpoints: &[String], args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roostctl"));
    command.env_remove("ROOSTCTL_ENDPOINTS").env_remove("ROOST_CLUSTER_SECRET");
    for endpoint in endpoints {
        command.args(["--endpoint", endpoint]);
    }
    command.args(args).kill_on_drop(true).stdin(Stdio::null());
    command
}

pub async fn run(endpoints: &[String], args: &[&str]) -> Ran {
    let running = command(endpoints, args).output();
    let output = tokio::time::timeout(PATIENCE, running).await.expect("roostctl ends").unwrap();
    Ran::new(output)
}
