//! What a client asks of its stream: watchers, their ends, and how far they are.

use tonic::Status;

use super::super::Inbound;
use super::super::deliver::{Wants, Watcher};
use super::super::selector::Selector;
use super::{Interest, NO_WATCH_ID, WatchStream};
use crate::limits;
use crate::pb::etcd::api::watch_create_request::FilterType;
use crate::pb::etcd::api::watch_request::RequestUnion;
use crate::pb::etcd::api::{WatchCreateRequest, WatchRequest, WatchResponse};

const DUPLICATE_ID: &str = "mvcc: duplicate watch ID provided on the WatchStream";
const EMPTY_RANGE: &str = "mvcc: watcher range is empty";
/// Not etcd's: it has no bound.
const TOO_MANY: &str = "etcdserver: too many watchers on one stream";

impl<I: Inbound> WatchStream<I> {
    pub(super) fn take_request(&mut self, message: Option<Result<WatchRequest, Status>>) -> Result<bool, Status> {
        let union = match message {
            Some(Ok(request)) => request.request_union,
            Some(Err(_)) => return Ok(false),
            None => {
                self.inbound = None;
                return Ok(true);
            }
        };
        match union {
            Some(RequestUnion::CreateRequest(request)) => self.create(request)?,
            Some(RequestUnion::CancelRequest(request)) => self.cancel(request.watch_id)?,
            Some(RequestUnion::ProgressRequest(_)) => {
                let (asked, target) = self.asked;
                self.asked = ((asked + 1).min(limits::WATCH_REQUESTS_PER_TURN), target.max(self.current()?));
            }
            None => {}
        }
        Ok(true)
    }

    /// Nothing is said of an id that is not there.
    fn cancel(&mut self, watch_id: i64) -> Result<(), Status> {
        if self.ids.contains_key(&watch_id) {
            let header = Some(self.headers.stamp(self.current()?));
            self.remove(watch_id);
            self.say(WatchResponse { header, watch_id, canceled: true, ..Default::default() });
        }
        Ok(())
    }

    fn create(&mut self, request: WatchCreateRequest) -> Result<(), Status> {
        let bytes = request.key.len() + request.range_end.len();
        let full = self.ids.len() >= limits::WATCHERS_PER_STREAM_MAX
            || self.key_bytes + bytes > limits::WATCH_KEY_BYTES_PER_STREAM_MAX;
        let Some(selector) = Selector::new(request.key, request.range_end) else { return self.refuse(EMPTY_RANGE) };
        if request.watch_id != 0 && self.ids.contains_key(&request.watch_id) {
            return self.refuse(DUPLICATE_ID);
        }
        if full {
            return self.refuse(TOO_MANY);
        }
        let watch_id = match request.watch_id {
            0 => self.free_id(),
            chosen => chosen,
        };
        let number = match self.by_selector.get(&selector) {
            Some(number) => *number,
            None => {
                let number = self.registration.add(selector.clone());
                self.key_bytes += selector.bytes();
                self.by_selector.insert(selector.clone(), number);
                self.interests.insert(number, Interest { selector, watchers: Vec::new(), queued: false });
                number
            }
        };
        // Read after the interest was added: what is applied later is queued.
        let current = self.current()?;
        let next = if request.start_revision == 0 { current + 1 } else { request.start_revision };
        let without = |filter: FilterType| !request.filters.contains(&(filter as i32));
        let wants = Wants {
            puts: without(FilterType::Noput),
            deletes: without(FilterType::Nodelete),
            prev_kv: request.prev_kv,
            fragment: request.fragment,
        };
        let progress_notify = request.progress_notify;
        self.noticed += usize::from(progress_notify);
        let watcher = Watcher { id: watch_id, next, behind: next <= current, wants, progress_notify, quiet: true };
        self.ids.insert(watch_id, number);
        if let Some(interest) = self.interests.get_mut(&number) {
            interest.watchers.push(watcher);
        }
        let header = Some(self.headers.stamp(current));
        self.say(WatchResponse { header, watch_id, created: true, ..Default::default() });
        self.queue_if_behind(number);
        Ok(())
    }

    /// The next id that the client has not chosen itself.
    fn free_id(&mut self) -> i64 {
        while self.ids.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        self.next_id - 1
    }

    fn refuse(&mut self, reason: &str) -> Result<(), Status> {
        let header = Some(self.headers.stamp(self.current()?));
        let cancel_reason = reason.to_owned();
        let (created, canceled, watch_id) = (true, true, NO_WATCH_ID);
        self.say(WatchResponse { header, watch_id, created, canceled, cancel_reason, ..Default::default() });
        Ok(())
    }

    pub(super) fn remove(&mut self, watch_id: i64) {
        let Some(number) = self.ids.remove(&watch_id) else { return };
        let Some(interest) = self.interests.get_mut(&number) else { return };
        if let Some(place) = interest.watchers.iter().position(|watcher| watcher.id == watch_id) {
            let gone = interest.watchers.swap_remove(place);
            self.noticed -= usize::from(gone.progress_notify);
        }
        if interest.watchers.is_empty()
            && let Some(interest) = self.interests.remove(&number)
        {
            self.key_bytes -= interest.selector.bytes();
            self.by_selector.remove(&interest.selector);
            self.registration.remove(number);
        }
    }
}
