//! Grants that lose what they name: a collection is dropped or renamed, a role is dropped. A few are touched at once;
//! where there are more, a shift or a cut says what has become of them. The users of a role that goes fare alike.

use std::io;

use super::command::AccessEvent;
use super::grant::{self, GrantKey};
use super::shift::{self, Fate, Place, SHIFTS_SINCE, Shifts, USERS_CUT_SINCE};
use super::{AccessView, role};
use crate::error::Rejection;
use crate::pb::store;
use crate::state::Event;
use crate::state::limits::{BINDINGS_AT_ONCE, GRANTS_AT_ONCE, MAX_GRANT_SHIFTS, MAX_GRANT_SOURCES};
use crate::state::step::{Refusal, Step};
use crate::state::table::Name;
use crate::state::tables::{GRANTS, OBJECT_GRANTS, ROLE_USERS};

/// What cannot be answered before more of the grants that are gone were swept.
pub(super) fn unswept() -> Rejection {
    Rejection::Unavailable { detail: "grants of what was dropped or renamed are being swept".to_owned() }
}

/// How many grants a command may touch.
fn most(step: &Step<'_, '_>) -> usize {
    if step.apply_version < SHIFTS_SINCE { usize::MAX } else { GRANTS_AT_ONCE }
}

/// Whether a role has grants, of which it counts some that are gone.
pub(super) fn has_any(step: &Step<'_, '_>, role: &str, counted: u64) -> Result<bool, Refusal> {
    if counted == 0 {
        return Ok(false);
    }
    let page = GRANTS.page(step.txn, &Name::from(role.to_owned()), None, GRANTS_AT_ONCE)?;
    let is_full = page.len() == GRANTS_AT_ONCE;
    let mut shifts = Shifts::read(step.txn)?;
    for (key, row) in page {
        if !shifts.fate(step.txn, &key, &row)?.is_gone() {
            return Ok(true);
        }
    }
    if is_full { Err(unswept().into()) } else { Ok(false) }
}

/// Deletes every grant of a role that goes. Returns what readers saw of them; `None`: they are too many to touch them.
pub(super) fn forget_role(step: &mut Step<'_, '_>, role: &str) -> io::Result<Option<Vec<GrantKey>>> {
    let most = most(step);
    let page = GRANTS.page(step.txn, &Name::from(role.to_owned()), None, most.saturating_add(1))?;
    if page.len() > most {
        shift::cut(step, role)?;
        return Ok(None);
    }
    let (mut shifts, mut seen) = (Shifts::read(step.txn)?, Vec::new());
    for (key, row) in page {
        let fate = shifts.fate(step.txn, &key, &row)?;
        grant::remove(step, &key, &row, &fate)?;
        match fate {
            Fate::AtHome => seen.push(key),
            Fate::Moved { to, .. } => seen.push(key.on(&to)),
            Fate::Gone { .. } | Fate::Cut => {}
        }
    }
    Ok(Some(seen))
}

/// Takes a role that goes from everybody. Returns who had it; `None`: they are too many to touch them.
pub(super) fn forget_users(step: &mut Step<'_, '_>, role: &str) -> io::Result<Option<Vec<String>>> {
    let most = if step.apply_version < USERS_CUT_SINCE { usize::MAX } else { BINDINGS_AT_ONCE };
    let page = ROLE_USERS.page(step.txn, &Name::from(role.to_owned()), None, most.saturating_add(1))?;
    if page.len() > most {
        shift::cut_users(step, role)?;
        return Ok(None);
    }
    let (mut shifts, mut had_it) = (Shifts::read(step.txn)?, Vec::new());
    for ((_, user), row) in page {
        role::unbind(step, &user, role);
        if shifts.has_role(step.txn, role, &row)? {
            step.events.push(Event::Access(AccessEvent::User { name: user.clone() }));
            had_it.push(user);
        }
    }
    Ok(Some(had_it))
}

/// The grants that lie on a collection, with what has become of them; `None`: there are too many to touch them.
fn lying_on(step: &Step<'_, '_>, shifts: &mut Shifts, place: &Place) -> io::Result<Option<Vec<Lying>>> {
    let most = most(step);
    let page = OBJECT_GRANTS.page(step.txn, &place.name(), None, most.saturating_add(1))?;
    if page.len() > most {
        return Ok(None);
    }
    let mut lying = Vec::with_capacity(page.len());
    for ((_, key), _) in page {
        if shift::is_on_collection(&key) {
            let row = GRANTS.get(step.txn, &key)?.ok_or_else(|| GRANTS.missing(&key))?;
            let fate = shifts.fate(step.txn, &key, &row)?;
            lying.push((key, row, fate));
        }
    }
    Ok(Some(lying))
}

type Lying = (GrantKey, store::Grant, Fate);

/// Deletes every grant on a collection that goes.
pub(in crate::state) fn forget_object(step: &mut Step<'_, '_>, database: &str, object: &str) -> Result<(), Refusal> {
    let place = Place::new(database, object);
    match lying_on(step, &mut Shifts::read(step.txn)?, &place)? {
        None => shift::record(step, &place, None)?,
        Some(lying) => {
            for (key, row, fate) in lying {
                if !matches!(fate, Fate::Moved { .. }) {
                    grant::remove(step, &key, &row, &fate)?;
                    role::changed(step, &key.role);
                }
            }
        }
    }
    Ok(shift::redirect(step, &place, None)?)
}

/// Moves every grant on a collection to its new name. A grant that the new name has already stays as it is.
pub(in crate::state) fn rename_object(
    step: &mut Step<'_, '_>,
    from: (&str, &str),
    to: (&str, &str),
) -> Result<(), Refusal> {
    let (from, to) = (Place::new(from.0, from.1), Place::new(to.0, to.1));
    let mut shifts = Shifts::read(step.txn)?;
    match lying_on(step, &mut shifts, &from)? {
        None => {
            let unswept_ones = AccessView::new(step.txn).totals()?.sweeps;
            let is_much = shift::sources(step.txn, &from)?.len() >= MAX_GRANT_SOURCES;
            if is_much || unswept_ones >= MAX_GRANT_SHIFTS {
                return Err(unswept().into());
            }
            shift::redirect(step, &from, Some(&to))?;
            shift::record(step, &from, Some(&to))?;
        }
        Some(lying) => {
            for (key, row, fate) in lying {
                if matches!(fate, Fate::Moved { .. }) {
                    continue;
                }
                grant::remove(step, &key, &row, &fate)?;
                if fate == Fate::AtHome {
                    grant::settle(step, &mut shifts, &key.on(&to), row, 0)?;
                }
                role::changed(step, &key.role);
            }
            shift::redirect(step, &from, Some(&to))?;
        }
    }
    Ok(())
}
