//! What listeners say does not work: a channel, under a term. Each term is reported once; the leader gives the channel
//! to another node. What waits to be reported is bounded by the channels that there are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::call::{Call, RequestId};
use crate::limits;
use crate::pb::streaming::{PChannelInfo, ReportAssignmentErrorRequest};
use crate::shutdown::Shutdown;
use crate::state::limits::MAX_PCHANNEL_ORDERS;
use crate::streamingcoord::balancer::Balancer;
use crate::streamingcoord::service::refused;

/// See the module.
pub struct Reports {
    balancer: Arc<Balancer>,
    book: Mutex<Book>,
    wake: Notify,
}

/// By channel.
#[derive(Debug, Default)]
struct Book {
    /// The latest term that was reported, or waits to be.
    known: BTreeMap<String, i64>,
    waiting: BTreeMap<String, i64>,
}

impl Reports {
    pub fn new(balancer: Arc<Balancer>) -> Arc<Self> {
        Arc::new(Reports { balancer, book: Mutex::default(), wake: Notify::new() })
    }

    /// Takes a listener's word, unless it is about a term that is over, or was reported already.
    pub fn take(&self, report: &ReportAssignmentErrorRequest, source: &str) {
        let Some(channel) = &report.pchannel else { return };
        // If the tables cannot be read, the host stops the node.
        let located = self.balancer.latest_wal_located(&channel.name).ok().flatten();
        if located.is_none_or(|(_, term)| term != channel.term) {
            return;
        }
        let mut book = self.book.lock();
        if book.known.get(&channel.name).is_some_and(|known| *known >= channel.term) {
            return;
        }
        book.known.insert(channel.name.clone(), channel.term);
        book.waiting.insert(channel.name.clone(), channel.term);
        let error = report.err.as_ref();
        tracing::warn!(
            pchannel = channel.name,
            term = channel.term,
            source,
            code = error.map_or("", |error| error.code().as_str_name()),
            "a client says that a channel does not work",
        );
        self.wake.notify_one();
    }

    /// Sends what was reported to the leader until `shutdown` is asked for.
    pub async fn send(self: Arc<Self>, shutdown: Shutdown) {
        tokio::select! {
            _ = shutdown.requested() => {}
            () = self.send_all() => {}
        }
    }

    async fn send_all(&self) {
        let mut pause = limits::ASSIGNMENT_REPORT_RETRY_MIN;
        loop {
            self.wake.notified().await;
            while let Some(lost) = self.next() {
                let call = Call {
                    request: RequestId::default(),
                    principal: String::new(),
                    source: "assignment listeners".to_owned(),
                    deadline: Instant::now() + limits::CALL_TIME_DEFAULT,
                };
                let info =
                    |(name, term): &(String, i64)| PChannelInfo { name: name.clone(), term: *term, access_mode: 0 };
                let channels: Vec<PChannelInfo> = lost.iter().map(info).collect();
                match self.balancer.mark_as_unavailable(&call, &channels).await {
                    Ok(()) => pause = limits::ASSIGNMENT_REPORT_RETRY_MIN,
                    Err(failure) => {
                        let (error, channels) = (refused(failure), lost.len());
                        tracing::warn!(error = error.message(), channels, "a report did not reach the leader");
                        self.again(lost);
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(limits::ASSIGNMENT_REPORT_RETRY_MAX);
                    }
                }
            }
        }
    }

    fn next(&self) -> Option<Vec<(String, i64)>> {
        let mut book = self.book.lock();
        let names: Vec<String> = book.waiting.keys().take(MAX_PCHANNEL_ORDERS).cloned().collect();
        let lost: Vec<_> = names.into_iter().filter_map(|name| book.waiting.remove_entry(&name)).collect();
        (!lost.is_empty()).then_some(lost)
    }

    /// What was reported meanwhile is newer.
    fn again(&self, lost: Vec<(String, i64)>) {
        let mut book = self.book.lock();
        for (channel, term) in lost {
            book.waiting.entry(channel).or_insert(term);
        }
    }
}
