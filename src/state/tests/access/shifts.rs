//! Drops and renames of what has more grants than a command may touch: against a model that touches all of them.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::state::limits::{BINDINGS_AT_ONCE, GRANTS_AT_ONCE};

/// More than a command touches.
const MANY: usize = GRANTS_AT_ONCE + 6;
const USERS: usize = BINDINGS_AT_ONCE + 6;

#[derive(Clone, Debug)]
enum Op {
    /// So many grants to a role on a collection, each of another privilege.
    Fill(String, String, usize),
    Grant(GrantKey),
    Revoke(GrantKey),
    Condition(GrantKey),
    /// A role to so many users.
    Give(String, usize),
    Take(String, usize),
    DropUser(usize),
    CreateRole(String),
    DropRole(String),
    Create(String),
    Drop(String),
    Rename(String, String),
    Sweep(usize),
}

#[derive(Default)]
struct Model {
    roles: BTreeSet<String>,
    collections: BTreeSet<String>,
    users: BTreeSet<String>,
    /// Role and user.
    bound: BTreeSet<(String, String)>,
    /// To their conditions.
    grants: BTreeMap<GrantKey, String>,
}

impl Model {
    /// Moves or forgets what is granted on a collection.
    fn moved(&mut self, from: &str, to: Option<&str>) {
        let is_on = |key: &GrantKey| key.object == from && key.object_type != ObjectType::User;
        let old: Vec<GrantKey> = self.grants.keys().filter(|key| is_on(key)).cloned().collect();
        for key in old {
            let condition = self.grants.remove(&key).unwrap();
            if let Some(to) = to {
                self.grants.entry(GrantKey { object: to.to_owned(), ..key }).or_insert(condition);
            }
        }
    }
}

fn user(number: usize) -> String {
    format!("u{number}")
}

fn commands(op: &Op) -> Vec<Command> {
    let granted = |key: &GrantKey| access(AccessCommand::Grant(grant(key.clone(), false)));
    match op {
        Op::Fill(role, object, count) => {
            (0..*count).map(|number| granted(&key(role, object, &format!("p{number}")))).collect()
        }
        Op::Grant(key) => vec![granted(key)],
        Op::Revoke(key) => vec![access(AccessCommand::Revoke(Revoke { key: key.clone() }))],
        Op::Condition(key) => {
            let condition = SetCondition { key: key.clone(), condition: "true".into() };
            vec![access(AccessCommand::SetCondition(condition))]
        }
        Op::Give(role, count) => (0..*count).map(|number| access(bind(&user(number), role, true))).collect(),
        Op::Take(role, number) => vec![access(bind(&user(*number), role, false))],
        Op::DropUser(number) => vec![access(AccessCommand::DropUser(DropUser { name: user(*number) }))],
        Op::CreateRole(name) => vec![access(create_role(name))],
        Op::DropRole(name) => vec![access(AccessCommand::DropRole(DropRole { name: name.clone(), force: true }))],
        Op::Create(name) => vec![Command::CreateCollection(create_collection("", name))],
        Op::Drop(name) => vec![drop_collection("", name)],
        Op::Rename(from, to) => vec![change(CollectionChange::Rename(rename_collection(from, to)))],
        Op::Sweep(steps) => vec![access(AccessCommand::Sweep); *steps],
    }
}

