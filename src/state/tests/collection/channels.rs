//! Which pchannels a collection gets: always those with the fewest vchannels, however that is found.

use std::collections::BTreeMap;

use proptest::prelude::*;
use roost_raft::kv::Txn;

use super::*;

fn add(world: &mut World, from: u16, to: u16) {
    let names = (from..to).map(pchannel_name).collect();
    let reply = world.run(Command::PChannel(PChannelCommand::Add { names }));
    assert!(matches!(reply, Reply::PChannel(PChannelReply::Added { .. })), "{reply:?}");
}

fn create_sharded(world: &mut World, name: &str, shards: u32) -> Vec<String> {
    let command = CreateCollection { shards, ..create_collection("", name) };
    let reply = world.run(Command::CreateCollection(command));
    assert!(matches!(reply, Reply::CollectionCreated { existed: false, .. }), "{reply:?}");
    world.view().collection(1, name).unwrap().unwrap().pchannels
}

/// The order as the tables have it.
fn order(world: &World) -> Vec<(u64, u16)> {
    let rows = tables::CHANNELS_BY_USE.page(&world.tables, &(), None, usize::MAX).unwrap();
    rows.into_iter().map(|(key, _)| key).collect()
}

/// The order as the counts have it.
fn counted(world: &World, channels: u16) -> Vec<(u64, u16)> {
    let count = |number| (world.view().vchannels_on(&pchannel_name(number)).unwrap(), number);
    let mut all: Vec<(u64, u16)> = (0..channels).map(count).collect();
    all.sort_unstable();
    all
}

#[derive(Clone, Debug)]
enum Do {
    Create(u32),
    Drop(prop::sample::Index),
    /// So many more.
    Add(u16),
    /// All members have the version that keeps an order.
    Upgrade,
}

fn step() -> impl Strategy<Value = Do> {
    prop_oneof![
        5 => (1..6_u32).prop_map(Do::Create),
        3 => any::<prop::sample::Index>().prop_map(Do::Drop),
        1 => (1..5_u16).prop_map(Do::Add),
        1 => Just(Do::Upgrade),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_least_used_are_taken_before_and_after_an_upgrade(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World { apply_version: 6, ..World::default() };
        world.run(extend(START_MS));
        let (mut channels, mut live, mut next) = (PCHANNELS, BTreeMap::new(), 0);
        for step in steps {
            match step {
                Do::Create(shards) => {
                    next += 1;
                    let expected = counted(&world, channels).into_iter().take(shards as usize);
                    let expected: Vec<String> = expected.map(|(_, number)| pchannel_name(number)).collect();
                    let got = create_sharded(&mut world, &format!("c{next}"), shards);
                    prop_assert_eq!(&got, &expected);
                    live.insert(next, got);
                    if world.apply_version >= 7 {
                        prop_assert_eq!(order(&world), counted(&world, channels));
                    }
                }
                Do::Drop(at) => {
                    let Some(number) = live.keys().nth(at.index(live.len().max(1))).copied() else { continue };
                    live.remove(&number);
                    world.run(drop_collection("", &format!("c{number}")));
                }
                Do::Add(more) => {
                    add(&mut world, 0, channels + more);
                    channels += more;
                }
                Do::Upgrade => world.apply_version = 7,
            }
            let order = order(&world);
            prop_assert!(order.is_empty() || world.apply_version >= 7, "older members have no such rows");
            let known = order.len() as u16;
            prop_assert_eq!(order, counted(&world, known), "every count is where it belongs");
        }
    }
}

/// A collection costs as many rows as it has shards, however many pchannels there are.
#[test]
fn a_creation_looks_at_no_more_channels_than_it_takes() {
    let mut world = World::default();
    for from in (0..10_000).step_by(1000) {
        add(&mut world, from, from + 1000);
    }
    create_sharded(&mut world, "first", 2);
    // Whatever a creation looked at beyond the first rows of the order would stop it.
    let mut txn = Txn::new(&world.tables);
    for number in 100..10_000_u16 {
        txn.put(roost_raft::kv::Space::STATE, tables::CHANNEL_USE.key(&number), b"damaged".to_vec());
    }
    let rows = txn.into_rows();
    world.tables.commit(rows);
    let placed = create_sharded(&mut world, "second", 16);
    assert_eq!(placed[..2], [pchannel_name(2), pchannel_name(3)]);
}

/// What was deleted costs each look that begins before it, so none begins where nothing can be any more.
#[test]
fn a_creation_looks_at_nothing_before_the_least_used() {
    let mut world = World::default();
    for round in 0..3 {
        create_sharded(&mut world, &format!("all{round}"), PCHANNELS.into());
    }
    create_sharded(&mut world, "one", 1);
    let mut txn = Txn::new(&world.tables);
    for count in 0..3 {
        txn.put(roost_raft::kv::Space::STATE, tables::CHANNELS_BY_USE.key(&(count, 9)), b"damaged".to_vec());
    }
    let rows = txn.into_rows();
    world.tables.commit(rows);
    assert_eq!(create_sharded(&mut world, "next", 2), [pchannel_name(1), pchannel_name(2)]);
}
