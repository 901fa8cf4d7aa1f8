//! Watches: what each watcher saw, beside what writers were told and beside each other.

use std::collections::{BTreeMap, HashMap};

use crate::history::{Checker, Violation};

/// One event: a value was put, or the key was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub revision: i64,
    pub key: String,
    pub value: Option<u64>,
}

/// An acknowledged write and the revision that it was told.
pub type Write = Event;

/// One watcher's events are in the order of their revisions and none comes twice, across all of its streams. Every
/// revision changes one key in this load.
pub fn ordered(by: &str, events: &[Event]) -> Vec<Violation> {
    let wrong = events.windows(2).find_map(|pair| match pair {
        [one, next] if next.revision == one.revision => Some(format!("{next:?} twice")),
        [one, next] if next.revision < one.revision => Some(format!("{next:?} after {one:?}")),
        _ => None,
    });
    wrong.map(|what| Checker::Watch.found(format!("watcher {by}: {what}"))).into_iter().collect()
}

/// Nothing acknowledged up to `upto` is missing or different.
pub fn complete(by: &str, events: &[Event], writes: &[Write], upto: i64) -> Vec<Violation> {
    let seen: BTreeMap<i64, &Event> = events.iter().map(|event| (event.revision, event)).collect();
    let wrong =
        writes.iter().filter(|write| write.revision <= upto).find_map(|write| match seen.get(&write.revision) {
            None => Some(format!("a gap: {write:?} was acknowledged and not seen")),
            Some(event) if *event != write => Some(format!("{event:?} was seen where {write:?} was acknowledged")),
            Some(_) => None,
        });
    wrong.map(|what| Checker::Watch.found(format!("watcher {by}: {what}"))).into_iter().collect()
}

/// Two watchers of the same keys saw the same up to `upto`.
pub fn same(one: (&str, &[Event]), other: (&str, &[Event]), upto: i64) -> Vec<Violation> {
    let within = |events: &[Event]| events.iter().filter(|event| event.revision <= upto).cloned().collect::<Vec<_>>();
    let (left, right) = (within(one.1), within(other.1));
    let place = left.iter().zip(&right).position(|(left, right)| left != right);
    let place = place.or_else(|| (left.len() != right.len()).then(|| left.len().min(right.len())));
    let wrong = place.map(|place| {
        let (left, right) = (left.get(place), right.get(place));
        Checker::Watch.found(format!("watchers differ: {} saw {left:?} where {} saw {right:?}", one.0, other.0))
    });
    wrong.into_iter().collect()
}

/// Every value is written by one call, so no value is put at two revisions.
pub fn once(by: &str, events: &[Event]) -> Vec<Violation> {
    let mut put: HashMap<u64, &Event> = HashMap::new();
    for event in events {
        if let Some(value) = event.value
            && let Some(earlier) = put.insert(value, event)
            && earlier.revision != event.revision
        {
            return vec![Checker::Once.found(format!("watcher {by}: one call, two writes: {earlier:?} and {event:?}"))];
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(revision: i64, value: u64) -> Event {
        Event { revision, key: "k".into(), value: Some(value) }
    }

    #[test]
    fn repetition_disorder_gap_and_difference_are_seen() {
        let good = [event(1, 10), event(2, 20), event(4, 40)];
        assert!(ordered("w", &good).is_empty() && complete("w", &good, &good, 4).is_empty());
        assert!(ordered("w", &[event(1, 10), event(1, 10)])[0].what.contains("twice"));
        assert!(ordered("w", &[event(2, 10), event(1, 10)])[0].what.contains("after"));
        assert!(complete("w", &good, &[event(3, 30)], 4)[0].what.contains("gap"));
        assert!(complete("w", &good, &[event(3, 30)], 2).is_empty(), "not yet");
        assert!(complete("w", &good, &[event(2, 21)], 4)[0].what.contains("where"));
        assert!(once("w", &[event(1, 10), event(2, 10)])[0].what.contains("two writes"));
        assert!(once("w", &good).is_empty());
    }

    proptest! {
        #[test]
        fn any_lost_or_doubled_event_is_seen(
            revisions in proptest::collection::btree_set(1..500i64, 2..40),
            place in any::<prop::sample::Index>(),
        ) {
            let all: Vec<Event> = revisions.iter().map(|revision| event(*revision, *revision as u64)).collect();
            prop_assert!(ordered("w", &all).is_empty() && complete("w", &all, &all, 500).is_empty());
            prop_assert!(same(("a", &all), ("b", &all), 500).is_empty());
            let place = place.index(all.len());
            let mut lost = all.clone();
            lost.remove(place);
            prop_assert!(!complete("w", &lost, &all, 500).is_empty());
            prop_assert!(!same(("a", &all), ("b", &lost), 500).is_empty());
            let mut doubled = all.clone();
            doubled.insert(place, all[place].clone());
            prop_assert!(!ordered("w", &doubled).is_empty());
        }
    }
}
