//! State hashes: equal on all nodes at an equal index.

use std::collections::BTreeMap;

use crate::history::{Checker, Violation};

/// The hashes that each node remembers, by index.
pub type Hashes = BTreeMap<u64, Vec<u8>>;

/// No two nodes remember different hashes of one index.
pub fn equal(nodes: &[(String, Hashes)]) -> Vec<Violation> {
    let mut known: BTreeMap<u64, (&str, &[u8])> = BTreeMap::new();
    for (node, hashes) in nodes {
        for (index, hash) in hashes {
            let (first, expected) = *known.entry(*index).or_insert((node, hash));
            if expected != hash {
                let what = format!("{first} and {node} have different states at index {index}");
                return vec![Checker::Hash.found(what)];
            }
        }
    }
    Vec::new()
}

/// The newest index of which all nodes remember a hash.
pub fn common(nodes: &[(String, Hashes)]) -> Option<u64> {
    let (first, others) = nodes.split_first()?;
    let shared = |index: &&u64| others.iter().all(|(_, hashes)| hashes.contains_key(index));
    first.1.keys().rev().find(shared).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, hashes: &[(u64, u8)]) -> (String, Hashes) {
        (name.into(), hashes.iter().map(|(index, hash)| (*index, vec![*hash])).collect())
    }

    #[test]
    fn another_hash_at_a_common_index_is_seen() {
        let one = node("one", &[(4, 40), (5, 50), (7, 70)]);
        let same = node("other", &[(5, 50), (6, 60)]);
        assert!(equal(&[one.clone(), same.clone()]).is_empty());
        assert_eq!(common(&[one.clone(), same]), Some(5));
        let other = node("other", &[(5, 51), (6, 60)]);
        assert!(equal(&[one.clone(), other])[0].what.contains("index 5"));
        assert_eq!(common(&[one, node("other", &[(6, 60)])]), None);
    }
}