fn follow(model: &mut Model, op: &Op) {
    match op {
        Op::Fill(role, object, count) if model.roles.contains(role) => {
            for number in 0..*count {
                model.grants.entry(key(role, object, &format!("p{number}"))).or_default();
            }
        }
        Op::Grant(key) if model.roles.contains(&key.role) => _ = model.grants.entry(key.clone()).or_default(),
        Op::Revoke(key) => _ = model.grants.remove(key),
        Op::Condition(key) => {
            if let Some(condition) = model.grants.get_mut(key) {
                *condition = "true".into();
            }
        }
        Op::Give(role, count) if model.roles.contains(role) => {
            let there = (0..*count).map(user).filter(|name| model.users.contains(name));
            model.bound.extend(there.map(|name| (role.clone(), name)));
        }
        Op::Take(role, number) => _ = model.bound.remove(&(role.clone(), user(*number))),
        Op::DropUser(number) => {
            model.users.remove(&user(*number));
            model.bound.retain(|(_, name)| *name != user(*number));
        }
        Op::CreateRole(name) => _ = model.roles.insert(name.clone()),
        Op::DropRole(name) => {
            model.roles.remove(name);
            model.bound.retain(|(role, _)| role != name);
            model.grants.retain(|key, _| key.role != *name);
        }
        Op::Create(name) => _ = model.collections.insert(name.clone()),
        Op::Drop(name) if model.collections.remove(name) => model.moved(name, None),
        Op::Rename(from, to) if model.collections.contains(from) && !model.collections.contains(to) => {
            model.collections.remove(from);
            model.collections.insert(to.clone());
            model.moved(from, Some(to));
        }
        _ => {}
    }
}

fn seen(world: &World) -> BTreeMap<GrantKey, String> {
    let view = world.view().access();
    let roles = view.roles(None, 99).unwrap().into_iter().map(|(role, _)| role).filter(|role| !is_built_in(role));
    let rows = roles.flat_map(|role| view.grants_of(&role).unwrap());
    rows.map(|(key, row)| (key, row.condition)).collect()
}

/// Role and user, as both listings have it.
fn bound(world: &World) -> BTreeSet<(String, String)> {
    let view = world.view().access();
    let roles = view.roles(None, 99).unwrap().into_iter().map(|(role, _)| role);
    let of_roles: BTreeSet<_> = roles
        .flat_map(|role| view.users_of(&role).unwrap().into_iter().map(move |user| (role.clone(), user)))
        .collect();
    let users = view.users(None, usize::MAX).unwrap().into_iter().map(|(user, _)| user);
    let of_users: BTreeSet<_> = users
        .flat_map(|user| view.roles_of(&user).unwrap().into_iter().map(move |role| (role, user.clone())))
        .collect();
    assert_eq!(of_roles, of_users);
    of_roles
}

/// When nothing is left to be swept, the rows are what readers see, and nothing else.
fn compare_rows(world: &World, model: &Model) {
    let view = world.view().access();
    let count = model.grants.len();
    assert_eq!(view.totals().unwrap().grants, count as u64);
    for role in &model.roles {
        let of = model.grants.keys().filter(|key| key.role == *role).count();
        assert_eq!(view.role(role).unwrap().unwrap().grants, of as u64);
    }
    assert_eq!([0x74, 0x75, 0x79, 0x7a, 0x7b].map(|tag| world.count(tag)), [count, count, 0, 0, 0]);
    assert_eq!([0x72, 0x73].map(|tag| world.count(tag)), [model.bound.len(); 2]);
}

fn role() -> impl Strategy<Value = String> {
    proptest::sample::select(&["r", "s"][..]).prop_map(str::to_owned)
}

fn name() -> impl Strategy<Value = String> {
    proptest::sample::select(&["a", "b", "c"][..]).prop_map(str::to_owned)
}

fn one() -> impl Strategy<Value = GrantKey> {
    let object_type = prop_oneof![4 => Just(ObjectType::Collection), 1 => Just(ObjectType::User)];
    (role(), name(), object_type, 0..4).prop_map(|(role, object, object_type, number)| GrantKey {
        object_type,
        ..key(&role, &object, &format!("p{number}"))
    })
}

fn op() -> impl Strategy<Value = Op> {
    let count = prop_oneof![2 => Just(MANY), 1 => 1..5_usize];
    prop_oneof![
        4 => (role(), name(), count).prop_map(|(role, object, count)| Op::Fill(role, object, count)),
        2 => one().prop_map(Op::Grant),
        2 => one().prop_map(Op::Revoke),
        1 => one().prop_map(Op::Condition),
        2 => (role(), prop_oneof![2 => Just(USERS), 1 => 1..5_usize]).prop_map(|(role, count)| Op::Give(role, count)),
        1 => (role(), 0..3_usize).prop_map(|(role, number)| Op::Take(role, number)),
        1 => (0..3_usize).prop_map(Op::DropUser),
        2 => role().prop_map(Op::CreateRole),
        2 => role().prop_map(Op::DropRole),
        2 => name().prop_map(Op::Create),
        2 => name().prop_map(Op::Drop),
        5 => (name(), name()).prop_map(|(from, to)| Op::Rename(from, to)),
        2 => (1..4_usize).prop_map(Op::Sweep),
    ]
}

