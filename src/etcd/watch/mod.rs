//! etcd's Watch: a hub per node follows what is applied and hands every change to the streams that want it, encoded
//! once; a stream that cannot keep up reads history until it has caught up. Watches are local: any node serves them,
//! and they outlive leaders.

mod change;
mod counts;
mod deliver;
mod history;
mod hub;
mod index;
mod outlet;
mod ranges;
mod selector;
mod service;
mod stream;
mod subscription;
#[cfg(test)]
mod tests;

use futures::Stream;
use tonic::Status;

use crate::pb::etcd::api::WatchRequest;

pub use hub::Hub;
pub use service::WatchService;
pub use subscription::{Lost, Subscription};

/// What a client asks of its stream.
trait Inbound: Stream<Item = Result<WatchRequest, Status>> + Send + Unpin {}

impl<S: Stream<Item = Result<WatchRequest, Status>> + Send + Unpin> Inbound for S {}
