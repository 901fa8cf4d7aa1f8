//! The compiled policy: each rule by example, and all of them against the rules' own wording.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::access::built_in::{BuiltInGroup, legacy_group};
use crate::access::condition::{Circumstances, Condition};
use crate::access::policy::{Groups, RolePolicy, UserPolicy, Wanted};
use crate::access::privilege::{Privilege, PrivilegeSet};
use crate::state::access::{ADMIN, ANY, GrantKey, ObjectType, PrivilegeLevel};

type Grants = Vec<(GrantKey, Option<Arc<Condition>>)>;

fn key(object_type: ObjectType, place: &str, privilege: &str) -> GrantKey {
    let (database, object) = place.split_once('.').unwrap();
    GrantKey {
        role: "r".into(),
        object_type,
        database: database.into(),
        object: object.into(),
        privilege: privilege.into(),
    }
}

fn user(roles: Vec<(&str, Grants)>, groups: &Groups) -> UserPolicy {
    let compiled = roles.into_iter().map(|(name, grants)| Arc::new(RolePolicy::compile(name, grants, groups)));
    UserPolicy::new("".into(), 1, compiled.collect())
}

fn groups() -> Groups {
    let group = |name: &str, members: &[&str]| (name.to_owned(), members.iter().map(ToString::to_string).collect());
    BTreeMap::from([
        group("g", &["Load", "CollectionReadOnly"]),
        group("outer", &["g", "CreateAlias"]),
        group("one", &["two", "Insert"]),
        group("two", &["one", "Delete"]),
        group("empty", &[]),
    ])
}

#[track_caller]
fn check(grant: (ObjectType, &str, &str), allowed: &[(ObjectType, &str, &str)], denied: &[(ObjectType, &str, &str)]) {
    let groups = groups();
    let user = user(vec![("r", vec![(key(grant.0, grant.1, grant.2), None)])], &groups);
    for (questions, expected) in [(allowed, true), (denied, false)] {
        for (object_type, place, privilege) in questions {
            let (database, object) = place.split_once('.').unwrap();
            let privilege = Privilege::named(privilege).unwrap();
            let wanted = Wanted { object_type: *object_type, privilege, database, object };
            assert_eq!(user.allows(&wanted, &groups, &mut |_| false), expected, "{grant:?}: {wanted:?}");
        }
    }
}

#[test]
fn one_privilege_on_one_object() {
    use ObjectType::*;
    check(
        (Collection, "default.books", "PrivilegeInsert"),
        &[(Collection, "default.books", "Insert")],
        &[
            (Collection, "default.maps", "Insert"),
            (Collection, "default.*", "Insert"),
            (Collection, "sales.books", "Insert"),
            (Collection, "default.books", "Delete"),
            (Global, "default.books", "Insert"),
        ],
    );
}

#[test]
fn wildcards_of_object_database_and_privilege() {
    use ObjectType::*;
    check(
        (Collection, "default.*", "PrivilegeInsert"),
        &[(Collection, "default.books", "Insert"), (Collection, "default.*", "Insert")],
        &[(Collection, "sales.books", "Insert")],
    );
    check(
        (Collection, "*.books", "PrivilegeInsert"),
        &[(Collection, "default.books", "Insert"), (Collection, "sales.books", "Insert")],
        &[(Collection, "sales.maps", "Insert")],
    );
    check(
        (Collection, "default.books", "*"),
        &[(Collection, "default.books", "Insert"), (Collection, "default.books", "DropIndex")],
        &[(Collection, "default.maps", "Insert"), (Global, "default.*", "CreateCollection")],
    );
    check((User, "*.*", "*"), &[(User, "default.alice", "UpdateUser")], &[(Global, "default.*", "CreateOwnership")]);
}

#[test]
fn implied_privileges_come_along() {
    use ObjectType::*;
    check(
        (Collection, "default.books", "PrivilegeLoad"),
        &[(Collection, "default.books", "GetLoadState"), (Collection, "default.books", "GetLoadingProgress")],
        &[(Collection, "default.books", "Release"), (Collection, "default.books", "GetFlushState")],
    );
    check(
        (Collection, "default.books", "PrivilegeFlush"),
        &[(Collection, "default.books", "GetFlushState")],
        &[(Collection, "default.books", "GetLoadState")],
    );
}

