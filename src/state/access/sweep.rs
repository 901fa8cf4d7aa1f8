//! The tables follow what shifts and cuts say (`shift`): a step deletes or moves a few of the grants that they concern,
//! or takes a role that went from a few users.
//! What readers see does not change by it, so nobody is told.

use std::io;

use super::grant::{self, GrantKey};
use super::shift::{Fate, Place, Shifts};
use super::{count, role};
use crate::pb::store;
use crate::state::Reply;
use crate::state::limits::{BINDINGS_AT_ONCE, GRANTS_AT_ONCE};
use crate::state::step::{Outcome, Step};
use crate::state::table::{Key, Name};
use crate::state::tables::{GRANT_SHIFTS, GRANT_SOURCES, GRANTS, OBJECT_GRANTS, ROLE_CUTS, ROLE_USERS};

/// One step of the first of them.
pub(super) fn apply(step: &mut Step<'_, '_>) -> Outcome {
    if let Some((role, cut)) = ROLE_CUTS.page(step.txn, &(), None, 1)?.pop() {
        sweep_role(step, &role, cut)?;
    } else if let Some(((place, number), shift)) = GRANT_SHIFTS.page(step.txn, &(), None, 1)?.pop() {
        let place = Place { database: place.0.into(), object: place.1.into() };
        sweep_object(step, &place, number, shift)?;
    }
    Ok(Reply::AccessChanged)
}

/// First its grants, then its users.
fn sweep_role(step: &mut Step<'_, '_>, role: &String, cut: store::RoleCut) -> io::Result<()> {
    let left = if cut.before > 0 { sweep_grants(step, role, cut)? } else { sweep_users(step, role, cut)? };
    match left {
        Some(cut) => {
            ROLE_CUTS.put(step.txn, role, &cut);
            Ok(())
        }
        None => {
            ROLE_CUTS.delete(step.txn, role);
            swept(step)
        }
    }
}

/// Returns what is left to do; `None`: nothing.
fn sweep_grants(step: &mut Step<'_, '_>, role: &str, mut cut: store::RoleCut) -> io::Result<Option<store::RoleCut>> {
    let after = last_swept(&cut.after);
    let page = GRANTS.page(step.txn, &Name::from(role.to_owned()), after.as_ref(), GRANTS_AT_ONCE)?;
    for (key, row) in &page {
        if row.written < cut.before {
            grant::remove(step, key, row, &Fate::Cut)?;
        }
    }
    Ok(match page.last() {
        Some((last, _)) if page.len() == GRANTS_AT_ONCE => {
            cut.after = encoded(last);
            Some(cut)
        }
        _ => (cut.users_before > 0).then(|| store::RoleCut { before: 0, after: Vec::new(), ..cut }),
    })
}

/// Returns what is left to do; `None`: nothing.
fn sweep_users(step: &mut Step<'_, '_>, role: &str, mut cut: store::RoleCut) -> io::Result<Option<store::RoleCut>> {
    let of = Name::from(role.to_owned());
    let after = (!cut.after_user.is_empty()).then(|| (of.clone(), cut.after_user.clone()));
    let page = ROLE_USERS.page(step.txn, &of, after.as_ref(), BINDINGS_AT_ONCE)?;
    for ((_, user), row) in &page {
        if row.written < cut.users_before {
            role::unbind(step, user, role);
        }
    }
    Ok(match page.last() {
        Some(((_, user), _)) if page.len() == BINDINGS_AT_ONCE => {
            cut.after_user.clone_from(user);
            Some(cut)
        }
        _ => None,
    })
}

fn sweep_object(step: &mut Step<'_, '_>, place: &Place, number: u64, mut shift: store::GrantShift) -> io::Result<()> {
    let mut shifts = Shifts::read(step.txn)?;
    let after = last_swept(&shift.after).map(|key| (place.name(), key));
    let page = OBJECT_GRANTS.page(step.txn, &place.name(), after.as_ref(), GRANTS_AT_ONCE)?;
    let mut left = page.len() == GRANTS_AT_ONCE;
    let (mut last, mut placed) = (None, 0);
    for ((_, key), _) in page {
        // What lay in the way of others was placed as well.
        if placed > GRANTS_AT_ONCE {
            left = true;
            break;
        }
        let row = GRANTS.get(step.txn, &key)?.ok_or_else(|| GRANTS.missing(&key))?;
        match shifts.fate(step.txn, &key, &row)? {
            fate @ (Fate::Gone { .. } | Fate::Cut) => grant::remove(step, &key, &row, &fate)?,
            Fate::Moved { to, by } if by == number => {
                grant::remove(step, &key, &row, &Fate::AtHome)?;
                placed += grant::settle(step, &mut shifts, &key.on(&to), row, by)?;
            }
            Fate::Moved { .. } | Fate::AtHome => {}
        }
        last = Some(key);
    }
    let key = (place.name(), number);
    match last {
        Some(last) if left => {
            shift.after = encoded(&last);
            GRANT_SHIFTS.put(step.txn, &key, &shift);
            Ok(())
        }
        _ => {
            GRANT_SHIFTS.delete(step.txn, &key);
            if let Some(to) = shift.to {
                GRANT_SOURCES.delete(step.txn, &(Place::from(to).name(), number));
            }
            swept(step)
        }
    }
}

/// One is done with.
fn swept(step: &mut Step<'_, '_>) -> io::Result<()> {
    count(step.txn, |totals| {
        totals.sweeps = totals.sweeps.checked_sub(1)?;
        Some(())
    })
}

fn encoded(key: &GrantKey) -> Vec<u8> {
    let mut bytes = Vec::new();
    key.write(&mut bytes);
    bytes
}

/// `None` before the first step; what does not decode begins anew.
fn last_swept(mut bytes: &[u8]) -> Option<GrantKey> {
    GrantKey::read(&mut bytes)
}
