//! What producers were told, beside what the simulated logs wrote down.

use std::collections::HashMap;

use roost::pb::sim::{Epoch, Wal};
use roost::sim::invariant;

use crate::history::{Checker, Violation};

/// A message that a streaming node said it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    pub pchannel: String,
    pub term: i64,
    pub server_id: i64,
    pub offset: u64,
}

/// The logs are as they may be, and hold what producers were told, each message once and under the term that was asked
/// for. Epochs that a log has forgotten are not compared.
pub fn explained(appends: &[Append], wals: &[Wal]) -> Vec<Violation> {
    let mut found: Vec<String> = invariant::violations(wals);
    let by_name: HashMap<&str, &[Epoch]> =
        wals.iter().map(|wal| (wal.pchannel.as_str(), wal.epochs.as_slice())).collect();
    let mut seen: HashMap<(&str, u64), &Append> = HashMap::new();
    for append in appends {
        let Append { pchannel, term, server_id, offset } = append;
        if let Some(other) = seen.insert((pchannel, *offset), append) {
            found.push(format!("{pchannel}: offset {offset} was given twice: {append:?}, {other:?}"));
        }
        let epochs = by_name.get(pchannel.as_str()).copied().unwrap_or_default();
        let Some(epoch) = epochs.iter().rev().find(|epoch| epoch.first_offset <= *offset) else { continue };
        let holds = *offset < epoch.first_offset + epoch.accepted;
        if !holds || epoch.term != *term || epoch.server_id != *server_id {
            found.push(format!("{append:?} was acknowledged, and the log says {epoch:?}"));
        }
    }
    found.into_iter().map(|what| Checker::Channels.found(what)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wal() -> Vec<Wal> {
        let first = Epoch { term: 2, server_id: 7, first_offset: 10, accepted: 2 };
        let epochs = vec![first, Epoch { term: 3, server_id: 8, first_offset: 12, accepted: 1 }];
        vec![Wal { pchannel: "dml_0".into(), epochs, epochs_forgotten: 1, ..Wal::default() }]
    }

    fn append(term: i64, server_id: i64, offset: u64) -> Append {
        Append { pchannel: "dml_0".into(), term, server_id, offset }
    }

    #[test]
    fn what_the_log_holds_is_explained() {
        let told = [append(2, 7, 10), append(3, 8, 12), append(1, 5, 3)];
        assert!(explained(&told, &wal()).is_empty(), "of offset 3 the log knows nothing any more");
    }

    #[test]
    fn what_it_does_not_hold_is_found() {
        for wrong in [append(2, 7, 12), append(3, 7, 12), append(3, 8, 13)] {
            assert_eq!(explained(std::slice::from_ref(&wrong), &wal()).len(), 1, "{wrong:?}");
        }
        assert_eq!(explained(&[append(2, 7, 11), append(2, 7, 11)], &wal()).len(), 1, "one offset, two messages");
        let mut late = wal();
        late[0].epochs.push(Epoch { term: 2, server_id: 7, first_offset: 13, accepted: 1 });
        assert_eq!(explained(&[], &late).len(), 1, "accepted under an older term");
    }
}
