//! A cache that is filled when its node starts.

use super::*;

#[tokio::test]
async fn it_is_filled_at_the_start_within_its_bounds() {
    let full = desk(config::Cache { warm_up_threads: 3, ..config::Cache::default() }).await;
    let names: Vec<String> = (0..150).map(|number| format!("c{number}")).collect();
    for name in &names {
        full.create(name).await;
    }
    crate::rootcoord::cache::warm_up::run(&full.cache).await;
    assert_eq!((full.cache.counts.warmed.get(), full.cache.counts.sets.get()), (150, 150));
    for name in &names {
        full.check(name).await;
    }
    assert_eq!(full.cache.counts.misses.get(), 0);
    full.cache.collections.run_pending_tasks();
    let bytes = full.cache.collections.weighted_size();

    let replica = full.tables.clone();
    let small = config::Cache { warm_up_threads: 3, capacity_bytes: bytes / 3, ..config::Cache::default() };
    let cache = MetadataCache::new(replica.clone(), &small);
    crate::rootcoord::cache::warm_up::run(&cache).await;
    cache.collections.run_pending_tasks();
    assert!((20..=50).contains(&cache.counts.warmed.get()), "{}", cache.counts.warmed.get());
    assert!(cache.collections.weighted_size() <= bytes / 3);

    let off = MetadataCache::new(replica, &config::Cache { capacity_bytes: 0, ..config::Cache::default() });
    let reading = off.reading();
    assert!(!off.keep(&reading, "c1", &Arc::new(full.truth("c1").unwrap())));
    assert!(off.named("default", "c1").is_none());
}

/// Threads that have begun look at the node's end once a page.
#[tokio::test]
async fn a_node_that_stops_does_not_wait_until_it_is_full() {
    let full = desk(config::Cache::default()).await;
    for number in 0..150 {
        full.create(&format!("c{number}")).await;
    }
    let cache = MetadataCache::new(full.tables.clone(), &config::Cache::default());
    let cursor = crate::rootcoord::cache::warm_up::Cursor::first(&cache).unwrap();
    cursor.end();
    crate::rootcoord::cache::warm_up::read(&cache, &cursor).unwrap();
    assert_eq!(cache.counts.warmed.get(), 0);
}
