//! Changes with a condition: executed only if the collection is as its caller saw it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{AlterSettings, CreateCollection, DropCollection, EnableDynamicField, resolve};
use crate::error::Rejection;
use crate::state::command::{AlterCollectionProperties, CollectionChange, Command};
use crate::state::step::{Outcome, Step};
use crate::state::{database, name};

/// The change, if the collection that it names, or that its alias stands for, is at this revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditional {
    /// 0: there is none of that name.
    pub revision: u64,
    pub change: ConditionalChange,
}

/// What may have a condition. Stored in the log by the variant's place: append variants, never reorder, change or
/// remove one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConditionalChange {
    Create(CreateCollection),
    Drop(DropCollection),
    Properties(AlterCollectionProperties),
    Settings(AlterSettings),
    EnableDynamicField(EnableDynamicField),
}

impl Conditional {
    pub(in crate::state) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        let (database, collection) = self.change.target();
        let database = database::find(step.txn, database)?;
        let actual = resolve(step.txn, database.id, collection)?.map_or(0, |row| row.revision());
        if actual != self.revision {
            let (collection, expected) = (name::shown(collection).to_owned(), self.revision);
            return Err(Rejection::RevisionDiffers { collection, expected, actual }.into());
        }
        match &self.change {
            ConditionalChange::Create(command) => command.apply(step),
            ConditionalChange::Drop(command) => command.apply(step),
            ConditionalChange::Properties(command) => command.apply(step),
            ConditionalChange::Settings(command) => command.apply(step),
            ConditionalChange::EnableDynamicField(command) => command.apply(step),
        }
    }
}

impl ConditionalChange {
    /// The names of the database (empty: the default one) and the collection.
    fn target(&self) -> (&str, &str) {
        match self {
            ConditionalChange::Create(command) => (&command.database, &command.name),
            ConditionalChange::Drop(command) => (&command.database, &command.name),
            ConditionalChange::Properties(command) => (&command.database, &command.collection),
            ConditionalChange::Settings(command) => (&command.database, &command.collection),
            ConditionalChange::EnableDynamicField(command) => (&command.database, &command.collection),
        }
    }

    /// For metrics and traces.
    pub fn name(&self) -> &'static str {
        match self {
            ConditionalChange::Create(_) => "create_collection_if",
            ConditionalChange::Drop(_) => "drop_collection_if",
            ConditionalChange::Properties(_) => "alter_collection_properties_if",
            ConditionalChange::Settings(_) => "alter_collection_settings_if",
            ConditionalChange::EnableDynamicField(_) => "alter_dynamic_field_if",
        }
    }

    /// Whether it must pass while the disks are full.
    pub fn frees_space(&self) -> bool {
        matches!(self, ConditionalChange::Drop(_))
    }

    /// As it is without a condition.
    pub fn unconditional(self) -> Command {
        match self {
            ConditionalChange::Create(command) => Command::CreateCollection(command),
            ConditionalChange::Drop(command) => Command::DropCollection(command),
            ConditionalChange::Properties(command) => Command::AlterCollectionProperties(command),
            ConditionalChange::Settings(command) => Command::Collection(CollectionChange::Settings(command)),
            ConditionalChange::EnableDynamicField(command) => {
                Command::Collection(CollectionChange::EnableDynamicField(command))
            }
        }
    }
}

impl fmt::Display for Conditional {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.change {
            ConditionalChange::Create(command) => command.fmt(f),
            ConditionalChange::Drop(command) => command.fmt(f),
            ConditionalChange::Properties(command) => command.fmt(f),
            ConditionalChange::Settings(command) => command.fmt(f),
            ConditionalChange::EnableDynamicField(command) => command.fmt(f),
        }?;
        write!(f, " if_revision={}", self.revision)
    }
}
