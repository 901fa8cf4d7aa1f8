//! Requests are answered once: copies, acknowledgements, restarts, silence.

use super::support::*;
use crate::state::limits::{
    FORGET_BATCH, FORGET_STEP, MAX_PAGED_REPLY_BYTES, REPLIES_PER_PAGE, REQUEST_WINDOW, SESSION_IDLE_MS,
    SWEEP_INTERVAL_MS,
};
use crate::state::*;

const REPLY_TAG: u8 = 0x11;
const RETIRED_TAG: u8 = 0x12;
const PAGE_TAG: u8 = 0x13;

/// Rows that hold replies.
fn kept(world: &World) -> usize {
    world.count(REPLY_TAG) + world.count(PAGE_TAG)
}

/// Answers that are too long for a page.
fn run_long(world: &mut World, request: Option<RequestId>) -> Reply {
    let refused = format!("{}!", "x".repeat(MAX_PAGED_REPLY_BYTES));
    world.run_at(START_MS, request, create_database(&refused))
}

fn id(boot: u64, sequence: u64, acked_below: u64) -> Option<RequestId> {
    Some(RequestId { node: 1, boot, sequence, acked_below })
}

fn run(world: &mut World, request: Option<RequestId>) -> Reply {
    world.run_at(START_MS, request, alloc(1))
}

#[test]
fn a_copy_is_answered_with_the_first_reply_and_changes_nothing() {
    let mut world = World::default();
    for command in [alloc(5), create_database("a"), create_database("a"), drop_collection("", "x")] {
        let request = request(world.index);
        let (first, _) = world.apply(&entry(START_MS, Some(request), command.clone()));
        let before = world.rows();
        // A retry comes later, from another leader, and acknowledges more.
        let acked_below = request.sequence;
        let copy = entry(START_MS + 9000, Some(RequestId { acked_below, ..request }), command);
        let (again, events) = world.apply(&copy);
        assert_eq!((again, events), (first, vec![]));
        assert_eq!(world.rows(), before);
    }
}

#[test]
fn copies_within_one_batch_are_found_too() {
    let mut world = World::default();
    let one = entry(START_MS, Some(request(0)), alloc(1));
    let replies = world.apply_batch(&[one.clone(), one.clone(), one]);
    assert_eq!(replies[0], replies[2]);
    assert_eq!(world.view().next_id().unwrap(), 101);
}

#[test]
fn a_rejection_is_stored_as_well() {
    let mut world = World::default();
    let create = |world: &mut World, sequence| world.run_at(START_MS, Some(request(sequence)), create_database("a"));
    create(&mut world, 0);
    let rejected = create(&mut world, 1);
    assert!(matches!(rejected, Reply::Rejected(_)));
    world.run(drop_database("a"));
    assert_eq!(create(&mut world, 1), rejected);
    assert!(matches!(create(&mut world, 2), Reply::DatabaseCreated { .. }));
}

#[test]
fn requests_may_arrive_in_any_order() {
    let mut world = World::default();
    for sequence in [5, 3, 4, 0] {
        assert!(matches!(run(&mut world, id(7, sequence, 0)), Reply::IdsAllocated { .. }));
    }
    assert_eq!(run(&mut world, id(7, 3, 0)), Reply::IdsAllocated { first: 101, count: 1 });
    assert_eq!(world.view().next_id().unwrap(), 104);
}

#[test]
fn what_was_acknowledged_is_expired() {
    let mut world = World::default();
    for sequence in 0..3 {
        run(&mut world, id(7, sequence, 0));
    }
    run(&mut world, id(7, 3, 2));
    let before = world.rows();
    assert_eq!(run(&mut world, id(7, 1, 0)), Reply::Expired);
    assert_eq!(world.rows(), before);
    assert_eq!(run(&mut world, id(7, 2, 0)), Reply::IdsAllocated { first: 102, count: 1 });
    // An acknowledgement ahead of its own sequence counts up to that, no further.
    assert!(matches!(run(&mut world, id(7, 9, 900)), Reply::IdsAllocated { .. }));
    assert!(matches!(run(&mut world, id(7, 10, 0)), Reply::IdsAllocated { .. }));
    assert_eq!(run(&mut world, id(7, 8, 0)), Reply::Expired);
}

#[test]
fn acknowledged_replies_are_deleted_in_batches() {
    let mut world = World::default();
    for sequence in 0..1000 {
        run(&mut world, id(7, sequence, sequence));
        assert!(kept(&world) <= (FORGET_BATCH / REPLIES_PER_PAGE) as usize + 2);
    }
    // A gap of a million sequences costs no more than the rows in it.
    let far = 50_000;
    run(&mut world, id(7, far, far));
    assert_eq!(kept(&world), 1);
}

#[test]
fn long_replies_have_rows_of_their_own_and_go_as_well() {
    let mut world = World::default();
    let mut first = Vec::new();
    for sequence in 0..FORGET_BATCH {
        let reply = if sequence % 2 == 0 {
            run_long(&mut world, id(7, sequence, 0))
        } else {
            run(&mut world, id(7, sequence, 0))
        };
        first.push(reply);
    }
    assert_eq!(world.count(REPLY_TAG), FORGET_BATCH as usize / 2);
    assert_eq!(world.count(PAGE_TAG), (FORGET_BATCH / REPLIES_PER_PAGE) as usize);
    for sequence in 0..FORGET_BATCH {
        assert_eq!(run(&mut world, id(7, sequence, 0)), first[sequence as usize], "{sequence}");
    }
    run(&mut world, id(7, FORGET_BATCH, FORGET_BATCH));
    assert_eq!((world.count(REPLY_TAG), world.count(PAGE_TAG)), (0, 1));
}

