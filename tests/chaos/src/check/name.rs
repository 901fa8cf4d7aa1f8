//! The name of one collection: there or not. Creating what is there and dropping what is not are answered like the
//! real thing, as Milvus does.

use super::linearizable::{Model, Verdict, check};
use crate::history::{Call, Checker, Violation};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    Create,
    Drop,
    Has,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    Done,
    Has(bool),
}

/// The model: whether the name is taken.
pub struct Name;

impl Model for Name {
    type Input = Input;
    type Output = Output;
    type State = bool;

    fn step(state: &bool, input: &Input, output: Option<&Output>) -> Option<bool> {
        match (input, output) {
            (Input::Create, None | Some(Output::Done)) => Some(true),
            (Input::Drop, None | Some(Output::Done)) => Some(false),
            (Input::Has, None) => Some(*state),
            (Input::Has, Some(Output::Has(found))) => (found == state).then_some(*state),
            _ => None,
        }
    }
}

const BUDGET: u64 = 2_000_000;

/// Checks one name. Says whether the search ended.
pub fn linearizable(name: &str, calls: &[Call<Input, Output>]) -> (Vec<Violation>, bool) {
    let useful = |call: &&Call<Input, Output>| call.answer.is_some() || call.input != Input::Has;
    let calls: Vec<_> = calls.iter().filter(useful).cloned().collect();
    match check::<Name>(&calls, BUDGET) {
        Verdict::Linearizable => (Vec::new(), true),
        Verdict::Undecided => (Vec::new(), false),
        Verdict::Violated(place) => {
            let last = calls.get(place);
            (
                vec![Checker::Collections.found(format!("collection {name}: no order explains {last:?} in {calls:?}"))],
                true,
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(at: u64, input: Input, output: Output) -> Call<Input, Output> {
        Call { called: at, answer: Some((at + 1, output)), input, by: String::new() }
    }

    #[test]
    fn a_name_that_is_gone_or_comes_back_is_seen() {
        let created = answered(0, Input::Create, Output::Done);
        let dropped = answered(2, Input::Drop, Output::Done);
        let has = |found| answered(4, Input::Has, Output::Has(found));
        let faults = |calls: &[Call<Input, Output>]| linearizable("n", calls).0.len();
        assert_eq!(faults(&[created.clone(), has(true)]), 0);
        assert_eq!(faults(&[created.clone(), has(false)]), 1);
        assert_eq!(faults(&[created.clone(), dropped.clone(), has(false)]), 0);
        assert_eq!(faults(&[created, dropped, has(true)]), 1);
    }
}
