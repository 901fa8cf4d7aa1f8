//! Token buckets of several levels that are taken from together or not at all.
//!
//! A bucket holds as many tokens as come in a second, at least one, and begins full. What a call lacks at one level it
//! does not take at another, so calls that are refused use up nothing. (Libraries such as governor take from one
//! bucket at a time and cannot give back.)

use std::collections::HashMap;

use super::limits::Level;
use crate::limits;
use crate::pb::internal::RateType;

/// What a bucket counts: a kind of calls of the cluster, of one database or of one collection, by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub kind: RateType,
    pub level: Level,
    pub id: i64,
}

/// One token of this bucket, which gets so many a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Claim {
    pub key: Key,
    pub per_second: f64,
}

impl Claim {
    fn size(&self) -> f64 {
        self.per_second.max(1.0)
    }
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    seen_ms: u64,
    per_second: f64,
}

impl Bucket {
    /// The tokens there are at `now_ms`.
    fn tokens_at(&self, now_ms: u64, claim: &Claim) -> f64 {
        let passed_s = now_ms.saturating_sub(self.seen_ms) as f64 / 1000.0;
        (self.tokens + passed_s * claim.per_second).min(claim.size())
    }

    /// It could as well not be there.
    fn is_full(&self, now_ms: u64) -> bool {
        let passed_s = now_ms.saturating_sub(self.seen_ms) as f64 / 1000.0;
        self.tokens + passed_s * self.per_second >= self.per_second.max(1.0)
    }
}

/// The buckets that are not full. At most [`limits::QUOTA_BUCKETS_MAX`].
#[derive(Debug, Default)]
pub struct Buckets {
    open: HashMap<Key, Bucket>,
}

impl Buckets {
    /// Takes a token for every claim; if one has none, takes nothing and returns that claim.
    pub fn take(&mut self, claims: &[Claim], now_ms: u64) -> Result<(), Claim> {
        let left =
            |claim: &Claim| self.open.get(&claim.key).map_or(claim.size(), |found| found.tokens_at(now_ms, claim));
        // Tokens come as fractions: a thousandth must not make a caller wait for another tick of the clock.
        const ALMOST: f64 = 0.999;
        if let Some(short) = claims.iter().find(|claim| left(claim) < ALMOST) {
            return Err(*short);
        }
        let taken: Vec<f64> = claims.iter().map(|claim| (left(claim) - 1.0).max(0.0)).collect();
        self.make_room(claims.len(), now_ms);
        for (claim, tokens) in claims.iter().zip(taken) {
            // Beyond the bound a scope is counted at the levels above it only.
            if self.open.len() < limits::QUOTA_BUCKETS_MAX || self.open.contains_key(&claim.key) {
                self.open.insert(claim.key, Bucket { tokens, seen_ms: now_ms, per_second: claim.per_second });
            }
        }
        Ok(())
    }

    fn make_room(&mut self, wanted: usize, now_ms: u64) {
        if self.open.len().saturating_add(wanted) > limits::QUOTA_BUCKETS_MAX {
            self.open.retain(|_, bucket| !bucket.is_full(now_ms));
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.open.len()
    }
}
