//! Channels that go from node to node, and what must not move them.

use super::*;

#[test]
fn a_channel_goes_from_node_to_node_under_new_terms() {
    let mut world = world(2);
    assert_eq!(is(&world, 1), (1, 0, PChannelState::Uninitialized));
    let (one, two) = (join(&mut world, WorkerRole::StreamingNode), join(&mut world, WorkerRole::StreamingNode));
    assert!(!world.view().streaming().unwrap().ever_enabled);
    assert_eq!(assign(&mut world, 1, 1, one), Some(2));
    assert!(world.view().streaming().unwrap().ever_enabled);
    assert_eq!((is(&world, 1), holders(&world, 1)), ((2, one, PChannelState::Assigning), vec![]));
    assert_eq!(world.view().pchannels_assigning().unwrap(), [row(&world, 1)]);
    assert!(!done(&mut world, 1, 1) && done(&mut world, 1, 2) && !done(&mut world, 1, 2));
    assert_eq!(is(&world, 1), (2, one, PChannelState::Assigned));
    assert_eq!((row(&world, 1).last_assigned_ms, row(&world, 1).changed_ms), (START_MS, START_MS));
    assert!(world.view().pchannels_assigning().unwrap().is_empty());
    assert_eq!(assign(&mut world, 1, 2, one), Some(2), "it has it already");
    assert_eq!(assign(&mut world, 1, 1, two), None, "somebody else ordered meanwhile");
    assert_eq!(assign(&mut world, 1, 2, two), Some(3));
    assert_eq!((is(&world, 1), holders(&world, 1)), ((3, two, PChannelState::Assigning), vec![(one, 2)]));
    assert!(!done(&mut world, 1, 2), "a late word of the old owner");
    // It was not taken, and goes back: the first node may hold it under the oldest term.
    assert_eq!(assign(&mut world, 1, 3, one), Some(4));
    assert_eq!(holders(&world, 1), [(one, 2), (two, 3)]);
    assert_eq!(assign(&mut world, 1, 4, two), Some(5));
    assert_eq!(holders(&world, 1), [(two, 3), (one, 4)], "of each node the newest term");
    assert!(done(&mut world, 1, 5));
    assert_eq!((holders(&world, 1), is(&world, 0)), (vec![], (1, 0, PChannelState::Uninitialized)));
    let terms = world.view().pchannel_terms(&pchannel_name(1)).unwrap();
    let shown = |past: &store::PChannelTerm| (past.term, past.node.clone().unwrap().server_id, past.assigned_ms > 0);
    let terms: Vec<_> = terms.iter().map(shown).collect();
    assert_eq!(terms, [(2, one, true), (3, two, false), (4, one, false), (5, two, true)]);
}

#[test]
fn only_the_matching_term_makes_a_channel_unavailable() {
    let mut world = world(1);
    let node = join(&mut world, WorkerRole::StreamingNode);
    assert!(!lost(&mut world, 0, 1), "nobody has it");
    assign(&mut world, 0, 1, node);
    assert!(!lost(&mut world, 0, 2), "nobody has it yet");
    done(&mut world, 0, 2);
    assert!(!lost(&mut world, 0, 1) && !lost(&mut world, 0, 3) && lost(&mut world, 0, 2));
    assert_eq!(is(&world, 0), (2, node, PChannelState::Unavailable));
    assert!(!lost(&mut world, 0, 2) && !done(&mut world, 0, 2));
    assert_eq!(assign(&mut world, 0, 2, node), Some(3), "the same node may have it again, under another term");
    assert_eq!(holders(&world, 0), [(node, 2)]);
}

#[test]
fn only_live_streaming_nodes_get_channels_and_dead_ones_are_not_asked() {
    let mut world = world(1);
    let other = join(&mut world, WorkerRole::QueryNode);
    assert_eq!(assign(&mut world, 0, 1, other), None);
    assert_eq!(assign(&mut world, 0, 1, 9999), None);
    let (one, two) = (join(&mut world, WorkerRole::StreamingNode), join(&mut world, WorkerRole::StreamingNode));
    assign(&mut world, 0, 1, one);
    leave(&mut world, one);
    assert_eq!(assign(&mut world, 0, 2, one), None);
    assert_eq!(assign(&mut world, 0, 2, two), Some(3));
    assert_eq!(holders(&world, 0), []);
    assert_eq!(assign(&mut world, 7, 1, two), None, "no such channel");
}

