//! Custom privilege groups: a name for several privileges of one level.

use std::io;

use roost_raft::kv::Read;
use serde::{Deserialize, Serialize};

use super::{check_name, grant};
use crate::error::Rejection;
use crate::pb::store;
use crate::state::Reply;
use crate::state::broadcast::outbox;
use crate::state::limits::{MAX_GROUP_PRIVILEGES, MAX_PRIVILEGE_GROUPS};
use crate::state::step::{Outcome, Refusal, Step};
use crate::state::tables::PRIVILEGE_GROUPS;

/// What a privilege is about. Stored by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PrivilegeLevel {
    Cluster = 1,
    Database = 2,
    Collection = 3,
}

impl PrivilegeLevel {
    /// By the number that a row holds.
    pub fn numbered(number: u32) -> Option<Self> {
        [Self::Cluster, Self::Database, Self::Collection].into_iter().find(|level| *level as u32 == number)
    }
}

/// A privilege or a group, by the name that the API shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupMember {
    pub name: String,
    /// `None`: a custom group, which must be there.
    pub level: Option<PrivilegeLevel>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateGroup {
    pub name: String,
}

/// A missing group is a success; one that is granted stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropGroup {
    pub name: String,
}

/// Adds members or removes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeGroup {
    pub name: String,
    pub members: Vec<GroupMember>,
    pub add: bool,
}

/// From this apply version on a group that goes is no member of others any more: a new one of its name would be.
const LEAVES_SINCE: u32 = 6;

pub(super) fn lookup(read: &dyn Read, name: &str) -> io::Result<Option<store::PrivilegeGroup>> {
    PRIVILEGE_GROUPS.get(read, &name.to_owned())
}

/// How many there are; no more than there may be.
pub(super) fn count(read: &dyn Read) -> io::Result<usize> {
    Ok(PRIVILEGE_GROUPS.page(read, &(), None, MAX_PRIVILEGE_GROUPS)?.len())
}

/// Writes a group without members that is known not to be there, beside `present` others.
pub(super) fn put_new(step: &mut Step<'_, '_>, name: &str, present: usize) -> Result<(), Refusal> {
    check_name("privilege group name", name)?;
    if present >= MAX_PRIVILEGE_GROUPS {
        let detail = format!("there are {MAX_PRIVILEGE_GROUPS} privilege groups already");
        return Err(Rejection::QuotaExceeded { detail }.into());
    }
    PRIVILEGE_GROUPS.put(step.txn, &name.to_owned(), &store::PrivilegeGroup::default());
    grant::groups_changed(step);
    Ok(())
}

impl CreateGroup {
    pub(super) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        if lookup(step.txn, &self.name)?.is_some() {
            return Err(Rejection::invalid(format!("privilege group name [{}] is defined by users", self.name)).into());
        }
        let present = count(step.txn)?;
        put_new(step, &self.name, present)?;
        outbox::group_created(step, &self.name)?;
        Ok(Reply::AccessChanged)
    }
}

impl DropGroup {
    pub(super) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        if lookup(step.txn, &self.name)?.is_none() {
            return Ok(Reply::AccessChanged);
        }
        if let Some(role) = grant::a_role_with(step.txn, &self.name)? {
            let group = &self.name;
            let detail =
                format!("privilege group [{group}] is used by role [{role}], Use REVOKE API to revoke it first");
            return Err(Rejection::invalid(detail).into());
        }
        PRIVILEGE_GROUPS.delete(step.txn, &self.name);
        if step.apply_version >= LEAVES_SINCE {
            for (other, mut row) in PRIVILEGE_GROUPS.page(step.txn, &(), None, MAX_PRIVILEGE_GROUPS)? {
                if row.privileges.contains(&self.name) {
                    remove(&mut row, &self.name);
                    PRIVILEGE_GROUPS.put(step.txn, &other, &row);
                    outbox::group_changed(step, &other, std::slice::from_ref(&self.name), false)?;
                }
            }
        }
        outbox::group_dropped(step, &self.name)?;
        grant::groups_changed(step);
        Ok(Reply::AccessChanged)
    }
}

impl ChangeGroup {
    pub(super) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        self.write(step)?;
        let members: Vec<String> = self.members.iter().map(|member| member.name.clone()).collect();
        outbox::group_changed(step, &self.name, &members, self.add)?;
        Ok(Reply::AccessChanged)
    }

    /// Without telling streaming nodes.
    pub(super) fn write(&self, step: &mut Step<'_, '_>) -> Result<(), Refusal> {
        let unknown = || {
            let name = &self.name;
            Rejection::invalid(format!("there is no privilege group name [{name}] defined in system to operate"))
        };
        let mut row = lookup(step.txn, &self.name)?.ok_or_else(unknown)?;
        if self.members.is_empty() {
            return Err(Rejection::invalid("privileges is empty when alter the privilege group").into());
        }
        for member in &self.members {
            if self.add {
                add(step, &self.name, &mut row, member)?;
            } else {
                remove(&mut row, &member.name);
            }
        }
        PRIVILEGE_GROUPS.put(step.txn, &self.name, &row);
        grant::groups_changed(step);
        Ok(())
    }
}

/// Without members a group has no level.
fn remove(row: &mut store::PrivilegeGroup, member: &str) {
    row.privileges.retain(|name| name != member);
    if row.privileges.is_empty() {
        row.level = 0;
    }
}

/// Adds one member, if its level is that of the others.
fn add(step: &Step<'_, '_>, name: &str, row: &mut store::PrivilegeGroup, member: &GroupMember) -> Result<(), Refusal> {
    check_name("privilege", &member.name)?;
    let level = match member.level {
        Some(level) => level as u32,
        None => level_of_group(step.txn, name, &member.name)?,
    };
    if row.level != 0 && level != row.level {
        return Err(Rejection::invalid("privileges are not the same privilege level").into());
    }
    row.level = level;
    if !row.privileges.contains(&member.name) {
        if row.privileges.len() >= MAX_GROUP_PRIVILEGES {
            let detail = format!("a privilege group holds at most {MAX_GROUP_PRIVILEGES} names");
            return Err(Rejection::QuotaExceeded { detail }.into());
        }
        row.privileges.push(member.name.clone());
        row.privileges.sort_unstable();
    }
    Ok(())
}

/// The level of a custom group that becomes a member of another one. A group without members has none, and joining
/// itself means nothing: both are refused as unknown.
fn level_of_group(read: &dyn Read, parent: &str, name: &str) -> Result<u32, Refusal> {
    let unknown = || {
        let text = "there is no privilege name or privilege group name";
        Rejection::invalid(format!("{text} [{name}] defined in system to operate"))
    };
    match lookup(read, name)? {
        Some(row) if row.level != 0 && name != parent => Ok(row.level),
        _ => Err(unknown().into()),
    }
}
