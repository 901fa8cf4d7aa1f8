//! The name of one collection: there or not, and one property of what is there. Creating what is there and dropping
//! what is not are answered like the real thing, as Milvus does.

use super::linearizable::{Model, Verdict, check};
use crate::history::{Call, Checker, Violation};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    Create,
    Drop,
    /// Sets the property.
    Alter(u64),
    /// Describes it.
    Look,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    Done,
    /// There is one already, and it is not the same.
    Differs,
    /// There is none.
    Missing,
    /// There is one, with this property.
    There(Option<u64>),
}

/// The model: nothing, or a collection with or without the property.
pub struct Name;

impl Model for Name {
    type Input = Input;
    type Output = Output;
    type State = Option<Option<u64>>;

    fn step(state: &Self::State, input: &Input, output: Option<&Output>) -> Option<Self::State> {
        match (input, output, state) {
            (Input::Create, None | Some(Output::Done), None) => Some(Some(None)),
            // Only the same schema without the property is the same; without an answer, nothing happened.
            (Input::Create, None | Some(Output::Done), Some(None)) => Some(*state),
            (Input::Create, None | Some(Output::Differs), Some(Some(_))) => Some(*state),
            (Input::Drop, None | Some(Output::Done), _) => Some(None),
            (Input::Alter(new), None | Some(Output::Done), Some(_)) => Some(Some(Some(*new))),
            (Input::Alter(_), None | Some(Output::Missing), None) => Some(None),
            (Input::Look, None, _) => Some(*state),
            (Input::Look, Some(Output::Missing), None) => Some(None),
            (Input::Look, Some(Output::There(property)), Some(held)) => (property == held).then_some(*state),
            _ => None,
        }
    }
}

const BUDGET: u64 = 2_000_000;
/// Calls that a message shows.
const SHOWN: usize = 20;

/// Checks one name. Says whether the search ended.
pub fn linearizable(name: &str, calls: &[Call<Input, Output>]) -> (Vec<Violation>, bool) {
    let seen = |value: u64| calls.iter().any(|call| call.output() == Some(&Output::There(Some(value))));
    // Whether an open change of the property was seen is all that it can be known by, but for a creation that differs.
    let differs = calls.iter().any(|call| call.output() == Some(&Output::Differs));
    let useful = |call: &&Call<Input, Output>| match (&call.input, &call.answer) {
        (_, Some(_)) | (Input::Create | Input::Drop, None) => true,
        (Input::Look, None) => false,
        (Input::Alter(value), None) => differs || seen(*value),
    };
    let mut calls: Vec<_> = calls.iter().filter(useful).cloned().collect();
    calls.sort_by_key(|call| call.called);
    match check::<Name>(&calls, BUDGET) {
        Verdict::Linearizable => (Vec::new(), true),
        Verdict::Undecided => (Vec::new(), false),
        Verdict::Violated(place) => {
            let until = calls.get(..=place).unwrap_or_default();
            let shown: Vec<String> =
                until.iter().skip(until.len().saturating_sub(SHOWN)).map(|call| format!("{call:?}")).collect();
            let what = format!("collection {name}: no order explains the last of\n    {}", shown.join("\n    "));
            (vec![Checker::Collections.found(what)], true)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(at: u64, input: Input, output: Output) -> Call<Input, Output> {
        Call { called: at, answer: Some((at + 1, output)), input, by: String::new() }
    }

    fn faults(calls: &[Call<Input, Output>]) -> usize {
        linearizable("n", calls).0.len()
    }

    #[test]
    fn a_name_that_is_gone_or_comes_back_is_seen() {
        let created = answered(0, Input::Create, Output::Done);
        let dropped = answered(2, Input::Drop, Output::Done);
        let look = |output| answered(4, Input::Look, output);
        assert_eq!(faults(&[created.clone(), look(Output::There(None))]), 0);
        assert_eq!(faults(&[created.clone(), look(Output::Missing)]), 1);
        assert_eq!(faults(&[created.clone(), dropped.clone(), look(Output::Missing)]), 0);
        assert_eq!(faults(&[created, dropped, look(Output::There(None))]), 1);
    }

    #[test]
    fn a_property_that_is_lost_or_appears_is_seen() {
        let created = answered(0, Input::Create, Output::Done);
        let altered = answered(2, Input::Alter(7), Output::Done);
        let there = |property| answered(4, Input::Look, Output::There(property));
        assert_eq!(faults(&[created.clone(), altered.clone(), there(Some(7))]), 0);
        assert_eq!(faults(&[created.clone(), altered.clone(), there(None)]), 1);
        assert_eq!(faults(&[created.clone(), there(Some(7))]), 1);
        let unknown = Call { answer: None, ..altered.clone() };
        assert_eq!(faults(&[created.clone(), unknown.clone(), there(Some(7))]), 0);
        assert_eq!(faults(&[created.clone(), unknown.clone(), there(None)]), 0);
        // An unknown change may be why a creation differs.
        let again = answered(4, Input::Create, Output::Differs);
        assert_eq!(faults(&[created.clone(), unknown, again.clone()]), 0);
        assert_eq!(faults(&[created.clone(), again]), 1);
        assert_eq!(faults(&[answered(0, Input::Alter(7), Output::Done)]), 1, "there is none");
        assert_eq!(faults(&[created, answered(2, Input::Alter(7), Output::Missing)]), 1, "there is one");
    }
}
