//! Linearizability of one object by the algorithm of Wing and Gong with Lowe's improvements: search for an order of the
//! calls that respects real time and the object's model, remember every (set of calls done, state) that was reached,
//! and undo the last choice when a call that has returned cannot be placed.
//!
//! An open call may be placed anywhere after it was made; the search ends when all answered calls are placed.

use std::collections::HashSet;
use std::hash::Hash;

use crate::history::Call;

/// What one object does, one call at a time.
pub trait Model {
    type Input;
    type Output;
    type State: Clone + Eq + Hash + Default;

    /// The state after this call, if it may answer so in this state. Without an answer, whatever it may have done.
    fn step(state: &Self::State, input: &Self::Input, output: Option<&Self::Output>) -> Option<Self::State>;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Linearizable,
    /// The call that cannot be placed, by its place in the history.
    Violated(usize),
    /// The budget of steps was used up.
    Undecided,
}

/// No entry; the list's two ends.
const NONE: usize = usize::MAX;

/// Calls and returns in the order of time, as a list from which a placed call is taken out and put back.
struct Events {
    /// Which call, and whether this is its return.
    entries: Vec<(usize, bool)>,
    next: Vec<usize>,
    previous: Vec<usize>,
    /// Where the return of each call is; open calls have none.
    returns: Vec<usize>,
    first: usize,
}

impl Events {
    fn of<I, O>(calls: &[Call<I, O>]) -> Self {
        let mut times = Vec::with_capacity(calls.len() * 2);
        for (place, call) in calls.iter().enumerate() {
            times.push((call.called, false, place));
            if call.answer.is_some() {
                times.push((call.returned(), true, place));
            }
        }
        // At one moment calls come before returns: calls that touch are taken for concurrent.
        times.sort_unstable();
        let count = times.len();
        let mut returns = vec![NONE; calls.len()];
        for (at, (_, is_return, place)) in times.iter().enumerate() {
            if *is_return && let Some(slot) = returns.get_mut(*place) {
                *slot = at;
            }
        }
        let entries = times.into_iter().map(|(_, is_return, place)| (place, is_return)).collect();
        let next = (1..=count).map(|at| if at == count { NONE } else { at }).collect();
        let previous = (0..count).map(|at| at.checked_sub(1).unwrap_or(NONE)).collect();
        Events { entries, next, previous, returns, first: if count == 0 { NONE } else { 0 } }
    }

    fn unlink(&mut self, at: usize) {
        let (previous, next) = (self.previous[at], self.next[at]);
        match previous {
            NONE => self.first = next,
            _ => self.next[previous] = next,
        }
        if next != NONE {
            self.previous[next] = previous;
        }
    }

    fn relink(&mut self, at: usize) {
        let (previous, next) = (self.previous[at], self.next[at]);
        match previous {
            NONE => self.first = at,
            _ => self.next[previous] = at,
        }
        if next != NONE {
            self.previous[next] = at;
        }
    }

    /// Takes a call and its return out.
    fn lift(&mut self, at: usize, call: usize) {
        self.unlink(at);
        if self.returns[call] != NONE {
            self.unlink(self.returns[call]);
        }
    }

    /// Puts them back, in the opposite order.
    fn put_back(&mut self, at: usize, call: usize) {
        if self.returns[call] != NONE {
            self.relink(self.returns[call]);
        }
        self.relink(at);
    }
}

