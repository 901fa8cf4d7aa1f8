//! Random steps against a model of one map: terms only grow, a term has one owner, and only its own word settles it.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

const CHANNELS: u16 = 3;

#[derive(Clone, Debug)]
enum Do {
    Join,
    Leave(Index),
    /// `stale`: as somebody who saw an older term would.
    Assign {
        number: u16,
        node: Index,
        stale: bool,
    },
    Done {
        number: u16,
        behind: i64,
    },
    Lost {
        number: u16,
        behind: i64,
    },
}

fn step() -> impl Strategy<Value = Do> {
    let number = || 0..CHANNELS;
    let behind = || prop_oneof![4 => Just(0_i64), 1 => -1_i64..=2];
    prop_oneof![
        2 => Just(Do::Join),
        1 => any::<Index>().prop_map(Do::Leave),
        6 => (number(), any::<Index>(), prop::bool::weighted(0.2))
            .prop_map(|(number, node, stale)| Do::Assign { number, node, stale }),
        5 => (number(), behind()).prop_map(|(number, behind)| Do::Done { number, behind }),
        2 => (number(), behind()).prop_map(|(number, behind)| Do::Lost { number, behind }),
    ]
}

/// One channel of the model.
#[derive(Clone, Debug)]
struct Channel {
    term: i64,
    owner: i64,
    state: PChannelState,
    /// By node: the newest term under which it may hold the channel.
    may_hold: BTreeMap<i64, i64>,
}

#[derive(Default)]
struct Model {
    live: BTreeSet<i64>,
    channels: BTreeMap<u16, Channel>,
    /// Every owner that a term ever had.
    owners: BTreeMap<(u16, i64), i64>,
}

fn compare(world: &World, model: &Model) {
    for (number, channel) in &model.channels {
        assert_eq!(is(world, *number), (channel.term, channel.owner, channel.state));
        let held: BTreeMap<i64, i64> = holders(world, *number).into_iter().collect();
        assert_eq!(held, channel.may_hold);
    }
    let assigning: Vec<String> = model
        .channels
        .iter()
        .filter(|(_, channel)| channel.state == PChannelState::Assigning)
        .map(|(number, _)| pchannel_name(*number))
        .collect();
    let indexed: Vec<String> = world.view().pchannels_assigning().unwrap().into_iter().map(|row| row.name).collect();
    assert_eq!(indexed, assigning);
}

fn play(steps: Vec<Do>) {
    let mut world = world(CHANNELS);
    let mut model = Model::default();
    for number in 0..CHANNELS {
        let channel = Channel { term: 1, owner: 0, state: PChannelState::Uninitialized, may_hold: BTreeMap::default() };
        model.channels.insert(number, channel);
    }
    let (mut ever, mut version) = (vec![1_000_000], world.view().assignment_version().unwrap());
    for step in steps {
        let before: Vec<i64> = model.channels.values().map(|channel| channel.term).collect();
        match step {
            Do::Join => {
                let id = join(&mut world, WorkerRole::StreamingNode);
                model.live.insert(id);
                ever.push(id);
            }
            Do::Leave(at) => {
                let id = ever[at.index(ever.len())];
                leave(&mut world, id);
                model.live.remove(&id);
            }
            Do::Assign { number, node, stale } => {
                let node = ever[node.index(ever.len())];
                let channel = model.channels.get_mut(&number).unwrap();
                let seen = channel.term - i64::from(stale);
                let expected = match model.live.contains(&node) && !stale {
                    false => None,
                    true if channel.state == PChannelState::Assigned && channel.owner == node => Some(channel.term),
                    true => {
                        if channel.owner != 0 {
                            channel.may_hold.insert(channel.owner, channel.term);
                        }
                        channel.may_hold.retain(|holder, _| model.live.contains(holder));
                        (channel.term, channel.owner) = (channel.term + 1, node);
                        channel.state = PChannelState::Assigning;
                        let given = model.owners.insert((number, channel.term), node);
                        assert_eq!(given, None, "a term has one owner");
                        Some(channel.term)
                    }
                };
                assert_eq!(assign(&mut world, number, seen, node), expected);
            }
            Do::Done { number, behind } => {
                let channel = model.channels.get_mut(&number).unwrap();
                let counts = behind == 0 && channel.state == PChannelState::Assigning;
                if counts {
                    channel.state = PChannelState::Assigned;
                    channel.may_hold.clear();
                }
                assert_eq!(done(&mut world, number, channel.term - behind), counts);
            }
            Do::Lost { number, behind } => {
                let channel = model.channels.get_mut(&number).unwrap();
                let counts = behind == 0 && channel.state == PChannelState::Assigned;
                if counts {
                    channel.state = PChannelState::Unavailable;
                }
                assert_eq!(lost(&mut world, number, channel.term - behind), counts);
            }
        }
        compare(&world, &model);
        let after: Vec<i64> = model.channels.values().map(|channel| channel.term).collect();
        assert!(before.iter().zip(&after).all(|(before, after)| before <= after), "terms only grow");
        let now = world.view().assignment_version().unwrap();
        assert!(now >= version);
        version = now;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]
    #[test]
    fn the_facts_follow_the_model(steps in vec(step(), 1..60)) {
        play(steps);
    }
}
