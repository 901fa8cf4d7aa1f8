//! Grants: a role may use a privilege on an object of a database, perhaps under a condition.

use std::fmt;
use std::io;

use roost_raft::kv::{Read, Txn};
use serde::{Deserialize, Serialize};

use super::command::AccessEvent;
use super::{ANY, AccessView, check_name, count, group, role};
use crate::error::Rejection;
use crate::pb::store;
use crate::state::broadcast::outbox;
use crate::state::limits::{MAX_CONDITION_BYTES, MAX_GRANTS};
use crate::state::step::{Outcome, Refusal, Step};
use crate::state::table::{FixedKey, Key, Name};
use crate::state::tables::{GRANTS, GROUP_GRANTS, OBJECT_GRANTS, ROLES};
use crate::state::{Event, Reply};

/// Milvus' numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ObjectType {
    Collection,
    Global,
    User,
}

impl ObjectType {
    pub const ALL: [ObjectType; 3] = [ObjectType::Collection, ObjectType::Global, ObjectType::User];

    pub fn name(self) -> &'static str {
        match self {
            ObjectType::Collection => "Collection",
            ObjectType::Global => "Global",
            ObjectType::User => "User",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|object_type| object_type.name() == name)
    }

    pub fn numbered(number: i32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }
}

impl Key for ObjectType {
    fn write(&self, out: &mut Vec<u8>) {
        (*self as u8).write(out);
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        Self::numbered(u8::read(bytes)?.into())
    }
}
impl FixedKey for ObjectType {}

/// What tells one grant from another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GrantKey {
    pub role: String,
    pub object_type: ObjectType,
    /// `*`: any.
    pub database: String,
    /// A collection or user; `*`: any.
    pub object: String,
    /// As Milvus stores it: `PrivilegeLoad`, a custom group's name, or `*`.
    pub privilege: String,
}

impl Key for GrantKey {
    fn write(&self, out: &mut Vec<u8>) {
        Name::write_text(&self.role, out);
        self.object_type.write(out);
        Name::write_text(&self.database, out);
        Name::write_text(&self.object, out);
        self.privilege.write(out);
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let role = Name::read(bytes)?.into();
        let object_type = ObjectType::read(bytes)?;
        let (database, object) = (Name::read(bytes)?.into(), Name::read(bytes)?.into());
        Some(GrantKey { role, object_type, database, object, privilege: String::read(bytes)? })
    }
}

impl fmt::Display for GrantKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let GrantKey { role, object_type, database, object, privilege } = self;
        let (role, database) = (role.escape_debug(), database.escape_debug());
        let (object, privilege) = (object.escape_debug(), privilege.escape_debug());
        write!(f, "{privilege} on {} {database}.{object} to {role}", object_type.name())
    }
}

/// A grant that is there already keeps its grantor and condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub key: GrantKey,
    pub grantor: String,
    /// The privilege is a custom group, which must be there.
    pub of_group: bool,
}

/// A missing grant is a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoke {
    pub key: GrantKey,
}

/// The grant must be there. An empty condition always holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetCondition {
    pub key: GrantKey,
    pub condition: String,
}

impl Grant {
    pub(super) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        let key = &self.key;
        role::existing(step, &key.role)?;
        if self.of_group && AccessView::new(step.txn).group(&key.privilege)?.is_none() {
            return Err(Rejection::invalid(format!("not found the privilege name[{}]", key.privilege)).into());
        }
        if GRANTS.get(step.txn, key)?.is_none() {
            let condition = String::new();
            put_new(step, key, store::Grant { grantor: self.grantor.clone(), of_group: self.of_group, condition })?;
            outbox::granted(step, self)?;
        }
        Ok(Reply::AccessChanged)
    }
}

/// Writes a grant that is known not to be there, to a role that is.
pub(super) fn put_new(step: &mut Step<'_, '_>, key: &GrantKey, row: store::Grant) -> Result<(), Refusal> {
    let parts = [("database name", &key.database), ("object name", &key.object), ("privilege", &key.privilege)];
    for (what, name) in parts.into_iter().chain([("grantor", &row.grantor)]) {
        check_name(what, name)?;
    }
    let mut full = false;
    count(step.txn, |totals| {
        full = totals.grants >= MAX_GRANTS;
        totals.grants = totals.grants.checked_add(1)?;
        Some(())
    })?;
    if full {
        return Err(Rejection::QuotaExceeded { detail: format!("there are {MAX_GRANTS} grants already") }.into());
    }
    let mut of = role::existing(step, &key.role)?;
    of.grants = of.grants.checked_add(1).ok_or_else(|| ROLES.corrupt(&ROLES.key(&key.role), "too many grants"))?;
    ROLES.put(step.txn, &key.role, &of);
    if key.object != ANY {
        OBJECT_GRANTS.put(step.txn, &by_object(key), &store::Present {});
    }
    if row.of_group {
        GROUP_GRANTS.put(step.txn, &by_group(key), &store::Present {});
    }
    GRANTS.put(step.txn, key, &row);
    role::changed(step, &key.role);
    Ok(())
}

