//! Snapshots: whole or refused, never in between; and the state hash that ties them to the log.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use openraft::Membership;
use openraft::storage::{RaftSnapshotBuilder, RaftStateMachine};
use proptest::prelude::*;
use roost_raft::apply::StateHash;
use roost_raft::codec;
use roost_raft::kv::{Batch, KeyRange, Read, Space};
use roost_raft::snapshot::{SnapshotData, SnapshotFile, SnapshotHeader, SnapshotReader, install, stage};
use roost_raft::storage::marker::{ClusterId, Marker};
use roost_raft::storage::mem::MemEngine;
use roost_raft::system::SystemCommand;
use roost_raft::types::{Command, CommandKind, Entry, Member, Payload, StoredMembership};

use crate::support::{Op, Stores, block_on, entry, full_hash, log_id, position, rows, scanned};

fn mem(dir: &Path) -> Stores {
    Stores::on(Arc::new(MemEngine::default()), dir).unwrap()
}

fn system(term: u64, index: u64, command: &SystemCommand) -> Entry {
    let data = codec::encode(command).unwrap().into();
    let command = Command { kind: CommandKind::System, term, proposer: 1, data };
    Entry { log_id: log_id(term, index), payload: Payload::Normal(command) }
}

/// A few puts, a deletion, a system row: `count` entries in all.
fn some_entries(count: u64) -> Vec<Entry> {
    let announce = SystemCommand::Announce { node: 1, incarnation: 77, apply_version: 1 };
    (1..=count)
        .map(|index| match index % 7 {
            3 => system(2, index, &announce),
            5 => entry(2, index, &Op::Delete(format!("key{}", index - 1).into_bytes())),
            _ => entry(2, index, &Op::put(format!("key{index}"), vec![index as u8; 20])),
        })
        .collect()
}

/// Writes a snapshot of `stores` to a file in `dir`.
fn save(stores: &mut Stores, dir: &Path) -> PathBuf {
    let snapshot = block_on(async { stores.state.get_snapshot_builder().await.build_snapshot().await }).unwrap();
    let path = dir.join("saved.snapshot");
    snapshot.snapshot.write_to(&mut fs::File::create(&path).unwrap()).unwrap();
    path
}

fn replicated(view: &dyn Read) -> Vec<Vec<(Vec<u8>, Vec<u8>)>> {
    Space::REPLICATED.iter().map(|space| rows(view, *space)).collect()
}

fn install_file(target: &mut Stores, path: &Path) -> std::io::Result<()> {
    let file = SnapshotFile::verify(path)?;
    block_on(target.state.install_snapshot(&file.header.meta(), SnapshotData::File(file.clone())))
}

#[test]
fn a_snapshot_replaces_everything_on_both_engines() {
    for real in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut source = mem(dir.path());
        // More than one chunk of rows.
        let big = (21..60).map(|index| entry(2, index, &Op::put(format!("big{index}"), vec![index as u8; 20_000])));
        block_on(source.apply(some_entries(20).into_iter().chain(big).collect())).unwrap();
        let path = save(&mut source, dir.path());

        let there = tempfile::tempdir().unwrap();
        let mut target = if real { Stores::rocks(there.path()).unwrap() } else { mem(there.path()) };
        block_on(target.apply(vec![entry(1, 1, &Op::put("stale", "1")), entry(1, 2, &Op::put("key1", "stale"))]))
            .unwrap();
        // A key above every ordinary one, and a local row that must stay.
        block_on(target.apply(vec![entry(1, 3, &Op::put([0xff; 9], "high"))])).unwrap();
        let mut marker = Marker::open(target.engine.as_ref(), 2).unwrap();
        marker.join(target.engine.as_ref(), ClusterId(5)).unwrap();

        install_file(&mut target, &path).unwrap();
        assert_eq!(replicated(target.engine.as_ref()), replicated(source.engine.as_ref()));
        assert_eq!(position(target.engine.as_ref()), position(source.engine.as_ref()));
        assert_eq!(full_hash(target.engine.as_ref()), position(source.engine.as_ref()).hash);
        assert_eq!(Marker::read(target.engine.as_ref()).unwrap(), Some(marker));
        let (applied, _) = block_on(target.state.applied_state()).unwrap();
        assert_eq!(applied, Some(log_id(2, 59)));
        assert!(fs::read_dir(there.path().join("snapshots")).unwrap().next().is_none(), "nothing is left behind");
        // The log goes on from there.
        block_on(target.apply(vec![entry(2, 60, &Op::put("after", "1"))])).unwrap();
        assert_eq!(full_hash(target.engine.as_ref()), position(target.engine.as_ref()).hash);
    }
}

