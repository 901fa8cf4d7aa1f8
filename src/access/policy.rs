//! Compiled policy: what each role may do, in a form that a check reads without the tables.
//!
//! A grant becomes entries (object type, database, object) -> privileges, groups unfolded and implied privileges
//! added. A check looks at most at four entries of each role of its user: the named database or any, the named object
//! or any. A user with many roles gets one table for all of them, made when it is first asked for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, LazyLock, OnceLock};

use super::built_in::{BuiltInGroup, legacy_group};
use super::condition::Condition;
use super::privilege::{Privilege, PrivilegeSet};
use crate::state::access::{ADMIN, ANY, GrantKey, ObjectType, PrivilegeLevel};

/// Users with more roles get a table of their own instead of asking one role after the other.
const ROLES_ASKED_ONE_BY_ONE: usize = 8;

/// Custom groups: members by name.
pub type Groups = BTreeMap<String, Vec<String>>;

/// One question: may this be done?
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub object_type: ObjectType,
    pub privilege: Privilege,
    pub database: &'a str,
    /// `*` where no object is named.
    pub object: &'a str,
}

/// What a role, or several together, may do.
#[derive(Debug, Default)]
pub struct Permissions {
    by_type: [ByDatabase; 3],
    everything: bool,
}

#[derive(Debug, Default)]
struct ByDatabase {
    any: ByObject,
    named: HashMap<Box<str>, ByObject>,
}

#[derive(Debug, Default)]
struct ByObject {
    any: Allowed,
    named: HashMap<Box<str>, Allowed>,
}

#[derive(Clone, Debug, Default)]
struct Allowed {
    always: PrivilegeSet,
    conditional: Vec<(PrivilegeSet, Arc<Condition>)>,
}

/// A role's grants, compiled.
#[derive(Debug)]
pub struct RolePolicy {
    pub name: Box<str>,
    grants: Vec<(GrantKey, Option<Arc<Condition>>)>,
    /// What its grants name, whatever they mean there.
    databases: BTreeSet<Box<str>>,
    permissions: Permissions,
}

/// A user as a check needs it.
#[derive(Debug)]
pub struct UserPolicy {
    pub password_hash: Arc<str>,
    /// Tells this password from all others of all time.
    pub generation: u64,
    /// Given to the user, `public` not among them.
    pub roles: Vec<Arc<RolePolicy>>,
    together: OnceLock<Permissions>,
}

impl RolePolicy {
    pub fn compile(name: &str, grants: Vec<(GrantKey, Option<Arc<Condition>>)>, groups: &Groups) -> Self {
        let mut permissions = Permissions { everything: name == ADMIN, ..Permissions::default() };
        for (key, condition) in &grants {
            permissions.add(key, condition.as_ref(), groups);
        }
        let databases = grants.iter().map(|(key, _)| key.database.as_str().into()).collect();
        RolePolicy { name: name.into(), grants, databases, permissions }
    }

    /// Whether any of its grants is of a custom group.
    pub fn has_groups(&self) -> bool {
        self.grants.iter().any(|(key, _)| key.privilege != ANY && Privilege::stored(&key.privilege).is_none())
    }

    /// The same grants with what groups mean now.
    pub fn recompiled(&self, groups: &Groups) -> Self {
        Self::compile(&self.name, self.grants.clone(), groups)
    }

    pub fn grants(&self) -> &[(GrantKey, Option<Arc<Condition>>)] {
        &self.grants
    }

    pub fn allows(&self, wanted: &Wanted<'_>, holds: &mut dyn FnMut(&Condition) -> bool) -> bool {
        self.permissions.allow(wanted, holds)
    }
}

impl UserPolicy {
    pub fn new(password_hash: Arc<str>, generation: u64, roles: Vec<Arc<RolePolicy>>) -> Self {
        UserPolicy { password_hash, generation, roles, together: OnceLock::new() }
    }

    pub fn has_role(&self, name: &str) -> bool {
        self.roles.iter().any(|role| *role.name == *name)
    }

    /// Whether any of the user's roles has anything to do with a collection, be it under a condition. A custom group is
    /// enough, whatever it holds, as in Milvus.
    pub fn touches(&self, database: &str, collection: &str, groups: &Groups) -> bool {
        static OF_COLLECTIONS: LazyLock<PrivilegeSet> =
            LazyLock::new(|| PrivilegeSet::of_level(PrivilegeLevel::Collection).union(PrivilegeSet::SIGHT));
        let of_collections = *OF_COLLECTIONS;
        self.asked_of(groups, |permissions| permissions.touch(of_collections, database, collection))
    }

    /// Whether any of the user's roles has any grant there.
    pub fn touches_database(&self, database: &str) -> bool {
        self.roles.iter().any(|role| role.databases.contains(ANY) || role.databases.contains(database))
    }

    /// Whether any of the user's roles allows it. `holds` is asked only where nothing without a condition does.
    pub fn allows(&self, wanted: &Wanted<'_>, groups: &Groups, holds: &mut dyn FnMut(&Condition) -> bool) -> bool {
        self.asked_of(groups, |permissions| permissions.allow(wanted, holds))
    }

    /// Whether it is so of any role.
    fn asked_of(&self, groups: &Groups, mut is_so: impl FnMut(&Permissions) -> bool) -> bool {
        if self.roles.len() <= ROLES_ASKED_ONE_BY_ONE {
            return self.roles.iter().any(|role| is_so(&role.permissions));
        }
        let together = self.together.get_or_init(|| {
            let everything = self.roles.iter().any(|role| role.permissions.everything);
            let mut together = Permissions { everything, ..Permissions::default() };
            for (key, condition) in self.roles.iter().flat_map(|role| role.grants.iter()) {
                together.add(key, condition.as_ref(), groups);
            }
            together
        });
        is_so(together)
    }
}

