//! The engine on RocksDB: a column family for each space, one write-ahead log.
//!
//! Recovery is point-in-time, so a torn tail of the log is cut and whatever precedes it is kept; `wal.rs` refuses a
//! disk on which that cut went below what was acknowledged. Writes are never reordered, because every durability
//! argument of this crate rests on the order of that one log. They reach its file when it is synced, or when there is
//! much of them: what was not synced may be lost with the process, not only with the machine.

use std::io;
use std::mem::ManuallyDrop;
use std::ops::{Bound, ControlFlow};
use std::path::Path;
use std::sync::Arc;

use rocksdb::{
    BlockBasedOptions, BoundColumnFamily, Cache, ColumnFamilyDescriptor, DBCompressionType,
    DBRawIteratorWithThreadMode, DBRecoveryMode, DBWithThreadMode, MultiThreaded, Options, ReadOptions,
    SnapshotWithThreadMode, WriteBatch, WriteBufferManager, WriteOptions,
};

use super::engine::Engine;
use crate::kv::{Batch, KeyRange, Read, Space, Visit};

type Db = DBWithThreadMode<MultiThreaded>;

/// Memory that the whole process gives to RocksDB, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct RocksBudget {
    pub block_cache_bytes: usize,
    pub write_buffer_bytes: usize,
}

impl Default for RocksBudget {
    fn default() -> Self {
        RocksBudget { block_cache_bytes: 256 << 20, write_buffer_bytes: 128 << 20 }
    }
}

/// A RocksDB database that holds every [`Space`].
#[derive(Clone)]
pub struct RocksEngine {
    db: Arc<Db>,
    /// Made once: making them costs as much as finding a row in memory.
    reading: Arc<ReadOptions>,
}

/// RocksDB is built for these instructions (`.cargo/config.toml`) and would end the process at the first of them.
#[cfg(target_arch = "x86_64")]
fn check_processor() -> io::Result<()> {
    if std::is_x86_feature_detected!("sse4.2") && std::is_x86_feature_detected!("pclmulqdq") {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "this processor has no SSE 4.2 and PCLMUL, which Roost is built for",
    ))
}

#[cfg(not(target_arch = "x86_64"))]
fn check_processor() -> io::Result<()> {
    Ok(())
}

fn storage(error: rocksdb::Error) -> io::Error {
    io::Error::other(format!("RocksDB: {error}"))
}

impl RocksEngine {
    /// Opens or creates the database in `dir`. Corruption that RocksDB itself detects is an error here.
    pub fn open(dir: &Path, budget: RocksBudget) -> io::Result<Self> {
        check_processor()?;
        let cache = Cache::new_lru_cache(budget.block_cache_bytes);
        let buffers = WriteBufferManager::new_write_buffer_manager(budget.write_buffer_bytes, false);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
        options.set_write_buffer_manager(&buffers);
        // Written by whoever syncs: until then rows are not durable anyway, and Raft's thread makes no system call.
        options.set_manual_wal_flush(true);
        options.set_max_background_jobs(2);
        options.set_max_open_files(512);
        // A space that is rarely written would keep every log since its last flush; beyond this it is flushed.
        options.set_max_total_wal_size(2 * budget.write_buffer_bytes as u64);
        options.set_keep_log_file_num(4);
        options.set_stats_dump_period_sec(0);
        // Smooths write-back, so that one sync does not wait for megabytes of table files.
        options.set_bytes_per_sync(1 << 20);
        let spaces = Space::ALL.map(|space| {
            let mut table = BlockBasedOptions::default();
            table.set_block_cache(&cache);
            table.set_bloom_filter(10.0, false);
            table.set_cache_index_and_filter_blocks(true);
            let mut family = Options::default();
            family.set_block_based_table_factory(&table);
            family.set_compression_type(DBCompressionType::Lz4);
            family.set_write_buffer_size(budget.write_buffer_bytes / 4);
            family.set_max_write_buffer_number(4);
            // Most rows that apply looks for are new, and the buffers need not be searched for them.
            family.set_memtable_prefix_bloom_ratio(0.05);
            family.set_memtable_whole_key_filtering(true);
            ColumnFamilyDescriptor::new(space.name(), family)
        });
        let db = Db::open_cf_descriptors(&options, dir, spaces).map_err(storage)?;
        Ok(RocksEngine { db: Arc::new(db), reading: Arc::default() })
    }

    fn last_key(&self, space: Space) -> io::Result<Option<Vec<u8>>> {
        let mut rows = self.db.raw_iterator_cf(&self.family(space)?);
        rows.seek_to_last();
        rows.status().map_err(storage)?;
        Ok(rows.key().map(<[u8]>::to_vec))
    }

    fn family(&self, space: Space) -> io::Result<Arc<BoundColumnFamily<'_>>> {
        family(&self.db, space)
    }
}

fn family(db: &Db, space: Space) -> io::Result<Arc<BoundColumnFamily<'_>>> {
    db.cf_handle(space.name()).ok_or_else(|| io::Error::other(format!("no column family {}", space.name())))
}