/// Deletes a grant with its indexes; a missing one is left alone.
pub(super) fn delete(step: &mut Step<'_, '_>, key: &GrantKey) -> Result<(), Refusal> {
    let Some(row) = GRANTS.get(step.txn, key)? else { return Ok(()) };
    GRANTS.delete(step.txn, key);
    if key.object != ANY {
        OBJECT_GRANTS.delete(step.txn, &by_object(key));
    }
    if row.of_group {
        GROUP_GRANTS.delete(step.txn, &by_group(key));
    }
    let mut of = ROLES.get(step.txn, &key.role)?.ok_or_else(|| ROLES.missing(&key.role))?;
    of.grants = of.grants.checked_sub(1).ok_or_else(|| GRANTS.missing(key))?;
    ROLES.put(step.txn, &key.role, &of);
    count(step.txn, |totals| {
        totals.grants = totals.grants.checked_sub(1)?;
        Some(())
    })?;
    role::changed(step, &key.role);
    Ok(())
}

impl Revoke {
    pub(super) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        role::existing(step, &self.key.role)?;
        if let Some(row) = GRANTS.get(step.txn, &self.key)? {
            delete(step, &self.key)?;
            let was = Grant { key: self.key.clone(), grantor: row.grantor, of_group: row.of_group };
            outbox::revoked(step, &was)?;
        }
        Ok(Reply::AccessChanged)
    }
}

impl SetCondition {
    pub(super) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        if self.condition.len() > MAX_CONDITION_BYTES {
            let detail = format!("a condition of {} bytes, at most {MAX_CONDITION_BYTES}", self.condition.len());
            return Err(Rejection::ParameterTooLarge { detail }.into());
        }
        let missing = || Rejection::invalid(format!("there is no grant of {}", self.key));
        let mut row = GRANTS.get(step.txn, &self.key)?.ok_or_else(missing)?;
        row.condition = self.condition.clone();
        GRANTS.put(step.txn, &self.key, &row);
        role::changed(step, &self.key.role);
        Ok(Reply::AccessChanged)
    }
}

/// Database and object first, then what is left of the grant's key.
type ByObject = ((Name, Name), GrantKey);

fn by_object(key: &GrantKey) -> ByObject {
    ((key.database.clone().into(), key.object.clone().into()), key.clone())
}

fn by_group(key: &GrantKey) -> (Name, GrantKey) {
    (key.privilege.clone().into(), key.clone())
}

pub(super) fn of_role(read: &dyn Read, role: &str) -> io::Result<Vec<(GrantKey, store::Grant)>> {
    GRANTS.page(read, &Name::from(role.to_owned()), None, usize::MAX)
}

/// A role that was granted the group, if any.
pub(super) fn a_role_with(read: &dyn Read, group: &str) -> io::Result<Option<String>> {
    let page = GROUP_GRANTS.page(read, &Name::from(group.to_owned()), None, 1)?;
    Ok(page.into_iter().next().map(|((_, key), _)| key.role))
}

/// The grants that name this object of this database.
fn naming(txn: &Txn<'_>, database: &str, object: &str) -> io::Result<Vec<GrantKey>> {
    let prefix = (Name::from(database.to_owned()), Name::from(object.to_owned()));
    let page = OBJECT_GRANTS.page(txn, &prefix, None, usize::MAX)?;
    let named = page.into_iter().map(|((_, key), _)| key);
    Ok(named.filter(|key| key.object_type != ObjectType::User).collect())
}

/// Deletes every grant on a collection that goes.
pub(in crate::state) fn forget_object(step: &mut Step<'_, '_>, database: &str, object: &str) -> Result<(), Refusal> {
    for key in naming(step.txn, database, object)? {
        delete(step, &key)?;
    }
    Ok(())
}

/// Moves every grant on a collection to its new name. A grant that the new name has already stays as it is.
pub(in crate::state) fn rename_object(
    step: &mut Step<'_, '_>,
    from: (&str, &str),
    to: (&str, &str),
) -> Result<(), Refusal> {
    for old in naming(step.txn, from.0, from.1)? {
        let row = GRANTS.get(step.txn, &old)?.ok_or_else(|| GRANTS.missing(&old))?;
        delete(step, &old)?;
        let new = GrantKey { database: to.0.to_owned(), object: to.1.to_owned(), ..old };
        if GRANTS.get(step.txn, &new)?.is_none() {
            put_new(step, &new, row)?;
        }
    }
    Ok(())
}

/// Says that what groups mean has changed.
pub(super) fn groups_changed(step: &mut Step<'_, '_>) {
    step.events.push(Event::Access(AccessEvent::Groups));
}

/// Writes a restored grant unless it is there.
pub(super) fn restore(step: &mut Step<'_, '_>, grant: &Grant) -> Result<(), Refusal> {
    if grant.of_group && group::lookup(step.txn, &grant.key.privilege)?.is_none() {
        return Err(Rejection::invalid(format!("privilege [{}] does not exist", grant.key.privilege)).into());
    }
    if GRANTS.get(step.txn, &grant.key)?.is_none() {
        let (grantor, of_group) = (grant.grantor.clone(), grant.of_group);
        put_new(step, &grant.key, store::Grant { grantor, of_group, condition: String::new() })?;
    }
    Ok(())
}
