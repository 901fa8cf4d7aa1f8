//! Bounds of what the leader does for broadcasts.

use std::time::Duration;

/// Pending broadcasts that the leader holds in memory, the earliest ones: some 500 bytes each, without their messages.
pub const BROADCASTS_IN_MEMORY: usize = 8192;
/// Broadcasts that open streams and append at the same time; those that wait for a node's acknowledgement do not count.
pub const BROADCASTS_AT_ONCE: usize = 64;
/// Broadcasts that are over and whose nodes' answers are kept for callers who have not looked yet.
pub const BROADCASTS_REMEMBERED: usize = 1024;
/// Appends of one broadcast, and appends on one stream, that are on their way at the same time.
pub const APPENDS_AT_ONCE: usize = 64;
/// Broadcasts in one answer to an operator.
pub const BROADCASTS_LISTED: usize = 1000;
/// How long a node may take to open a stream and to answer an append.
pub const PRODUCE_WAIT: Duration = Duration::from_secs(10);
/// Pause after a broadcast could not get on; doubles from the first to the second. A change of assignments ends it.
pub const BROADCAST_RETRY_MIN: Duration = Duration::from_millis(10);
pub const BROADCAST_RETRY_MAX: Duration = Duration::from_secs(10);
/// Bytes of copies of messages that are on their way to nodes at the same time; one that is larger goes alone.
pub const BROADCAST_COPY_BYTES_AT_ONCE: usize = 64 << 20;
/// Acknowledgements in one entry: each has up to 5 KiB.
pub const CHECKPOINTS_AT_ONCE: usize = 256;
/// How often a copy of another cluster looks whether a configuration has come from there for which a caller waits.
pub const REPLICATION_LOOK: Duration = Duration::from_millis(100);