/// Looks for a linearization of the calls, all of one object, in at most `budget` steps.
pub fn check<M: Model>(calls: &[Call<M::Input, M::Output>], budget: u64) -> Verdict {
    let mut events = Events::of(calls);
    let mut unplaced = calls.iter().filter(|call| call.answer.is_some()).count();
    let mut state = M::State::default();
    let mut placed: Vec<u64> = vec![0; calls.len().div_ceil(64)];
    let mut reached: HashSet<(Vec<u64>, M::State)> = HashSet::new();
    let mut choices: Vec<(usize, M::State)> = Vec::new();
    // The return at which the search got furthest: the best witness.
    let mut furthest = 0;
    let mut at = events.first;
    let mut steps = 0;
    while unplaced > 0 {
        steps += 1;
        if steps > budget {
            return Verdict::Undecided;
        }
        // Beyond the end: only open calls are left, and none of them helps the answered ones, which come before.
        let entry = if at == NONE { None } else { Some(events.entries[at]) };
        match entry {
            Some((place, false)) => {
                let call = &calls[place];
                let stepped = M::step(&state, &call.input, call.output());
                let mut advanced = false;
                if let Some(after) = stepped {
                    placed[place / 64] |= 1 << (place % 64);
                    if reached.insert((placed.clone(), after.clone())) {
                        choices.push((at, std::mem::replace(&mut state, after)));
                        events.lift(at, place);
                        unplaced -= usize::from(call.answer.is_some());
                        at = events.first;
                        advanced = true;
                    } else {
                        placed[place / 64] &= !(1 << (place % 64));
                    }
                }
                if !advanced {
                    at = events.next[at];
                }
            }
            // A call that has returned is not placed yet: undo the last choice.
            found => {
                if let Some((place, _)) = found
                    && (furthest == 0 || calls[place].returned() > calls[furthest - 1].returned())
                {
                    furthest = place + 1;
                }
                let Some((chosen, before)) = choices.pop() else {
                    return Verdict::Violated(furthest.saturating_sub(1));
                };
                let place = events.entries[chosen].0;
                state = before;
                placed[place / 64] &= !(1 << (place % 64));
                events.put_back(chosen, place);
                unplaced += usize::from(calls[place].answer.is_some());
                at = events.next[chosen];
            }
        }
    }
    Verdict::Linearizable
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::check::key::{Input, Key, Output};

    fn call(called: u64, returned: u64, input: Input, output: Output) -> Call<Input, Output> {
        Call { called, answer: Some((returned, output)), input, by: String::new() }
    }

    fn open(called: u64, input: Input) -> Call<Input, Output> {
        Call { called, answer: None, input, by: String::new() }
    }

    fn verdict(calls: &[Call<Input, Output>]) -> Verdict {
        check::<Key>(calls, 1_000_000)
    }

    #[test]
    fn a_stale_read_is_seen() {
        let put = call(0, 10, Input::Put(1), Output::Done);
        assert_eq!(verdict(&[put.clone(), call(11, 12, Input::Get, Output::Got(Some(1)))]), Verdict::Linearizable);
        assert_eq!(verdict(&[put.clone(), call(11, 12, Input::Get, Output::Got(None))]), Verdict::Violated(1));
        // While the put is on its way both are right.
        assert_eq!(verdict(&[put, call(9, 12, Input::Get, Output::Got(None))]), Verdict::Linearizable);
    }

    #[test]
    fn an_unknown_write_may_happen_late_or_never_but_not_twice() {
        let unknown = open(0, Input::Put(1));
        let (seen, gone) = (Output::Got(Some(1)), Output::Got(None));
        let late = [unknown.clone(), call(5, 6, Input::Get, gone.clone()), call(50, 51, Input::Get, seen.clone())];
        assert_eq!(verdict(&late), Verdict::Linearizable);
        assert_eq!(verdict(&[unknown.clone(), call(5, 6, Input::Get, gone)]), Verdict::Linearizable);
        let twice = [
            unknown,
            call(5, 6, Input::Get, seen.clone()),
            call(7, 8, Input::Put(2), Output::Done),
            call(9, 10, Input::Get, seen),
        ];
        assert_eq!(verdict(&twice), Verdict::Violated(3));
    }

    #[test]
    fn a_lost_update_is_seen() {
        let taken = |found| Output::Swapped { done: true, found };
        let swaps = [
            call(0, 1, Input::Put(1), Output::Done),
            call(2, 9, Input::Swap { expected: Some(1), new: 2 }, taken(None)),
            call(3, 8, Input::Swap { expected: Some(1), new: 3 }, taken(None)),
        ];
        assert!(matches!(verdict(&swaps), Verdict::Violated(_)));
    }

    #[test]
    fn a_hopeless_search_ends() {
        let mut calls: Vec<_> = (0..40).map(|n| open(0, Input::Put(n))).collect();
        calls.push(call(1, 2, Input::Get, Output::Got(Some(99))));
        assert_eq!(check::<Key>(&calls, 10_000), Verdict::Undecided);
    }

    /// Tries every order.
    fn by_force(calls: &[Call<Input, Output>], done: &mut Vec<usize>, state: Option<u64>) -> bool {
        let left = |place: &usize| !done.contains(place);
        if (0..calls.len()).filter(left).all(|place| calls[place].answer.is_none()) {
            return true;
        }
        let candidates: Vec<usize> = (0..calls.len()).filter(left).collect();
        for place in &candidates {
            let first = candidates.iter().all(|other| calls[*other].returned() >= calls[*place].called);
            if first && let Some(after) = Key::step(&state, &calls[*place].input, calls[*place].output()) {
                done.push(*place);
                if by_force(calls, done, after) {
                    return true;
                }
                done.pop();
            }
        }
        false
    }

    fn some_call() -> impl Strategy<Value = Call<Input, Output>> {
        let value = || 1..4u64;
        let maybe = || proptest::option::of(1..4u64);
        let kinds = prop_oneof![
            maybe().prop_map(|found| (Input::Get, Output::Got(found))),
            (value(), maybe()).prop_map(|(new, old)| (Input::Put(new), Output::Was(old))),
            maybe().prop_map(|old| (Input::Delete, Output::Was(old))),
            (maybe(), value(), any::<bool>(), maybe()).prop_map(|(expected, new, done, found)| (
                Input::Swap { expected, new },
                Output::Swapped { done, found }
            )),
        ];
        (0..20u64, 1..8u64, kinds, proptest::bool::weighted(0.8)).prop_map(|(called, took, (input, output), known)| {
            let answer = known.then_some((called + took, output));
            Call { called, answer, input, by: String::new() }
        })
    }

    /// A history that is right by construction: calls take effect one after the other, at a moment within each.
    fn right() -> impl Strategy<Value = Vec<Call<Input, Output>>> {
        let one = (0..4u8, 1..6u64, 0..5u64, 0..5u64, proptest::bool::weighted(0.9), proptest::option::of(1..6u64));
        proptest::collection::vec(one, 1..60).prop_map(|made| {
            let mut state: Option<u64> = None;
            let mut calls = Vec::new();
            for (place, (kind, new, before, after, known, expected)) in made.into_iter().enumerate() {
                let moment = place as u64 * 2 + 10;
                let found = state;
                let (input, output) = match kind {
                    0 => (Input::Get, Output::Got(found)),
                    1 => {
                        state = Some(new);
                        (Input::Put(new), Output::Was(found))
                    }
                    2 => {
                        state = None;
                        (Input::Delete, Output::Was(found))
                    }
                    _ => {
                        let done = found == expected;
                        state = if done { Some(new) } else { found };
                        (
                            Input::Swap { expected, new },
                            Output::Swapped { done, found: if done { None } else { found } },
                        )
                    }
                };
                let answer = known.then_some((moment + after, output));
                calls.push(Call { called: moment - before, answer, input, by: String::new() });
            }
            calls
        })
    }

    proptest! {
        #[test]
        fn what_is_right_is_found_right(calls in right()) {
            prop_assert_eq!(verdict(&calls), Verdict::Linearizable);
        }

        #[test]
        fn small_histories_are_judged_as_by_trying_every_order(calls in proptest::collection::vec(some_call(), 1..6)) {
            let expected = by_force(&calls, &mut Vec::new(), None);
            prop_assert_eq!(verdict(&calls) == Verdict::Linearizable, expected);
        }
    }
}
