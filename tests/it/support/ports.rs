//! Free ports for the nodes of one cluster. They lie below the range from which the system picks ports for outgoing
//! connections: one of those could take the port of a node that is down for a moment.

use std::net::{TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 11_000;
const BLOCK: u16 = 40;
const BLOCKS: u16 = 500;

/// A block of ports. The first one, bound for UDP, keeps other test processes off; it is free again when they die.
pub struct Ports {
    base: u16,
    _claim: UdpSocket,
}

/// One node's listeners.
#[derive(Clone, Debug)]
pub struct Addresses {
    pub client: String,
    pub internal: String,
    pub peer: String,
    pub http: String,
}

impl Ports {
    pub fn claim() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let start = (std::process::id() % u32::from(BLOCKS)) as u16;
        for _ in 0..BLOCKS {
            let block = (start + NEXT.fetch_add(1, Ordering::Relaxed)) % BLOCKS;
            let base = FIRST + block * BLOCK;
            if let Ok(claim) = UdpSocket::bind(("127.0.0.1", base))
                && (base..base + BLOCK).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok())
            {
                return Ports { base, _claim: claim };
            }
        }
        panic!("no {BLOCK} free ports in a row above {FIRST}");
    }

    /// The listeners of a node, 1 to 9.
    pub fn of(&self, id: u64) -> Addresses {
        let first = self.base + u16::try_from(id).unwrap() * 4;
        assert!(first + 3 < self.base + BLOCK, "node {id} has no ports");
        let address = |offset: u16| format!("127.0.0.1:{}", first + offset);
        Addresses { client: address(0), internal: address(1), peer: address(2), http: address(3) }
    }
}
