//! What one revision changed, encoded at most once for all who get it.

use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use prost::Message;
use prost::encoding::{self, WireType};

use crate::pb::etcd::kv;
use crate::state::keyspace::KeysChanged;

/// The field `events` of a WatchResponse.
const EVENTS_FIELD: u32 = 11;
/// What an event weighs beside its keys and values.
const EVENT_OVERHEAD: usize = 64;

/// The changes of one revision, shared by every stream that gets some of them.
pub struct Change {
    source: Arc<KeysChanged>,
    has_prev: bool,
    encoded: Vec<Encoded>,
    bytes: usize,
}

/// One event as a WatchResponse's field, without and with the previous value.
#[derive(Default)]
struct Encoded {
    plain: OnceLock<Bytes>,
    with_prev: OnceLock<Bytes>,
}

impl Change {
    /// `has_prev`: the events were read with their previous values.
    pub fn new(source: Arc<KeysChanged>, has_prev: bool) -> Self {
        let events = source.events.as_deref().unwrap_or_default();
        let encoded = events.iter().map(|_| Encoded::default()).collect();
        let bytes = events.iter().map(weight).sum();
        Change { source, has_prev, encoded, bytes }
    }

    pub fn revision(&self) -> i64 {
        self.source.revision
    }

    pub fn events(&self) -> &[kv::Event] {
        self.source.events.as_deref().unwrap_or_default()
    }

    pub fn has_prev(&self) -> bool {
        self.has_prev
    }

    /// What it takes in memory, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The event at `place` as it goes into a response. Empty if there is none.
    pub fn encoded(&self, place: usize, with_prev: bool) -> Bytes {
        let (Some(event), Some(encoded)) = (self.events().get(place), self.encoded.get(place)) else {
            return Bytes::new();
        };
        // Without a previous value both forms are the same bytes.
        match event.prev_kv.as_ref().filter(|_| with_prev) {
            Some(prev) => encoded.with_prev.get_or_init(|| encode(event, Some(prev))).clone(),
            None => encoded.plain.get_or_init(|| encode(event, None)).clone(),
        }
    }
}

fn weight(event: &kv::Event) -> usize {
    let of = |row: &Option<kv::KeyValue>| row.as_ref().map_or(0, |row| row.key.len() + row.value.len());
    EVENT_OVERHEAD + of(&event.kv) + of(&event.prev_kv)
}

/// As prost would encode it in its place, without a copy of the event that has no previous value.
fn encode(event: &kv::Event, prev: Option<&kv::KeyValue>) -> Bytes {
    let row = |field: u32, row: Option<&kv::KeyValue>| row.map_or(0, |row| encoding::message::encoded_len(field, row));
    let kind = if event.r#type == 0 { 0 } else { encoding::int32::encoded_len(1, &event.r#type) };
    let length = kind + row(2, event.kv.as_ref()) + row(3, prev);
    let mut buffer = BytesMut::with_capacity(length + 2 * encoding::encoded_len_varint(length as u64));
    encoding::encode_key(EVENTS_FIELD, WireType::LengthDelimited, &mut buffer);
    encoding::encode_varint(length as u64, &mut buffer);
    if event.r#type != 0 {
        encoding::int32::encode(1, &event.r#type, &mut buffer);
    }
    for (field, row) in [(2, event.kv.as_ref()), (3, prev)] {
        if let Some(row) = row {
            encoding::message::encode(field, row, &mut buffer);
        }
    }
    buffer.freeze()
}

/// A response's header as its field of a WatchResponse.
pub fn encode_header(header: &impl Message, buffer: &mut BytesMut) {
    encoding::message::encode(1, header, buffer);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::etcd::api;

    #[test]
    fn encoded_events_are_what_the_message_would_be() {
        let row = |value: &str| kv::KeyValue {
            key: b"key".to_vec(),
            value: value.repeat(100).into_bytes(),
            mod_revision: 7,
            lease: -3,
            ..Default::default()
        };
        let put = kv::Event { r#type: 0, kv: Some(row("a")), prev_kv: Some(row("b")) };
        let delete = kv::Event { r#type: 1, kv: Some(row("")), prev_kv: None };
        let events = vec![put.clone(), delete.clone()];
        let change = Change::new(Arc::new(KeysChanged { revision: 7, events: Some(events.clone()) }), true);
        let joined = |with_prev| [change.encoded(0, with_prev), change.encoded(1, with_prev)].concat();
        let whole = api::WatchResponse { events, ..Default::default() };
        assert_eq!(joined(true), whole.encode_to_vec());
        let without = vec![kv::Event { prev_kv: None, ..put }, delete];
        assert_eq!(joined(false), api::WatchResponse { events: without, ..Default::default() }.encode_to_vec());
        assert!(change.encoded(2, true).is_empty());
        assert!(change.bytes() > 200);
    }
}
