//! Buckets by example and by property.

use proptest::prelude::*;

use crate::pb::internal::RateType;
use crate::quota::Level;
use crate::quota::bucket::{Buckets, Claim, Key};

fn claim(kind: RateType, level: Level, id: i64, per_second: f64) -> Claim {
    Claim { key: Key { kind, level, id }, per_second }
}

#[test]
fn a_refused_call_takes_nothing_anywhere() {
    let mut buckets = Buckets::default();
    let cluster = claim(RateType::DdlIndex, Level::Cluster, 0, 10.0);
    let database = claim(RateType::DdlIndex, Level::Database, 7, 1.0);
    assert_eq!(buckets.take(&[cluster, database], 0), Ok(()));
    for _ in 0..100 {
        assert_eq!(buckets.take(&[cluster, database], 0), Err(database));
    }
    // Nine of the cluster's ten are left for others.
    assert_eq!((0..20).filter(|_| buckets.take(&[cluster], 0).is_ok()).count(), 9);
    assert_eq!(buckets.take(&[cluster, database], 99), Err(cluster));
    assert_eq!(buckets.take(&[cluster, database], 1000), Ok(()));
}

#[test]
fn a_rate_below_one_a_second_admits_one_in_its_time() {
    let mut buckets = Buckets::default();
    let flush = [claim(RateType::DdlFlush, Level::Collection, 5, 0.1)];
    assert_eq!(buckets.take(&flush, 500), Ok(()));
    assert_eq!(buckets.take(&flush, 9_000), Err(flush[0]));
    assert_eq!(buckets.take(&flush, 10_500), Ok(()));
    assert_eq!(buckets.take(&flush, 10_501), Err(flush[0]));
}

#[test]
fn buckets_are_bounded_and_full_ones_are_forgotten() {
    let most = crate::limits::QUOTA_BUCKETS_MAX;
    let mut buckets = Buckets::default();
    for id in 0..most as i64 + 500 {
        assert_eq!(buckets.take(&[claim(RateType::DdlFlush, Level::Collection, id, 1.0)], 0), Ok(()));
    }
    assert_eq!(buckets.len(), most);
    assert_eq!(buckets.take(&[claim(RateType::DdlFlush, Level::Collection, -1, 1.0)], 1000), Ok(()));
    assert_eq!(buckets.len(), 1);
}

proptest! {
    /// Over any stretch of time no bucket gives more than it held and got; whoever waits long enough is admitted.
    #[test]
    fn no_rate_is_passed(
        calls in proptest::collection::vec((0..2000u64, 0..3i64), 1..200),
        cluster in 0.1..20.0f64,
        database in 0.1..20.0f64,
    ) {
        let mut buckets = Buckets::default();
        let (mut now, mut admitted) = (0, Vec::new());
        for (pause, id) in calls {
            now += pause;
            let claims = [
                claim(RateType::DdlCollection, Level::Cluster, 0, cluster),
                claim(RateType::DdlCollection, Level::Database, id, database),
            ];
            if buckets.take(&claims, now).is_ok() {
                admitted.push((now, id));
            }
        }
        prop_assert!(!admitted.is_empty());
        let most = |rate: f64, passed_ms: u64| rate.max(1.0) + rate * passed_ms as f64 / 1000.0 + 0.001 * 200.0;
        for (first, (from, _)) in admitted.iter().enumerate() {
            for (last, (until, _)) in admitted.iter().enumerate().skip(first) {
                let within = &admitted[first..=last];
                prop_assert!(within.len() as f64 <= most(cluster, until - from) + 1.0);
                for id in 0..3 {
                    let of = within.iter().filter(|(_, of)| *of == id).count();
                    prop_assert!(of as f64 <= most(database, until - from) + 1.0);
                }
            }
        }
        let patient = [claim(RateType::DdlCollection, Level::Cluster, 0, cluster)];
        prop_assert_eq!(buckets.take(&patient, now + 10_000), Ok(()));
    }
}
