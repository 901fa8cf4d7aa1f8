//! Filling the cache when a node starts: some threads read what the tables hold, until the cache is full.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::{Described, MetadataCache};
use crate::pb::store;
use crate::state::View;

/// Collections that are read from one view, and then kept or not.
const PAGE: usize = 64;

/// Where the threads are, together.
pub(super) struct Cursor(Mutex<Place>);

struct Place {
    /// Not read to their end; the last one is next.
    databases: Vec<store::Database>,
    after: Option<String>,
    /// Bytes of the cache that nobody has taken. What is put in is weighed some time later, so threads that asked the
    /// cache itself found room for one more each.
    room: u64,
    read: u64,
}

/// Calls go on meanwhile; what they ask for is read as if there were no cache. Dropped, it ends after the pages that
/// are being read.
pub(super) async fn run(cache: &Arc<MetadataCache>) {
    let started = Instant::now();
    let cursor = match Cursor::first(cache) {
        Ok(cursor) => Arc::new(cursor),
        Err(error) => return tracing::warn!(%error, "the cache is not filled"),
    };
    let _ends = Ends(&cursor);
    let threads = (0..cache.settings.warm_up_threads).map(|_| {
        let (cache, cursor) = (cache.clone(), cursor.clone());
        tokio::task::spawn_blocking(move || read(&cache, &cursor))
    });
    for thread in futures::future::join_all(threads).await {
        match thread {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the cache is filled in part"),
            Err(error) => tracing::warn!(%error, "the cache is filled in part"),
        }
    }
    let took = started.elapsed();
    cache.counts.warm_up_ms.inc_by(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    // What changed while it was read is not kept.
    let (kept, read) = (cache.counts.warmed.get(), cursor.0.lock().read);
    tracing::info!(kept, read, ?took, "the cache is filled");
}

struct Ends<'c>(&'c Cursor);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Cursor {
    pub(super) fn first(cache: &MetadataCache) -> io::Result<Self> {
        cache.collections.run_pending_tasks();
        let room = cache.settings.capacity_bytes.saturating_sub(cache.collections.weighted_size());
        Ok(Cursor(Mutex::new(Place { databases: databases(cache)?, after: None, room, read: 0 })))
    }

    /// There is no next page.
    pub(super) fn end(&self) {
        self.0.lock().databases.clear();
    }

    fn next_page(&self, view: &View<'_>) -> io::Result<Option<(store::Database, Vec<store::Collection>)>> {
        let mut place = self.0.lock();
        while let Some(database) = place.databases.last().cloned() {
            let rows = view.collections(database.id, place.after.as_deref(), PAGE)?;
            if let Some(last) = rows.last() {
                place.after = Some(last.name.clone());
                place.read += rows.len() as u64;
                return Ok(Some((database, rows)));
            }
            place.databases.pop();
            place.after = None;
        }
        Ok(None)
    }

    /// False if there is not so much room.
    fn take(&self, bytes: u64) -> bool {
        let mut place = self.0.lock();
        let left = place.room.checked_sub(bytes);
        place.room = left.unwrap_or(place.room);
        left.is_some()
    }

    fn give_back(&self, bytes: u64) {
        self.0.lock().room += bytes;
    }
}

fn databases(cache: &MetadataCache) -> io::Result<Vec<store::Database>> {
    let view = cache.replica.view()?;
    let view = View::new(view.as_ref());
    let mut all: Vec<store::Database> = Vec::new();
    loop {
        let after = all.last().map(|database| database.name.clone());
        let page = view.databases(after.as_deref(), PAGE)?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

/// One thread's share.
pub(super) fn read(cache: &MetadataCache, cursor: &Cursor) -> io::Result<()> {
    loop {
        let reading = cache.reading();
        let view = cache.replica.view()?;
        let view = View::new(view.as_ref());
        let Some((database, rows)) = cursor.next_page(&view)? else { return Ok(()) };
        for row in rows {
            let name = row.name.clone();
            let described = Arc::new(Described::read(&view, row, &database)?);
            let bytes = described.bytes().into();
            if !cursor.take(bytes) {
                return Ok(());
            }
            match cache.keep(&reading, &name, &described) {
                true => _ = cache.counts.warmed.inc(),
                false => cursor.give_back(bytes),
            }
        }
    }
}
