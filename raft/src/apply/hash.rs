//! A hash over every replicated row that does not depend on the order of changes: equal on all nodes at an equal
//! applied index, kept up incrementally, recomputable from a snapshot.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::kv::Space;

/// Sum, lane by lane modulo 2^64, of the rows' BLAKE3 digests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateHash([u64; 4]);

impl StateHash {
    /// Takes a row in, if its space is covered.
    pub fn add(&mut self, space: Space, key: &[u8], value: &[u8]) {
        if !space.hashed() {
            return;
        }
        let row = digest(space, key, value);
        self.0.iter_mut().zip(row).for_each(|(lane, part)| *lane = lane.wrapping_add(part));
    }

    /// Takes a row out that was taken in before, if its space is covered.
    pub fn remove(&mut self, space: Space, key: &[u8], value: &[u8]) {
        if !space.hashed() {
            return;
        }
        let row = digest(space, key, value);
        self.0.iter_mut().zip(row).for_each(|(lane, part)| *lane = lane.wrapping_sub(part));
    }
}

impl fmt::Display for StateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|lane| write!(f, "{lane:016x}"))
    }
}

fn digest(space: Space, key: &[u8], value: &[u8]) -> [u64; 4] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[space.0]);
    // The length keeps (key, value) pairs apart that concatenate to the same bytes.
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(value);
    let mut lanes = [0; 4];
    for (lane, bytes) in lanes.iter_mut().zip(hasher.finalize().as_bytes().chunks_exact(8)) {
        *lane = bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    }
    lanes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter_and_removal_undoes() {
        let rows = [(Space::STATE, &b"a"[..], &b"1"[..]), (Space::STATE, b"b", b"2"), (Space::SYSTEM, b"a", b"1")];
        let mut forward = StateHash::default();
        rows.iter().for_each(|(space, key, value)| forward.add(*space, key, value));
        let mut backward = StateHash::default();
        rows.iter().rev().for_each(|(space, key, value)| backward.add(*space, key, value));
        assert_eq!(forward, backward);
        rows.iter().for_each(|(space, key, value)| forward.remove(*space, key, value));
        assert_eq!(forward, StateHash::default());
    }

    #[test]
    fn key_and_value_do_not_run_together() {
        let mut left = StateHash::default();
        left.add(Space::STATE, b"ab", b"c");
        let mut right = StateHash::default();
        right.add(Space::STATE, b"a", b"bc");
        assert_ne!(left, right);
    }
}
