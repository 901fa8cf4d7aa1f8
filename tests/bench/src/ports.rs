//! Ports of 127.0.0.1 that nobody has.

use std::net::TcpListener;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail};

/// Away from the ports of a Roost or a Milvus that runs on this machine, and below those that systems give to outgoing
/// connections: one of the load's own could take a port before its server does.
const FIRST: u16 = 24_000;
const LAST: u16 = 26_900;

/// Ports tried: several times as many as all rounds of everything take.
const TRIED: u16 = LAST - FIRST;

/// Another benchmark that runs here, or whose clients are still looking for its servers, began elsewhere.
static BEGIN: LazyLock<u16> = LazyLock::new(|| rand::random_range(FIRST..=LAST));
static GIVEN: AtomicU16 = AtomicU16::new(0);

/// A port that was free just now and is not given again.
pub fn free() -> Result<u16> {
    while let given @ 0..TRIED = GIVEN.fetch_add(1, Ordering::Relaxed) {
        let port = FIRST + (*BEGIN - FIRST + given) % (LAST - FIRST + 1);
        // On every interface, as Milvus binds.
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port from {FIRST} to {LAST}")
}
