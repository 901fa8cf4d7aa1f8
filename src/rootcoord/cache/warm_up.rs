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

/// Where the threads are, together: the next page of names.
struct Cursor {
    databases: Vec<store::Database>,
    after: Option<String>,
}

/// Calls go on meanwhile; what they ask for is read as if there were no cache.
pub(super) async fn run(cache: &Arc<MetadataCache>) {
    let started = Instant::now();
    let cursor = match databases(cache) {
        Ok(databases) => Arc::new(Mutex::new(Cursor { databases, after: None })),
        Err(error) => return tracing::warn!(%error, "the cache is not filled"),
    };
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
    tracing::info!(collections = cache.counts.warmed.get(), ?took, "the cache is filled");
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
fn read(cache: &MetadataCache, cursor: &Mutex<Cursor>) -> io::Result<()> {
    loop {
        let reading = cache.reading();
        let view = cache.replica.view()?;
        let view = View::new(view.as_ref());
        let Some((database, rows)) = next_page(&view, &mut cursor.lock())? else { return Ok(()) };
        for row in rows {
            let name = row.name.clone();
            let described = Arc::new(Described::read(&view, row, &database)?);
            cache.collections.run_pending_tasks();
            let full = cache.collections.weighted_size() + u64::from(described.bytes());
            if full > cache.settings.capacity_bytes {
                return Ok(());
            }
            if cache.keep(&reading, &name, &described) {
                cache.counts.warmed.inc();
            }
        }
    }
}

fn next_page(view: &View<'_>, cursor: &mut Cursor) -> io::Result<Option<(store::Database, Vec<store::Collection>)>> {
    while let Some(database) = cursor.databases.last().cloned() {
        let rows = view.collections(database.id, cursor.after.as_deref(), PAGE)?;
        if let Some(last) = rows.last() {
            cursor.after = Some(last.name.clone());
            return Ok(Some((database, rows)));
        }
        cursor.databases.pop();
        cursor.after = None;
    }
    Ok(None)
}
