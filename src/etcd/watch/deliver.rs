//! From queued changes to the responses of the watchers that want them. Watchers that want the same share the bytes.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding;
use roost_raft::mutation;

use super::change::encode_header;
use super::outlet::{Hits, Item};
use crate::encoded::Encoded;
use crate::etcd::Headers;
use crate::limits;
use crate::pb::etcd::api;
use crate::pb::etcd::kv::event::EventType;

/// One watcher of a stream.
pub struct Watcher {
    pub id: i64,
    /// Everything below this revision was delivered, or is not wanted.
    pub next: i64,
    /// It reads history; what is queued for it is skipped.
    pub behind: bool,
    pub wants: Wants,
    /// Told of the revision while nothing else is sent.
    pub progress_notify: bool,
    /// Sent nothing since the last such notice was due.
    pub quiet: bool,
}

/// What a watcher wants of the changes of its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wants {
    pub puts: bool,
    pub deletes: bool,
    pub prev_kv: bool,
    pub fragment: bool,
}

/// A WatchResponse on its way out.
#[derive(Clone, Debug)]
pub enum Frame {
    /// Encoded as a whole.
    Whole(Bytes),
    /// Header and events, shared between watchers.
    Events { watch_id: i64, fragment: bool, body: Bytes },
}

impl Frame {
    pub fn whole(response: &api::WatchResponse) -> Self {
        Frame::Whole(response.encode_to_vec().into())
    }
}

impl Encoded for Frame {
    fn put(self, buffer: &mut impl BufMut) {
        match self {
            Frame::Whole(bytes) => buffer.put(bytes),
            Frame::Events { watch_id, fragment, body } => {
                if watch_id != 0 {
                    encoding::int64::encode(2, &watch_id, buffer);
                }
                if fragment {
                    encoding::bool::encode(7, &fragment, buffer);
                }
                buffer.put(body);
            }
        }
    }

    fn encoded_len(&self) -> usize {
        match self {
            Frame::Whole(bytes) => bytes.len(),
            Frame::Events { watch_id, fragment, body } => {
                let id = if *watch_id == 0 { 0 } else { encoding::int64::encoded_len(2, watch_id) };
                id + if *fragment { encoding::bool::encoded_len(7, fragment) } else { 0 } + body.len()
            }
        }
    }
}

/// Responses with the same events for the same wishes.
struct Shared {
    start: usize,
    wants: Wants,
    bodies: Vec<(bool, Bytes)>,
    events: u64,
}

/// Puts the responses that `items` make for `watchers` of one interest at the end of `ready`: those that are behind if
/// `behind`, else the others. Items are in the order of their revisions. `current` is the header's revision for what
/// ends with the last item; without it, every response has that of its last event. Returns how many events that were.
pub fn deliver(
    headers: &Headers,
    items: &[Item],
    watchers: &mut [Watcher],
    behind: bool,
    current: Option<i64>,
    ready: &mut VecDeque<Frame>,
) -> u64 {
    let Some(last) = items.last().map(|item| item.change.revision()) else { return 0 };
    let mut sent = 0;
    let mut shared: Vec<Shared> = Vec::new();
    for watcher in watchers.iter_mut().filter(|watcher| watcher.behind == behind) {
        let start = items.partition_point(|item| item.change.revision() < watcher.next);
        let Some(wanted) = items.get(start..).filter(|wanted| !wanted.is_empty()) else { continue };
        if watcher.wants.prev_kv && wanted.iter().any(|item| !item.change.has_prev()) {
            // What it wants was not read along.
            watcher.next = watcher.next.max(wanted.first().map_or(0, |item| item.change.revision()));
            watcher.behind = true;
            continue;
        }
        watcher.next = last + 1;
        let same = |made: &Shared| made.start == start && made.wants == watcher.wants;
        let place = shared.iter().position(same).unwrap_or_else(|| {
            let (bodies, events) = bodies(headers, wanted, watcher.wants, current);
            shared.push(Shared { start, wants: watcher.wants, bodies, events });
            shared.len() - 1
        });
        let Some(made) = shared.get(place) else { continue };
        sent += made.events;
        for (fragment, body) in &made.bodies {
            watcher.quiet = false;
            let copies = if mutation::active("watch-twice") { 2 } else { 1 };
            for _ in 0..copies {
                ready.push_back(Frame::Events { watch_id: watcher.id, fragment: *fragment, body: body.clone() });
            }
        }
    }
    sent
}

/// The responses for some wishes, without watch id: whether another fragment follows, and the bytes. And how many
/// events they hold.
fn bodies(headers: &Headers, items: &[Item], wants: Wants, current: Option<i64>) -> (Vec<(bool, Bytes)>, u64) {
    let (mut made, mut count) = (Vec::new(), 0);
    let (mut parts, mut bytes, mut revision) = (Vec::new(), 0, 0);
    for item in items {
        if bytes >= limits::WATCH_RESPONSE_BYTES {
            close(headers, &mut parts, revision, wants.fragment, &mut made);
            bytes = 0;
        }
        revision = item.change.revision();
        let events = item.change.events();
        let mut take = |place: usize| {
            let is_delete = events.get(place).is_some_and(|event| event.r#type == EventType::Delete as i32);
            if if is_delete { wants.deletes } else { wants.puts } {
                let part = item.change.encoded(place, wants.prev_kv);
                bytes += part.len();
                count += 1;
                parts.push(part);
            }
        };
        match &item.hits {
            Hits::All => (0..events.len()).for_each(&mut take),
            Hits::Some(places) => places.iter().copied().for_each(&mut take),
        }
    }
    close(headers, &mut parts, current.unwrap_or(revision), wants.fragment, &mut made);
    (made, count)
}

/// Makes one response of `parts`, or several fragments.
fn close(headers: &Headers, parts: &mut Vec<Bytes>, revision: i64, fragment: bool, made: &mut Vec<(bool, Bytes)>) {
    if parts.is_empty() {
        return;
    }
    let header = headers.stamp(revision);
    let most = if fragment { limits::WATCH_FRAGMENT_BYTES } else { usize::MAX };
    let mut pieces: Vec<(usize, Vec<Bytes>)> = Vec::new();
    for part in parts.drain(..) {
        match pieces.last_mut().filter(|(bytes, _)| *bytes + part.len() <= most) {
            Some((bytes, piece)) => {
                *bytes += part.len();
                piece.push(part);
            }
            None => pieces.push((part.len(), vec![part])),
        }
    }
    let count = pieces.len();
    for (place, (bytes, piece)) in pieces.into_iter().enumerate() {
        let mut buffer = BytesMut::with_capacity(bytes + encoding::message::encoded_len(1, &header));
        encode_header(&header, &mut buffer);
        piece.into_iter().for_each(|part| buffer.put(part));
        made.push((place + 1 < count, buffer.freeze()));
    }
}
