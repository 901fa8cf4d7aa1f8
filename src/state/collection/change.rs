//! The commands that change a collection which is there. What each holds, prints and does stands in its own file.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::add_field::{AddField, EnableDynamicField};
use super::alter_field::AlterField;
use super::drop::EraseCollection;
use super::functions::ChangeFunction;
use super::rename::RenameCollection;
use super::settings::{AlterSettings, TruncateCollection};
use crate::state::step::{Outcome, Step};

/// Stored in the log by the variant's place: append variants, never reorder, change or remove one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CollectionChange {
    Rename(RenameCollection),
    Erase(EraseCollection),
    AddField(AddField),
    EnableDynamicField(EnableDynamicField),
    AlterField(AlterField),
    Function(ChangeFunction),
    Settings(AlterSettings),
    Truncate(TruncateCollection),
}

impl CollectionChange {
    /// For metrics and traces.
    pub fn name(&self) -> &'static str {
        match self {
            CollectionChange::Rename(_) => "rename_collection",
            CollectionChange::Erase(_) => "erase_collection",
            CollectionChange::AddField(_) => "add_collection_field",
            CollectionChange::EnableDynamicField(_) => "alter_dynamic_field",
            CollectionChange::AlterField(_) => "alter_collection_field",
            CollectionChange::Function(_) => "change_collection_function",
            CollectionChange::Settings(_) => "alter_collection_settings",
            CollectionChange::Truncate(_) => "truncate_collection",
        }
    }

    pub(in crate::state) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        match self {
            CollectionChange::Rename(command) => command.apply(step),
            CollectionChange::Erase(command) => command.apply(step),
            CollectionChange::AddField(command) => command.apply(step),
            CollectionChange::EnableDynamicField(command) => command.apply(step),
            CollectionChange::AlterField(command) => command.apply(step),
            CollectionChange::Function(command) => command.apply(step),
            CollectionChange::Settings(command) => command.apply(step),
            CollectionChange::Truncate(command) => command.apply(step),
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
            CollectionChange::AddField(command) => command.fmt(f),
            CollectionChange::EnableDynamicField(command) => command.fmt(f),
            CollectionChange::AlterField(command) => command.fmt(f),
            CollectionChange::Function(command) => command.fmt(f),
            CollectionChange::Settings(command) => command.fmt(f),
            CollectionChange::Truncate(command) => command.fmt(f),
        }
    }
}
