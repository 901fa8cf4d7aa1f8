//! Rows of workers as the API shows them.

use super::Loads;
use crate::pb::session::{self, LoadReport, Resources};
use crate::pb::store;

pub(super) fn worker(row: store::Worker) -> session::Worker {
    session::Worker {
        server_id: row.id,
        role: row.role,
        address: row.address,
        version: row.version,
        hostname: row.hostname,
        labels: row.labels,
        capacity: row.capacity.map(|has| Resources {
            cpu_millis: has.cpu_millis,
            memory_bytes: has.memory_bytes,
            disk_bytes: has.disk_bytes,
            network_bytes_per_s: has.network_bytes_per_s,
        }),
        lease_id: row.lease,
        draining: row.draining,
        frozen: row.frozen,
        registered_ms: row.registered_ms,
        revision: row.revision,
        load: None,
        load_age_ms: 0,
    }
}

/// With what it reported last, and what that means of the whole.
pub(super) fn loaded_worker(row: store::Worker, loads: &Loads) -> session::Worker {
    let (reported, load) = (loads.reported(row.id), loads.load(&row));
    session::Worker {
        load: reported.map(|reported| LoadReport { load, ..reported.load }),
        load_age_ms: reported.map_or(0, |reported| u64::try_from(reported.age.as_millis()).unwrap_or(u64::MAX)),
        ..worker(row)
    }
}