#[test]
fn a_snapshot_does_not_show_later_writes_and_its_metadata_is_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = Stores::rocks(dir.path()).unwrap();
    block_on(source.apply(some_entries(10))).unwrap();
    let before = replicated(source.engine.as_ref());
    let snapshot = block_on(async { source.state.get_snapshot_builder().await.build_snapshot().await }).unwrap();
    block_on(source.apply(vec![entry(2, 11, &Op::put("key1", "later"))])).unwrap();
    let path = dir.path().join("saved.snapshot");
    snapshot.snapshot.write_to(&mut fs::File::create(&path).unwrap()).unwrap();
    assert_eq!(snapshot.meta.last_log_id, Some(log_id(2, 10)));
    let there = tempfile::tempdir().unwrap();
    let mut target = mem(there.path());
    install_file(&mut target, &path).unwrap();
    assert_eq!(replicated(target.engine.as_ref()), before);
}

#[test]
fn a_truncated_or_damaged_file_is_refused_at_every_byte_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = mem(dir.path());
    block_on(source.apply(some_entries(12))).unwrap();
    let path = save(&mut source, dir.path());
    let whole = fs::read(&path).unwrap();
    SnapshotFile::verify(&path).unwrap();

    let there = tempfile::tempdir().unwrap();
    let mut target = mem(there.path());
    block_on(target.apply(vec![entry(1, 1, &Op::put("mine", "1"))])).unwrap();
    let before = (replicated(target.engine.as_ref()), position(target.engine.as_ref()));
    let meta = SnapshotFile::verify(&path).unwrap().header.meta();
    let mut refuse = |bytes: &[u8], what: String| {
        let bad = there.path().join("bad.snapshot");
        fs::write(&bad, bytes).unwrap();
        assert!(SnapshotFile::verify(&bad).is_err(), "{what} was accepted");
        // Also when somebody skipped the check.
        let mut file = SnapshotFile::verify(&path).unwrap();
        file.path = bad;
        assert!(
            block_on(target.state.install_snapshot(&meta, SnapshotData::File(file))).is_err(),
            "{what} was installed"
        );
        assert_eq!((replicated(target.engine.as_ref()), position(target.engine.as_ref())), before, "{what}");
    };
    for end in 0..whole.len() {
        refuse(&whole[..end], format!("a file cut at {end}"));
    }
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        refuse(&bytes, format!("a flipped bit in byte {at}"));
    }
    // Some zeros may follow, as before a seal.
    refuse(&[&whole[..], &[1]].concat(), "a trailing byte".into());
    refuse(&[&whole[..], &[0; 512]].concat(), "a block of zeros".into());
}

#[test]
fn a_snapshot_of_another_position_than_announced_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = mem(dir.path());
    block_on(source.apply(some_entries(12))).unwrap();
    let path = save(&mut source, dir.path());
    let file = SnapshotFile::verify(&path).unwrap();
    let mut meta = file.header.meta();
    meta.last_log_id = Some(log_id(2, 99));
    let there = tempfile::tempdir().unwrap();
    let mut target = mem(there.path());
    assert!(block_on(target.state.install_snapshot(&meta, SnapshotData::File(file))).is_err());
    assert_eq!(position(target.engine.as_ref()).applied, None);
}

#[test]
fn rows_that_do_not_have_the_hash_of_the_header_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = mem(dir.path());
    block_on(source.apply(some_entries(12))).unwrap();
    // A row that apply never saw: memory corruption, or a bug.
    let mut batch = Batch::default();
    batch.put(Space::STATE, *b"smuggled", *b"in");
    source.engine.write(batch).unwrap();
    let path = save(&mut source, dir.path());
    let error = SnapshotFile::verify(&path).unwrap_err().to_string();
    assert!(error.contains("state hash"), "{error}");
}

#[test]
fn golden_bytes_of_the_header() {
    let member = Member { peer: "a:1".into(), client: "b:2".into(), internal: "c:3".into() };
    let membership =
        Membership::new(vec![[1].into()], [(1, member)].into_iter().collect::<std::collections::BTreeMap<_, _>>());
    let mut hash = StateHash::default();
    hash.add(Space::STATE, b"k", b"v");
    let header = SnapshotHeader {
        cluster_id: Some(ClusterId(7)),
        node_id: 1,
        last_log_id: Some(log_id(3, 300)),
        membership: StoredMembership::new(Some(log_id(1, 1)), membership.unwrap()),
        hash,
    };
    let bytes = codec::encode(&header).unwrap();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, GOLDEN_HEADER);
    assert_eq!(codec::decode::<SnapshotHeader>(&bytes).unwrap(), header);
}