fn world() -> (World, Model) {
    let (mut world, mut model) = (World::default(), Model::default());
    for number in 0..USERS {
        world.access(create_user(&user(number)));
        model.users.insert(user(number));
    }
    let first = ["a", "b"].map(|name| Op::Create(name.into()));
    for op in first.into_iter().chain(["r", "s"].map(|role| Op::CreateRole(role.into()))) {
        run(&mut world, &mut model, &op);
    }
    (world, model)
}

fn run(world: &mut World, model: &mut Model, op: &Op) {
    let entries: Vec<Entry> = commands(op).into_iter().map(|command| entry(START_MS, None, command)).collect();
    let replies = world.apply_batch(&entries);
    let told = replies.iter().any(|(_, events)| !events.is_empty());
    assert!(!(told && matches!(op, Op::Sweep(_))), "a sweep changes nothing that anybody sees");
    follow(model, op);
    assert_eq!(seen(world), model.grants, "{op:?}");
    assert_eq!(bound(world), model.bound, "{op:?}");
}

fn sweep(world: &mut World) {
    for _ in 0..10_000 {
        if world.view().access().totals().unwrap().sweeps == 0 {
            return;
        }
        world.access(AccessCommand::Sweep);
    }
    panic!("it is never swept");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_readers_see_is_what_would_be_there_if_all_were_touched_at_once(log in vec(op(), 1..24)) {
        let (mut world, mut model) = world();
        for op in log {
            run(&mut world, &mut model, &op);
            if world.view().access().totals().unwrap().sweeps == 0 {
                compare_rows(&world, &model);
            }
        }
        sweep(&mut world);
        prop_assert_eq!(seen(&world), model.grants.clone());
        prop_assert_eq!(bound(&world), model.bound.clone());
        compare_rows(&world, &model);
    }
}

/// What a command writes, whatever the number of grants.
fn written(world: &mut World, op: &Op) -> usize {
    let (before, mut model) = (world.rows(), model_of(world));
    run(world, &mut model, op);
    let after = world.rows();
    let changed = after.iter().filter(|(key, row)| before.get(*key) != Some(row)).count();
    changed + before.keys().filter(|key| !after.contains_key(*key)).count()
}

/// A model as it would be after the commands so far.
fn model_of(world: &World) -> Model {
    let collections = ["a", "b", "c"].into_iter().filter(|name| world.view().collection(1, name).unwrap().is_some());
    let roles = ["r", "s"].into_iter().filter(|role| world.view().access().role(role).unwrap().is_some());
    Model {
        roles: roles.map(str::to_owned).collect(),
        collections: collections.map(str::to_owned).collect(),
        users: world.view().access().users(None, usize::MAX).unwrap().into_iter().map(|(name, _)| name).collect(),
        bound: bound(world),
        grants: seen(world),
    }
}

#[test]
fn a_large_drop_or_rename_is_a_small_apply() {
    let (mut world, mut model) = world();
    run(&mut world, &mut model, &Op::Fill("r".into(), "a".into(), 2000));
    run(&mut world, &mut model, &Op::Fill("s".into(), "a".into(), 2000));
    let steps = [Op::Rename("a".into(), "c".into()), Op::DropRole("s".into()), Op::Drop("c".into())];
    for op in steps {
        let rows = written(&mut world, &op);
        assert!(rows < 40, "{op:?} wrote {rows} rows");
    }
    assert!(seen(&world).is_empty());
    for _ in 0..100 {
        let rows = written(&mut world, &Op::Sweep(1));
        assert!(rows <= 4 * GRANTS_AT_ONCE + 8, "a step wrote {rows} rows");
    }
    sweep(&mut world);
    compare_rows(&world, &model_of(&world));
}