#[test]
fn groups_of_both_forms() {
    use ObjectType::*;
    check(
        (Global, "default.*", "PrivilegeAll"),
        &[
            (Global, "default.*", "DropDatabase"),
            (Collection, "default.books", "Insert"),
            (User, "default.a", "SelectUser"),
        ],
        &[(Global, "sales.*", "DropDatabase")],
    );
    check(
        (Collection, "default.books", "PrivilegeGroupReadOnly"),
        &[(Collection, "default.books", "Query")],
        &[(Collection, "default.books", "Insert"), (Collection, "default.maps", "Query")],
    );
    check(
        (Collection, "default.*", "PrivilegeGroupReadWrite"),
        &[(Collection, "default.books", "Insert"), (Global, "default.*", "RenameCollection")],
        &[(Global, "default.*", "DropCollection")],
    );
    check(
        (Global, "default.*", "PrivilegeGroupAdmin"),
        &[(Global, "default.*", "DropCollection"), (Collection, "default.books", "Insert")],
        &[(Global, "sales.*", "DropCollection"), (Global, "default.*", "FlushAll")],
    );
    check(
        (Global, "default.books", "PrivilegeGroupCollectionReadOnly"),
        &[(Collection, "default.books", "Search"), (Global, "default.books", "DescribeCollection")],
        &[
            (Collection, "default.books", "Insert"),
            (Collection, "default.maps", "Search"),
            (Collection, "sales.books", "Search"),
            (Global, "default.*", "DescribeCollection"),
        ],
    );
    check(
        (Global, "sales.*", "PrivilegeGroupDatabaseAdmin"),
        &[(Global, "sales.*", "CreateCollection"), (Global, "sales.*", "ShowCollections")],
        &[(Global, "default.*", "CreateCollection"), (Global, "sales.*", "CreateDatabase")],
    );
    check(
        (Global, "*.*", "PrivilegeGroupClusterAdmin"),
        &[(Global, "default.*", "CreateDatabase"), (User, "sales.alice", "UpdateUser")],
        &[(Global, "default.*", "CreateCollection"), (Collection, "default.books", "Search")],
    );
}

#[test]
fn custom_groups_groups_in_them_and_circles() {
    use ObjectType::*;
    check(
        (Global, "default.books", "outer"),
        &[
            (Collection, "default.books", "Load"),
            (Collection, "default.books", "GetLoadState"),
            (Collection, "default.books", "Search"),
            (Global, "default.books", "CreateAlias"),
        ],
        &[(Collection, "default.books", "Insert"), (Collection, "default.maps", "Load")],
    );
    check(
        (Global, "default.*", "one"),
        &[(Collection, "default.books", "Insert"), (Collection, "default.books", "Delete")],
        &[(Collection, "default.books", "Search")],
    );
    check((Global, "default.*", "empty"), &[], &[(Collection, "default.books", "Search")]);
    check((Global, "default.*", "missing"), &[], &[(Collection, "default.books", "Search")]);
}

#[test]
fn the_role_admin_may_do_everything() {
    let groups = Groups::new();
    let privilege = Privilege::named("DropDatabase").unwrap();
    let wanted = Wanted { object_type: ObjectType::Global, privilege, database: "sales", object: ANY };
    assert!(user(vec![(ADMIN, Vec::new())], &groups).allows(&wanted, &groups, &mut |_| false));
    let many = |last| {
        let mut roles: Vec<_> = (0..20).map(|_| ("r", Vec::new())).collect();
        roles.push((last, Vec::new()));
        user(roles, &groups)
    };
    assert!(many(ADMIN).allows(&wanted, &groups, &mut |_| false));
    assert!(!many("r").allows(&wanted, &groups, &mut |_| false));
}

#[test]
fn a_condition_is_asked_only_where_nothing_else_allows() {
    let groups = Groups::new();
    let condition = Arc::new(Condition::compile("user == 'alice'").unwrap());
    let of = |privilege, condition| (key(ObjectType::Collection, "default.books", privilege), condition);
    let grants = vec![of("PrivilegeInsert", None), of("PrivilegeDelete", Some(condition))];
    let user = user(vec![("r", grants)], &groups);
    let ask = |privilege: &str, name: &str| {
        let privilege = Privilege::named(privilege).unwrap();
        let wanted = Wanted { object_type: ObjectType::Collection, privilege, database: "default", object: "books" };
        let mut asked = 0;
        let allowed = user.allows(&wanted, &groups, &mut |condition| {
            asked += 1;
            let (database, collection, address) = ("default", "books", "::1");
            condition.holds(&Circumstances { user: name, database, collection, address, at: UNIX_EPOCH })
        });
        (allowed, asked)
    };
    assert_eq!(ask("Insert", "bob"), (true, 0));
    assert_eq!(ask("Delete", "alice"), (true, 1));
    assert_eq!(ask("Delete", "bob"), (false, 1));
    assert_eq!(ask("Search", "alice"), (false, 0));
}

