//! Which grants let a user do something, or what is missing.

use super::book::Policy;
use super::condition::Circumstances;
use super::grants::shown_name;
use super::policy::{Wanted, entries};
use crate::state::access::{ADMIN, GrantKey, ObjectType, PUBLIC, ROOT};

/// The answer to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub allowed: bool,
    /// One sentence.
    pub reason: String,
    /// Grants that are about it, those that allow it first.
    pub grants: Vec<Relevant>,
}

/// A grant that is about what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relevant {
    pub key: GrantKey,
    /// Empty: none.
    pub condition: String,
    /// Whether the condition holds in the circumstances that were given.
    pub holds: bool,
}

/// Looks at every grant of the user's roles one by one, as nobody in a hurry would.
pub fn explain(
    policy: &Policy,
    user: &str,
    wanted: &Wanted<'_>,
    circumstances: &Circumstances<'_>,
    root_needs_grants: bool,
) -> Explanation {
    let decided = |allowed, reason: String| Explanation { allowed, reason, grants: Vec::new() };
    let Some(known) = policy.user(user) else {
        return decided(false, format!("there is no user {user}"));
    };
    if user == ROOT && !root_needs_grants {
        return decided(true, "root may do everything".to_owned());
    }
    if known.has_role(ADMIN) {
        return decided(true, format!("{user} has the role {ADMIN}, which may do everything"));
    }
    if wanted.object_type == ObjectType::User && wanted.object == user {
        return decided(true, "users may always look at and change themselves".to_owned());
    }
    let roles = std::iter::once(policy.public()).chain(known.roles.iter().map(AsRef::as_ref));
    let mut grants = Vec::new();
    for (key, condition) in roles.flat_map(|role| role.grants()) {
        let matches = |entry: &super::policy::Entry<'_>| {
            entry.object_type == wanted.object_type
                && entry.privileges.contains(wanted.privilege)
                && (entry.database == "*" || entry.database == wanted.database)
                && (entry.object == "*" || entry.object == wanted.object)
        };
        if entries(key, policy.groups()).iter().any(matches) {
            let holds = condition.as_ref().is_none_or(|condition| condition.holds(circumstances));
            let condition = condition.as_ref().map(|condition| condition.source().to_owned()).unwrap_or_default();
            grants.push(Relevant { key: key.clone(), condition, holds });
        }
    }
    grants.sort_by_key(|relevant| !relevant.holds);
    let (allowed, reason) = verdict(user, wanted, grants.first());
    Explanation { allowed, reason, grants }
}

fn verdict(user: &str, wanted: &Wanted<'_>, first: Option<&Relevant>) -> (bool, String) {
    match first {
        Some(grant) if grant.holds => {
            let GrantKey { role, privilege, database, object, .. } = &grant.key;
            let of = if role == PUBLIC { "everybody's role" } else { "the role" };
            let name = shown_name(privilege);
            (true, format!("{of} {role} has {name} on {database}.{object}"))
        }
        Some(_) => (false, "there are grants, but none of their conditions holds".to_owned()),
        None => {
            let Wanted { privilege, database, object, object_type } = wanted;
            let (name, kind) = (privilege.name(), object_type.name());
            (false, format!("no role of {user} has {name} on {kind} {database}.{object}, nor a group with it"))
        }
    }
}
