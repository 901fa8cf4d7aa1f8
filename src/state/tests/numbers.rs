//! Ids, the oracle's bound and the replicated clock.

use super::support::*;
use crate::state::limits::{MAX_IDS, MAX_TSO_BOUND_MS, MAX_TSO_STEP_MS};
use crate::state::*;

#[test]
fn ids_grow_and_never_repeat() {
    let mut world = World::default();
    assert_eq!(world.run(alloc(1)), Reply::IdsAllocated { first: 100, count: 1 });
    assert_eq!(world.run(alloc(200_000)), Reply::IdsAllocated { first: 101, count: 200_000 });
    assert_eq!(world.run(create_database("a")), Reply::DatabaseCreated { database_id: 200_101 });
    assert_eq!(world.run(alloc(MAX_IDS)), Reply::IdsAllocated { first: 200_102, count: MAX_IDS });
    for bad in [0, MAX_IDS + 1, u32::MAX] {
        assert_eq!(world.rejected(alloc(bad)).code(), 1100);
    }
    assert_eq!(world.view().next_id().unwrap(), 200_102 + i64::from(MAX_IDS));
}

#[test]
fn the_bound_only_rises() {
    let mut world = World::default();
    assert_eq!(world.view().tso_bound_ms().unwrap(), 0);
    let (reply, events) = world.apply(&entry(START_MS, None, extend(START_MS + 3000)));
    assert_eq!(Reply::decode(&reply).unwrap(), Reply::TsoExtended { bound_ms: START_MS + 3000 });
    assert_eq!(events, [Event::TsoExtended { bound_ms: START_MS + 3000 }]);
    let (reply, events) = world.apply(&entry(START_MS, None, extend(START_MS)));
    assert_eq!(Reply::decode(&reply).unwrap(), Reply::TsoExtended { bound_ms: START_MS + 3000 });
    assert_eq!(events, []);
    assert_eq!(world.view().tso_bound_ms().unwrap(), START_MS + 3000);
}

#[test]
fn a_bound_that_runs_away_is_refused() {
    let mut world = World::default();
    assert_eq!(world.rejected(extend(START_MS + MAX_TSO_STEP_MS + 1)).code(), 1100);
    assert_eq!(world.rejected(extend(MAX_TSO_BOUND_MS)).code(), 1100);
    assert_eq!(world.view().tso_bound_ms().unwrap(), 0);
    world.run(extend(START_MS + MAX_TSO_STEP_MS));
    // A bound ahead of the clock still moves on by a window.
    world.run(extend(START_MS + MAX_TSO_STEP_MS + 3000));

    let vouched = |bound_ms| Command::ExtendTso(ExtendTso { bound_ms, operator_override: true });
    assert_eq!(world.run(vouched(START_MS * 2)), Reply::TsoExtended { bound_ms: START_MS * 2 });
    assert_eq!(world.rejected(vouched(MAX_TSO_BOUND_MS)).code(), 1100);
    assert_eq!(world.rejected(vouched(u64::MAX)).code(), 1100);
}

#[test]
fn the_clock_never_goes_back() {
    let mut world = World::default();
    for (at_ms, expected) in [(50, 50), (40, 50), (0, 50), (u64::MAX, u64::MAX), (1, u64::MAX)] {
        world.run_at(at_ms, Some(request(world.index)), alloc(1));
        assert_eq!(world.view().clock_ms().unwrap(), expected);
    }
}
