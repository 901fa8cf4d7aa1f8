//! Bounds of `roost-sim`. It is a tool for tests, but a long run of faults must not fill the machine.

use std::time::Duration;

/// Nodes of one process.
pub const SIM_NODES_MAX: u32 = 256;
/// Connections of one node.
pub const SIM_CONNECTIONS_MAX: usize = 4096;
/// Bytes of a message on the wire, and of a reply.
pub const SIM_MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Logs of one process.
pub const SIM_WALS_MAX: usize = 16_384;
/// Bytes of a pchannel's name.
pub const SIM_NAME_BYTES_MAX: usize = 512;
/// What a log keeps for consumers: so many messages, and so many bytes unless a single one is larger.
pub const SIM_WAL_MESSAGES_MAX: usize = 1024;
pub const SIM_WAL_BYTES_MAX: usize = 1 << 20;
/// Changes of owner that a log remembers.
pub const SIM_EPOCHS_MAX: usize = 4096;
/// Parts of broadcasts that a log remembers.
pub const SIM_BROADCASTS_MAX: usize = 4096;
/// Collections that a node may be told to report.
pub const SIM_COLLECTIONS_MAX: usize = 65_536;
/// Violations that are kept in words, of all logs and of each node.
pub const SIM_VIOLATIONS_MAX: usize = 64;
/// Answers that wait on one stream to be sent.
pub const SIM_STREAM_QUEUE: usize = 64;
/// Virtual channels that one stream consumes.
pub const SIM_CONSUMERS_MAX: usize = 1024;
/// How long a node waits for the coordinator's answer.
pub const SIM_CALL_WAIT: Duration = Duration::from_secs(2);
/// How long a node that leaves waits until its channels were taken from it.
pub const SIM_DRAIN_WAIT: Duration = Duration::from_secs(3);
/// How often it looks.
pub const SIM_DRAIN_LOOK: Duration = Duration::from_millis(20);
/// A session that ends by so much before its time may be a matter of rounding.
pub const SIM_EARLY_LEAST: Duration = Duration::from_millis(20);
/// Pause after the coordinator could not be reached; doubles from the first to the second.
pub const SIM_RETRY_MIN: Duration = Duration::from_millis(50);
pub const SIM_RETRY_MAX: Duration = Duration::from_secs(1);
