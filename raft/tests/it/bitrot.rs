//! A disk that changes bytes behind our back: refused, or as good as new, never silently shorter.

use std::fs;
use std::path::{Path, PathBuf};

use openraft::storage::{RaftLogReader, RaftLogStorage, RaftLogStorageExt};
use roost_raft::kv::Space;
use roost_raft::types::{Entry, Vote};
use tempfile::TempDir;

use crate::support::{Op, Stores, block_on, copy_dir, entry};

const ENTRIES: u64 = 60;
const TERM: u64 = 3;

fn scripted() -> Vec<Entry> {
    (1..=ENTRIES).map(|index| entry(TERM, index, &Op::put(format!("key{index}"), vec![index as u8; 300]))).collect()
}

/// A disk with a vote, a log of which all was acknowledged, and most of it applied.
fn used_disk(in_tables: bool) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut stores = Stores::rocks(dir.path()).unwrap();
    let entries = scripted();
    block_on(async {
        stores.log.save_vote(&Vote::new(TERM, 1)).await.unwrap();
        for batch in entries.chunks(4) {
            stores.log.blocking_append(batch.to_vec()).await.unwrap();
        }
        stores.apply(entries[..50].to_vec()).await.unwrap();
    });
    if in_tables {
        for space in Space::ALL {
            stores.engine.reclaim(space, &[], &[0xff; 16]).unwrap();
        }
    }
    dir
}

/// Opens `dir` and reads everything. `Ok` means that nothing is missing or changed.
fn open_and_read(dir: &Path) -> Result<(), String> {
    let mut stores = Stores::rocks(dir)?;
    let vote = block_on(stores.log.read_vote()).map_err(|e| e.to_string())?;
    let entries = block_on(stores.log.try_get_log_entries(0..ENTRIES + 1)).map_err(|e| e.to_string())?;
    assert_eq!(vote, Some(Vote::new(TERM, 1)), "the vote was lost without a word");
    assert_eq!(entries, scripted(), "the log was changed without a word");
    Ok(())
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("db")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

/// Flips one bit at `steps` places of every such file, one at a time. Returns how many places were refused.
fn flip_everywhere(disk: &Path, extension: &str, steps: u64) -> (u64, Vec<String>) {
    let (mut places, mut refusals) = (0, Vec::new());
    for original in files(disk, extension) {
        let size = fs::metadata(&original).unwrap().len();
        for step in 0..steps.min(size) {
            let scratch = tempfile::tempdir().unwrap();
            copy_dir(disk, scratch.path());
            let victim = scratch.path().join("db").join(original.file_name().unwrap());
            let mut bytes = fs::read(&victim).unwrap();
            bytes[(size * step / steps) as usize] ^= 0x10;
            fs::write(&victim, bytes).unwrap();
            places += 1;
            refusals.extend(open_and_read(scratch.path()).err());
        }
    }
    (places, refusals)
}

#[test]
fn a_flipped_bit_in_the_log_file_is_refused() {
    let disk = used_disk(false);
    let (places, refusals) = flip_everywhere(disk.path(), "log", 60);
    assert!(places >= 60);
    let lost = refusals.iter().filter(|why| why.contains("has lost acknowledged data")).count();
    assert!(lost > 30, "of {places} flipped bits {lost} were recognised as a loss: {refusals:?}");
    assert!(refusals.iter().any(|why| why.contains("roostctl member replace")), "a refusal says what to do");
}

#[test]
fn a_flipped_bit_in_a_table_file_is_an_error_or_harmless() {
    let disk = used_disk(true);
    let (places, refusals) = flip_everywhere(disk.path(), "sst", 40);
    assert!(places >= 40 && !refusals.is_empty(), "{places} places, {} refusals", refusals.len());
}

#[test]
fn a_removed_log_file_or_database_is_refused() {
    let disk = used_disk(false);
    let without_log = tempfile::tempdir().unwrap();
    copy_dir(disk.path(), without_log.path());
    for log in files(without_log.path(), "log") {
        fs::remove_file(log).unwrap();
    }
    assert!(open_and_read(without_log.path()).unwrap_err().contains("has lost acknowledged data"));
    let without_database = tempfile::tempdir().unwrap();
    fs::copy(disk.path().join("synced.mark"), without_database.path().join("synced.mark")).unwrap();
    let why = open_and_read(without_database.path()).unwrap_err();
    assert!(why.contains("vote of term 0") && why.contains("vote of term 3"), "{why}");
}

#[test]
fn a_disk_without_its_mark_is_refused() {
    let disk = used_disk(false);
    fs::write(disk.path().join("synced.mark"), [7; 56]).unwrap();
    assert!(open_and_read(disk.path()).unwrap_err().contains("synced.mark is missing or damaged"));
}

#[test]
fn a_lost_vote_alone_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    {
        let mut stores = Stores::rocks(dir.path()).unwrap();
        block_on(stores.log.save_vote(&Vote::new(TERM, 1))).unwrap();
    }
    let scratch = tempfile::tempdir().unwrap();
    copy_dir(dir.path(), scratch.path());
    for wal in files(scratch.path(), "log") {
        fs::OpenOptions::new().write(true).open(wal).unwrap().set_len(0).unwrap();
    }
    let why = Stores::rocks(scratch.path()).err().unwrap();
    assert!(why.contains("has lost acknowledged data"), "{why}");
}

#[test]
fn an_untouched_disk_opens() {
    for in_tables in [false, true] {
        open_and_read(used_disk(in_tables).path()).unwrap();
    }
}
