//! Limits of etcd's Watch, Lock and Election services.

use std::time::Duration;

/// Changes that wait for one stream. Beyond it, or beyond the bytes below, the stream reads history instead: a client
/// that takes a thousand at a time still gets them from memory.
pub const WATCH_QUEUE_CHANGES_MAX: usize = 4096;
/// Bytes that wait for one stream: more than the largest request, so that one change alone never overflows it.
pub const WATCH_QUEUE_BYTES_MAX: usize = 4 << 20;
/// Bytes that wait for all streams of a node, a change counted at each of them though it is shared.
pub const WATCH_QUEUES_BYTES_MAX: usize = 256 << 20;
/// Queued bytes that a stream takes at once: bounds what it holds encoded for a client that does not read.
pub const WATCH_TURN_BYTES: usize = 256 << 10;
/// Bytes of history read at once for watchers that catch up. A revision is never split, so it may be more.
pub const WATCH_HISTORY_BYTES: usize = 512 << 10;
/// Reads of history at once on one node; others wait for their turn.
pub const WATCH_HISTORY_READS_MAX: usize = 4;
/// Revisions are gathered into one response up to here.
pub const WATCH_RESPONSE_BYTES: usize = 256 << 10;
/// Responses to watchers that asked for fragments are split here: etcd's request limit and its allowance.
pub const WATCH_FRAGMENT_BYTES: usize = (1536 << 10) + (512 << 10);
/// Watchers of one stream and the bytes of their keys. etcd has no bound; its clients put all their watches on one
/// stream.
pub const WATCHERS_PER_STREAM_MAX: usize = 100_000;
pub const WATCH_KEY_BYTES_PER_STREAM_MAX: usize = 64 << 20;
/// Watch streams of one node, and two for each of Lock's and Election's waiters: as many as there may be calls of etcd
/// clients.
pub const WATCH_OUTLETS_MAX: usize = super::ETCD_STREAMS_MAX + 2 * super::ETCD_CALLS_MAX;
/// Calls of Lock and Campaign that wait for others, so that half of [`super::ETCD_CALLS_MAX`] is left for what is
/// quick.
pub const LOCK_WAITERS_MAX: usize = super::ETCD_CALLS_MAX / 2;
/// Requests that a stream takes before it looks at its watchers again.
pub const WATCH_REQUESTS_PER_TURN: usize = 64;
/// A message of a Watch stream from a client: a key and a range's end of etcd's largest request.
pub const WATCH_REQUEST_BYTES_MAX: usize = 2 << 20;
/// Applied batches that the hub takes before it wakes the streams.
pub const WATCH_BATCHES_PER_TURN: usize = 256;
/// How long changes may wait for the hub while nobody watches.
pub const WATCH_UNUSED_PAUSE: Duration = Duration::from_millis(20);
/// How often an idle watcher that asked for it is told the revision (etcd's default).
pub const WATCH_PROGRESS_INTERVAL: Duration = Duration::from_secs(600);
