//! The changes of a key or range for use within this process.

use std::collections::VecDeque;
use std::sync::Arc;

use super::history::Unread;
use super::hub::{Hub, Registration};
use super::outlet::{Hits, Item, Taken};
use super::selector::Selector;
use crate::pb::etcd::kv;

/// Why there will be no more changes.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    #[error("the range is empty")]
    EmptyRange,
    /// The changes asked for are no longer in history.
    #[error("the changes were compacted")]
    Compacted,
    /// This node stops, or cannot read its tables, or has too many watchers.
    #[error("this node does not follow changes")]
    Closed,
}

/// Never loses, repeats or reorders a change, however slowly it is read.
pub struct Subscription {
    registration: Registration,
    selector: Selector,
    next: i64,
    behind: bool,
    ready: VecDeque<(i64, Vec<kv::Event>)>,
}

impl Subscription {
    pub(super) fn new(hub: &Arc<Hub>, selector: Selector, start_revision: i64) -> Result<Self, Lost> {
        let mut registration = hub.register().ok_or(Lost::Closed)?;
        registration.add(selector.clone());
        // Read after the interest was added: what is applied later is queued.
        let current = hub.revisions().map_err(|_| Lost::Closed)?.current;
        let next = if start_revision == 0 { current + 1 } else { start_revision };
        Ok(Subscription { registration, selector, next, behind: next <= current, ready: VecDeque::new() })
    }

    /// The next revision that changed something, with its events, previous values included.
    pub async fn next(&mut self) -> Result<(i64, Vec<kv::Event>), Lost> {
        loop {
            if let Some(changes) = self.ready.pop_front() {
                return Ok(changes);
            }
            if self.behind {
                self.catch_up().await?;
                continue;
            }
            match self.registration.outlet.take() {
                Taken::Items(items) => items.iter().for_each(|item| self.keep(item)),
                Taken::Lost(losses) => {
                    let lost = losses.interests.into_values().chain(losses.all).min();
                    self.next = self.next.max(lost.unwrap_or(0));
                    self.behind = true;
                }
                Taken::Nothing => self.registration.outlet.changed().await,
                Taken::Closed => return Err(Lost::Closed),
            }
        }
    }

    fn keep(&mut self, item: &Item) {
        let (revision, events) = (item.change.revision(), item.change.events());
        if revision < self.next || self.behind {
            return;
        }
        if !item.change.has_prev() {
            (self.next, self.behind) = (revision, true);
            return;
        }
        let events = match &item.hits {
            Hits::All => events.to_vec(),
            Hits::Some(places) => places.iter().filter_map(|place| events.get(*place).cloned()).collect(),
        };
        self.next = revision + 1;
        self.ready.push_back((revision, events));
    }

    async fn catch_up(&mut self) -> Result<(), Lost> {
        let chunk = match self.registration.hub().read(&self.selector, self.next, true).await {
            Ok(chunk) => chunk,
            Err(Unread::Compacted(_)) => return Err(Lost::Compacted),
            Err(Unread::Failed(error)) => {
                tracing::error!(%error, "cannot read the key space's history");
                return Err(Lost::Closed);
            }
        };
        for change in chunk.changes {
            self.ready.push_back((change.revision, change.events.clone().unwrap_or_default()));
        }
        self.next = self.next.max(chunk.next);
        self.behind = chunk.next <= chunk.current;
        Ok(())
    }
}
