//! Any node takes any call. At the ingress (client and internal listeners) a call is stamped, and if it needs the
//! leader it is passed on to the leader's peer listener byte for byte; there it arrives, is executed or told to try
//! elsewhere, and never passed on again.
//!
//! ```text
//! client ──> door ──> ingress ──┬──────────────────────────> services of this node
//!            secret   strip,    │ leader elsewhere
//!                     stamp,    └──> peer listener: door ──> arrival ──> services of the leader
//!                     retry                         secret   read stamp
//! ```

mod arrival;
mod body;
mod checked;
mod door;
mod etcd;
mod ingress;
mod lasting;
mod metered;
mod methods;
mod peers;
pub mod retry;
#[cfg(test)]
mod tests;
mod unary;

pub use arrival::ArrivalLayer;
pub use body::HeldRoom;
pub use door::{DoorLayer, secret_proof};
pub use ingress::{CLUSTER, Ingress, IngressLayer, LEADER_KEY, Side};
pub use methods::{EtcdCall, Method, Methods, Route, grpc_reply};
pub use peers::{Authenticate, Peers};
