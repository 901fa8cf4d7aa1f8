//! Acknowledged DDL is never lost, rejected DDL never applied: names that are each created at most once.

use std::collections::BTreeSet;

use crate::history::{Checker, Violation};

/// What became of the creation of each name.
#[derive(Clone, Debug, Default)]
pub struct Names {
    pub acknowledged: BTreeSet<String>,
    pub rejected: BTreeSet<String>,
    /// Everything that was asked for.
    pub asked: BTreeSet<String>,
}

/// Compares what was answered with what a node lists.
pub fn listed(names: &Names, shown: &BTreeSet<String>, by: &str) -> Vec<Violation> {
    let complain = |what: &str, some: Vec<&String>| {
        (!some.is_empty()).then(|| Checker::Ddl.found(format!("{by} lists collections wrongly: {what}: {some:?}")))
    };
    let lost = names.acknowledged.difference(shown).collect();
    let applied = names.rejected.intersection(shown).collect();
    let strange = shown.difference(&names.asked).collect();
    [
        complain("acknowledged and not there", lost),
        complain("rejected and there", applied),
        complain("nobody asked for", strange),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_is_lost_applied_or_strange_is_seen() {
        let names = Names { acknowledged: set(&["a"]), rejected: set(&["r"]), asked: set(&["a", "r", "u"]) };
        assert!(listed(&names, &set(&["a"]), "n").is_empty());
        assert!(listed(&names, &set(&["a", "u"]), "n").is_empty(), "an unknown creation may have happened");
        for (shown, says) in [(set(&[]), "not there"), (set(&["a", "r"]), "rejected"), (set(&["a", "x"]), "nobody")] {
            let found = listed(&names, &shown, "n");
            assert!(found.len() == 1 && found[0].what.contains(says), "{found:?}");
        }
    }
}
