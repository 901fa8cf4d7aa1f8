//! Limits of the etcd v3 API. Where etcd has a default, it is the same here, so that a client finds nothing changed.

use std::time::Duration;

/// An encoded request that goes to the log (etcd's `--max-request-bytes`).
pub const ETCD_REQUEST_BYTES_MAX: usize = 1536 << 10;
/// What etcd counts beside the request: its own log entry around it.
pub const ETCD_REQUEST_ENVELOPE_BYTES: usize = 18;
/// A message on the wire: the largest request and etcd's own allowance for what is around it.
pub const ETCD_MESSAGE_BYTES_MAX: usize = ETCD_REQUEST_BYTES_MAX + (512 << 10);
/// A reply: a Range of a Milvus with 65,536 collections, every field and partition a key, fits several times. etcd
/// knows no bound, and its clients take any size.
pub const ETCD_REPLY_BYTES_MAX: usize = 256 << 20;
/// Compares, or operations of one branch, of a transaction (etcd's `--max-txn-ops`). What is nested has the rest.
pub const ETCD_TXN_OPERATIONS_MAX: usize = 128;
/// Ranges of many keys that are read at once, each on a blocking thread and each of up to [`ETCD_REPLY_BYTES_MAX`];
/// others wait for their turn.
pub const ETCD_SCANS_MAX: usize = 4;
/// Hashes over all history at once. A second one would only be slower.
pub const ETCD_HASHES_MAX: usize = 1;
/// Bytes of requests that were read and are not answered yet, unfinished messages of streams included: a hundred of the
/// largest, and more than the relay may have on its way.
pub const ETCD_CALL_BYTES_IN_FLIGHT_MAX: usize = 256 << 20;
/// Bytes of large replies that were read and are being sent to their readers, who may be slow; more wait.
pub const ETCD_REPLY_BYTES_IN_FLIGHT_MAX: usize = 2 * ETCD_REPLY_BYTES_MAX;
/// A smaller reply is not counted: the bound on calls in progress bounds them.
pub const ETCD_SMALL_REPLY_BYTES: usize = 64 << 10;
/// Unary calls of etcd clients in progress on one node, waiting ones included: those of Lock and Campaign wait for as
/// long as another client likes, so they have a bound of their own beside that of Milvus' calls.
pub const ETCD_CALLS_MAX: usize = 16_384;
/// Streams of etcd clients on one node, of watches and of keep-alives: 10,000 clients with both, several times over.
pub const ETCD_STREAMS_MAX: usize = 65_536;
/// A call that waits for other clients and has no deadline: etcd waits for ever; a year is as long, and adds to an
/// instant without overflow.
pub const ETCD_WAIT_MAX: Duration = Duration::from_secs(365 * 86_400);

/// Questions from one node to the leader that are not answered yet, and their bytes: more than the calls and
/// keep-alives that a busy node has open, and less than the requests whose replies the log keeps for it.
pub const RELAY_QUESTIONS_MAX: usize = 32_768;
pub const RELAY_BYTES_MAX: usize = 128 << 20;
/// Questions or answers in one message of the relay, which is also closed by the item that reaches so many bytes: small
/// enough that the leader begins with the first while the next are still on their way.
pub const RELAY_BATCH_MAX: usize = 1024;
pub const RELAY_BATCH_BYTES: usize = 1 << 20;
/// A message of the relay: a full one and the longest log entry or reply.
pub const RELAY_MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Leases that one command expires: the state machine bounds their keys.
pub const LEASES_EXPIRED_AT_ONCE: usize = 256;
/// Leases whose remaining time one command notes.
pub const LEASES_NOTED_AT_ONCE: usize = 1024;
/// What is left of a lease is not noted when it would be less than so much.
pub const LEASE_NOTE_LEAST_MS: u64 = 1000;
/// Leases or keys that are read from the tables in one piece.
pub const LEASE_PAGE: usize = 1024;
/// Renewals of one keep-alive stream that are asked of the leader at once; the client's next ones wait.
pub const LEASE_RENEWALS_PER_STREAM: usize = 256;
