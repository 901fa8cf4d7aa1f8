//! What the logs' records must show, whatever broke meanwhile. Pure, so that tests and chaos ask the same.

use std::collections::{BTreeMap, BTreeSet};

use crate::pb::sim::{BroadcastPart, Wal};

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

/// In words: where a part of a broadcast is missing though the broadcast is over, and where two broadcasts that need
/// the same resource, at least one of them for itself, are not in the order of their ids. Looks at broadcasts up to the
/// id `upto`, all of which are over.
pub fn broadcasts(wals: &[Wal], upto: u64) -> Vec<String> {
    let mut arrived: BTreeMap<u64, (BTreeSet<&str>, &BroadcastPart)> = BTreeMap::new();
    let mut found = Vec::new();
    for wal in wals {
        let parts: Vec<&BroadcastPart> = wal.broadcasts.iter().filter(|part| part.broadcast_id <= upto).collect();
        for part in &parts {
            arrived.entry(part.broadcast_id).or_insert_with(|| (BTreeSet::new(), part)).0.insert(&part.vchannel);
        }
        found.extend(out_of_order(&parts));
    }
    for (id, (vchannels, part)) in arrived {
        let missing: Vec<&str> =
            part.vchannels.iter().map(String::as_str).filter(|vchannel| !vchannels.contains(vchannel)).collect();
        if !missing.is_empty() {
            found.push(format!("broadcast {id} is over, and not in {}", missing.join(", ")));
        }
    }
    found
}

/// Of the parts in one log.
fn out_of_order(parts: &[&BroadcastPart]) -> Vec<String> {
    let mut found = Vec::new();
    // By vchannel and resource: the greatest id so far, and of those that had it for themselves.
    let mut latest: BTreeMap<(&str, i32, &str), (u64, u64)> = BTreeMap::new();
    for part in parts {
        for key in &part.keys {
            let (any, alone) = latest.entry((&part.vchannel, key.domain, &key.key)).or_default();
            let before = if key.shared { *alone } else { *any };
            if before > part.broadcast_id {
                let (id, vchannel, resource) = (part.broadcast_id, &part.vchannel, &key.key);
                found.push(format!("{vchannel}: broadcast {id} comes after {before}, and both need {resource}"));
            }
            *any = part.broadcast_id.max(*any);
            if !key.shared {
                *alone = part.broadcast_id.max(*alone);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::messages::ResourceKey;
    use crate::pb::sim::Epoch;

    fn wal(epochs: &[(i64, i64, u64, u64)]) -> Vec<Wal> {
        let epoch = |(term, server_id, first_offset, accepted): &(i64, i64, u64, u64)| Epoch {
            term: *term,
            server_id: *server_id,
            first_offset: *first_offset,
            accepted: *accepted,
        };
        let epochs = epochs.iter().map(epoch).collect();
        vec![Wal { pchannel: "dml_0".into(), epochs, ..Wal::default() }]
    }

    /// A log with these broadcasts, each for both logs; `shared` ones share the one resource.
    fn log(number: usize, parts: &[(u64, bool)]) -> Wal {
        let name = |number| format!("dml_{number}_7v0");
        let part = |(broadcast_id, shared): &(u64, bool)| BroadcastPart {
            broadcast_id: *broadcast_id,
            vchannel: name(number),
            vchannels: vec![name(0), name(1)],
            keys: vec![ResourceKey { domain: 2, key: "c".into(), shared: *shared }],
            offset: 0,
        };
        Wal { pchannel: format!("dml_{number}"), broadcasts: parts.iter().map(part).collect(), ..Wal::default() }
    }

    #[test]
    fn a_broadcast_that_is_over_is_everywhere() {
        let both = [log(0, &[(1, false), (2, false)]), log(1, &[(1, false)])];
        assert!(broadcasts(&both, 1).is_empty(), "of the second it is not said that it is over");
        assert_eq!(broadcasts(&both, 2), ["broadcast 2 is over, and not in dml_1_7v0"]);
    }

    #[test]
    fn those_of_one_resource_come_in_their_order() {
        let of = |parts: &[(u64, bool)]| broadcasts(&[log(0, parts), log(1, parts)], 9).len();
        assert_eq!(of(&[(1, false), (2, false), (3, true), (4, true), (5, false)]), 0);
        assert_eq!(of(&[(2, true), (1, true), (3, false)]), 0, "those that share may come in any order");
        assert_eq!(of(&[(2, false), (1, false)]), 2, "in both logs");
        assert_eq!(of(&[(2, false), (1, true)]), 2);
        assert_eq!(of(&[(2, true), (1, false)]), 2);
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
