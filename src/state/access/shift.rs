//! What has become of grants that a drop or a rename named and did not touch. A collection or a role may have hundreds
//! of thousands, and every other command waits for the one that is applied. So beyond a few of them one row says it:
//!
//! - a *shift* of an object: grants on it that were written before are gone, or are on another object now;
//! - a *cut* of a role: grants to it that were written before were an earlier role's of the same name, and so were the
//!   users who had it before, if there were many.
//!
//! Shifts and cuts are counted together, and a grant holds the count at which it was written, so that one number tells
//! before from after. Whoever reads a grant asks here what has become of it; a leader has the rows themselves follow
//! in steps (`sweep`), and then the shift is forgotten.
//!
//! A grant was moved by one shift at most: where the object that a shift leads to is renamed or dropped, the shift
//! itself is changed. Where two grants have come to be the same one, that counts which was on the object first: the
//! one that lies there, else the one of the latest shift.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;

use roost_raft::kv::Read;

use super::command::AccessEvent;
use super::grant::{GrantKey, ObjectType};
use super::{ANY, count};
use crate::pb::store;
use crate::state::Event;
use crate::state::limits::MAX_GRANT_SOURCES;
use crate::state::step::Step;
use crate::state::table::Name;
use crate::state::tables::{ACCESS_TOTALS, GRANT_SHIFTS, GRANT_SOURCES, GRANTS, ROLE_CUTS};

/// From this apply version on drops and renames leave grants where they are if there are many.
pub(super) const SHIFTS_SINCE: u32 = 7;

/// From this apply version on a role that goes leaves its users' rows where they are if there are many.
pub(super) const USERS_CUT_SINCE: u32 = 8;

/// The rank of a grant that is what its key says; of others, it is the number of the shift that moved them.
const AT_HOME: u64 = u64::MAX;

/// A database and a collection in it, as grants name them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) database: String,
    pub(super) object: String,
}

impl Place {
    pub(super) fn new(database: &str, object: &str) -> Self {
        Place { database: database.to_owned(), object: object.to_owned() }
    }

    pub(super) fn of(key: &GrantKey) -> Self {
        Self::new(&key.database, &key.object)
    }

    /// As keys begin with it.
    pub(super) fn name(&self) -> (Name, Name) {
        (self.database.clone().into(), self.object.clone().into())
    }

    fn row(&self) -> store::GrantPlace {
        store::GrantPlace { database: self.database.clone(), object: self.object.clone() }
    }
}

impl From<store::GrantPlace> for Place {
    fn from(row: store::GrantPlace) -> Self {
        Place { database: row.database, object: row.object }
    }
}

impl GrantKey {
    /// The same grant on another object.
    pub(super) fn on(&self, place: &Place) -> Self {
        GrantKey { database: place.database.clone(), object: place.object.clone(), ..self.clone() }
    }
}

/// What has become of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is what its key says.
    AtHome,
    /// It is on this object, since this shift.
    Moved { to: Place, by: u64 },
    /// It is gone, since this shift.
    Gone { by: u64 },
    /// It was granted to an earlier role of that name.
    Cut,
}

impl Fate {
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Fate::Gone { .. } | Fate::Cut)
    }
}

/// A grant as it lies in the tables.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) rank: u64,
    pub(super) key: GrantKey,
    pub(super) row: store::Grant,
}

/// A reader of shifts and cuts. It remembers what it read, so it is for one look at tables whose shifts stay.
pub(super) struct Shifts {
    /// Some are not swept.
    any: bool,
    cuts: BTreeMap<String, store::RoleCut>,
    /// By number, where they lead to.
    of: BTreeMap<Place, Vec<(u64, Option<Place>)>>,
}

impl Shifts {
    pub(super) fn read(read: &dyn Read) -> io::Result<Self> {
        let any = ACCESS_TOTALS.get_or_default(read, &())?.sweeps > 0;
        Ok(Shifts { any, cuts: BTreeMap::new(), of: BTreeMap::new() })
    }

    pub(super) fn fate(&mut self, read: &dyn Read, key: &GrantKey, row: &store::Grant) -> io::Result<Fate> {
        if !self.any {
            return Ok(Fate::AtHome);
        }
        if row.written < self.cut(read, &key.role)?.before {
            return Ok(Fate::Cut);
        }
        if !is_on_collection(key) {
            return Ok(Fate::AtHome);
        }
        let shift = self.shifts_of(read, Place::of(key))?.iter().find(|(number, _)| row.written < *number);
        Ok(match shift {
            None => Fate::AtHome,
            Some((by, Some(to))) => Fate::Moved { to: to.clone(), by: *by },
            Some((by, None)) => Fate::Gone { by: *by },
        })
    }

    /// Whether a user whose row this is has the role still.
    pub(super) fn has_role(&mut self, read: &dyn Read, role: &str, row: &store::Binding) -> io::Result<bool> {
        Ok(!self.any || row.written >= self.cut(read, role)?.users_before)
    }