#[test]
fn the_version_rises_with_everything_that_is_told() {
    let mut world = world(0);
    let mut last = world.view().assignment_version().unwrap();
    let mut rose = |world: &World, what: &str| {
        let now = world.view().assignment_version().unwrap();
        assert!(now > last, "{what}");
        last = now;
    };
    add(&mut world, 2);
    rose(&world, "channels");
    let node = join(&mut world, WorkerRole::StreamingNode);
    rose(&world, "a node");
    assign(&mut world, 0, 1, node);
    rose(&world, "an order");
    done(&mut world, 0, 2);
    rose(&world, "a channel is taken");
    lost(&mut world, 0, 2);
    rose(&world, "and lost");
    run(&mut world, PChannelCommand::Pin { name: pchannel_name(0), node: Some(node) });
    rose(&world, "an operator's order");
    leave(&mut world, node);
    rose(&world, "the node is gone");
    let before = world.view().assignment_version().unwrap();
    assert!(!done(&mut world, 0, 2) && !lost(&mut world, 0, 2) && assign(&mut world, 0, 2, node).is_none());
    assert_eq!(add(&mut world, 2), PChannelReply::Added { count: 0 });
    assert_eq!(world.view().assignment_version().unwrap(), before, "nothing changed");
}

#[test]
fn events_say_whether_a_channel_may_need_a_node() {
    let mut world = world(1);
    let node = join(&mut world, WorkerRole::StreamingNode);
    let mut seen = |command| world.apply(&entry(START_MS, None, Command::PChannel(command))).1;
    let event = |revision, unsettled| [Event::AssignmentsChanged { revision, unsettled }];
    let (name, both) = (pchannel_name(0), |term| vec![(pchannel_name(0), term)]);
    assert_eq!(seen(PChannelCommand::Assign { orders: vec![order(0, 1, node)] }), event(2, false));
    assert_eq!(seen(PChannelCommand::AssignDone { taken: both(2) }), event(3, false));
    assert_eq!(seen(PChannelCommand::MarkUnavailable { lost: both(1) }), []);
    assert_eq!(seen(PChannelCommand::MarkUnavailable { lost: both(2) }), event(4, true));
    assert_eq!(seen(PChannelCommand::Pin { name, node: Some(node) }), event(5, true));
}

#[test]
fn channels_are_added_once_and_carry_collections_then() {
    let mut world = world(0);
    assert_eq!(add(&mut world, 18), PChannelReply::Added { count: 18 });
    assert_eq!(add(&mut world, 20), PChannelReply::Added { count: 2 });
    assert_eq!(world.view().streaming().unwrap().control_channel, pchannel_name(0));
    assert_eq!(world.view().pchannels().unwrap().len(), 20);
    for bad in ["", "x", "by-dev-rootcoord-dml_", "by-dev-rootcoord-dml_01", "by-dev-rootcoord-dml_60000"] {
        world.rejected(Command::PChannel(PChannelCommand::Add { names: vec![bad.into()] }));
    }
    for number in 0..20 {
        let reply = world.run(Command::CreateCollection(create_collection("", &format!("c{number}"))));
        assert!(matches!(reply, Reply::CollectionCreated { .. }), "{reply:?}");
    }
    let used: Vec<_> = (0..20).map(|number| world.view().vchannels_on(&pchannel_name(number)).unwrap()).collect();
    assert_eq!(used, [1; 20], "each got the least loaded one");
}

