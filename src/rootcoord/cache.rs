//! Descriptions of collections, decoded and complete, and listings of databases, encoded, in memory before this node's
//! own tables: bounded by bytes and by time. Descriptions are filled in when the node starts.
//!
//! What is read behind a barrier is never older than the barrier. The host sends the events of an entry after its rows
//! can be read and before the entry counts as applied, and whoever asks the cache first takes in all events that were
//! sent: what an entry changed is out by then. What was read from the tables meanwhile is put in only if no event came
//! since before that read began; both happen under the lock under which events are taken in.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::broadcast::error::TryRecvError;

use super::{Which, describe, validate};
use crate::config;
use crate::pb::milvus::DescribeCollectionResponse;
use crate::pb::store;
use crate::replica::{Events, Replica};
use crate::shutdown::Shutdown;
use crate::state::{Event, View};

mod counts;
mod listings;
mod warm_up;

pub use counts::CacheGauges;
use counts::Counts;
pub use listings::Listing;
use listings::Listings;

/// A decoded description takes about so many times the bytes of its encoded form.
const DECODED_FACTOR: usize = 4;
/// The part of the memory that names may take besides, and what each takes beside its own bytes.
const HINTS_PART: u64 = 16;
const HINT_BYTES: usize = 64;
/// The part of the memory that listings may take besides.
const LISTINGS_PART: u64 = 4;
/// A year: no node runs longer without a new version.
const FOR_EVER: Duration = Duration::from_secs(365 * 86_400);
/// How often events are taken in while nobody asks, so that few of them wait.
const TAKE_IN_EVERY: Duration = Duration::from_millis(50);

/// One collection as both kinds of callers see it.
#[derive(Debug)]
pub(super) struct Described {
    client: DescribeCollectionResponse,
    internal: DescribeCollectionResponse,
}

/// See the module.
pub struct MetadataCache {
    replica: Arc<dyn Replica>,
    /// By the collection's id: true as of the events that were taken in.
    collections: Cache<i64, Arc<Described>>,
    /// Which collection a name may stand for, by `database\0name`. What it leads to is believed only if it says so too.
    hints: Cache<String, i64>,
    feed: Mutex<Feed>,
    counts: Counts,
    settings: config::Cache,
}

struct Feed {
    events: Events,
    seen: Seen,
    listings: Listings,
}

/// How many events were taken in.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Of collections.
    changes: u64,
    /// That changed a listing.
    relisted: u64,
}

/// A read of the tables that began when so much was known.
pub(super) struct Reading {
    seen: Seen,
}

/// What an event makes wrong.
#[derive(Debug, Default)]
struct Stale {
    /// Of the collection of this id.
    description: Option<i64>,
    /// Of the databases of these ids.
    listings: [Option<i64>; 2],
}

impl MetadataCache {
    pub fn new(replica: Arc<dyn Replica>, settings: &config::Cache) -> Arc<Self> {
        let time_to_live = Duration::from_millis(settings.time_to_live_ms);
        let live = if time_to_live.is_zero() { FOR_EVER } else { time_to_live };
        let weigh = |_: &i64, described: &Arc<Described>| described.bytes();
        let collections = Cache::builder().max_capacity(settings.capacity_bytes).weigher(weigh).time_to_live(live);
        // Names are a small part of what they lead to.
        let hints = Cache::builder()
            .max_capacity(settings.capacity_bytes / HINTS_PART)
            .weigher(|name: &String, _: &i64| u32::try_from(name.len() + HINT_BYTES).unwrap_or(u32::MAX))
            .time_to_live(live);
        Arc::new(MetadataCache {
            feed: Mutex::new(Feed {
                events: replica.events(),
                seen: Seen::default(),
                listings: Listings::new(settings.capacity_bytes / LISTINGS_PART, time_to_live),
            }),
            replica,
            collections: collections.build(),
            hints: hints.build(),
            counts: Counts::default(),
            settings: settings.clone(),
        })
    }

    /// The collection of this name or alias, as of all that this node has applied. `None`: it is not here.
    pub(super) fn named(&self, database: &str, name: &str) -> Option<Arc<Described>> {
        self.take_in(&mut self.feed.lock());
        let found = self.hints.get(&hint(database, name)).and_then(|id| self.collections.get(&id));
        self.count(found.filter(|described| described.is_called(database, name)))
    }

    /// As [`MetadataCache::named`].
    pub(super) fn of_id(&self, id: i64) -> Option<Arc<Described>> {
        self.take_in(&mut self.feed.lock());
        self.count(self.collections.get(&id))
    }

    fn count(&self, found: Option<Arc<Described>>) -> Option<Arc<Described>> {
        match found {
            Some(_) => self.counts.hits.inc(),
            None => self.counts.misses.inc(),
        };
        found
    }

    /// The listing of this database, as of all that this node has applied. `None`: it is not here.
    pub(super) fn listing(&self, database: &str) -> Option<Listing> {
        let mut feed = self.feed.lock();
        self.take_in(&mut feed);
        let found = feed.listings.get(database);
        match found {
            Some(_) => self.counts.listing_hits.inc(),
            None => self.counts.listing_misses.inc(),
        };
        found
    }

    /// Keeps a listing that was read, unless one changed meanwhile. True if it is kept.
    pub(super) fn keep_listing(&self, reading: &Reading, database: &store::Database, listing: Listing) -> bool {
        let mut feed = self.feed.lock();
        self.take_in(&mut feed);
        feed.seen.relisted == reading.seen.relisted && feed.listings.put(&database.name, database.id, listing)
    }

    fn listing_bytes(&self) -> u64 {
        self.feed.lock().listings.bytes()
    }