    fn cut(&mut self, read: &dyn Read, role: &str) -> io::Result<&store::RoleCut> {
        match self.cuts.entry(role.to_owned()) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(new) => {
                let cut = ROLE_CUTS.get_or_default(read, new.key())?;
                Ok(new.insert(cut))
            }
        }
    }

    /// Those of an object, the earliest first.
    fn shifts_of(&mut self, read: &dyn Read, place: Place) -> io::Result<&[(u64, Option<Place>)]> {
        match self.of.entry(place) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(new) => {
                let page = GRANT_SHIFTS.page(read, &new.key().name(), None, usize::MAX)?;
                let shifts = page.into_iter().map(|((_, number), row)| (number, row.to.map(Place::from)));
                Ok(new.insert(shifts.collect()))
            }
        }
    }

    /// Every grant that readers see under this key, the one that counts first. More than one only where grants that
    /// are the same have been moved.
    pub(super) fn seen_as(&mut self, read: &dyn Read, key: &GrantKey) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        if let Some(row) = GRANTS.get(read, key)?
            && self.fate(read, key, &row)? == Fate::AtHome
        {
            found.push(Found { rank: AT_HOME, key: key.clone(), row });
        }
        if !self.any || !is_on_collection(key) {
            return Ok(found);
        }
        for (number, from) in sources(read, &Place::of(key))?.into_iter().rev() {
            let lies = key.on(&from);
            if let Some(row) = GRANTS.get(read, &lies)?
                && matches!(self.fate(read, &lies, &row)?, Fate::Moved { by, .. } if by == number)
            {
                found.push(Found { rank: number, key: lies, row });
            }
        }
        Ok(found)
    }

    /// Whether a grant that counts more than one of this shift is seen under the key.
    pub(super) fn is_taken(&mut self, read: &dyn Read, key: &GrantKey, by: u64) -> io::Result<bool> {
        Ok(self.seen_as(read, key)?.first().is_some_and(|found| found.rank > by))
    }

    /// What readers see of rows of the table, by key.
    pub(super) fn seen(
        &mut self,
        read: &dyn Read,
        rows: Vec<(GrantKey, store::Grant)>,
    ) -> io::Result<Vec<(GrantKey, store::Grant)>> {
        if !self.any {
            return Ok(rows);
        }
        let mut seen: BTreeMap<Vec<u8>, Found> = BTreeMap::new();
        for (key, row) in rows {
            let (key, rank) = match self.fate(read, &key, &row)? {
                Fate::AtHome => (key, AT_HOME),
                Fate::Moved { to, by } => (key.on(&to), by),
                Fate::Gone { .. } | Fate::Cut => continue,
            };
            let place = GRANTS.key(&key);
            if seen.get(&place).is_none_or(|other| other.rank < rank) {
                seen.insert(place, Found { rank, key, row });
            }
        }
        Ok(seen.into_values().map(|found| (found.key, found.row)).collect())
    }
}

/// Users are granted by the same names, and are not renamed with a collection.
pub(super) fn is_on_collection(key: &GrantKey) -> bool {
    key.object != ANY && key.object_type != ObjectType::User
}

/// The objects whose grants a shift moved to this one, by the shift's number.
pub(super) fn sources(read: &dyn Read, place: &Place) -> io::Result<Vec<(u64, Place)>> {
    let page = GRANT_SOURCES.page(read, &place.name(), None, MAX_GRANT_SOURCES)?;
    Ok(page.into_iter().map(|((_, number), from)| (number, from.into())).collect())
}

/// Takes the next number.
fn next(step: &mut Step<'_, '_>, is_new: bool) -> io::Result<u64> {
    let mut number = 0;
    count(step.txn, |totals| {
        totals.shifts = totals.shifts.checked_add(1)?;
        totals.sweeps = totals.sweeps.checked_add(is_new.into())?;
        number = totals.shifts;
        Some(())
    })?;
    Ok(number)
}

/// All grants on the object, as it stands, are gone or on another one.
pub(super) fn record(step: &mut Step<'_, '_>, place: &Place, to: Option<&Place>) -> io::Result<()> {
    let number = next(step, true)?;
    let row = store::GrantShift { to: to.map(Place::row), after: Vec::new() };
    GRANT_SHIFTS.put(step.txn, &(place.name(), number), &row);
    if let Some(to) = to {
        GRANT_SOURCES.put(step.txn, &(to.name(), number), &place.row());
    }
    everything(step);
    Ok(())
}

/// Shifts that led to an object lead to where that one goes now.
pub(super) fn redirect(step: &mut Step<'_, '_>, place: &Place, to: Option<&Place>) -> io::Result<()> {
    for (number, from) in sources(step.txn, place)? {
        GRANT_SOURCES.delete(step.txn, &(place.name(), number));
        let key = (from.name(), number);
        let mut row = GRANT_SHIFTS.get(step.txn, &key)?.ok_or_else(|| GRANT_SHIFTS.missing(&key))?;
        row.to = to.map(Place::row);
        GRANT_SHIFTS.put(step.txn, &key, &row);
        if let Some(to) = to {
            GRANT_SOURCES.put(step.txn, &(to.name(), number), &from.row());
        }
        everything(step);
    }
    Ok(())
}

/// All grants to the role, as it stands, are gone.
pub(super) fn cut(step: &mut Step<'_, '_>, role: &str) -> io::Result<()> {
    put_cut(step, role, |cut, before| store::RoleCut { before, after: Vec::new(), ..cut })
}

/// Nobody has the role any more.
pub(super) fn cut_users(step: &mut Step<'_, '_>, role: &str) -> io::Result<()> {
    put_cut(step, role, |cut, users_before| store::RoleCut { users_before, after_user: String::new(), ..cut })?;
    everything(step);
    Ok(())
}

/// With the number of this cut.
fn put_cut(
    step: &mut Step<'_, '_>,
    role: &str,
    with: impl FnOnce(store::RoleCut, u64) -> store::RoleCut,
) -> io::Result<()> {
    let known = ROLE_CUTS.get(step.txn, &role.to_owned())?;
    let number = next(step, known.is_none())?;
    ROLE_CUTS.put(step.txn, &role.to_owned(), &with(known.unwrap_or_default(), number));
    Ok(())
}

/// Which roles have such grants nobody looks up here.
fn everything(step: &mut Step<'_, '_>) {
    let event = Event::Access(AccessEvent::Everything);
    if step.events.last() != Some(&event) {
        step.events.push(event);
    }
}
