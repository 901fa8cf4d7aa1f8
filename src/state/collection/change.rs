//! The commands that change a collection which is there. What each holds, prints and does stands in its own file.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::drop::EraseCollection;
use super::rename::RenameCollection;
use crate::state::step::{Outcome, Step};

/// Stored in the log by the variant's place: append variants, never reorder, change or remove one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CollectionChange {
    Rename(RenameCollection),
    Erase(EraseCollection),
}

impl CollectionChange {
    /// For metrics and traces.
    pub fn name(&self) -> &'static str {
        match self {
            CollectionChange::Rename(_) => "rename_collection",
            CollectionChange::Erase(_) => "erase_collection",
        }
    }

    pub(in crate::state) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        match self {
            CollectionChange::Rename(command) => command.apply(step),
            CollectionChange::Erase(command) => command.apply(step),
        }
    }

    /// Whether it must pass while the disks are full.
    pub fn frees_space(&self) -> bool {
        matches!(self, CollectionChange::Erase(_))
    }
}

/// One line for people.
impl fmt::Display for CollectionChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CollectionChange::Rename(command) => command.fmt(f),
            CollectionChange::Erase(command) => command.fmt(f),
        }
    }
}
