//! One rule after the other.

use super::*;

const COLLECTION: Option<PrivilegeLevel> = Some(PrivilegeLevel::Collection);

fn world() -> World {
    let mut world = World::default();
    world.access(root());
    world
}

fn events(world: &mut World, command: AccessCommand) -> Vec<Event> {
    world.apply(&entry(START_MS, None, access(command))).1
}

#[test]
fn root_and_the_built_in_roles_come_first_and_stay() {
    let mut world = World::default();
    // Before the first leader made it, nobody else may.
    assert_eq!(world.refused(create_user(ROOT)).0, 1100);
    world.access(root());
    let first = world.rows();
    world.access(root());
    assert_eq!(world.rows(), first, "once in the life of a cluster");
    let view = world.view().access();
    assert_eq!(view.user(ROOT).unwrap().unwrap().password_hash, "hash");
    let roles: Vec<_> = view.roles(None, 9).unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(roles, [ADMIN, PUBLIC]);
    assert_eq!(view.grants_of(PUBLIC).unwrap().len(), 1);
    assert_eq!(view.totals().unwrap().users, 1);
    let dropped = AccessCommand::DropUser(DropUser { name: ROOT.into() });
    assert_eq!(world.refused(dropped), (1401, "root user cannot be deleted: privilege not permitted".into()));
    for role in [ADMIN, PUBLIC] {
        let drop = AccessCommand::DropRole(DropRole { name: role.into(), force: true });
        assert_eq!(world.refused(drop).0, 1401);
        let alter = AccessCommand::AlterRole(AlterRole { name: role.into(), description: "x".into() });
        assert_eq!(world.refused(alter).0, 1401);
        assert_eq!(
            world.refused(create_role(role)),
            (1100, format!("role [name:\"{role}\"] already exists: invalid parameter"))
        );
    }
}

#[test]
fn users_are_counted_described_and_change_their_passwords() {
    let mut world = world();
    let mut two =
        CreateUser { name: "a".into(), password_hash: "one".into(), description: "first".into(), max_users: 2 };
    world.access(AccessCommand::CreateUser(two.clone()));
    let text = "user already exists: a: invalid parameter";
    assert_eq!(world.refused(AccessCommand::CreateUser(two.clone())), (1100, text.into()));
    two.name = "b".into();
    assert_eq!(world.refused(AccessCommand::CreateUser(two.clone())).0, 9);
    two.description = "x".repeat(1025);
    two.max_users = 3;
    assert_eq!(world.refused(AccessCommand::CreateUser(two)).0, 1100);
    let before = world.view().access().user("a").unwrap().unwrap();
    assert_eq!((before.description.as_str(), before.created_ms), ("first", START_MS));
    let update = UpdateUser {
        name: "a".into(),
        password_hash: Some("two".into()),
        description: None,
        known: Some(before.generation),
    };
    world.access(AccessCommand::UpdateUser(update.clone()));
    let after = world.view().access().user("a").unwrap().unwrap();
    assert!(after.generation > before.generation);
    assert_eq!((after.password_hash.as_str(), after.description.as_str()), ("two", "first"));
    // Whoever knew the old password no longer knows this one.
    let (code, text) = world.refused(AccessCommand::UpdateUser(update.clone()));
    assert_eq!((code, text.as_str()), (1400, "old password not correct for a: not authenticated"));
    let described = UpdateUser { password_hash: None, description: Some("new".into()), known: None, ..update };
    world.access(AccessCommand::UpdateUser(described));
    let last = world.view().access().user("a").unwrap().unwrap();
    assert_eq!((last.generation, last.description.as_str()), (after.generation, "new"));
}

#[test]
fn a_dropped_user_comes_back_without_its_roles_and_with_another_generation() {
    let mut world = world();
    world.access(create_user("a"));
    world.access(create_role("r"));
    world.access(bind("a", "r", true));
    let generation = |world: &World| world.view().access().user("a").unwrap().unwrap().generation;
    let first = generation(&world);
    let drop = || AccessCommand::DropUser(DropUser { name: "a".into() });
    world.access(drop());
    world.access(drop());
    world.access(create_user("a"));
    assert!(generation(&world) > first);
    assert!(world.view().access().roles_of("a").unwrap().is_empty());
    assert!(world.view().access().users_of("r").unwrap().is_empty());
}

