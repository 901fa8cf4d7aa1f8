//! How busy the workers said to be. Decisions are made of it and no facts, so it lives in the leader's memory and
//! begins anew with each leader.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::pb::session::{LoadReport, Resources};
use crate::pb::store;
use crate::state::limits::MAX_WORKERS;

/// The latest reports by server id. Empty on a node that does not lead.
#[derive(Debug, Default)]
pub struct Loads {
    reports: Mutex<HashMap<i64, (LoadReport, Instant)>>,
}

/// What a worker said, and how long ago.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reported {
    pub load: LoadReport,
    pub age: Duration,
}

impl Loads {
    /// Of a worker that lives.
    pub fn record(&self, server_id: i64, load: LoadReport) {
        let load = LoadReport { load: load.load.filter(|whole| whole.is_finite()).map(within_one), ..load };
        let mut reports = self.reports.lock();
        if reports.len() < MAX_WORKERS || reports.contains_key(&server_id) {
            reports.insert(server_id, (load, Instant::now()));
        }
    }

    pub fn reported(&self, server_id: i64) -> Option<Reported> {
        self.reports.lock().get(&server_id).map(|(load, at)| Reported { load: *load, age: at.elapsed() })
    }

    /// How much of itself a worker uses, 0 to 1; `None`: it has not said.
    pub fn load(&self, worker: &store::Worker) -> Option<f64> {
        fraction(&self.reported(worker.id)?.load, worker.capacity.as_ref())
    }

    pub(super) fn forget(&self, server_id: i64) {
        self.reports.lock().remove(&server_id);
    }

    /// Forgets all others.
    pub(super) fn retain(&self, lives: impl Fn(i64) -> bool) {
        self.reports.lock().retain(|server_id, _| lives(*server_id));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.reports.lock().is_empty()
    }

    pub(super) fn clear(&self) {
        self.reports.lock().clear();
    }
}

/// What was said of the whole, else the greatest share of what the worker has.
fn fraction(load: &LoadReport, capacity: Option<&store::WorkerCapacity>) -> Option<f64> {
    if load.load.is_some() {
        return load.load;
    }
    let (used, has) = (load.used.as_ref()?, capacity?);
    let Resources { cpu_millis, memory_bytes, disk_bytes, network_bytes_per_s } = *used;
    let shares = [
        (cpu_millis, has.cpu_millis),
        (memory_bytes, has.memory_bytes),
        (disk_bytes, has.disk_bytes),
        (network_bytes_per_s, has.network_bytes_per_s),
    ];
    let known = shares.into_iter().filter(|(_, has)| *has > 0).map(|(used, has)| used as f64 / has as f64);
    known.reduce(f64::max).map(within_one)
}

fn within_one(share: f64) -> f64 {
    share.clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(id: i64) -> store::Worker {
        let capacity = store::WorkerCapacity { cpu_millis: 4000, memory_bytes: 1000, ..Default::default() };
        store::Worker { id, capacity: Some(capacity), ..Default::default() }
    }

    #[test]
    fn a_load_is_what_was_said_or_the_scarcest_resource() {
        let loads = Loads::default();
        let used =
            |cpu_millis, memory_bytes| Resources { cpu_millis, memory_bytes, disk_bytes: 9, ..Default::default() };
        let said = |loads: &Loads, report| {
            loads.record(1, report);
            loads.load(&worker(1))
        };
        assert_eq!(loads.load(&worker(1)), None);
        assert_eq!(said(&loads, LoadReport { used: Some(used(1000, 500)), load: None }), Some(0.5));
        assert_eq!(said(&loads, LoadReport { used: Some(used(9000, 500)), load: None }), Some(1.0));
        assert_eq!(said(&loads, LoadReport { used: Some(used(1000, 500)), load: Some(0.25) }), Some(0.25));
        for (strange, shown) in [(7.0, Some(1.0)), (-1.0, Some(0.0)), (f64::NAN, None), (f64::INFINITY, None)] {
            assert_eq!(said(&loads, LoadReport { used: None, load: Some(strange) }), shown, "{strange}");
        }
        loads.record(1, LoadReport { used: Some(used(1, 1)), load: None });
        assert_eq!(loads.load(&store::Worker { id: 1, ..Default::default() }), None, "of nobody knows how much");
        loads.forget(1);
        assert_eq!(loads.reported(1), None);
    }

    #[test]
    fn there_are_no_more_reports_than_workers() {
        let loads = Loads::default();
        for id in 0..=MAX_WORKERS as i64 {
            loads.record(id, LoadReport::default());
        }
        assert_eq!((loads.reported(MAX_WORKERS as i64), loads.reports.lock().len()), (None, MAX_WORKERS));
        loads.record(0, LoadReport { used: None, load: Some(1.0) });
        assert_eq!(loads.load(&worker(0)), Some(1.0));
        loads.retain(|id| id == 0);
        assert_eq!((loads.reported(1), loads.load(&worker(0))), (None, Some(1.0)));
        loads.clear();
        assert!(loads.is_empty());
    }
}
