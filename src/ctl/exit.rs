//! Why a command ended: one error type for the whole CLI and the exit code that each kind maps to. The codes are part
//! of the interface; programs depend on them.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use tonic::{Code, Status};

use crate::pb::common;

/// Metadata key by which the server names the reason of a refusal, beside gRPC's coarse code.
pub const REASON_KEY: &str = "roost-reason";

/// Shown below every `--help`.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the operation failed (also: state hashes differ)
  2  wrong usage
  3  no node could be reached
  4  the cluster has no leader
  5  not confirmed: destructive commands ask on a terminal and need --yes elsewhere
  6  the cluster is not healthy (cluster health)

Data goes to stdout, everything else to stderr.";

/// Everything that can end a command early.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    Failed(String),
    #[error("{0}")]
    Usage(String),
    #[error("no node could be reached: {0}")]
    Unreachable(String),
    #[error("the cluster has no leader: {0}")]
    NoLeader(String),
    #[error("not confirmed: {0}")]
    Refused(String),
    #[error("the cluster is {0}")]
    Unhealthy(String),
    /// The reader of stdout went away; there is nothing left to do and nobody to tell.
    #[error("stdout was closed")]
    StdoutClosed,
}

impl Failure {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::StdoutClosed => 0,
            Failure::Failed(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Unreachable(_) => 3,
            Failure::NoLeader(_) => 4,
            Failure::Refused(_) => 5,
            Failure::Unhealthy(_) => 6,
        }
    }

    /// Whether there is something to say on stderr.
    pub fn is_silent(&self) -> bool {
        matches!(self, Failure::StdoutClosed)
    }

    /// A gRPC error from `node`.
    pub fn from_status(node: &str, status: &Status) -> Self {
        let text = one_line(status.message());
        if is_no_leader(status) {
            return Failure::NoLeader(format!("{node}: {text}"));
        }
        Failure::Failed(match status.code() {
            _ if is_transport(status) => {
                format!("{node}: connection lost ({}); the outcome is unknown, look before repeating", cause(status))
            }
            Code::DeadlineExceeded | Code::Cancelled => {
                format!("{node}: no answer in time; the outcome is unknown, look before repeating")
            }
            Code::Unauthenticated | Code::PermissionDenied => {
                format!("{node}: {text} (pass the cluster's secret by ROOST_CLUSTER_SECRET or --secret)")
            }
            Code::Unimplemented => format!("{node}: no admin API here (is it a node's internal address?): {text}"),
            _ if text.is_empty() => format!("{node}: {}", status.code()),
            _ => format!("{node}: {text}"),
        })
    }

    /// A refusal in Milvus' words: its code 2 says that nobody leads, or not in time.
    pub fn from_milvus(node: &str, status: &common::Status) -> Self {
        const UNAVAILABLE: i32 = 2;
        let text = format!("{node}: {}", one_line(&status.reason));
        if status.code == UNAVAILABLE { Failure::NoLeader(text) } else { Failure::Failed(text) }
    }

    /// A call that took longer than the caller was willing to wait.
    pub fn timed_out(node: &str, waited: Duration) -> Self {
        let waited_s = waited.as_secs_f64();
        Failure::Failed(format!("{node}: no answer within {waited_s:.1} s; the outcome is unknown"))
    }

    /// A local I/O error about `what`.
    pub fn io(what: impl std::fmt::Display, error: &io::Error) -> Self {
        Failure::Failed(format!("{what}: {}", one_line(&error.to_string())))
    }
}

/// Whether the server says that it did nothing because it does not lead, or nobody does.
fn is_no_leader(status: &Status) -> bool {
    matches!(reason(status), Some("no-leader" | "not-leader"))
}

/// Whether the error was made by the connection and not by the server's handler.
pub fn is_transport(status: &Status) -> bool {
    status.source().is_some_and(|source| !source.is::<tonic::TimeoutExpired>())
}

/// Whether another attempt may succeed: the leader moved, the connection broke, or an earlier attempt is still ending.
pub fn is_passing(status: &Status) -> bool {
    let busy = reason(status) == Some("busy");
    busy || is_transport(status) || status.code() == Code::Unavailable || is_no_leader(status)
}

/// The server's `roost-reason`, if it gave one.
fn reason(status: &Status) -> Option<&str> {
    status.metadata().get(REASON_KEY)?.to_str().ok()
}

/// The innermost cause of a transport error: the outer ones only say "transport error".
pub fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    one_line(&innermost.to_string())
}

/// Text from elsewhere as one bounded line without control characters, fit for a terminal.
pub fn one_line(text: &str) -> String {
    const CHARS_MAX: usize = 500;
    let words: String = text.chars().take(CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    words.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_its_documented_code() {
        let text = String::new;
        let codes = [
            (Failure::StdoutClosed, 0),
            (Failure::Failed(text()), 1),
            (Failure::Usage(text()), 2),
            (Failure::Unreachable(text()), 3),
            (Failure::NoLeader(text()), 4),
            (Failure::Refused(text()), 5),
            (Failure::Unhealthy(text()), 6),
        ];
        for (failure, code) in codes {
            assert_eq!(failure.exit_code(), code, "{failure:?}");
            assert!(EXIT_CODES.contains(&format!("\n  {code}  ")));
        }
    }

    #[test]
    fn no_leader_is_recognized_by_its_reason_and_not_by_its_code() {
        let mut status = Status::unavailable("election in progress");
        assert_eq!(Failure::from_status("n", &status).exit_code(), 1);
        status.metadata_mut().insert(REASON_KEY, tonic::metadata::MetadataValue::from_static("no-leader"));
        assert_eq!(Failure::from_status("n", &status).exit_code(), 4);
        assert!(is_passing(&status));
    }

    #[test]
    fn milvus_refusals_are_failures_unless_nobody_leads() {
        let refused = |code, reason: &str| {
            let status = common::Status { code, reason: reason.into(), ..common::Status::default() };
            let failure = Failure::from_milvus("n:1", &status);
            (failure.exit_code(), failure.to_string())
        };
        assert_eq!(refused(800, "database not\nfound"), (1, "n:1: database not found".to_owned()));
        assert_eq!(refused(2, "service unavailable").0, 4);
    }

    #[test]
    fn an_attempt_that_still_ends_is_waited_for() {
        let mut status = Status::resource_exhausted("too many replacements");
        assert!(!is_passing(&status));
        status.metadata_mut().insert(REASON_KEY, tonic::metadata::MetadataValue::from_static("busy"));
        assert!(is_passing(&status));
    }

    #[test]
    fn foreign_text_cannot_break_lines_or_drive_the_terminal() {
        assert_eq!(one_line("a\nb\u{1b}[31mc\r\n"), "a b [31mc");
        assert_eq!(one_line(&"x".repeat(10_000)).len(), 500);
    }

    #[test]
    fn a_wrong_secret_says_how_to_pass_it() {
        let failure = Failure::from_status("n:1", &Status::unauthenticated("wrong secret"));
        assert!(failure.to_string().contains("ROOST_CLUSTER_SECRET"), "{failure}");
    }
}