#[test]
fn roles_are_given_and_taken() {
    let mut world = world();
    world.access(create_user("a"));
    world.access(create_role("r"));
    assert_eq!(world.refused(bind("a", "none", true)).0, 1100);
    for (apply_version, behind) in [(7, ": failed to check user existence"), (8, "")] {
        world.apply_version = apply_version;
        let text = format!("user \"nobody\" not found{behind}: invalid parameter");
        assert_eq!(world.refused(bind("nobody", "r", true)), (1100, text));
    }
    world.access(bind("nobody", "r", false));
    world.access(bind("a", "r", true));
    world.access(bind("a", "r", true));
    world.access(bind("a", ADMIN, true));
    assert_eq!(world.view().access().roles_of("a").unwrap(), [ADMIN, "r"]);
    assert_eq!(world.view().access().users_of("r").unwrap(), ["a"]);
    assert_eq!(events(&mut world, bind("a", "r", false)), [Event::Access(AccessEvent::User { name: "a".into() })]);
    assert_eq!(world.view().access().roles_of("a").unwrap(), [ADMIN]);
    let mut third = CreateRole { name: "s".into(), description: String::new(), max_roles: 3 };
    assert_eq!(world.refused(AccessCommand::CreateRole(third.clone())).0, 9);
    third.max_roles = 4;
    world.access(AccessCommand::CreateRole(third));
}

#[test]
fn a_role_with_grants_is_dropped_by_force_only() {
    let mut world = world();
    world.access(create_user("a"));
    world.access(create_role("r"));
    world.access(bind("a", "r", true));
    world.access(AccessCommand::Grant(grant(key("r", "books", "PrivilegeLoad"), false)));
    let drop = |force| AccessCommand::DropRole(DropRole { name: "r".into(), force });
    let (code, text) = world.refused(drop(false));
    assert_eq!(code, 1100);
    assert!(text.starts_with("fail to drop the role that it has privileges. Use REVOKE API to revoke privileges"));
    world.access(drop(true));
    assert_eq!([0x74, 0x75, 0x76].map(|tag| world.count(tag)), [1, 0, 0], "what public has is left");
    assert!(world.view().access().roles_of("a").unwrap().is_empty());
    assert_eq!(world.refused(drop(true)).0, 1100);
}

#[test]
fn grants_keep_their_first_grantor_and_their_condition() {
    let mut world = world();
    world.access(create_role("r"));
    let of = key("r", "books", "PrivilegeLoad");
    let set =
        |condition: &str| AccessCommand::SetCondition(SetCondition { key: of.clone(), condition: condition.into() });
    assert_eq!(world.refused(set("user == 'a'")).0, 1100);
    world.access(AccessCommand::Grant(grant(of.clone(), false)));
    world.access(set("user == 'a'"));
    world.access(AccessCommand::Grant(Grant { grantor: "other".into(), ..grant(of.clone(), false) }));
    let row = world.view().access().grants_of("r").unwrap().pop().unwrap();
    assert_eq!((&row.0, row.1.grantor.as_str(), row.1.condition.as_str()), (&of, ROOT, "user == 'a'"));
    assert_eq!(world.refused(set(&"x".repeat(1025))).0, 1102);
    assert_eq!(events(&mut world, AccessCommand::Revoke(Revoke { key: of.clone() })).len(), 1);
    world.access(AccessCommand::Revoke(Revoke { key: of.clone() }));
    assert_eq!(world.refused(AccessCommand::Revoke(Revoke { key: GrantKey { role: "none".into(), ..of } })).0, 1100);
    assert_eq!(world.refused(AccessCommand::Grant(grant(key("r", "books", ""), false))).0, 1100);
    assert_eq!(world.refused(AccessCommand::Grant(grant(key("r", &"x".repeat(256), "*"), false))).0, 1102);
}

#[test]
fn a_collections_grants_go_with_it() {
    let mut world = world();
    world.access(create_role("r"));
    world.run(create_database("shelf"));
    for database in ["", "shelf"] {
        world.run(Command::CreateCollection(create_collection(database, "books")));
    }
    let elsewhere = GrantKey { database: "shelf".into(), ..key("r", "books", "PrivilegeLoad") };
    for of in [key("r", "books", "PrivilegeLoad"), key("r", "maps", "*"), key("r", ANY, "*"), elsewhere.clone()] {
        world.access(AccessCommand::Grant(grant(of, false)));
    }
    world.run(drop_collection("", "books"));
    let mut left: Vec<_> =
        world.view().access().grants_of("r").unwrap().into_iter().map(|(key, _)| (key.database, key.object)).collect();
    left.sort();
    let named = |database: &str, object: &str| (database.to_owned(), object.to_owned());
    assert_eq!(left, [named("default", ANY), named("default", "maps"), named("shelf", "books")]);
    world.run(drop_collection("shelf", "books"));
    assert_eq!(world.view().access().grants_of("r").unwrap().len(), 2);
}

