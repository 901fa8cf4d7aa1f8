//! Listings of databases, encoded once for all who ask. One is dropped when a collection of its database comes, goes or
//! gets another name; nothing else that a listing shows ever changes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use crate::access::FRAME_HEADER;
use crate::error::Rejection;
use crate::limits::REPLY_BYTES_MAX;
use crate::pb::milvus::ShowCollectionsResponse;

/// What a listing takes beside its bytes.
const OVERHEAD_BYTES: u64 = 256;

/// Every collection of a database, as one gRPC message.
#[derive(Clone, Debug)]
pub struct Listing {
    frame: Bytes,
}

/// By the database's name; the one that was asked for longest ago makes room.
#[derive(Debug)]
pub(super) struct Listings {
    by_name: HashMap<String, Kept>,
    bytes: u64,
    most_bytes: u64,
    /// 0: for ever.
    time_to_live: Duration,
    asked: u64,
}

#[derive(Debug)]
struct Kept {
    database_id: i64,
    listing: Listing,
    made: Instant,
    last_asked: u64,
}

impl Listing {
    /// Fails for a listing that no reply can carry.
    pub fn of(reply: &ShowCollectionsResponse) -> Result<Self, Rejection> {
        let length = reply.encoded_len();
        let claimed = u32::try_from(length).ok().filter(|_| length <= REPLY_BYTES_MAX).ok_or_else(|| {
            let detail = format!("a listing of {length} bytes, a reply carries at most {REPLY_BYTES_MAX}");
            Rejection::ParameterTooLarge { detail }
        })?;
        let mut frame = BytesMut::with_capacity(FRAME_HEADER + length);
        frame.put_u8(0); // not compressed
        frame.put_u32(claimed);
        reply.encode_raw(&mut frame);
        Ok(Listing { frame: frame.freeze() })
    }

    /// With the five bytes that go before a message of gRPC.
    pub fn frame(&self) -> Bytes {
        self.frame.clone()
    }

    pub fn reply(&self) -> Result<ShowCollectionsResponse, Rejection> {
        let message = self.frame.get(FRAME_HEADER..).unwrap_or_default();
        ShowCollectionsResponse::decode(message)
            .map_err(|error| Rejection::Internal { detail: format!("a listing in memory does not decode: {error}") })
    }
}

impl Listings {
    pub(super) fn new(most_bytes: u64, time_to_live: Duration) -> Self {
        Listings { by_name: HashMap::new(), bytes: 0, most_bytes, time_to_live, asked: 0 }
    }

    pub(super) fn get(&mut self, database: &str) -> Option<Listing> {
        self.asked += 1;
        let kept = self.by_name.get_mut(database)?;
        if !self.time_to_live.is_zero() && kept.made.elapsed() >= self.time_to_live {
            self.remove(database);
            return None;
        }
        kept.last_asked = self.asked;
        Some(kept.listing.clone())
    }

    /// False if it does not fit at all.
    pub(super) fn put(&mut self, database: &str, database_id: i64, listing: Listing) -> bool {
        self.remove(database);
        let bytes = weight(database, &listing);
        if bytes > self.most_bytes {
            return false;
        }
        while self.bytes.saturating_add(bytes) > self.most_bytes {
            let oldest = self.by_name.iter().min_by_key(|(_, kept)| kept.last_asked).map(|(name, _)| name.clone());
            let Some(oldest) = oldest else { break };
            self.remove(&oldest);
        }
        self.bytes += bytes;
        let (made, last_asked) = (Instant::now(), self.asked);
        self.by_name.insert(database.to_owned(), Kept { database_id, listing, made, last_asked });
        true
    }

    /// What a change of this database's collections makes wrong.
    pub(super) fn forget(&mut self, database_id: i64) {
        let own = self.by_name.iter().find(|(_, kept)| kept.database_id == database_id).map(|(name, _)| name.clone());
        if let Some(name) = own {
            self.remove(&name);
        }
    }

    pub(super) fn clear(&mut self) {
        self.by_name.clear();
        self.bytes = 0;
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn remove(&mut self, database: &str) {
        if let Some(kept) = self.by_name.remove(database) {
            self.bytes = self.bytes.saturating_sub(weight(database, &kept.listing));
        }
    }
}

fn weight(database: &str, listing: &Listing) -> u64 {
    OVERHEAD_BYTES + (database.len() + listing.frame.len()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(names: &[&str]) -> Listing {
        let collection_names = names.iter().map(ToString::to_string).collect();
        Listing::of(&ShowCollectionsResponse { collection_names, ..Default::default() }).unwrap()
    }

    #[test]
    fn a_listing_is_a_message_of_grpc() {
        let reply = listing(&["a", "b"]).reply().unwrap();
        assert_eq!(reply.collection_names, ["a", "b"]);
        let frame = listing(&["a", "b"]).frame();
        assert_eq!(crate::access::message(&frame), Some(&reply.encode_to_vec()[..]));
    }

    #[test]
    fn what_was_asked_for_longest_ago_makes_room() {
        let one = weight("a", &listing(&["c"]));
        let mut listings = Listings::new(2 * one, Duration::ZERO);
        assert!(listings.put("a", 1, listing(&["c"])) && listings.put("b", 2, listing(&["c"])));
        assert!(listings.get("a").is_some());
        assert!(listings.put("d", 3, listing(&["c"])));
        assert_eq!(
            (listings.get("a").is_some(), listings.get("b").is_some(), listings.bytes()),
            (true, false, 2 * one)
        );
        assert!(!listings.put("a", 1, listing(&["c"; 1000])), "larger than all room");
        assert!(listings.get("a").is_none() && listings.get("d").is_some());
        listings.forget(3);
        assert!(listings.get("d").is_none());
        assert_eq!(listings.bytes(), 0);
    }

    #[test]
    fn one_that_is_too_old_is_read_again() {
        let mut listings = Listings::new(1 << 20, Duration::from_nanos(1));
        assert!(listings.put("a", 1, listing(&["c"])));
        assert!(listings.get("a").is_none() && listings.bytes() == 0);
    }
}
