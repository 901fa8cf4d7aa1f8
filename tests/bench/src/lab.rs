//! What the measurements have in common: sizes, programs, where data goes.

use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    Quick,
    Full,
}

#[derive(Clone, Debug)]
pub struct Lab {
    pub size: Size,
    pub data: PathBuf,
    pub roostd: PathBuf,
    pub roost_sim: PathBuf,
    pub milvus_python: PathBuf,
    pub milvus_launcher: PathBuf,
}

impl Lab {
    /// How long calls are made before they count: connections, caches and the servers' own threads settle in it.
    pub fn warm_up(&self) -> Duration {
        Duration::from_secs(if self.size == Size::Quick { 1 } else { 3 })
    }

    /// How long they count.
    pub fn measured(&self) -> Duration {
        Duration::from_secs(if self.size == Size::Quick { 5 } else { 15 })
    }

    /// Keys in a key space that is called large.
    pub fn many_keys(&self) -> u64 {
        if self.size == Size::Quick { 100_000 } else { 1_000_000 }
    }
}
