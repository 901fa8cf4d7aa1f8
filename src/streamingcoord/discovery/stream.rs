//! One listener: the picture at once, each change of it, and what the listener says in between.

use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tonic::Status;

use super::assignments::Published;
use super::reports::Reports;
use crate::pb::streaming::assignment_discover_request::Command;
use crate::pb::streaming::assignment_discover_response::Response;
use crate::pb::streaming::{AssignmentDiscoverRequest, AssignmentDiscoverResponse, CloseAssignmentDiscoverResponse};

/// See the module.
pub struct Listener<S> {
    pub inbound: S,
    pub pictures: watch::Receiver<Arc<Published>>,
    pub reports: Arc<Reports>,
    /// `ip:port`.
    pub source: String,
    pub _room: OwnedSemaphorePermit,
}

impl<S> Listener<S>
where
    S: Stream<Item = Result<AssignmentDiscoverRequest, Status>> + Unpin + Send + 'static,
{
    /// What it is told, encoded. It ends when the listener says so, goes away, or breaks the protocol.
    pub fn told(mut self) -> impl Stream<Item = Result<Bytes, Status>> + Send + 'static {
        // The first picture is news as well.
        self.pictures.mark_changed();
        futures::stream::unfold(Some(self), |listener: Option<Self>| async move {
            let mut listener = listener?;
            let (told, goes_on) = listener.next().await?;
            Some((told, goes_on.then_some(listener)))
        })
    }

    /// The next thing to say, and whether more may follow.
    async fn next(&mut self) -> Option<(Result<Bytes, Status>, bool)> {
        loop {
            tokio::select! {
                changed = self.pictures.changed() => {
                    // Without a sender the node has stopped.
                    changed.ok()?;
                    return Some((Ok(self.pictures.borrow_and_update().body.clone()), true));
                }
                said = self.inbound.next() => match said?.map(|said| said.command) {
                    Ok(Some(Command::ReportError(report))) => self.reports.take(&report, &self.source),
                    Ok(Some(Command::Close(_))) => return Some((Ok(closed()), false)),
                    Ok(None) => return Some((Err(Status::invalid_argument("a request without a command")), false)),
                    Err(status) => return Some((Err(status), false)),
                },
            }
        }
    }
}

fn closed() -> Bytes {
    let response = Some(Response::Close(CloseAssignmentDiscoverResponse {}));
    AssignmentDiscoverResponse { response }.encode_to_vec().into()
}
