//! One key: what a put, a get, a delete and a compare-and-swap do, and the histories of many of them.

use std::collections::HashSet;

use super::linearizable::{Model, Verdict, check};
use crate::history::{Call, Checker, Violation};

/// Values are numbers; no client writes one that another call writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    Get,
    Put(u64),
    Delete,
    /// Writes `new` if the value is the expected one, or if there is none.
    Swap {
        expected: Option<u64>,
        new: u64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    Got(Option<u64>),
    Done,
    /// Done, and what there was before.
    Was(Option<u64>),
    /// `found` is told only if nothing was done.
    Swapped {
        done: bool,
        found: Option<u64>,
    },
}

/// The model.
pub struct Key;

impl Model for Key {
    type Input = Input;
    type Output = Output;
    type State = Option<u64>;

    fn step(state: &Option<u64>, input: &Input, output: Option<&Output>) -> Option<Option<u64>> {
        let (after, fits) = match (input, output) {
            (Input::Get, Some(Output::Got(found))) => (*state, found == state),
            (Input::Get, None) => (*state, true),
            (Input::Put(new), Some(Output::Was(old))) => (Some(*new), old == state),
            (Input::Put(new), None | Some(Output::Done)) => (Some(*new), true),
            (Input::Delete, Some(Output::Was(old))) => (None, old == state),
            (Input::Delete, None | Some(Output::Done)) => (None, true),
            (Input::Swap { expected, new }, output) => {
                let takes = expected == state;
                let fits = match output {
                    None => true,
                    Some(Output::Swapped { done, found }) => *done == takes && (takes || found == state),
                    Some(_) => false,
                };
                (if takes { Some(*new) } else { *state }, fits)
            }
            _ => (*state, false),
        };
        fits.then_some(after)
    }
}

/// Steps of the search for one key.
const BUDGET: u64 = 3_000_000;
/// Calls before the one that does not fit which a message shows.
const SHOWN: usize = 25;

/// Checks one key. Says whether the search ended.
pub fn linearizable(key: &str, calls: &[Call<Input, Output>]) -> (Vec<Violation>, bool) {
    let mut calls = relevant(calls);
    calls.sort_by_key(|call| call.called);
    match check::<Key>(&calls, BUDGET) {
        Verdict::Linearizable => (Vec::new(), true),
        Verdict::Undecided => (Vec::new(), false),
        Verdict::Violated(place) => {
            let shown: Vec<String> =
                calls.get(..=place).unwrap_or_default().iter().rev().take(SHOWN).map(line).collect();
            let shown = shown.into_iter().rev().collect::<Vec<_>>().join("\n    ");
            (vec![Checker::Keys.found(format!("key {key}: no order explains the last of\n    {shown}"))], true)
        }
    }
}

fn line(call: &Call<Input, Output>) -> String {
    let until = call.answer.as_ref().map_or("?".to_owned(), |(returned, _)| (returned / 1000).to_string());
    let output = call.output().map_or("unknown".to_owned(), |output| format!("{output:?}"));
    format!("[{}..{until} us] {} {:?} -> {output}", call.called / 1000, call.by, call.input)
}

/// Without what cannot matter: open reads, and open writes of a value that nobody saw. Every answer that depends on the
/// state tells it, so such a write can be left out of any order in which it stands.
fn relevant(calls: &[Call<Input, Output>]) -> Vec<Call<Input, Output>> {
    let mut seen: HashSet<u64> = HashSet::new();
    for call in calls {
        match (&call.input, call.output()) {
            (_, Some(Output::Got(value) | Output::Was(value) | Output::Swapped { done: false, found: value })) => {
                seen.extend(value);
            }
            // An open swap that was done saw what it expected, though it cannot tell.
            (Input::Swap { expected, .. }, None | Some(Output::Swapped { done: true, .. })) => seen.extend(expected),
            _ => {}
        }
    }
    let matters = |call: &&Call<Input, Output>| match (&call.input, &call.answer) {
        (_, Some(_)) | (Input::Delete, None) => true,
        (Input::Get, None) => false,
        // An open swap may also have been what took an expected value away: that is told as well.
        (Input::Put(new) | Input::Swap { new, .. }, None) => seen.contains(new),
    };
    calls.iter().filter(matters).cloned().collect()
}

/// What the key may hold once all open calls are over, given what a read found after all answered ones.
pub fn possible_ends(calls: &[Call<Input, Output>], found: Option<u64>) -> HashSet<Option<u64>> {
    let open = calls.iter().filter(|call| call.answer.is_none());
    let late = open.filter_map(|call| match &call.input {
        Input::Get => None,
        Input::Put(new) | Input::Swap { new, .. } => Some(Some(*new)),
        Input::Delete => Some(None),
    });
    late.chain([found]).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answered(at: u64, input: Input, output: Output) -> Call<Input, Output> {
        Call { called: at, answer: Some((at + 1, output)), input, by: "c".into() }
    }

    #[test]
    fn an_acknowledged_write_that_is_gone_is_told_with_its_history() {
        let calls = [answered(0, Input::Put(7), Output::Done), answered(5, Input::Get, Output::Got(None))];
        let (found, decided) = linearizable("k", &calls);
        assert!(decided && found[0].checker == Checker::Keys);
        assert!(found[0].what.contains("Put(7)") && found[0].what.contains("Got(None)"), "{}", found[0].what);
    }

    #[test]
    fn a_write_that_comes_back_is_seen() {
        // What executing a retried call twice does.
        let calls = [
            answered(0, Input::Put(1), Output::Done),
            answered(2, Input::Put(2), Output::Was(Some(1))),
            answered(4, Input::Get, Output::Got(Some(1))),
        ];
        assert_eq!(linearizable("k", &calls).0.len(), 1);
    }

    #[test]
    fn open_calls_may_still_end() {
        let calls = [Call { called: 0, answer: None, input: Input::Put(3), by: String::new() }];
        assert_eq!(possible_ends(&calls, Some(1)), HashSet::from([Some(1), Some(3)]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        /// What is left out changes no verdict.
        #[test]
        fn pruning_is_harmless(
            made in proptest::collection::vec((0..4u8, any::<bool>(), 0..30u64, 1..9u64, 0..4usize), 1..7)
        ) {
            // Values are written once; answers guess among those.
            let values: Vec<u64> = (1..=made.len() as u64).collect();
            let calls: Vec<_> = made.iter().zip(&values).map(|((kind, known, called, took, guess), new)| {
                let value = values.get(*guess).copied();
                let swapped = Output::Swapped { done: true, found: None };
                let (input, output) = match kind {
                    0 => (Input::Get, Output::Got(value)),
                    1 => (Input::Put(*new), Output::Was(value)),
                    2 => (Input::Delete, Output::Was(value)),
                    _ => (Input::Swap { expected: value, new: *new }, swapped),
                };
                Call { called: *called, answer: known.then_some((called + took, output)), input, by: String::new() }
            }).collect();
            let pruned = relevant(&calls);
            let whole = check::<Key>(&calls, BUDGET) == Verdict::Linearizable;
            prop_assert_eq!(whole, check::<Key>(&pruned, BUDGET) == Verdict::Linearizable);
        }
    }
}