#[test]
fn a_cluster_of_an_older_apply_version_stores_replies_as_it_always_did() {
    let mut world = World { apply_version: 2, ..World::default() };
    let first = run(&mut world, id(7, 0, 0));
    assert_eq!((world.count(REPLY_TAG), world.count(PAGE_TAG)), (1, 0));
    world.apply_version = Roost::APPLY_VERSION;
    run(&mut world, id(7, 1, 0));
    assert_eq!((world.count(REPLY_TAG), world.count(PAGE_TAG)), (1, 1));
    assert_eq!(run(&mut world, id(7, 0, 0)), first);
    run(&mut world, id(7, 2 * FORGET_BATCH, 2 * FORGET_BATCH));
    assert_eq!(kept(&world), 1);
}

#[test]
fn a_backlog_is_deleted_a_step_at_a_time() {
    let mut world = World::default();
    let many = FORGET_STEP as u64 * 2 + FORGET_BATCH;
    for sequence in 0..many {
        run_long(&mut world, id(7, sequence, 0));
    }
    let mut left = kept(&world);
    for sequence in many..many + 3 {
        run_long(&mut world, id(7, sequence, many));
        let now = kept(&world);
        assert!(left - now < FORGET_STEP);
        left = now;
    }
    assert_eq!(left, 3);
}

#[test]
fn the_window_is_bounded() {
    let mut world = World::default();
    run(&mut world, id(7, 0, 0));
    let before = world.rows();
    assert_eq!(run(&mut world, id(7, REQUEST_WINDOW, 0)), Reply::WindowFull);
    assert_eq!(run(&mut world, id(7, u64::MAX, u64::MAX)), Reply::WindowFull);
    assert_eq!(run(&mut world, id(8, u64::MAX, 0)), Reply::WindowFull);
    assert_eq!(world.rows(), before);
    assert!(matches!(run(&mut world, id(7, REQUEST_WINDOW - 1, 0)), Reply::IdsAllocated { .. }));
    assert!(matches!(run(&mut world, id(7, REQUEST_WINDOW, 1)), Reply::IdsAllocated { .. }));
}

#[test]
fn a_restart_expires_the_older_boot_and_deletes_its_replies() {
    let mut world = World::default();
    let many = FORGET_STEP as u64 + 10;
    for sequence in 0..many {
        run_long(&mut world, id(7, sequence, 0));
    }
    let short = run(&mut world, id(7, many, 0));
    assert_eq!(short, Reply::IdsAllocated { first: 100, count: 1 });
    assert_eq!((world.count(REPLY_TAG), world.count(PAGE_TAG)), (many as usize, 1));
    assert_eq!(run(&mut world, id(8, 0, 0)), Reply::IdsAllocated { first: 101, count: 1 });
    assert_eq!(run(&mut world, id(7, 3, 0)), Reply::Expired);
    assert_eq!(run(&mut world, id(7, many + 1, 0)), Reply::Expired);
    assert_eq!((kept(&world), world.count(RETIRED_TAG)), (11, 1));
    run(&mut world, id(8, 1, 0));
    assert_eq!((kept(&world), world.count(RETIRED_TAG)), (1, 0));
    assert_eq!(run(&mut world, id(8, 0, 0)), Reply::IdsAllocated { first: 101, count: 1 });
}

#[test]
fn nodes_do_not_disturb_each_other() {
    let mut world = World::default();
    let other = |sequence| Some(RequestId { node: 2, boot: 1, sequence, acked_below: 0 });
    let first = run(&mut world, id(7, 0, 0));
    assert_ne!(run(&mut world, other(0)), first);
    assert_eq!(run(&mut world, id(7, 0, 0)), first);
}

#[test]
fn an_idle_session_loses_its_replies_but_not_its_place() {
    let mut world = World::default();
    for sequence in 0..5 {
        run(&mut world, id(7, sequence, 0));
    }
    // Another node is busy; the replicated clock moves on.
    let busy = |world: &mut World, at_ms| {
        let request = RequestId { node: 2, boot: 1, sequence: world.index, acked_below: world.index };
        world.run_at(at_ms, Some(request), alloc(1));
    };
    busy(&mut world, START_MS + SESSION_IDLE_MS);
    assert_eq!(run(&mut world, id(7, 4, 0)), Reply::IdsAllocated { first: 104, count: 1 });
    busy(&mut world, START_MS + SESSION_IDLE_MS + SWEEP_INTERVAL_MS);
    assert_eq!(world.count(RETIRED_TAG), 0);
    assert_eq!(run(&mut world, id(7, 4, 0)), Reply::Expired);
    assert!(matches!(run(&mut world, id(7, 5, 0)), Reply::IdsAllocated { .. }));
    assert!(matches!(run(&mut world, id(7, 5, 0)), Reply::IdsAllocated { .. }));
    // The sweep's own node answered last and is not idle.
    assert_eq!(kept(&world), 2);
}

#[test]
fn many_idle_sessions_are_swept_a_few_at_a_time() {
    let mut world = World::default();
    for node in 1..=40 {
        let request = RequestId { node, boot: 1, sequence: 0, acked_below: 0 };
        world.run_at(START_MS, Some(request), alloc(1));
    }
    let mut at_ms = START_MS + SESSION_IDLE_MS;
    for _ in 0..40 + 4 {
        at_ms += SWEEP_INTERVAL_MS;
        world.run_at(at_ms, None, extend(1));
    }
    assert_eq!((kept(&world), world.count(RETIRED_TAG), world.count(0x10)), (0, 0, 40));
}

#[test]
fn commands_without_a_request_leave_no_session() {
    let mut world = World::default();
    world.run(extend(START_MS + 1));
    assert_eq!((world.count(0x10), kept(&world)), (0, 0));
}
