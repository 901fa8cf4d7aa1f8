//! Numbers that are handed out: never twice, and in the order of real time.

use crate::history::{Checker, Nanos, Violation};

/// One answered request for `count` numbers in a row.
#[derive(Clone, Debug)]
#[allow(dead_code, reason = "who asked is shown")]
pub struct Given {
    pub called: Nanos,
    pub returned: Nanos,
    pub first: u64,
    pub count: u64,
    /// Who asked, for messages.
    pub by: String,
}

impl Given {
    /// One past the last.
    fn end(&self) -> u64 {
        self.first.saturating_add(self.count)
    }
}

/// No number was given twice.
pub fn unique(checker: Checker, given: &[Given]) -> Vec<Violation> {
    let mut by_first: Vec<&Given> = given.iter().collect();
    by_first.sort_by_key(|given| given.first);
    let twice = by_first.windows(2).find_map(|pair| match pair {
        [one, other] if one.end() > other.first => Some(format!("given twice: {one:?} and {other:?}")),
        _ => None,
    });
    twice.map(|what| checker.found(what)).into_iter().collect()
}

/// Whoever asked after another one had his answer got greater numbers. With a count of 0, numbers that are not smaller.
pub fn ascending(checker: Checker, given: &[Given]) -> Vec<Violation> {
    let mut by_called: Vec<&Given> = given.iter().collect();
    let mut by_returned = by_called.clone();
    by_called.sort_by_key(|given| given.called);
    by_returned.sort_by_key(|given| given.returned);
    let mut returned = by_returned.into_iter().peekable();
    let mut greatest: Option<&Given> = None;
    for given in by_called {
        while let Some(earlier) = returned.next_if(|earlier| earlier.returned < given.called) {
            if greatest.is_none_or(|greatest| greatest.end() < earlier.end()) {
                greatest = Some(earlier);
            }
        }
        if let Some(earlier) = greatest
            && earlier.end() > given.first
        {
            return vec![checker.found(format!("went back: after {earlier:?} came {given:?}"))];
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn given(called: Nanos, returned: Nanos, first: u64, count: u64) -> Given {
        Given { called, returned, first, count, by: String::new() }
    }

    #[test]
    fn a_number_given_twice_is_seen() {
        assert_eq!(unique(Checker::Ids, &[given(0, 1, 10, 5), given(0, 1, 15, 1)]).len(), 0);
        assert_eq!(unique(Checker::Ids, &[given(0, 1, 10, 5), given(0, 1, 14, 1)]).len(), 1);
    }

    #[test]
    fn going_back_is_seen_only_where_one_call_followed_the_other() {
        assert_eq!(ascending(Checker::Timestamps, &[given(0, 10, 100, 1), given(11, 12, 50, 1)]).len(), 1);
        assert_eq!(ascending(Checker::Timestamps, &[given(0, 10, 100, 1), given(9, 12, 50, 1)]).len(), 0);
        // Two reads of the same revision.
        assert_eq!(ascending(Checker::Revisions, &[given(0, 1, 100, 0), given(2, 3, 100, 0)]).len(), 0);
    }

    proptest! {
        #[test]
        fn both_agree_with_comparing_every_pair(
            made in proptest::collection::vec((0..50u64, 0..20u64, 0..60u64, 0..4u64), 0..12)
        ) {
            let all: Vec<Given> =
                made.into_iter().map(|(at, took, first, count)| given(at, at + took, first, count)).collect();
            let follows = |one: &Given, other: &Given| one.returned < other.called && one.end() > other.first;
            let back = all.iter().any(|one| all.iter().any(|other| follows(one, other)));
            prop_assert_eq!(!ascending(Checker::Timestamps, &all).is_empty(), back);
            let counted: Vec<Given> = all.into_iter().filter(|given| given.count > 0).collect();
            let twice = (0..counted.len()).any(|one| (one + 1..counted.len()).any(|other| {
                counted[one].first < counted[other].end() && counted[other].first < counted[one].end()
            }));
            prop_assert_eq!(!unique(Checker::Ids, &counted).is_empty(), twice);
        }
    }
}
