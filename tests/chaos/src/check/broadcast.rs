//! What callers of broadcasts were told, beside what the simulated logs wrote down.

use std::collections::BTreeMap;

use roost::pb::sim::{BroadcastPart, Wal};
use roost::sim::invariant;

use crate::history::{Checker, Violation};

/// A broadcast whose caller was told that it is everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    pub id: u64,
    /// Those that the answer names.
    pub vchannels: Vec<String>,
}

/// Every broadcast up to the id `upto`, which all are over, and every acknowledged one is in all of its vchannels, and
/// those of one resource are in one order. The logs know nothing of broadcasts up to the id `after`.
pub fn explained(acknowledged: &[Acknowledged], wals: &[Wal], after: u64, upto: u64) -> Vec<Violation> {
    let mut found = invariant::broadcasts(wals, upto);
    let parts = wals.iter().flat_map(|wal| &wal.broadcasts);
    let parts: BTreeMap<(u64, &str), &BroadcastPart> =
        parts.map(|part| ((part.broadcast_id, part.vchannel.as_str()), part)).collect();
    for Acknowledged { id, vchannels } in acknowledged.iter().filter(|told| told.id > after) {
        let missing: Vec<&String> =
            vchannels.iter().filter(|vchannel| !parts.contains_key(&(*id, vchannel.as_str()))).collect();
        if !missing.is_empty() {
            found.push(format!("broadcast {id} was acknowledged, and is not in {missing:?}"));
        }
        let wanted = parts.range((*id, "")..).next().filter(|((of, _), _)| of == id).map(|(_, part)| &part.vchannels);
        if let Some(unnamed) = wanted.and_then(|wanted| wanted.iter().find(|one| !vchannels.contains(one))) {
            found.push(format!("broadcast {id} was acknowledged without {unnamed}"));
        }
    }
    found.into_iter().map(|what| Checker::Broadcasts.found(what)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wals(first: &[u64], second: &[u64]) -> Vec<Wal> {
        let vchannels = vec!["a_7v0".to_owned(), "b_7v0".to_owned()];
        let wal = |at: usize, ids: &[u64]| Wal {
            broadcasts: ids
                .iter()
                .map(|id| BroadcastPart {
                    broadcast_id: *id,
                    vchannel: vchannels[at].clone(),
                    vchannels: vchannels.clone(),
                    ..BroadcastPart::default()
                })
                .collect(),
            ..Wal::default()
        };
        vec![wal(0, first), wal(1, second)]
    }

    fn told(id: u64, names: &[&str]) -> Vec<Acknowledged> {
        vec![Acknowledged { id, vchannels: names.iter().map(|name| (*name).to_owned()).collect() }]
    }

    #[test]
    fn what_arrived_everywhere_is_explained() {
        let both = ["a_7v0", "b_7v0"];
        assert!(explained(&told(5, &both), &wals(&[5, 6], &[5]), 4, 5).is_empty(), "6 is on its way");
        assert!(explained(&told(4, &both), &wals(&[5], &[5]), 4, 5).is_empty(), "of 4 the logs tell nothing any more");
    }

    #[test]
    fn what_did_not_is_found() {
        let both = ["a_7v0", "b_7v0"];
        assert_eq!(explained(&told(5, &both), &wals(&[5], &[]), 4, 4).len(), 1, "acknowledged too early");
        assert_eq!(explained(&[], &wals(&[5], &[]), 4, 5).len(), 1, "over too early");
        assert_eq!(explained(&told(5, &["a_7v0"]), &wals(&[5], &[5]), 4, 5).len(), 1, "half of an answer");
        assert_eq!(explained(&told(5, &both), &wals(&[], &[]), 4, 5).len(), 1, "nowhere");
    }
}
