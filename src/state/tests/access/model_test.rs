//! Random commands against sets and maps: every answer, every table and every index.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

#[derive(Debug)]
struct Model {
    users: BTreeSet<String>,
    roles: BTreeSet<String>,
    bound: BTreeSet<(String, String)>,
    /// To whether it is of a group.
    grants: BTreeMap<GrantKey, bool>,
    groups: BTreeMap<String, BTreeSet<String>>,
}

impl Default for Model {
    fn default() -> Self {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let public = key(PUBLIC, ANY, "PrivilegeIndexDetail");
        Model {
            users: names(&[ROOT]),
            roles: names(&[ADMIN, PUBLIC]),
            bound: BTreeSet::new(),
            grants: BTreeMap::from([(public, false)]),
            groups: BTreeMap::new(),
        }
    }
}

impl Model {
    /// Whether it is done.
    fn apply(&mut self, command: &AccessCommand) -> bool {
        match command {
            AccessCommand::CreateUser(one) => {
                let room = (self.users.len() as u64) < one.max_users;
                room && self.users.insert(one.name.clone())
            }
            AccessCommand::DropUser(one) => {
                self.users.remove(&one.name);
                self.bound.retain(|(user, _)| *user != one.name);
                true
            }
            AccessCommand::CreateRole(one) => {
                let room = (self.roles.len() as u64) < one.max_roles;
                room && self.roles.insert(one.name.clone())
            }
            AccessCommand::DropRole(one) => {
                let used = self.grants.keys().any(|key| key.role == one.name);
                let done = !is_built_in(&one.name) && self.roles.contains(&one.name) && (one.force || !used);
                if done {
                    self.roles.remove(&one.name);
                    self.bound.retain(|(_, role)| *role != one.name);
                    self.grants.retain(|key, _| key.role != one.name);
                }
                done
            }
            AccessCommand::BindRole(BindRole { user, role, bind }) => {
                if !self.roles.contains(role) || (*bind && !self.users.contains(user)) {
                    return false;
                }
                let pair = (user.clone(), role.clone());
                _ = if *bind { self.bound.insert(pair) } else { self.bound.remove(&pair) };
                true
            }
            AccessCommand::Grant(one) => {
                let known = !one.of_group || self.groups.contains_key(&one.key.privilege);
                let done = known && self.roles.contains(&one.key.role);
                if done {
                    self.grants.entry(one.key.clone()).or_insert(one.of_group);
                }
                done
            }
            AccessCommand::Revoke(one) => {
                self.grants.remove(&one.key);
                self.roles.contains(&one.key.role)
            }
            AccessCommand::CreateGroup(one) => {
                let new = !self.groups.contains_key(&one.name);
                self.groups.entry(one.name.clone()).or_default();
                new
            }
            AccessCommand::DropGroup(one) => {
                let used = self.grants.iter().any(|(key, of_group)| *of_group && key.privilege == one.name);
                if !used {
                    self.groups.remove(&one.name);
                }
                !used
            }
            other => unreachable!("{other}"),
        }
    }
}

fn pick(names: &'static [&'static str]) -> impl Strategy<Value = String> {
    proptest::sample::select(names).prop_map(str::to_owned)
}

fn grant_key() -> impl Strategy<Value = (GrantKey, bool)> {
    let object_type = proptest::sample::select(&ObjectType::ALL[..]);
    let privilege = pick(&["PrivilegeLoad", "*", "g", "h"]);
    (role(), object_type, pick(&["default", "*"]), pick(&["books", "maps", "*"]), privilege).prop_map(
        |(role, object_type, database, object, privilege)| {
            let of_group = privilege.len() == 1 && privilege != ANY;
            (GrantKey { role, object_type, database, object, privilege }, of_group)
        },
    )
}

fn user() -> impl Strategy<Value = String> {
    pick(&["a", "b", "ab", "abc"])
}

fn role() -> impl Strategy<Value = String> {
    pick(&["r", "s", "rs", ADMIN, PUBLIC])
}

fn command() -> impl Strategy<Value = AccessCommand> {
    prop_oneof![
        3 => user().prop_map(|name| AccessCommand::CreateUser(CreateUser {
            name, password_hash: "h".into(), description: String::new(), max_users: 4
        })),
        1 => user().prop_map(|name| AccessCommand::DropUser(DropUser { name })),
        3 => role().prop_map(|name| AccessCommand::CreateRole(CreateRole {
            name, description: String::new(), max_roles: 4
        })),
        1 => (role(), any::<bool>()).prop_map(|(name, force)| AccessCommand::DropRole(DropRole { name, force })),
        4 => (user(), role(), any::<bool>()).prop_map(|(user, role, bind)| {
            AccessCommand::BindRole(BindRole { user, role, bind })
        }),
        6 => grant_key().prop_map(|(key, of_group)| AccessCommand::Grant(grant(key, of_group))),
        2 => grant_key().prop_map(|(key, _)| AccessCommand::Revoke(Revoke { key })),
        2 => pick(&["g", "h"]).prop_map(|name| create_group(&name)),
        1 => pick(&["g", "h"]).prop_map(|name| AccessCommand::DropGroup(DropGroup { name })),
    ]
}

fn compare(world: &World, model: &Model) {
    let view = world.view().access();
    let users: BTreeSet<_> = view.users(None, 99).unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(users, model.users);
    let mut grants = BTreeMap::new();
    let roles = view.roles(None, 99).unwrap();
    assert_eq!(roles.iter().map(|(name, _)| name.clone()).collect::<BTreeSet<_>>(), model.roles);
    for (role, row) in roles {
        let of_role = view.grants_of(&role).unwrap();
        assert_eq!(row.grants, of_role.len() as u64);
        assert!(of_role.iter().all(|(key, _)| key.role == role));
        grants.extend(of_role.into_iter().map(|(key, row)| (key, row.of_group)));
        let of: BTreeSet<_> = model.bound.iter().filter(|(_, of)| *of == role).map(|(user, _)| user.clone()).collect();
        assert_eq!(view.users_of(&role).unwrap().into_iter().collect::<BTreeSet<_>>(), of);
    }
    assert_eq!(grants, model.grants);
    for user in &users {
        let of: Vec<_> = model.bound.iter().filter(|(of, _)| of == user).map(|(_, role)| role.clone()).collect();
        assert_eq!(view.roles_of(user).unwrap(), of);
    }
    let groups: Vec<_> = view.groups().unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(groups, model.groups.keys().cloned().collect::<Vec<_>>());
    let totals = view.totals().unwrap();
    let counts = [totals.users, totals.roles, totals.grants];
    assert_eq!(counts, [users.len(), model.roles.len(), grants.len()].map(|count| count as u64));
    // No row of an index is left over, and none is missing.
    let named = grants.keys().filter(|key| key.object != ANY).count();
    let of_groups = grants.values().filter(|of_group| **of_group).count();
    let bound = model.bound.len();
    assert_eq!([0x72, 0x73, 0x75, 0x76].map(|tag| world.count(tag)), [bound, bound, named, of_groups]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn answers_and_tables_follow_the_model(log in vec(command(), 1..50)) {
        let (mut world, mut model) = (World::default(), Model::default());
        world.access(root());
        for command in log {
            let before = world.facts();
            let (reply, events) = world.apply(&entry(START_MS, None, access(command.clone())));
            let done = Reply::decode(&reply).unwrap() == Reply::AccessChanged;
            prop_assert_eq!(done, model.apply(&command), "{}", command);
            if !done {
                prop_assert!(events.is_empty() && world.facts() == before);
            }
            compare(&world, &model);
        }
    }
}
