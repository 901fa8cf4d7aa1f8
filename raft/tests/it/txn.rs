//! The read-your-writes overlay against a model: whatever was written, deleted and rolled back, reads agree.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use proptest::prelude::*;
use roost_raft::kv::{KeyRange, MemTables, Read, Space, Txn, prefix_end};

use crate::support::{Pair, scanned};

type Model = BTreeMap<(Space, Vec<u8>), Vec<u8>>;

/// Short keys over a small alphabet, with 0xff so that prefixes without an end occur.
pub fn key() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![Just(0u8), Just(b'a'), Just(b'b'), Just(0xff)], 0..4)
}

pub fn space() -> impl Strategy<Value = Space> {
    prop_oneof![Just(Space::SYSTEM), Just(Space::STATE)]
}

pub fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![key().prop_map(Bound::Included), key().prop_map(Bound::Excluded), Just(Bound::Unbounded)]
}

#[derive(Clone, Debug)]
enum Step {
    Put(Space, Vec<u8>, u8),
    Delete(Space, Vec<u8>),
    Mark,
    /// Rolls back to the newest mark.
    Rollback,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (space(), key(), any::<u8>()).prop_map(|(space, key, value)| Step::Put(space, key, value)),
        2 => (space(), key()).prop_map(|(space, key)| Step::Delete(space, key)),
        1 => Just(Step::Mark),
        1 => Just(Step::Rollback),
    ]
}

pub fn within(key: &[u8], from: &Bound<Vec<u8>>, to: &Bound<Vec<u8>>) -> bool {
    let after = match from {
        Bound::Included(from) => key >= from.as_slice(),
        Bound::Excluded(from) => key > from.as_slice(),
        Bound::Unbounded => true,
    };
    let before = match to {
        Bound::Included(to) => key <= to.as_slice(),
        Bound::Excluded(to) => key < to.as_slice(),
        Bound::Unbounded => true,
    };
    after && before
}

pub fn range<'a>(from: &'a Bound<Vec<u8>>, to: &'a Bound<Vec<u8>>) -> KeyRange<'a> {
    KeyRange { from: from.as_ref().map(Vec::as_slice), to: to.as_ref().map(Vec::as_slice) }
}

fn of(model: &Model, space: Space, wanted: impl Fn(&[u8]) -> bool) -> Vec<Pair> {
    let rows = model.iter().filter(|((at, key), _)| *at == space && wanted(key));
    rows.map(|((_, key), value)| (key.clone(), value.clone())).collect()
}

proptest! {
    #[test]
    fn the_overlay_reads_like_the_model(
        base in proptest::collection::btree_map((space(), key()), any::<u8>(), 0..12),
        steps in proptest::collection::vec(step(), 0..24),
        looks in proptest::collection::vec((space(), key(), bound(), bound(), any::<bool>(), 0usize..6), 1..6),
    ) {
        let mut model: Model = base.into_iter().map(|(slot, value)| (slot, vec![value])).collect();
        let mut tables = MemTables::default();
        tables.commit(model.iter().map(|(slot, value)| (slot.clone(), Some(value.clone()))).collect());
        let mut txn = Txn::new(&tables);
        let mut marks = Vec::new();
        for step in steps {
            match step {
                Step::Put(space, key, value) => {
                    txn.put(space, key.clone(), [value]);
                    model.insert((space, key), vec![value]);
                }
                Step::Delete(space, key) => {
                    txn.delete(space, key.clone());
                    model.remove(&(space, key));
                }
                Step::Mark => marks.push((txn.mark(), model.clone())),
                Step::Rollback => {
                    if let Some((mark, then)) = marks.pop() {
                        txn.rollback(mark);
                        model = then;
                    }
                }
            }
        }
        for (space, key, from, to, reverse, limit) in looks {
            prop_assert_eq!(txn.get(space, &key).unwrap(), model.get(&(space, key.clone())).cloned());
            let mut expected = of(&model, space, |key| within(key, &from, &to));
            if reverse {
                expected.reverse();
            }
            prop_assert_eq!(scanned(&txn, space, range(&from, &to), reverse, usize::MAX), expected.clone());
            expected.truncate(limit);
            prop_assert_eq!(scanned(&txn, space, range(&from, &to), reverse, limit), expected);
            let mut prefixed = Vec::new();
            txn.scan_prefix(space, &key, &mut |key, value| {
                prefixed.push((key.to_vec(), value.to_vec()));
                Ok(ControlFlow::Continue(()))
            }).unwrap();
            prop_assert_eq!(prefixed, of(&model, space, |other| other.starts_with(&key)));
        }
        let (rows, mut known) = txn.into_parts();
        for (space, key) in rows.keys() {
            // Whatever is remembered is what stands below, not what was written above.
            prop_assert!(known.take(*space, key).is_none_or(|row| row == tables.get(*space, key).unwrap()));
        }
        tables.commit(rows);
        for space in Space::ALL {
            prop_assert_eq!(scanned(&tables, space, KeyRange::ALL, false, usize::MAX), of(&model, space, |_| true));
        }
    }

    #[test]
    fn the_prefix_end_is_the_first_key_beyond_the_prefix(prefix in key(), other in key()) {
        let inside = other.starts_with(&prefix);
        let below_end = prefix_end(&prefix).is_none_or(|end| other < end);
        prop_assert_eq!(inside, other >= prefix && below_end);
    }
}

#[test]
fn an_error_of_the_visitor_ends_the_scan() {
    let mut tables = MemTables::default();
    tables.commit([((Space::STATE, vec![1]), Some(vec![1])), ((Space::STATE, vec![3]), Some(vec![3]))].into());
    let mut txn = Txn::new(&tables);
    txn.put(Space::STATE, [2], [2]);
    for stop_at in 1u8..=3 {
        let mut seen = 0;
        let result = txn.scan(Space::STATE, KeyRange::ALL, false, &mut |key, _| {
            seen += 1;
            if key == [stop_at] { Err(std::io::Error::other("enough")) } else { Ok(ControlFlow::Continue(())) }
        });
        assert!(result.is_err());
        assert_eq!(seen, stop_at);
    }
}
