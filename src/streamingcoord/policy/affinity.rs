//! How much channels serve the same collections. Such channels should be apart: what a collection is asked for then
//! falls on several nodes, and a node that dies takes less of it.

use crate::limits;

/// For each channel the others that share a collection with it, by index, and how much of both is the same: shared
/// collections / distinct collections, above 0.0 and at most 1.0. `channels` are their collections, sorted.
pub fn neighbours(channels: &[&[i64]]) -> Vec<Vec<(u32, f64)>> {
    let mut serving: Vec<(i64, u32)> = Vec::new();
    let mut distinct = Vec::with_capacity(channels.len());
    for (index, collections) in channels.iter().enumerate() {
        let before = serving.len();
        for collection in collections.chunk_by(|a, b| a == b).filter_map(|same| same.first()) {
            serving.push((*collection, index as u32));
        }
        distinct.push(serving.len() - before);
    }
    serving.sort_unstable();
    let mut shared: Vec<Vec<u32>> = vec![Vec::new(); channels.len()];
    let mut pairs = 0usize;
    for group in serving.chunk_by(|a, b| a.0 == b.0) {
        pairs = pairs.saturating_add(group.len() * (group.len() - 1));
        if pairs > limits::AFFINITY_PAIRS_MAX {
            break;
        }
        for (_, one) in group {
            shared[*one as usize].extend(group.iter().map(|(_, other)| *other).filter(|other| other != one));
        }
    }
    let counted = |(index, mut others): (usize, Vec<u32>)| {
        others.sort_unstable();
        let count = |same: &[u32]| {
            let all = distinct[index] + distinct[same[0] as usize] - same.len();
            (same[0], same.len() as f64 / all as f64)
        };
        others.chunk_by(|a, b| a == b).map(count).collect()
    };
    shared.into_iter().enumerate().map(counted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_near_by_the_collections_that_they_share() {
        let channels: [&[i64]; 4] = [&[1, 1, 2], &[2, 3, 4], &[], &[1, 2]];
        let near = neighbours(&channels);
        assert_eq!(near[0], [(1, 0.25), (3, 1.0)], "one of {{1, 2, 3, 4}} is shared, and both of {{1, 2}}");
        assert_eq!(near[1], [(0, 0.25), (3, 0.25)]);
        assert!(near[2].is_empty(), "a channel without vchannels is near to none");
        assert_eq!(near[3], [(0, 1.0), (1, 0.25)]);
    }

    #[test]
    fn more_pairs_than_are_counted_leave_out_collections_of_high_ids() {
        let everywhere: Vec<i64> = vec![7, 8];
        let channels = vec![everywhere.as_slice(); 1_500];
        let near = neighbours(&channels);
        assert!(near.iter().all(|others| others.len() == 1_499));
        assert!(near[0].iter().all(|(_, same)| (*same - 1.0 / 3.0).abs() < 1e-9), "of 8 nothing is counted");
    }
}