#[test]
fn groups_have_one_level_and_stay_while_they_are_granted() {
    let mut world = world();
    world.access(create_group("g"));
    let text = "privilege group name [g] is defined by users: invalid parameter";
    assert_eq!(world.refused(create_group("g")), (1100, text.into()));
    world.access(change_group("g", &[("Query", COLLECTION), ("Load", COLLECTION), ("Query", COLLECTION)], true));
    let (code, text) = world.refused(change_group("g", &[("CreateDatabase", Some(PrivilegeLevel::Cluster))], true));
    assert_eq!((code, text.as_str()), (1100, "privileges are not the same privilege level: invalid parameter"));
    assert_eq!(world.view().access().group("g").unwrap().unwrap().privileges, ["Load", "Query"]);
    world.access(create_group("outer"));
    world.access(change_group("outer", &[("g", None)], true));
    for wrong in ["none", "outer"] {
        let (code, text) = world.refused(change_group("outer", &[(wrong, None)], true));
        assert_eq!(code, 1100);
        assert!(text.starts_with("there is no privilege name or privilege group name ["), "{text}");
    }
    assert_eq!(world.refused(change_group("g", &[], true)).0, 1100);
    assert_eq!(world.refused(change_group("none", &[("Query", COLLECTION)], true)).0, 1100);

    world.access(create_role("r"));
    world.access(AccessCommand::Grant(grant(key("r", ANY, "g"), true)));
    assert_eq!(world.refused(AccessCommand::Grant(grant(key("r", ANY, "none"), true))).0, 1100);
    let drop = || AccessCommand::DropGroup(DropGroup { name: "g".into() });
    let text = "privilege group [g] is used by role [r], Use REVOKE API to revoke it first: invalid parameter";
    assert_eq!(world.refused(drop()), (1100, text.into()));
    world.access(AccessCommand::Revoke(Revoke { key: key("r", ANY, "g") }));
    world.access(drop());
    world.access(drop());
    // Emptied, a group may take another level.
    world.access(change_group("outer", &[("g", None)], false));
    world.access(change_group("outer", &[("CreateDatabase", Some(PrivilegeLevel::Cluster))], true));
}

/// Replies are part of the state, so an older version's words stay as they were.
#[test]
fn refusals_about_roles_have_the_words_of_their_version() {
    let described = CreateRole { name: "r".into(), description: "of \"r\"".into(), max_roles: 10 };
    for (apply_version, exists, with_description, missing) in [
        (7, "role [r] already", "role [r] already", "not found the role, maybe the role isn't existed"),
        (
            8,
            r#"role [name:"r"] already"#,
            r#"role [name:"r" description:"of \"r\""] already"#,
            r#"the role "none" does not exist"#,
        ),
    ] {
        let mut world = World { apply_version, ..world() };
        world.access(create_role("r"));
        let said =
            |(code, text): (i32, String), begin: &str| assert!(code == 1100 && text.starts_with(begin), "{text}");
        said(world.refused(create_role("r")), exists);
        said(world.refused(AccessCommand::CreateRole(described.clone())), with_description);
        let key = key("none", "books", "PrivilegeLoad");
        said(world.refused(AccessCommand::Grant(grant(key.clone(), false))), missing);
        said(world.refused(AccessCommand::Revoke(Revoke { key })), missing);
        let drop = AccessCommand::DropRole(DropRole { name: "none".into(), force: true });
        said(world.refused(drop), "not found the role, maybe the role isn't existed");
    }
}

/// A new group of the old one's name would have been a member again.
#[test]
fn a_group_that_goes_is_no_member_any_more() {
    for (apply_version, left) in [(5, 1), (Roost::APPLY_VERSION, 0)] {
        let mut world = World { apply_version, ..world() };
        for group in ["inner", "outer", "mixed"] {
            world.access(create_group(group));
        }
        world.access(change_group("inner", &[("Query", COLLECTION)], true));
        world.access(change_group("outer", &[("inner", None)], true));
        world.access(change_group("mixed", &[("inner", None), ("Load", COLLECTION)], true));
        world.access(AccessCommand::DropGroup(DropGroup { name: "inner".into() }));
        let group = |name: &str| world.view().access().group(name).unwrap().unwrap();
        assert_eq!(group("outer").privileges.len(), left);
        assert_eq!(group("outer").level == 0, left == 0);
        assert_eq!(group("mixed").privileges.len(), 1 + left);
        assert_eq!(group("mixed").level, PrivilegeLevel::Collection as u32);
    }
}

