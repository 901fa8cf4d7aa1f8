//! What `main.rs` (real processes) and the simulation share: the record of what clients saw, the checkers over it, some
//! requests, and the compiling of preloaded libraries.

pub mod check;
pub mod history;
pub mod request;
pub mod shim;
