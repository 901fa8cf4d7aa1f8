//! Grants: a role may use a privilege on an object of a database, perhaps under a condition.

use std::fmt;
use std::io;

use roost_raft::kv::Read;
use serde::{Deserialize, Serialize};

use super::command::AccessEvent;
use super::forget::unswept;
use super::shift::{Fate, Found, Shifts};
use super::{ANY, AccessView, check_name, count, group, role};
use crate::error::Rejection;
use crate::pb::store;
use crate::state::broadcast::outbox;
use crate::state::limits::{GRANTS_AT_ONCE, MAX_CONDITION_BYTES, MAX_GRANTS};
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
        role::must_be_there(step, &self.key.role)?;
        if self.of_group && AccessView::new(step.txn).group(&self.key.privilege)?.is_none() {
            return Err(Rejection::invalid(format!("not found the privilege name[{}]", self.key.privilege)).into());
        }
        if put(step, self)? {
            outbox::granted(step, self)?;
        }
        Ok(Reply::AccessChanged)
    }
}

/// Writes a grant to a role that is there. False if there is one already.
fn put(step: &mut Step<'_, '_>, grant: &Grant) -> Result<bool, Refusal> {
    let Grant { key, grantor, of_group } = grant;
    let mut shifts = Shifts::read(step.txn)?;
    if !shifts.seen_as(step.txn, key)?.is_empty() {
        return Ok(false);
    }
    let parts = [("database name", &key.database), ("object name", &key.object), ("privilege", &key.privilege)];
    for (what, name) in parts.into_iter().chain([("grantor", grantor)]) {
        check_name(what, name)?;
    }
    if AccessView::new(step.txn).totals()?.grants >= MAX_GRANTS {
        return Err(Rejection::QuotaExceeded { detail: format!("there are {MAX_GRANTS} grants already") }.into());
    }
    let row = store::Grant { grantor: grantor.clone(), of_group: *of_group, ..store::Grant::default() };
    settle(step, &mut shifts, key, row, 0)?;
    role::changed(step, &key.role);
    Ok(true)
}

/// Lays a grant where its key says, unless one that counts more is seen there than what the shift `by` moved. What lies
/// in the way has been moved itself, and is laid where it is seen. Returns how many were laid.
pub(super) fn settle(
    step: &mut Step<'_, '_>,
    shifts: &mut Shifts,
    key: &GrantKey,
    row: store::Grant,
    by: u64,
) -> io::Result<usize> {
    let (mut next, mut placed) = (Some((key.clone(), row, by)), 0);
    while let Some((key, row, by)) = next.take() {
        if shifts.is_taken(step.txn, &key, by)? {
            break;
        }
        if let Some(other) = GRANTS.get(step.txn, &key)? {
            let fate = shifts.fate(step.txn, &key, &other)?;
            remove(step, &key, &other, &fate)?;
            if let Fate::Moved { to, by } = fate {
                next = Some((key.on(&to), other, by));
            }
        }
        insert(step, &key, row)?;
        placed += 1;
    }
    Ok(placed)
}

/// Writes a grant with its indexes.
fn insert(step: &mut Step<'_, '_>, key: &GrantKey, mut row: store::Grant) -> io::Result<()> {
    count(step.txn, |totals| {
        totals.grants = totals.grants.checked_add(1)?;
        row.written = totals.shifts;
        Some(())
    })?;
    let mut of = ROLES.get(step.txn, &key.role)?.ok_or_else(|| ROLES.missing(&key.role))?;
    of.grants = of.grants.checked_add(1).ok_or_else(|| ROLES.corrupt(&ROLES.key(&key.role), "too many grants"))?;
    ROLES.put(step.txn, &key.role, &of);
    if key.object != ANY {
        OBJECT_GRANTS.put(step.txn, &by_object(key), &store::Present {});
    }
    if row.of_group {
        GROUP_GRANTS.put(step.txn, &by_group(key), &store::Present {});
    }
    GRANTS.put(step.txn, key, &row);
    Ok(())
}

/// Deletes a grant with its indexes. One that was an earlier role's does not count among those of its role.
pub(super) fn remove(step: &mut Step<'_, '_>, key: &GrantKey, row: &store::Grant, fate: &Fate) -> io::Result<()> {
    GRANTS.delete(step.txn, key);
    if key.object != ANY {
        OBJECT_GRANTS.delete(step.txn, &by_object(key));
    }
    if row.of_group {
        GROUP_GRANTS.delete(step.txn, &by_group(key));
    }
    if *fate != Fate::Cut {
        let mut of = ROLES.get(step.txn, &key.role)?.ok_or_else(|| ROLES.missing(&key.role))?;
        of.grants = of.grants.checked_sub(1).ok_or_else(|| GRANTS.missing(key))?;
        ROLES.put(step.txn, &key.role, &of);
    }
    count(step.txn, |totals| {
        totals.grants = totals.grants.checked_sub(1)?;
        Some(())
    })
}

impl Revoke {
    pub(super) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        role::must_be_there(step, &self.key.role)?;
        let found = Shifts::read(step.txn)?.seen_as(step.txn, &self.key)?;
        for one in &found {
            remove(step, &one.key, &one.row, &Fate::AtHome)?;
            role::changed(step, &self.key.role);
        }
        if let Some(Found { row, .. }) = found.into_iter().next() {
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
        let found = Shifts::read(step.txn)?.seen_as(step.txn, &self.key)?;
        let Found { key, mut row, .. } = found.into_iter().next().ok_or_else(missing)?;
        row.condition = self.condition.clone();
        GRANTS.put(step.txn, &key, &row);
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

/// What readers see of the grants of a role, in the order of their keys.
pub(super) fn of_role(read: &dyn Read, role: &str) -> io::Result<Vec<(GrantKey, store::Grant)>> {
    let rows = GRANTS.page(read, &Name::from(role.to_owned()), None, usize::MAX)?;
    Shifts::read(read)?.seen(read, rows)
}

/// A role that was granted the group, if any.
pub(super) fn a_role_with(read: &dyn Read, group: &str) -> Result<Option<String>, Refusal> {
    let mut shifts = Shifts::read(read)?;
    let page = GROUP_GRANTS.page(read, &Name::from(group.to_owned()), None, GRANTS_AT_ONCE)?;
    let is_full = page.len() == GRANTS_AT_ONCE;
    for ((_, key), _) in page {
        let row = GRANTS.get(read, &key)?.ok_or_else(|| GRANTS.missing(&key))?;
        if !shifts.fate(read, &key, &row)?.is_gone() {
            return Ok(Some(key.role));
        }
    }
    if is_full { Err(unswept().into()) } else { Ok(None) }
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
    put(step, grant)?;
    Ok(())
}
