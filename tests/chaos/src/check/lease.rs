//! Leases: never over early.

use crate::history::{Checker, Nanos, Violation};

/// What one client knows of its lease.
#[derive(Clone, Debug)]
pub struct Life {
    pub id: i64,
    pub ttl: Nanos,
    /// When the last grant or renewal that was answered was asked for: the server cannot have counted from earlier.
    pub renewed: Nanos,
    /// When a linearizable read had shown that the lease's key is gone.
    pub gone: Nanos,
}

/// The lease was not over more than `bound` before its time.
pub fn not_early(life: &Life, bound: Nanos) -> Vec<Violation> {
    let due = life.renewed + life.ttl;
    let early = due.saturating_sub(life.gone);
    let text = || format!("lease {} was over {} ms early: {life:?}", life.id, early / 1_000_000);
    (early > bound).then(|| Checker::Lease.found(text())).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_early_end_is_seen_and_a_late_one_is_not_an_error() {
        let life = |gone| Life { id: 1, ttl: 1000, renewed: 500, gone };
        assert!(not_early(&life(1500), 10).is_empty() && not_early(&life(9000), 10).is_empty());
        assert!(not_early(&life(1491), 10).is_empty(), "within the bound");
        assert_eq!(not_early(&life(1489), 10).len(), 1);
    }
}