impl Permissions {
    fn add(&mut self, key: &GrantKey, condition: Option<&Arc<Condition>>, groups: &Groups) {
        for entry in entries(key, groups) {
            let by_object = self.by_type[entry.object_type as usize].slot(entry.database);
            by_object.slot(entry.object).add(entry.privileges, condition);
        }
    }

    fn allow(&self, wanted: &Wanted<'_>, holds: &mut dyn FnMut(&Condition) -> bool) -> bool {
        let &Wanted { object_type, privilege, database, object } = wanted;
        self.everything || self.there(object_type, database, object).any(|allowed| allowed.allows(privilege, holds))
    }

    /// Whether any of these privileges is allowed on the object, which is no user, be it under a condition.
    fn touch(&self, privileges: PrivilegeSet, database: &str, object: &str) -> bool {
        let of_type =
            |object_type| self.there(object_type, database, object).any(|allowed| allowed.has_any(privileges));
        self.everything || of_type(ObjectType::Collection) || of_type(ObjectType::Global)
    }

    /// What holds for this object: of any database or its own, on any object or on it.
    fn there(&self, object_type: ObjectType, database: &str, object: &str) -> impl Iterator<Item = &Allowed> {
        let by_database = &self.by_type[object_type as usize];
        let databases = [Some(&by_database.any), by_database.named.get(database)].into_iter().flatten();
        databases.flat_map(move |by_object| [Some(&by_object.any), by_object.named.get(object)].into_iter().flatten())
    }
}

impl ByDatabase {
    fn slot(&mut self, database: &str) -> &mut ByObject {
        if database == ANY { &mut self.any } else { self.named.entry(database.into()).or_default() }
    }
}

impl ByObject {
    fn slot(&mut self, object: &str) -> &mut Allowed {
        if object == ANY { &mut self.any } else { self.named.entry(object.into()).or_default() }
    }
}

impl Allowed {
    fn add(&mut self, privileges: PrivilegeSet, condition: Option<&Arc<Condition>>) {
        match condition {
            None => self.always = self.always.union(privileges),
            Some(condition) => self.conditional.push((privileges, condition.clone())),
        }
    }

    fn has_any(&self, privileges: PrivilegeSet) -> bool {
        let sets = self.conditional.iter().map(|(set, _)| *set).chain([self.always]);
        sets.into_iter().any(|set| !set.intersection(privileges).is_empty())
    }

    fn allows(&self, privilege: Privilege, holds: &mut dyn FnMut(&Condition) -> bool) -> bool {
        self.always.contains(privilege)
            || self.conditional.iter().any(|(set, condition)| set.contains(privilege) && holds(condition))
    }
}

/// A part of what a grant means.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    pub object_type: ObjectType,
    pub database: &'a str,
    pub object: &'a str,
    pub privileges: PrivilegeSet,
}

/// What a grant means, one entry for each object type that it touches.
pub fn entries<'a>(key: &'a GrantKey, groups: &Groups) -> Vec<Entry<'a>> {
    let GrantKey { object_type, database, object, privilege, .. } = key;
    let (database, object) = (database.as_str(), object.as_str());
    let of_type = |object_type, object, privileges| Entry { object_type, database, object, privileges };
    let of_every_type =
        |object: &'a str, privileges| ObjectType::ALL.map(|one| of_type(one, object, privileges)).into();
    match privilege.as_str() {
        ANY => vec![of_type(*object_type, object, PrivilegeSet::ALL)],
        // In Milvus these look at the database only.
        "PrivilegeAll" => of_every_type(ANY, PrivilegeSet::ALL),
        "PrivilegeGroupAdmin" => of_every_type(ANY, legacy_group(privilege).unwrap_or_default()),
        "PrivilegeGroupReadOnly" | "PrivilegeGroupReadWrite" => {
            of_every_type(object, legacy_group(privilege).unwrap_or_default())
        }
        name => match (BuiltInGroup::stored(name), Privilege::stored(name)) {
            (Some(group), _) => by_type(group.set(), database, object),
            (None, Some(one)) => vec![of_type(*object_type, object, one.with_implied())],
            (None, None) => {
                let mut entries = by_type(members(name, groups), database, object);
                entries.push(of_type(ObjectType::Global, object, PrivilegeSet::SIGHT));
                entries
            }
        },
    }
}

/// Each privilege with its own object type and what it implies.
fn by_type<'a>(set: PrivilegeSet, database: &'a str, object: &'a str) -> Vec<Entry<'a>> {
    let of_type = |object_type| {
        let own = set.iter().filter(|privilege| privilege.object_type() == object_type);
        let privileges = own.fold(PrivilegeSet::NONE, |all, one| all.union(one.with_implied()));
        Entry { object_type, database, object, privileges }
    };
    ObjectType::ALL.map(of_type).into_iter().filter(|entry| !entry.privileges.is_empty()).collect()
}

/// What a custom group stands for, groups within it unfolded. Groups that hold each other end where they began.
fn members(group: &str, groups: &Groups) -> PrivilegeSet {
    let (mut seen, mut open, mut all) = (BTreeSet::new(), vec![group], PrivilegeSet::NONE);
    while let Some(name) = open.pop() {
        if !seen.insert(name) {
            continue;
        }
        for member in groups.get(name).into_iter().flatten() {
            match (BuiltInGroup::named(member), Privilege::named(member)) {
                (Some(group), _) => all = all.union(group.set()),
                (None, Some(one)) => all = all.union(PrivilegeSet::only(one)),
                (None, None) => open.push(member),
            }
        }
    }
    all
}
