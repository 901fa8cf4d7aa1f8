//! HashKV: numbers that etcd 3.4.23 gave after the same operations.

use super::support::*;
use crate::pb::etcd::api;
use crate::state::keyspace::*;
use crate::state::tests::support::*;

fn hashes(world: &World, revisions: std::ops::RangeInclusive<i64>) -> Vec<Result<u32, KeyspaceError>> {
    revisions.map(|revision| hash(&world.tables, revision).map(|found| found.hash).map_err(refusal)).collect()
}

fn compact(world: &mut World, revision: i64) {
    world.keyspace(KeyspaceCommand::Compact { revision }).0.unwrap();
}

#[test]
fn hashes_are_those_of_a_real_etcd() {
    use KeyspaceError::{Compacted, FutureRevision};
    let mut world = World::default();
    world.keyspace(KeyspaceCommand::ReclaimHistory).0.unwrap();
    let empty = HashedKeys { hash: 1084519789, current_revision: 1, compact_revision: -1 };
    assert_eq!(hash(&world.tables, 0).unwrap(), empty);
    for (key, value) in [("a", "1"), ("b", "1"), ("a", "2"), ("c", "1")] {
        world.put(key, value);
    }
    let nested = api::TxnRequest { success: vec![put_op("f", "3")], ..Default::default() };
    let success = vec![put_op("d", "1"), put_op("e", "2"), delete_op("b", ""), txn_op(nested)];
    world.txn(&api::TxnRequest { success, ..Default::default() }).unwrap();
    let golden = [2405711573, 1084519789, 2587454935, 2143169314, 3086679940, 1552270801, 2405711573];
    assert_eq!(hashes(&world, 0..=6), golden.map(Ok));
    assert_eq!(hashes(&world, 7..=7), [Err(FutureRevision)]);
    world.delete("c", "");
    world.put("c", "9");
    world.delete("a", "");
    world.put("\0xÿ", "bin");
    assert_eq!(hashes(&world, 0..=0), [Ok(1527730359)]);
    // Whether the rows of a compaction are gone already makes no difference.
    compact(&mut world, 7);
    for _ in 0..2 {
        let golden = [Err(Compacted), Ok(2744225441), Ok(2511012945), Ok(2796686109), Err(FutureRevision)];
        assert_eq!(hashes(&world, 7..=11), golden);
        assert_eq!(hash(&world.tables, 0).unwrap().compact_revision, 7);
        world.keyspace(KeyspaceCommand::ReclaimHistory).0.unwrap();
    }
    world.delete("\0", "\0");
    assert_eq!(hashes(&world, 0..=0), [Ok(3552422064)]);
    compact(&mut world, 9);
    for _ in 0..2 {
        assert_eq!(hashes(&world, 10..=11), [Ok(3011698395), Ok(4101277204)]);
        world.keyspace(KeyspaceCommand::ReclaimHistory).0.unwrap();
    }
    compact(&mut world, 11);
    world.keyspace(KeyspaceCommand::ReclaimHistory).0.unwrap();
    world.put("n", "1");
    assert_eq!(hashes(&world, 0..=0), [Ok(2036232985)]);
    world.put("n", "2");
    assert_eq!(hashes(&world, 0..=0), [Ok(1666988156)]);
    world.keyspace(KeyspaceCommand::GrantLease { id: -5, ttl_s: 100 }).0.unwrap();
    let put = |value: &str, lease, ignore_lease| {
        let (key, value) = (b"l".to_vec(), value.as_bytes().to_vec());
        api::PutRequest { key, value, lease, ignore_lease, ..Default::default() }
    };
    for request in [put("1", -5, false), put("2", 0, true), put("3", 0, false)] {
        world.put_request(request).unwrap();
    }
    world.keyspace(KeyspaceCommand::RevokeLease { id: -5 }).0.unwrap();
    assert_eq!(hashes(&world, 0..=0), [Ok(948363805)]);
}
