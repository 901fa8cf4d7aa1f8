//! Who may do what: users with hashed passwords, roles, grants and privilege groups.
//!
//! A privilege here is a name: `PrivilegeLoad`, `*`, or that of a custom group. What names mean, which of them exist
//! and how a check is made of them is the business of `src/access`; apply keeps the rows consistent with each other.

mod command;
mod forget;
mod grant;
mod group;
mod restore;
mod role;
mod shift;
mod sweep;
mod user;

use std::io;

use roost_raft::kv::{Read, Txn};

pub use command::{AccessCommand, AccessEvent};
pub use grant::{Grant, GrantKey, ObjectType, Revoke, SetCondition};
pub use group::{ChangeGroup, CreateGroup, DropGroup, GroupMember, PrivilegeLevel};
pub use restore::{Restore, RestoredUser};
pub use role::{AlterRole, BindRole, CreateRole, DropRole};
pub use user::{CreateRoot, CreateUser, DropUser, UpdateUser};

pub(super) use forget::{forget_object, rename_object};

use self::shift::Shifts;
use super::Event;
use super::limits::MAX_NAME_BYTES;
use super::step::{Refusal, Step};
use super::table::Name;
use super::tables::{ACCESS_TOTALS, PRIVILEGE_GROUPS, ROLE_USERS, ROLES, USER_ROLES, USERS};
use crate::error::Rejection;
use crate::pb::store;

/// The user that every check lets pass. Made by the first leader; cannot be deleted.
pub const ROOT: &str = "root";
/// The role that may do everything.
pub const ADMIN: &str = "admin";
/// The role that every user has.
pub const PUBLIC: &str = "public";
/// Any object, any database, any privilege.
pub const ANY: &str = "*";

/// From this apply version on refusals have the words of Milvus 2.6 where they had those of an older one.
const TEXTS_SINCE: u32 = 8;

/// Roles that are always there and can neither be altered nor dropped.
pub fn is_built_in(role: &str) -> bool {
    role == ADMIN || role == PUBLIC
}

/// Writes the built-in roles before the first command of all that asks for any.
fn found(step: &mut Step<'_, '_>) -> io::Result<()> {
    if ACCESS_TOTALS.get(step.txn, &())?.is_some() {
        return Ok(());
    }
    for role in [ADMIN, PUBLIC] {
        ROLES.put(step.txn, &role.to_owned(), &store::Role::default());
    }
    ACCESS_TOTALS.put(step.txn, &(), &store::AccessTotals { roles: 2, ..store::AccessTotals::default() });
    // Whoever read the tables before has no such roles.
    step.events.push(Event::Access(AccessEvent::Everything));
    Ok(())
}

/// Changes the counts, which neither fall below zero nor overflow.
fn count(txn: &mut Txn<'_>, with: impl FnOnce(&mut store::AccessTotals) -> Option<()>) -> io::Result<()> {
    let mut totals = ACCESS_TOTALS.get(txn, &())?.ok_or_else(|| ACCESS_TOTALS.missing(&()))?;
    let wrong = || ACCESS_TOTALS.corrupt(&ACCESS_TOTALS.key(&()), "a count would leave its range");
    with(&mut totals).ok_or_else(wrong)?;
    ACCESS_TOTALS.put(txn, &(), &totals);
    Ok(())
}

/// Keys hold names behind a byte of length. The rules for each kind of name are the services'.
fn check_name(what: &str, name: &str) -> Result<(), Refusal> {
    match name.len() {
        1..=MAX_NAME_BYTES => Ok(()),
        0 => Err(Rejection::invalid(format!("{what} is empty")).into()),
        length => {
            let detail = format!("{what} of {length} bytes, at most {MAX_NAME_BYTES}");
            Err(Rejection::ParameterTooLarge { detail }.into())
        }
    }
}

/// Every row of the access tables, paged as the callers like.
#[derive(Clone, Copy)]
pub struct AccessView<'a> {
    read: &'a dyn Read,
}

impl<'a> AccessView<'a> {
    pub fn new(read: &'a dyn Read) -> Self {
        AccessView { read }
    }

    pub fn user(&self, name: &str) -> io::Result<Option<store::User>> {
        USERS.get(self.read, &name.to_owned())
    }

    /// Up to `limit` users by name, after the name `after`.
    pub fn users(&self, after: Option<&String>, limit: usize) -> io::Result<Vec<(String, store::User)>> {
        USERS.page(self.read, &(), after, limit)
    }

    pub fn role(&self, name: &str) -> io::Result<Option<store::Role>> {
        ROLES.get(self.read, &name.to_owned())
    }

    /// Up to `limit` roles by name, after the name `after`.
    pub fn roles(&self, after: Option<&String>, limit: usize) -> io::Result<Vec<(String, store::Role)>> {
        ROLES.page(self.read, &(), after, limit)
    }

    /// The roles that a user was given, by name: without `public`, which every user has.
    pub fn roles_of(&self, user: &str) -> io::Result<Vec<String>> {
        let page = USER_ROLES.page(self.read, &Name::from(user.to_owned()), None, usize::MAX)?;
        let (mut shifts, mut roles) = (Shifts::read(self.read)?, Vec::with_capacity(page.len()));
        for ((_, role), row) in page {
            if shifts.has_role(self.read, &role, &row)? {
                roles.push(role);
            }
        }
        Ok(roles)
    }

    /// The users that were given a role, by name.
    pub fn users_of(&self, role: &str) -> io::Result<Vec<String>> {
        let page = ROLE_USERS.page(self.read, &Name::from(role.to_owned()), None, usize::MAX)?;
        let (mut shifts, mut users) = (Shifts::read(self.read)?, Vec::with_capacity(page.len()));
        for ((_, user), row) in page {
            if shifts.has_role(self.read, role, &row)? {
                users.push(user);
            }
        }
        Ok(users)
    }

    /// The grants of a role, in the order of their keys.
    pub fn grants_of(&self, role: &str) -> io::Result<Vec<(GrantKey, store::Grant)>> {
        grant::of_role(self.read, role)
    }

    pub fn group(&self, name: &str) -> io::Result<Option<store::PrivilegeGroup>> {
        PRIVILEGE_GROUPS.get(self.read, &name.to_owned())
    }

    /// Every custom privilege group, by name.
    pub fn groups(&self) -> io::Result<Vec<(String, store::PrivilegeGroup)>> {
        PRIVILEGE_GROUPS.page(self.read, &(), None, usize::MAX)
    }

    pub fn totals(&self) -> io::Result<store::AccessTotals> {
        ACCESS_TOTALS.get_or_default(self.read, &())
    }
}
