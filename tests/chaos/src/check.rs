//! The checkers: pure functions over what clients saw. Each says what is wrong, in words, or nothing.

pub mod append;
pub mod broadcast;
pub mod ddl;
pub mod hash;
pub mod key;
pub mod lease;
pub mod linearizable;
pub mod name;
pub mod order;
pub mod owner;
pub mod watch;
