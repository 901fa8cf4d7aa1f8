//! What streaming nodes hold, beside what was committed by then.

use std::collections::BTreeMap;

use crate::history::{Checker, Violation};

/// A pchannel that a streaming node holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub pchannel: String,
    pub term: i64,
    pub server_id: i64,
}

/// By pchannel, term and node of the newest assignment that was committed, read after the nodes were looked at: no node
/// has heard of a newer one, and of that one only its own node.
pub fn committed(held: &[Held], facts: &BTreeMap<String, (i64, i64)>) -> Vec<Violation> {
    let wrong = |one: &&Held| {
        let (term, node) = facts.get(&one.pchannel).copied().unwrap_or_default();
        one.term > term || one.term == term && one.server_id != node
    };
    let text = |one: &Held| format!("{one:?}, and committed is {:?}", facts.get(&one.pchannel));
    held.iter().filter(wrong).map(|one| Checker::Committed.found(text(one))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_holds_nothing_that_was_not_committed() {
        let facts = BTreeMap::from([("dml_0".to_owned(), (5, 7))]);
        let held = |pchannel: &str, term, server_id| vec![Held { pchannel: pchannel.into(), term, server_id }];
        assert!(committed(&held("dml_0", 5, 7), &facts).is_empty());
        assert!(committed(&held("dml_0", 4, 8), &facts).is_empty(), "it has yet to let go");
        assert_eq!(committed(&held("dml_0", 6, 7), &facts).len(), 1, "it heard of it too early");
        assert_eq!(committed(&held("dml_0", 5, 8), &facts).len(), 1, "the term is another's");
        assert_eq!(committed(&held("dml_1", 1, 8), &facts).len(), 1, "there is no such channel");
    }
}
