//! What the logs' records must show, whatever broke meanwhile. Pure, so that tests and chaos ask the same.

use std::collections::BTreeMap;

use crate::pb::sim::Wal;

/// In words: where a message was accepted under an older term than one before it, or a term had two owners.
pub fn violations(wals: &[Wal]) -> Vec<String> {
    wals.iter().flat_map(of_one).collect()
}

fn of_one(wal: &Wal) -> Vec<String> {
    let (name, mut found) = (&wal.pchannel, Vec::new());
    let mut owners: BTreeMap<i64, i64> = BTreeMap::new();
    let (mut highest, mut next) = (i64::MIN, None);
    for epoch in &wal.epochs {
        let (term, id, offset) = (epoch.term, epoch.server_id, epoch.first_offset);
        let owner = *owners.entry(term).or_insert(id);
        if owner != id {
            found.push(format!("{name}: term {term} had two owners, nodes {owner} and {id}"));
        }
        if term < highest && epoch.accepted > 0 {
            found.push(format!("{name}: offset {offset} was accepted under term {term}, after term {highest}"));
        }
        if next.is_some_and(|next| next != offset) {
            found.push(format!("{name}: term {term} begins at offset {offset}, and not where the one before ended"));
        }
        highest = highest.max(term);
        next = Some(offset + epoch.accepted);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::sim::Epoch;

    fn wal(epochs: &[(i64, i64, u64, u64)]) -> Vec<Wal> {
        let epoch = |(term, server_id, first_offset, accepted): &(i64, i64, u64, u64)| Epoch {
            term: *term,
            server_id: *server_id,
            first_offset: *first_offset,
            accepted: *accepted,
        };
        let epochs = epochs.iter().map(epoch).collect();
        vec![Wal { pchannel: "dml_0".into(), epochs, epochs_forgotten: 0 }]
    }

    #[test]
    fn terms_that_rise_are_right() {
        assert!(violations(&wal(&[])).is_empty());
        assert!(violations(&wal(&[(2, 7, 0, 3), (3, 8, 3, 0), (5, 7, 3, 1)])).is_empty());
        assert!(violations(&wal(&[(2, 7, 40, 3)])).is_empty(), "earlier epochs may be forgotten");
    }

    #[test]
    fn what_no_coordinator_may_bring_about_is_found() {
        let late = violations(&wal(&[(2, 7, 0, 1), (3, 8, 1, 1), (2, 7, 2, 1)]));
        assert_eq!(late, ["dml_0: offset 2 was accepted under term 2, after term 3"]);
        let two = violations(&wal(&[(2, 7, 0, 1), (2, 8, 1, 0)]));
        assert_eq!(two, ["dml_0: term 2 had two owners, nodes 7 and 8"]);
        let gap = violations(&wal(&[(2, 7, 0, 1), (3, 8, 2, 1)]));
        assert_eq!(gap, ["dml_0: term 3 begins at offset 2, and not where the one before ended"]);
    }
}