/// The first key after this one.
fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// Read options bounded to `range`, so that an iterator never wanders over tombstones beyond it.
fn bounded(range: KeyRange<'_>) -> ReadOptions {
    let mut options = ReadOptions::default();
    match range.from {
        Bound::Included(key) => options.set_iterate_lower_bound(key),
        Bound::Excluded(key) => options.set_iterate_lower_bound(after(key)),
        Bound::Unbounded => {}
    }
    match range.to {
        Bound::Included(key) => options.set_iterate_upper_bound(after(key)),
        Bound::Excluded(key) => options.set_iterate_upper_bound(key),
        Bound::Unbounded => {}
    }
    options
}

fn walk(mut rows: DBRawIteratorWithThreadMode<'_, Db>, reverse: bool, visit: &mut Visit<'_>) -> io::Result<()> {
    if reverse {
        rows.seek_to_last()
    } else {
        rows.seek_to_first()
    }
    while let Some((key, value)) = rows.item() {
        if let ControlFlow::Break(()) = visit(key, value)? {
            return Ok(());
        }
        if reverse { rows.prev() } else { rows.next() }
    }
    rows.status().map_err(storage)
}

impl Read for RocksEngine {
    fn get(&self, space: Space, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let row = self.db.get_pinned_cf_opt(&self.family(space)?, key, &self.reading).map_err(storage)?;
        Ok(row.map(|row| row.to_vec()))
    }

    fn scan(&self, space: Space, range: KeyRange<'_>, reverse: bool, visit: &mut Visit<'_>) -> io::Result<()> {
        walk(self.db.raw_iterator_cf_opt(&self.family(space)?, bounded(range)), reverse, visit)
    }
}

impl Engine for RocksEngine {
    fn write(&self, batch: Batch) -> io::Result<()> {
        let mut rows = WriteBatch::default();
        for (space, from, to) in &batch.cleared {
            let family = self.family(*space)?;
            match to {
                Some(to) => rows.delete_range_cf(&family, from, to),
                // RocksDB deletes up to a key, and no key is above all others.
                None => match self.last_key(*space)? {
                    Some(last) if last >= *from => rows.delete_range_cf(&family, from, &after(&last)),
                    _ => {}
                },
            }
        }
        for ops in batch.ops.chunk_by(|(one, ..), (next, ..)| one == next) {
            let [(space, ..), ..] = ops else { continue };
            let family = self.family(*space)?;
            for (_, key, value) in ops {
                match value {
                    Some(value) => rows.put_cf(&family, key, value),
                    None => rows.delete_cf(&family, key),
                }
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(false);
        self.db.write_opt(rows, &options).map_err(storage)
    }

    fn sync(&self) -> io::Result<()> {
        self.db.flush_wal(true).map_err(storage)
    }

    fn pin(&self) -> Arc<dyn Read> {
        Arc::new(PinnedView::new(self.db.clone()))
    }

    fn reclaim(&self, space: Space, from: &[u8], to: &[u8]) -> io::Result<()> {
        // Deleted files leave no trace in the log, so the deletions that allow it must be durable first.
        self.sync()?;
        let family = self.family(space)?;
        self.db.delete_file_in_range_cf(&family, from, to).map_err(storage)?;
        self.db.compact_range_cf(&family, Some(from), Some(to));
        Ok(())
    }

    fn size(&self, space: Space) -> u64 {
        let Ok(family) = self.family(space) else { return 0 };
        let bytes = |name: &str| self.db.property_int_value_cf(&family, name).ok().flatten().unwrap_or(0);
        bytes("rocksdb.live-sst-files-size") + bytes("rocksdb.cur-size-all-mem-tables")
    }

    fn stalled(&self) -> bool {
        let value = |name: &str| self.db.property_int_value(name).ok().flatten().unwrap_or(0);
        value("rocksdb.is-write-stopped") > 0 || value("rocksdb.actual-delayed-write-rate") > 0
    }
}

/// Owns a RocksDB snapshot together with the database that it points into. The only place where a lifetime is extended.
struct PinnedView {
    // Dropped by hand, before `db`.
    snapshot: ManuallyDrop<SnapshotWithThreadMode<'static, Db>>,
    db: Arc<Db>,
}

#[allow(unsafe_code, reason = "RocksDB's snapshot borrows its database; here they live and die together")]
impl PinnedView {
    fn new(db: Arc<Db>) -> Self {
        let snapshot = db.snapshot();
        // SAFETY: the snapshot borrows the heap allocation behind `db`, which this value keeps alive and never moves;
        // `Drop` releases the snapshot first, and no reference with the extended lifetime leaves this type.
        let snapshot = unsafe {
            std::mem::transmute::<SnapshotWithThreadMode<'_, Db>, SnapshotWithThreadMode<'static, Db>>(snapshot)
        };
        PinnedView { snapshot: ManuallyDrop::new(snapshot), db }
    }
}

#[allow(unsafe_code, reason = "the snapshot must go before the database that it borrows")]
impl Drop for PinnedView {
    fn drop(&mut self) {
        // SAFETY: dropped exactly once, here, while `db` is still alive.
        unsafe { ManuallyDrop::drop(&mut self.snapshot) }
    }
}

impl Read for PinnedView {
    fn get(&self, space: Space, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.snapshot.get_cf(&family(&self.db, space)?, key).map_err(storage)
    }

    fn scan(&self, space: Space, range: KeyRange<'_>, reverse: bool, visit: &mut Visit<'_>) -> io::Result<()> {
        walk(self.snapshot.raw_iterator_cf_opt(&family(&self.db, space)?, bounded(range)), reverse, visit)
    }
}
