//! Ports of 127.0.0.1 that nobody has.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail};

/// Away from the ports of a Roost or a Milvus that runs on this machine, and below those that systems give to outgoing
/// connections: one of the load's own could take a port before its server does.
const FIRST: u16 = 24_000;
const LAST: u16 = 26_900;

static NEXT: AtomicU16 = AtomicU16::new(FIRST);

/// A port that was free just now and is not given again.
pub fn free() -> Result<u16> {
    while let port @ FIRST..=LAST = NEXT.fetch_add(1, Ordering::Relaxed) {
        // On every interface, as Milvus binds.
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port from {FIRST} to {LAST}")
}