    /// To be called before the view is taken that a description or a listing is read from.
    pub(super) fn reading(&self) -> Reading {
        let mut feed = self.feed.lock();
        self.take_in(&mut feed);
        Reading { seen: feed.seen }
    }

    /// Keeps what was read, unless something changed meanwhile. True if it is kept.
    pub(super) fn keep(&self, reading: &Reading, asked_name: &str, described: &Arc<Described>) -> bool {
        if self.settings.capacity_bytes == 0 {
            return false;
        }
        let mut feed = self.feed.lock();
        self.take_in(&mut feed);
        if feed.seen.changes != reading.seen.changes {
            return false;
        }
        let DescribeCollectionResponse { collection_id, db_name, .. } = &described.internal;
        self.collections.insert(*collection_id, described.clone());
        self.hints.insert(hint(db_name, asked_name), *collection_id);
        self.counts.sets.inc();
        true
    }

    /// Takes out what the events that came since name.
    fn take_in(&self, feed: &mut Feed) {
        loop {
            match feed.events.try_recv() {
                // Rows were replaced as a whole.
                Ok(batch) if batch.events.is_empty() => self.forget_all(feed),
                Ok(batch) => batch.events.iter().for_each(|event| self.forget(feed, &Stale::by(event))),
                Err(TryRecvError::Lagged(_)) => self.forget_all(feed),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    fn forget(&self, feed: &mut Feed, stale: &Stale) {
        if let Some(id) = stale.description {
            feed.seen.changes += 1;
            self.counts.invalidations.inc();
            self.collections.invalidate(&id);
        }
        for id in stale.listings.iter().flatten() {
            feed.seen.relisted += 1;
            feed.listings.forget(*id);
        }
    }

    fn forget_all(&self, feed: &mut Feed) {
        feed.seen.changes += 1;
        feed.seen.relisted += 1;
        feed.listings.clear();
        self.counts.invalidations.inc();
        // One by one: wholesale invalidation goes by a clock, and what is put in right after must stay.
        let held: Vec<i64> = self.collections.iter().map(|(id, _)| *id).collect();
        held.iter().for_each(|id| self.collections.invalidate(id));
    }

    /// Fills the cache, then takes events in until the node stops.
    pub async fn follow(self: Arc<Self>, shutdown: Shutdown) {
        if self.settings.capacity_bytes == 0 {
            return;
        }
        tokio::select! {
            _ = shutdown.requested() => return,
            () = warm_up::run(&self) => {}
        }
        loop {
            tokio::select! {
                _ = shutdown.requested() => return,
                () = tokio::time::sleep(TAKE_IN_EVERY) => self.take_in(&mut self.feed.lock()),
            }
        }
    }
}

impl Described {
    /// Reads everything about a collection.
    pub(super) fn read(view: &View<'_>, row: store::Collection, database: &store::Database) -> io::Result<Self> {
        let internal = describe::collection(view, row, database)?;
        let schema = internal.schema.as_ref().map(validate::client_schema);
        let client = DescribeCollectionResponse { schema, ..internal.clone() };
        Ok(Described { client, internal })
    }

    pub(super) fn reply(&self, which: Which) -> &DescribeCollectionResponse {
        match which {
            Which::Client => &self.client,
            Which::Internal | Which::AnyState => &self.internal,
        }
    }

    /// Its name or one of its aliases, in this database.
    fn is_called(&self, database: &str, name: &str) -> bool {
        let own = &self.internal;
        own.db_name == database && (own.collection_name == name || own.aliases.iter().any(|alias| alias == name))
    }

    fn bytes(&self) -> u32 {
        let encoded = self.client.encoded_len().saturating_add(self.internal.encoded_len());
        u32::try_from(encoded.saturating_mul(DECODED_FACTOR)).unwrap_or(u32::MAX)
    }
}

fn hint(database: &str, name: &str) -> String {
    format!("{database}\0{name}")
}

impl Stale {
    fn by(event: &Event) -> Self {
        let description = |id: &i64| Stale { description: Some(*id), ..Stale::default() };
        match event {
            Event::CollectionCreated { database_id, collection_id, .. }
            | Event::CollectionDropped { database_id, collection_id, .. } => {
                Stale { description: Some(*collection_id), listings: [Some(*database_id), None] }
            }
            Event::CollectionRenamed { old_database_id, database_id, collection_id, .. } => {
                Stale { description: Some(*collection_id), listings: [Some(*old_database_id), Some(*database_id)] }
            }
            Event::CollectionAltered { collection_id, .. }
            | Event::AliasSet { collection_id, .. }
            | Event::AliasDropped { collection_id, .. }
            | Event::PartitionCreated { collection_id, .. }
            | Event::PartitionDropped { collection_id, .. } => description(collection_id),
            Event::DatabaseDropped { database_id, .. } => {
                Stale { listings: [Some(*database_id), None], ..Stale::default() }
            }
            // Neither says anything of these.
            Event::CollectionTruncated { .. }
            | Event::DatabaseCreated { .. }
            | Event::DatabaseAltered { .. }
            | Event::TsoExtended { .. }
            | Event::KeysChanged(_)
            | Event::HistoryCompacted { .. }
            | Event::LeaseGranted { .. }
            | Event::LeaseEnded { .. }
            | Event::IndexCreated { .. }
            | Event::IndexAltered { .. }
            | Event::IndexDropped { .. }
            | Event::LoadChanged { .. }
            | Event::LoadEnded { .. }
            | Event::Access(_)
            | Event::WorkerChanged { .. }
            | Event::AssignmentsChanged { .. }
            | Event::BroadcastChanged { .. }
            | Event::ReplicationChanged => Stale::default(),
        }
    }
}

#[cfg(test)]
mod tests;
