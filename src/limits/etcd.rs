//! Limits of the etcd v3 API. Where etcd has a default, it is the same here, so that a client finds nothing changed.

/// An encoded request that goes to the log (etcd's `--max-request-bytes`).
pub const ETCD_REQUEST_BYTES_MAX: usize = 1536 << 10;
/// A message on the wire: the largest request and etcd's own allowance for what is around it.
pub const ETCD_MESSAGE_BYTES_MAX: usize = ETCD_REQUEST_BYTES_MAX + (512 << 10);
/// A reply: a Range of a Milvus with 65,536 collections, every field and partition a key, fits several times. etcd knows
/// no bound, and its clients take any size.
pub const ETCD_REPLY_BYTES_MAX: usize = 256 << 20;
/// Compares, or operations of one branch, of a transaction (etcd's `--max-txn-ops`). What is nested has the rest.
pub const ETCD_TXN_OPERATIONS_MAX: usize = 128;
/// Ranges of many keys that are read at once, each on a blocking thread and each of up to [`ETCD_REPLY_BYTES_MAX`];
/// others wait for their turn.
pub const ETCD_SCANS_MAX: usize = 8;
/// Unary calls of etcd clients in progress on one node, waiting ones included: those of Lock and Campaign wait for as
/// long as another client likes, so they have a bound of their own beside that of Milvus' calls.
pub const ETCD_CALLS_MAX: usize = 16_384;