fn backup() -> Restore {
    Restore {
        users: vec![RestoredUser { name: "a".into(), password_hash: "h".into(), roles: vec!["r".into()] }],
        roles: vec![("r".into(), "role".into())],
        grants: vec![grant(key("r", ANY, "outer"), true), grant(key("r", "books", "PrivilegeLoad"), false)],
        groups: vec![
            ("outer".into(), vec![GroupMember { name: "inner".into(), level: None }]),
            ("inner".into(), vec![GroupMember { name: "Query".into(), level: COLLECTION }]),
        ],
        max_users: 100,
        max_roles: 10,
    }
}

#[test]
fn many_changes_of_one_role_are_one_event() {
    let mut world = world();
    world.access(create_role("r"));
    for object in ["a", "b", "c"] {
        world.access(AccessCommand::Grant(grant(key("r", object, "PrivilegeLoad"), false)));
    }
    let drop = AccessCommand::DropRole(DropRole { name: "r".into(), force: true });
    let (_, events) = world.apply(&entry(START_MS, None, access(drop)));
    assert_eq!(events, [Event::Access(AccessEvent::Role { name: "r".into() })]);
}

#[test]
fn a_backup_is_restored_whole() {
    let mut world = world();
    world.access(AccessCommand::Restore(backup()));
    let view = world.view().access();
    assert_eq!(view.roles_of("a").unwrap(), ["r"]);
    assert_eq!(view.role("r").unwrap().unwrap().grants, 2);
    assert_eq!(view.group("outer").unwrap().unwrap().level, PrivilegeLevel::Collection as u32);
    assert_eq!((view.totals().unwrap().users, view.totals().unwrap().roles), (2, 3));
}

/// Regression: each round looked at all members of all groups that were left, hours of work for one command.
#[test]
fn groups_that_wait_for_each_other_are_restored_in_one_go() {
    const GROUPS: usize = 600;
    let name = |number: usize| format!("g{number:04}");
    let groups = (0..GROUPS).map(|number| {
        let behind = (number + 1..GROUPS).take(200).map(|other| GroupMember { name: name(other), level: None });
        let query = GroupMember { name: "Query".into(), level: COLLECTION };
        (name(number), behind.chain([query]).collect())
    });
    let mut world = world();
    world.access(AccessCommand::Restore(Restore { groups: groups.collect(), grants: Vec::new(), ..backup() }));
    let first = world.view().access().group(&name(0)).unwrap().unwrap();
    assert_eq!((first.privileges.len(), first.level), (201, PrivilegeLevel::Collection as u32));
}

#[test]
fn or_not_at_all() {
    type Spoil = fn(&mut Restore);
    let wrong: [(Spoil, &str); 9] = [
        (|b| b.roles[0].0 = ADMIN.into(), "role [admin] already exists"),
        (|b| b.users[0].name = ROOT.into(), "user [root] already exists"),
        (|b| b.users[0].roles = vec!["none".into()], "role [none] does not exist"),
        (|b| b.grants[0].key.role = "none".into(), "role [none] does not exist"),
        (|b| b.grants[0].key.privilege = "none".into(), "privilege [none] does not exist"),
        (|b| b.groups[1].1[0] = GroupMember { name: "outer".into(), level: None }, "privilege groups name groups"),
        (|b| b.groups[1].0 = "outer".into(), "privilege group [outer] already exists"),
        (|b| b.users.push(b.users[0].clone()), "user [a] already exists"),
        (|b| b.max_roles = 2, "unable to restore"),
    ];
    for (spoil, text) in wrong {
        let mut world = world();
        let mut backup = backup();
        spoil(&mut backup);
        let (code, said) = world.refused(AccessCommand::Restore(backup));
        assert!(said.starts_with(text) && (code == 1100 || code == 9), "{code} {said}");
    }
}

#[test]
fn nothing_that_is_printed_holds_a_hash() {
    let update =
        UpdateUser { name: "a".into(), password_hash: Some("hash of a".into()), description: None, known: None };
    for command in [root(), create_user("a"), AccessCommand::UpdateUser(update), AccessCommand::Restore(backup())] {
        let printed = format!("{command} {command:?} {:?}", entry(START_MS, None, access(command.clone())));
        assert!(
            !printed.contains("hash of") && !printed.contains("\"hash\"") && !printed.contains("\"h\""),
            "{printed}"
        );
    }
}
