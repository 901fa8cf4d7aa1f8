//! Random steps against a model that keeps a list of tasks and compares each with every earlier one.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, subsequence};

use super::*;
use crate::pb::messages::ResourceDomain;
use crate::pb::store::BroadcastState;

#[derive(Clone, Debug)]
enum Do {
    Submit { vchannels: Vec<&'static str>, keys: Vec<ResourceKey> },
    Begin(Vec<Index>),
    Acked { at: Index, vchannels: Vec<&'static str>, finish: bool },
    Finish(Index),
    Abandon(Index),
    Sweep(Vec<Index>),
}

const VCHANNELS: [&str; 3] = ["a", "b", "c"];

fn key() -> impl Strategy<Value = ResourceKey> {
    let domain = prop_oneof![
        2 => Just(ResourceDomain::CollectionName),
        2 => Just(ResourceDomain::DbName),
        1 => Just(ResourceDomain::Cluster),
    ];
    (domain, "[xy]{0,2}", any::<bool>()).prop_map(|(domain, key, shared)| ResourceKey::new(domain, key, shared))
}

fn step() -> impl Strategy<Value = Do> {
    let vchannels = |least| subsequence(VCHANNELS.to_vec(), least..=3);
    prop_oneof![
        3 => (vchannels(1), vec(key(), 0..3)).prop_map(|(vchannels, keys)| Do::Submit { vchannels, keys }),
        3 => vec(any::<Index>(), 0..4).prop_map(Do::Begin),
        5 => (any::<Index>(), vchannels(0), any::<bool>())
            .prop_map(|(at, vchannels, finish)| Do::Acked { at, vchannels, finish }),
        2 => any::<Index>().prop_map(Do::Finish),
        1 => any::<Index>().prop_map(Do::Abandon),
        1 => vec(any::<Index>(), 0..3).prop_map(Do::Sweep),
    ]
}

#[derive(Clone, Debug, PartialEq)]
enum Stage {
    Pending,
    Tombstone,
    Gone,
}

struct Task {
    id: i64,
    keys: Vec<ResourceKey>,
    open: BTreeSet<&'static str>,
    vchannels: Vec<&'static str>,
    begun: bool,
    stage: Stage,
}

/// As the log says it: any key in common that one of them needs for itself.
fn conflict(a: &Task, b: &Task) -> bool {
    let cluster = ResourceKey::cluster(true).domain;
    let needs = |task: &Task, domain: u8| task.keys.iter().any(|key| key.domain == domain && !key.shared);
    let same = |a: &ResourceKey, b: &ResourceKey| a.domain == b.domain && (a.domain == cluster || a.key == b.key);
    // A resource that a task names in both ways it needs for itself.
    let exclusive = |task: &Task, key: &ResourceKey| task.keys.iter().any(|own| same(own, key) && !own.shared);
    let named = a
        .keys
        .iter()
        .any(|key| b.keys.iter().any(|other| same(key, other) && (exclusive(a, key) || exclusive(b, other))));
    named || needs(a, cluster) || needs(b, cluster)
}

#[derive(Default)]
struct Pair {
    world: World,
    tasks: Vec<Task>,
}

impl Pair {
    fn has_turn(&self, at: usize) -> bool {
        let earlier = self.tasks[..at].iter().filter(|task| task.stage == Stage::Pending);
        earlier.into_iter().all(|task| !conflict(task, &self.tasks[at]))
    }

    fn run(&mut self, act: Do) {
        if let Do::Submit { vchannels, keys } = act {
            let id = self.world.submitted(submit(&vchannels, &keys));
            let open = vchannels.iter().copied().collect();
            self.tasks.push(Task { id, keys, open, vchannels, begun: false, stage: Stage::Pending });
            return;
        }
        if self.tasks.is_empty() {
            return;
        }
        let count = self.tasks.len();
        match act {
            Do::Submit { .. } => {}
            Do::Begin(list) => {
                let places: Vec<usize> = list.iter().map(|at| at.index(count)).collect();
                let ids: Vec<i64> = places.iter().map(|at| self.tasks[*at].id).collect();
                let mut expected = Vec::new();
                for at in places {
                    let begins = self.tasks[at].begun || self.has_turn(at);
                    if self.tasks[at].stage == Stage::Pending && begins {
                        self.tasks[at].begun = true;
                        expected.push(self.tasks[at].id);
                    }
                }
                assert_eq!(self.world.begun(&ids), expected);
            }
            Do::Acked { at, vchannels, finish } => {
                let task = &mut self.tasks[at.index(count)];
                let asked = command(acked(task.id, &vchannels, finish));
                let answer = self.world.run(asked).into_result();
                if task.stage == Stage::Gone {
                    assert_eq!(answer, Ok(Reply::Broadcast(BroadcastReply::Acked { left: None })));
                    return;
                }
                if !task.begun || vchannels.iter().any(|vchannel| !task.vchannels.contains(vchannel)) {
                    assert!(answer.is_err());
                    return;
                }
                vchannels.iter().for_each(|vchannel| _ = task.open.remove(vchannel));
                if task.open.is_empty() && finish {
                    task.stage = Stage::Tombstone;
                }
                let left = Some(u32::try_from(task.open.len()).unwrap());
                assert_eq!(answer, Ok(Reply::Broadcast(BroadcastReply::Acked { left })));
            }
            Do::Finish(at) => {
                let task = &mut self.tasks[at.index(count)];
                let changed = task.stage == Stage::Pending && task.open.is_empty();
                if changed {
                    task.stage = Stage::Tombstone;
                }
                let reply = self.world.broadcast(BroadcastCommand::Finish { id: task.id });
                assert_eq!(reply, BroadcastReply::Finished { changed });
            }
            Do::Abandon(at) => {
                let task = &mut self.tasks[at.index(count)];
                let changed = task.stage == Stage::Pending && !task.begun;
                if changed {
                    task.stage = Stage::Gone;
                }
                let reply = self.world.broadcast(BroadcastCommand::Abandon { id: task.id });
                assert_eq!(reply, BroadcastReply::Abandoned { changed });
            }
            Do::Sweep(list) => {
                let ids: Vec<i64> = list.iter().map(|at| self.tasks[at.index(count)].id).collect();
                let mut swept = 0;
                for at in list {
                    let task = &mut self.tasks[at.index(count)];
                    if task.stage == Stage::Tombstone {
                        task.stage = Stage::Gone;
                        swept += 1;
                    }
                }
                assert_eq!(
                    self.world.broadcast(BroadcastCommand::Sweep { ids }),
                    BroadcastReply::Swept { count: swept }
                );
            }
        }
    }

    fn compare(&self) {
        let view = self.world.view().broadcasts();
        let ids = |stage: Stage| {
            self.tasks.iter().filter(|task| task.stage == stage).map(|task| task.id).collect::<Vec<i64>>()
        };
        assert_eq!(view.ids(BroadcastState::Pending, None, usize::MAX).unwrap(), ids(Stage::Pending));
        assert_eq!(view.ids(BroadcastState::Tombstone, None, usize::MAX).unwrap(), ids(Stage::Tombstone));
        assert_eq!(view.tasks(None, usize::MAX).unwrap().len(), self.world.count(0xC2));
        let totals = view.totals().unwrap();
        let (pending, tombstones) = (ids(Stage::Pending).len() as u64, ids(Stage::Tombstone).len() as u64);
        assert_eq!((totals.pending, totals.pending_bytes, totals.tombstones), (pending, pending * 6, tombstones));
        assert_eq!(self.world.count(0xC3) as u64, pending);
        let mut locks = 0;
        for (at, task) in self.tasks.iter().enumerate().filter(|(_, task)| task.stage == Stage::Pending) {
            let row = view.task(task.id).unwrap().unwrap();
            locks += row.keys.len();
            assert_eq!(row.begun, task.begun);
            assert_eq!(view.waits_for(&row).unwrap().is_none(), self.has_turn(at), "task {}", task.id);
            assert!(!task.begun || self.has_turn(at), "a task began before its turn");
        }
        assert_eq!(self.world.count(0xC1), locks, "a lock is left over, or missing");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn answers_and_rows_follow_the_model(steps in vec(step(), 1..60)) {
        let mut pair = Pair::default();
        for act in steps {
            pair.run(act);
            pair.compare();
        }
    }
}