#[test]
fn a_role_of_many_users_goes_by_a_small_apply_and_comes_back_without_them() {
    let (mut world, mut model) = world();
    for number in USERS..2000 {
        let AccessCommand::CreateUser(one) = create_user(&user(number)) else { unreachable!() };
        world.access(AccessCommand::CreateUser(CreateUser { max_users: 5000, ..one }));
        model.users.insert(user(number));
    }
    run(&mut world, &mut model, &Op::Give("r".into(), 2000));
    run(&mut world, &mut model, &Op::Fill("r".into(), "a".into(), MANY));
    let rows = written(&mut world, &Op::DropRole("r".into()));
    assert!(rows < 10, "the drop wrote {rows} rows");
    world.access(create_role("r"));
    world.access(bind(&user(7), "r", true));
    let only = BTreeSet::from([("r".to_owned(), user(7))]);
    assert_eq!(bound(&world), only);
    // Before and after its rows are swept.
    world.access(bind(&user(8), "r", false));
    world.access(AccessCommand::DropUser(DropUser { name: user(9) }));
    while world.view().access().totals().unwrap().sweeps > 0 {
        let rows = written(&mut world, &Op::Sweep(1));
        assert!(rows <= 4 * GRANTS_AT_ONCE + 8, "a step wrote {rows} rows");
        assert_eq!(bound(&world), only);
    }
    compare_rows(&world, &model_of(&world));
}

/// Rows of an older version do not say when they were written: they are the oldest.
#[test]
fn before_version_8_everybody_loses_a_role_at_once() {
    let (mut world, mut model) = world();
    world.apply_version = 7;
    run(&mut world, &mut model, &Op::Give("r".into(), USERS));
    run(&mut world, &mut model, &Op::Give("s".into(), USERS));
    run(&mut world, &mut model, &Op::Fill("r".into(), "a".into(), MANY));
    run(&mut world, &mut model, &Op::DropRole("r".into()));
    assert_eq!(world.count(0x73), USERS);
    // The cut of its grants, which are not swept, is no cut of users.
    run(&mut world, &mut model, &Op::CreateRole("r".into()));
    run(&mut world, &mut model, &Op::Give("r".into(), 3));
    world.apply_version = 8;
    run(&mut world, &mut model, &Op::Give("r".into(), 4));
    run(&mut world, &mut model, &Op::DropRole("s".into()));
    assert_eq!(world.count(0x73), USERS + 4);
    sweep(&mut world);
    compare_rows(&world, &model);
}

/// What an older version wrote is read as it was.
#[test]
fn before_version_7_all_are_touched_and_afterwards_they_are_still_there() {
    let (mut world, mut model) = world();
    world.apply_version = 6;
    run(&mut world, &mut model, &Op::Fill("r".into(), "a".into(), MANY));
    run(&mut world, &mut model, &Op::Fill("s".into(), "b".into(), MANY));
    run(&mut world, &mut model, &Op::Rename("a".into(), "c".into()));
    compare_rows(&world, &model);
    world.apply_version = 7;
    run(&mut world, &mut model, &Op::Rename("c".into(), "a".into()));
    assert_eq!(world.count(0x79), 1);
    run(&mut world, &mut model, &Op::Drop("b".into()));
    sweep(&mut world);
    compare_rows(&world, &model);
}

#[test]
fn a_group_and_a_role_are_in_use_only_by_what_is_seen() {
    let (mut world, _) = world();
    world.access(create_group("p0"));
    world.access(AccessCommand::Grant(grant(key("r", "a", "p0"), true)));
    let mut model = model_of(&world);
    run(&mut world, &mut model, &Op::Fill("r".into(), "a".into(), MANY));
    run(&mut world, &mut model, &Op::Drop("a".into()));
    world.access(AccessCommand::DropGroup(DropGroup { name: "p0".into() }));
    let drop = || AccessCommand::DropRole(DropRole { name: "r".into(), force: false });
    let (code, text) = world.refused(drop());
    assert_eq!(code, 2, "not known before more of them are swept: {text}");
    world.access(AccessCommand::Sweep);
    world.access(drop());
    sweep(&mut world);
    compare_rows(&world, &model_of(&world));
}
