//! Debian's `etcdctl`, as a process.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::Ran;
use super::ctl::PATIENCE;
use super::etcd::INSTALL;

/// Talks to these client addresses.
pub struct Etcdctl {
    pub endpoints: Vec<String>,
}

impl Etcdctl {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").arg("--endpoints").arg(self.endpoints.join(",")).args(args);
        command.args(["--command-timeout", "30s"]).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn spawn(&self, args: &[&str]) -> Child {
        self.command(args).spawn().unwrap_or_else(|error| panic!("`etcdctl` cannot be started ({error}): {INSTALL}"))
    }

    /// Runs it to its end.
    pub async fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, "").await
    }

    /// With this on its stdin.
    pub async fn run_with(&self, args: &[&str], input: &str) -> Ran {
        let mut child = self.spawn(args);
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("etcdctl ends").unwrap();
        Ran::new(output)
    }

    /// The lines of one that must succeed.
    #[track_caller]
    pub fn lines(&self, args: &[&str]) -> impl Future<Output = Vec<String>> {
        let caller = std::panic::Location::caller();
        async move {
            let ran = self.run(args).await;
            assert_eq!(ran.code, 0, "{caller}: etcdctl {args:?}: {ran:?}");
            ran.stdout.lines().map(str::to_owned).collect()
        }
    }

    /// The answer of one that must succeed, as JSON.
    pub async fn json(&self, args: &[&str]) -> Value {
        self.run(&[args, &["-w", "json"]].concat()).await.json()
    }

    /// Leaves it running and reads what it prints; it ends with the value.
    pub fn follow(&self, args: &[&str]) -> Following {
        let mut child = self.spawn(args);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Following { child, lines }
    }
}

pub struct Following {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Following {
    pub async fn line(&mut self) -> String {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await.expect("etcdctl prints a line");
        line.unwrap().expect("etcdctl has not ended")
    }

    /// As Ctrl-C does.
    pub async fn interrupt(mut self) {
        let pid = self.child.id().expect("etcdctl runs").to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());
        tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("etcdctl ends").unwrap();
    }
}