const GOLDEN_HEADER: &str = "010107010103fb2c01010101010101010103613a3103623a3203633a33fd25cc37a14b5c8bd9fd100bdc\
    4f270c2b20fd664328c7cc1fc281fd03637b9ac70b6186";

#[test]
fn staging_and_installing_by_hand_is_what_a_restore_does() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = mem(dir.path());
    block_on(source.apply(some_entries(30))).unwrap();
    let path = save(&mut source, dir.path());
    let engine = MemEngine::default();
    let staged = stage(SnapshotData::File(SnapshotFile::verify(&path).unwrap()), &dir.path().join("s")).unwrap();
    install(&engine, &staged).unwrap();
    engine.lose_unsynced();
    assert_eq!(replicated(&engine), replicated(source.engine.as_ref()));
    assert!(!staged.path.exists());
}

fn op() -> impl Strategy<Value = Op> {
    let key = || proptest::collection::vec(0u8..4, 0..3);
    prop_oneof![
        4 => (key(), proptest::collection::vec(any::<u8>(), 0..4)).prop_map(|(key, value)| Op::Put(key, value)),
        2 => key().prop_map(Op::Delete),
        1 => key().prop_map(Op::Reject),
    ]
}

/// Cuts `entries` into batches of the given sizes, over and over.
fn split(entries: &[Entry], sizes: &[usize]) -> Vec<Vec<Entry>> {
    let mut rest = entries;
    let mut batches = Vec::new();
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (head, tail) = rest.split_at((*size).min(rest.len()));
        batches.push(head.to_vec());
        rest = tail;
    }
    batches
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_hash_is_kept_up_in_any_batching_and_survives_a_snapshot(
        ops in proptest::collection::vec(op(), 1..60),
        one in proptest::collection::vec(1usize..9, 1..5),
        two in proptest::collection::vec(1usize..9, 1..5),
    ) {
        let entries: Vec<Entry> = (1u64..).zip(&ops).map(|(index, op)| entry(1, index, op)).collect();
        let dir = tempfile::tempdir().unwrap();
        let mut hashes = Vec::new();
        for sizes in [&one, &two] {
            let mut stores = mem(dir.path());
            for batch in split(&entries, sizes) {
                block_on(stores.apply(batch)).unwrap();
                prop_assert_eq!(full_hash(stores.engine.as_ref()), position(stores.engine.as_ref()).hash);
            }
            hashes.push(position(stores.engine.as_ref()).hash);
        }
        prop_assert_eq!(hashes[0], hashes[1]);

        // Half by snapshot, half by log, is the same state.
        let half = entries.len() / 2;
        let mut first = mem(dir.path());
        block_on(first.apply(entries[..half].to_vec())).unwrap();
        let path = save(&mut first, dir.path());
        let there = tempfile::tempdir().unwrap();
        let mut second = mem(there.path());
        install_file(&mut second, &path).unwrap();
        block_on(second.apply(entries[half..].to_vec())).unwrap();
        prop_assert_eq!(position(second.engine.as_ref()).hash, hashes[0]);
    }

    #[test]
    fn random_bytes_are_no_snapshot(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        with_magic in any::<bool>(),
    ) {
        let bytes = if with_magic { [b"ROOSTSN1", &bytes[..]].concat() } else { bytes };
        let opened = SnapshotReader::open(&bytes[..]);
        let read = opened.and_then(|mut reader| {
            while reader.next_chunk()?.is_some() {}
            Ok(())
        });
        prop_assert!(read.is_err());
    }
}

#[test]
fn a_fenced_entry_changes_nothing_but_the_position() {
    let dir = tempfile::tempdir().unwrap();
    let mut stores = mem(dir.path());
    let mut fenced = entry(1, 1, &Op::put("k", "v"));
    fenced.log_id = log_id(2, 1);
    block_on(stores.apply(vec![fenced])).unwrap();
    assert_eq!(scanned(stores.engine.as_ref(), Space::STATE, KeyRange::ALL, false, 9), []);
    assert_eq!(position(stores.engine.as_ref()).applied, Some(log_id(2, 1)));
}
