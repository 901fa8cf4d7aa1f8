//! Storage behind the host: one engine with four spaces and a single write-ahead log.

pub mod disk;
pub mod engine;
pub mod marker;
pub mod mem;
pub mod rocks;
pub mod wal;
