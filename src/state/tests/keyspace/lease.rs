//! Leases that are too large for one command, that end while something joins them, that come again under the same id.

use super::support::*;
use crate::pb::etcd::api;
use crate::state::keyspace::*;
use crate::state::limits::{EXPIRE_KEYS, MAX_CHANGED_KEYS, MAX_LEASE_TTL_S, MAX_NAMED_LEASES};
use crate::state::tests::support::*;
use crate::state::*;

fn grant(world: &mut World, id: i64) {
    world.keyspace(KeyspaceCommand::GrantLease { id, ttl_s: 10 }).0.unwrap();
}

fn join(world: &mut World, key: &str, lease: i64) -> Result<api::PutResponse, KeyspaceError> {
    world.put_request(api::PutRequest { key: key.into(), lease, ..Default::default() })
}

fn fill(world: &mut World, lease: i64, keys: usize) {
    let put = |number: usize| {
        let key = format!("{lease}/{number:07}").into_bytes();
        put_command(&api::PutRequest { key, lease, ..Default::default() })
    };
    let entries: Vec<_> = (0..keys).map(|number| entry(START_MS, None, Command::Keyspace(put(number)))).collect();
    world.apply_batch(&entries);
}

fn expire(world: &mut World, leases: &[(i64, u64)]) -> (u64, Vec<Event>) {
    let (reply, events) = world.keyspace(KeyspaceCommand::ExpireLeases { leases: leases.to_vec() });
    match reply.unwrap() {
        KeyspaceReply::LeasesExpired { remaining } => (remaining, events),
        reply => panic!("{reply:?}"),
    }
}

#[test]
fn a_lease_with_many_keys_ends_in_steps_that_nothing_may_join() {
    let mut world = World::default();
    for id in 1..=3 {
        grant(&mut world, id);
    }
    fill(&mut world, 1, 10);
    fill(&mut world, 2, EXPIRE_KEYS);
    fill(&mut world, 3, 1);
    let before = revisions(&world.tables).unwrap().current;
    let all = [(1, 1), (2, 2), (3, 3)];
    let (remaining, events) = expire(&mut world, &all);
    // The first is through, the second has keys left, and for the third there was no room.
    assert_eq!(remaining, 2);
    assert_eq!(events.iter().filter(|event| matches!(event, Event::LeaseEnded { id: 1 })).count(), 1);
    assert_eq!(revisions(&world.tables).unwrap().current, before + 2);
    assert_eq!(lease_keys(&world.tables, 2, None, 99).unwrap().len(), 10);
    assert_eq!(join(&mut world, "x", 2), Err(KeyspaceError::LeaseNotFound));
    assert_eq!(join(&mut world, "x", 3), Err(KeyspaceError::LeaseNotFound));
    let again = KeyspaceCommand::GrantLease { id: 2, ttl_s: 10 };
    assert_eq!(world.keyspace(again).0, Err(KeyspaceError::LeaseExists));
    // A key may leave it, though.
    join(&mut world, "2/0004095", 0).unwrap();
    let (remaining, events) = expire(&mut world, &all);
    assert_eq!((remaining, events.len()), (0, 4));
    assert_eq!(leases(&world.tables, None, 9).unwrap(), []);
    assert_eq!(world.range(&all_keys()).unwrap().count, 1);
}

fn all_keys() -> api::RangeRequest {
    api::RangeRequest { count_only: true, ..all() }
}

#[test]
fn a_generation_that_is_gone_ends_nothing() {
    let mut world = World::default();
    grant(&mut world, 7);
    world.keyspace(KeyspaceCommand::RevokeLease { id: 7 }).0.unwrap();
    grant(&mut world, 7);
    join(&mut world, "k", 7).unwrap();
    assert_eq!(expire(&mut world, &[(7, 1)]), (0, vec![]));
    let note = |generation, left| KeyspaceCommand::CheckpointLeases { leases: vec![(7, generation, left)] };
    let left = |world: &World| lease(&world.tables, 7).unwrap().unwrap().remaining_ttl_s;
    world.keyspace(note(1, 5)).0.unwrap();
    assert_eq!(left(&world), 0);
    for (given, kept) in [(5, 5), (99, 10), (0, 0), (-3, 0)] {
        world.keyspace(note(2, given)).0.unwrap();
        assert_eq!(left(&world), kept);
    }
    assert_eq!(lease(&world.tables, 7).unwrap().unwrap().generation, 2);
}

#[test]
fn a_revocation_is_all_or_nothing() {
    let mut world = World::default();
    grant(&mut world, 1);
    fill(&mut world, 1, MAX_CHANGED_KEYS + 1);
    let revoke = KeyspaceCommand::RevokeLease { id: 1 };
    let before = revisions(&world.tables).unwrap();
    assert_eq!(world.keyspace(revoke.clone()), (Err(KeyspaceError::TooManyKeys), vec![]));
    assert_eq!(revisions(&world.tables).unwrap(), before);
    join(&mut world, "1/0000000", 0).unwrap();
    let (reply, events) = world.keyspace(revoke);
    assert_eq!(reply, Ok(KeyspaceReply::LeaseRevoked { revision: before.current + 2 }));
    assert!(matches!(&events[0], Event::KeysChanged(changed) if changed.events.is_none()));
    assert_eq!(world.range(&all_keys()).unwrap().count, 1);
}

#[test]
fn numbers_that_no_proposer_sends_are_refused() {
    let mut world = World::default();
    for (id, ttl_s) in [(0, 10), (1, 0), (1, -1), (1, MAX_LEASE_TTL_S + 1)] {
        let grant = KeyspaceCommand::GrantLease { id, ttl_s };
        assert_eq!(world.keyspace(grant).0, Err(KeyspaceError::Malformed));
    }
    let leases = vec![(1, 1); MAX_NAMED_LEASES + 1];
    assert_eq!(world.keyspace(KeyspaceCommand::ExpireLeases { leases }).0, Err(KeyspaceError::Malformed));
    let leases = vec![(1, 1, 1); MAX_NAMED_LEASES + 1];
    assert_eq!(world.keyspace(KeyspaceCommand::CheckpointLeases { leases }).0, Err(KeyspaceError::Malformed));
}