/// The rules in their own words, one grant at a time.
fn says_yes(key: &GrantKey, groups: &Groups, wanted: &Wanted<'_>) -> bool {
    let database = key.database == ANY || key.database == wanted.database;
    let object = key.object == ANY || key.object == wanted.object;
    let in_set = || legacy_group(&key.privilege).unwrap().contains(wanted.privilege);
    match key.privilege.as_str() {
        ANY => key.object_type == wanted.object_type && database && object,
        "PrivilegeAll" => database,
        "PrivilegeGroupAdmin" => database && in_set(),
        "PrivilegeGroupReadOnly" | "PrivilegeGroupReadWrite" => database && object && in_set(),
        name => {
            let one = Privilege::stored(name).filter(|_| BuiltInGroup::stored(name).is_none());
            let granted: Vec<(ObjectType, Privilege)> = match one {
                Some(one) => vec![(key.object_type, one)],
                None => {
                    let mut members = BTreeSet::new();
                    unfold(name.strip_prefix("PrivilegeGroup").unwrap_or(name), groups, &mut members);
                    members.into_iter().filter_map(Privilege::named).map(|one| (one.object_type(), one)).collect()
                }
            };
            let gives = |(object_type, one): &(ObjectType, Privilege)| {
                let implied = match one.name() {
                    "Load" => ["GetLoadState", "GetLoadingProgress"].contains(&wanted.privilege.name()),
                    "Flush" => wanted.privilege.name() == "GetFlushState",
                    _ => false,
                };
                *object_type == wanted.object_type && (*one == wanted.privilege || implied)
            };
            database && object && granted.iter().any(gives)
        }
    }
}

fn unfold<'a>(name: &'a str, groups: &'a Groups, members: &mut BTreeSet<&'a str>) {
    if !members.insert(name) {
        return;
    }
    let built_in = BuiltInGroup::named(name).map(|group| group.privileges()).unwrap_or_default();
    let custom = groups.get(name).into_iter().flatten().map(String::as_str);
    built_in.into_iter().chain(custom).for_each(|member| unfold(member, groups, members));
}

fn pick(names: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    proptest::sample::select(names)
}

fn any_key() -> impl Strategy<Value = GrantKey> {
    let object_type = proptest::sample::select(&ObjectType::ALL[..]);
    let privilege = pick(&[
        "*",
        "PrivilegeAll",
        "PrivilegeGroupAdmin",
        "PrivilegeGroupReadOnly",
        "PrivilegeGroupReadWrite",
        "PrivilegeLoad",
        "PrivilegeFlush",
        "PrivilegeSearch",
        "PrivilegeCreateCollection",
        "PrivilegeUpdateUser",
        "PrivilegeGroupCollectionReadWrite",
        "PrivilegeGroupDatabaseAdmin",
        "PrivilegeGroupClusterReadOnly",
        "g",
        "outer",
        "one",
        "empty",
        "missing",
    ]);
    let place = pick(&["default.*", "default.a", "*.*", "*.b", "sales.a", "sales.*"]);
    (object_type, place, privilege).prop_map(|(object_type, place, privilege)| key(object_type, place, privilege))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn compiled_policy_says_what_the_rules_say(
        roles in vec(vec(any_key(), 0..6), 0..14),
        object_type in proptest::sample::select(&ObjectType::ALL[..]),
        privilege in pick(&[
            "Load", "GetLoadState", "GetFlushState", "Flush", "Search", "Insert", "Delete", "CreateCollection",
            "DropCollection", "ShowCollections", "UpdateUser", "SelectUser", "CreateAlias", "All",
        ]),
        database in pick(&["default", "sales", "hr"]),
        object in pick(&["*", "a", "b"]),
    ) {
        let groups = groups();
        let wanted = Wanted { object_type, privilege: Privilege::named(privilege).unwrap(), database, object };
        let expected = roles.iter().flatten().any(|key| says_yes(key, &groups, &wanted));
        let of_collections = PrivilegeSet::of_level(PrivilegeLevel::Collection);
        let touches = [ObjectType::Collection, ObjectType::Global].into_iter().any(|object_type| {
            let mut any = of_collections.iter().map(|privilege| Wanted { object_type, privilege, ..wanted });
            any.any(|wanted| roles.iter().flatten().any(|key| says_yes(key, &groups, &wanted)))
        });
        let is_custom = |key: &GrantKey| !key.privilege.starts_with("Privilege") && key.privilege != ANY;
        let on_it = |key: &GrantKey| {
            [ANY, database].contains(&key.database.as_str()) && [ANY, object].contains(&key.object.as_str())
        };
        let touches = touches || roles.iter().flatten().any(|key| is_custom(key) && on_it(key));
        let in_database = roles.iter().flatten().any(|key| key.database == ANY || key.database == database);
        let roles = roles.into_iter().map(|keys| ("r", keys.into_iter().map(|key| (key, None)).collect())).collect();
        let user = user(roles, &groups);
        prop_assert_eq!(user.allows(&wanted, &groups, &mut |_| false), expected);
        prop_assert_eq!(user.touches(database, object, &groups), touches);
        prop_assert_eq!(user.touches_database(database), in_database);
    }
}