#[test]
fn operators_pin_freeze_and_turn_rebalancing_off() {
    let mut world = world(1);
    let pin = |number, node| PChannelCommand::Pin { name: pchannel_name(number), node };
    world.rejected(Command::PChannel(pin(0, Some(1))));
    let node = join(&mut world, WorkerRole::StreamingNode);
    world.rejected(Command::PChannel(pin(3, Some(node))));
    assert_eq!(run(&mut world, pin(0, Some(node))), PChannelReply::Pinned { changed: true });
    assert_eq!(run(&mut world, pin(0, Some(node))), PChannelReply::Pinned { changed: false });
    assert_eq!(row(&world, 0).pinned, node);
    let other = join(&mut world, WorkerRole::StreamingNode);
    leave(&mut world, node);
    assign(&mut world, 0, 1, other);
    assert_eq!(row(&world, 0).pinned, 0, "its node is gone");
    let set = |allow_rebalance, freeze: &[i64], defreeze: &[i64]| {
        PChannelCommand::SetPolicy(PolicyChange { allow_rebalance, freeze: freeze.into(), defreeze: defreeze.into() })
    };
    assert_eq!(run(&mut world, set(Some(true), &[], &[])), PChannelReply::PolicySet { changed: false });
    assert_eq!(run(&mut world, set(Some(false), &[other], &[])), PChannelReply::PolicySet { changed: true });
    assert!(world.view().streaming().unwrap().rebalance_off);
    assert!(world.view().worker(other).unwrap().unwrap().frozen);
    assert_eq!(run(&mut world, set(None, &[], &[other, node])), PChannelReply::PolicySet { changed: true });
    assert!(world.view().streaming().unwrap().rebalance_off, "what is not named stays");
    assert!(!world.view().worker(other).unwrap().unwrap().frozen);
    let before = world.facts();
    world.rejected(Command::PChannel(set(Some(true), &[node], &[])));
    world.rejected(Command::PChannel(set(Some(true), &[other], &[other])));
    let many: Vec<i64> = (1..=4097).collect();
    for (freeze, defreeze) in [(&many[..], &[][..]), (&[], &many)] {
        let refused = world.rejected(Command::PChannel(set(None, freeze, defreeze)));
        assert!(refused.reason().contains("at most 4096 may be"), "{}", refused.reason());
    }
    assert_eq!(world.facts(), before, "all of it or nothing");
}

#[test]
fn what_is_kept_and_what_one_command_does_is_bounded() {
    let mut world = world(1);
    let nodes = [join(&mut world, WorkerRole::StreamingNode), join(&mut world, WorkerRole::StreamingNode)];
    for term in 1..=100 {
        assert_eq!(assign(&mut world, 0, term, nodes[term as usize % 2]), Some(term + 1));
    }
    let terms = world.view().pchannel_terms(&pchannel_name(0)).unwrap();
    assert_eq!((terms.len(), terms[0].term, terms[63].term), (64, 38, 101));
    assert_eq!(holders(&world, 0).len(), 2);
    let many = vec![order(0, 1, 1); 257];
    world.rejected(Command::PChannel(PChannelCommand::Assign { orders: many }));
    let many = vec![(pchannel_name(0), 1); 257];
    world.rejected(Command::PChannel(PChannelCommand::AssignDone { taken: many.clone() }));
    world.rejected(Command::PChannel(PChannelCommand::MarkUnavailable { lost: many }));
}

#[test]
fn a_restored_cluster_gives_out_terms_that_the_old_one_never_did() {
    let mut world = world(1);
    let node = join(&mut world, WorkerRole::StreamingNode);
    let other = join(&mut world, WorkerRole::StreamingNode);
    for term in 1..100 {
        assign(&mut world, 0, term, [node, other][term as usize % 2]);
    }
    assert_eq!(world.view().pchannel_terms(&pchannel_name(0)).unwrap().len(), 64);
    let (version, mut txn) = (world.view().assignment_version().unwrap(), roost_raft::kv::Txn::new(&world.tables));
    pchannel::skip_terms(&mut txn, 1000).unwrap();
    let rows = txn.into_rows();
    world.tables.commit(rows);
    assert_eq!((is(&world, 0), holders(&world, 0)), ((1100, 0, PChannelState::Unavailable), vec![]));
    assert!(world.view().pchannels_assigning().unwrap().is_empty());
    assert!(world.view().assignment_version().unwrap() >= version + 1000);
    assert_eq!(assign(&mut world, 0, 1100, node), Some(1101));
    let terms = world.view().pchannel_terms(&pchannel_name(0)).unwrap();
    assert_eq!(terms.iter().map(|past| past.term).collect::<Vec<_>>(), [1101], "the old cluster's are not its own");
}
