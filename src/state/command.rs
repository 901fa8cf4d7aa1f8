//! Every command that the log may carry. What a command holds, prints and does lives beside its noun.

use std::fmt;

use serde::{Deserialize, Serialize};

pub use super::access::AccessCommand;
pub use super::alias::AliasCommand;
pub use super::broadcast::BroadcastCommand;
pub use super::collection::{CollectionChange, Conditional, CreateCollection, DropCollection};
pub use super::database::{AlterDatabase, CreateDatabase, DropDatabase};
pub use super::id::AllocId;
pub use super::index::IndexCommand;
pub use super::keyspace::KeyspaceCommand;
pub use super::load::LoadCommand;
pub use super::partition::{CreatePartition, DropPartition};
pub use super::pchannel::PChannelCommand;
pub use super::property::AlterCollectionProperties;
use super::step::{Outcome, Step};
pub use super::tso::ExtendTso;
pub use super::worker::WorkerCommand;

/// Stored in the log by the variant's place: append variants, never reorder, change or remove one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    CreateDatabase(CreateDatabase),
    DropDatabase(DropDatabase),
    CreateCollection(CreateCollection),
    DropCollection(DropCollection),
    CreatePartition(CreatePartition),
    DropPartition(DropPartition),
    AlterCollectionProperties(AlterCollectionProperties),
    AllocId(AllocId),
    ExtendTso(ExtendTso),
    Keyspace(KeyspaceCommand),
    Collection(CollectionChange),
    AlterDatabase(AlterDatabase),
    Alias(AliasCommand),
    Index(IndexCommand),
    Load(LoadCommand),
    Access(AccessCommand),
    Worker(WorkerCommand),
    Conditional(Conditional),
    PChannel(PChannelCommand),
    Broadcast(BroadcastCommand),
}

impl Command {
    /// The apply version that every member must have before this may be proposed.
    pub fn min_apply_version(&self) -> u32 {
        match self {
            Command::CreateDatabase(_)
            | Command::DropDatabase(_)
            | Command::CreateCollection(_)
            | Command::DropCollection(_)
            | Command::CreatePartition(_)
            | Command::DropPartition(_)
            | Command::AlterCollectionProperties(_)
            | Command::AllocId(_)
            | Command::ExtendTso(_) => 1,
            Command::Keyspace(_) => 2,
            Command::Collection(_)
            | Command::AlterDatabase(_)
            | Command::Alias(_)
            | Command::Index(_)
            | Command::Load(_) => 4,
            Command::Access(AccessCommand::Sweep) => 7,
            Command::Access(_) => 4,
            Command::Worker(_) | Command::Conditional(_) | Command::PChannel(_) => 6,
            Command::Broadcast(command) => command.min_apply_version(),
        }
    }

    /// Whether it changes what a copy of this cluster has as well: the catalogue and access.
    pub fn is_replicated(&self) -> bool {
        match self {
            Command::CreateDatabase(_)
            | Command::DropDatabase(_)
            | Command::CreateCollection(_)
            | Command::DropCollection(_)
            | Command::CreatePartition(_)
            | Command::DropPartition(_)
            | Command::AlterCollectionProperties(_)
            | Command::AlterDatabase(_)
            | Command::Alias(_)
            | Command::Index(_)
            | Command::Load(_)
            | Command::Conditional(_) => true,
            Command::Collection(change) => !matches!(change, CollectionChange::Erase(_)),
            Command::Access(command) => !matches!(command, AccessCommand::CreateRoot(_) | AccessCommand::Sweep),
            Command::AllocId(_)
            | Command::ExtendTso(_)
            | Command::Keyspace(_)
            | Command::Worker(_)
            | Command::PChannel(_)
            | Command::Broadcast(_) => false,
        }
    }

    /// For metrics and traces.
    pub fn name(&self) -> &'static str {
        match self {
            Command::CreateDatabase(_) => "create_database",
            Command::DropDatabase(_) => "drop_database",
            Command::CreateCollection(_) => "create_collection",
            Command::DropCollection(_) => "drop_collection",
            Command::CreatePartition(_) => "create_partition",
            Command::DropPartition(_) => "drop_partition",
            Command::AlterCollectionProperties(_) => "alter_collection_properties",
            Command::AllocId(_) => "alloc_id",
            Command::ExtendTso(_) => "extend_tso",
            Command::Keyspace(command) => command.name(),
            Command::Collection(command) => command.name(),
            Command::AlterDatabase(_) => "alter_database",
            Command::Alias(command) => command.name(),
            Command::Index(command) => command.name(),
            Command::Load(command) => command.name(),
            Command::Access(command) => command.name(),
            Command::Worker(command) => command.name(),
            Command::Conditional(command) => command.change.name(),
            Command::PChannel(command) => command.name(),
            Command::Broadcast(command) => command.name(),
        }
    }

    /// Executes the command. What a refused one wrote is rolled back by the caller.
    pub(super) fn apply(&self, step: &mut Step<'_, '_>) -> Outcome {
        match self {
            Command::CreateDatabase(command) => command.apply(step),
            Command::DropDatabase(command) => command.apply(step),
            Command::CreateCollection(command) => command.apply(step),
            Command::DropCollection(command) => command.apply(step),
            Command::CreatePartition(command) => command.apply(step),
            Command::DropPartition(command) => command.apply(step),
            Command::AlterCollectionProperties(command) => command.apply(step),
            Command::AllocId(command) => command.apply(step),
            Command::ExtendTso(command) => command.apply(step),
            Command::Keyspace(command) => command.apply(step),
            Command::Collection(command) => command.apply(step),
            Command::AlterDatabase(command) => command.apply(step),
            Command::Alias(command) => command.apply(step),
            Command::Index(command) => command.apply(step),
            Command::Load(command) => command.apply(step),
            Command::Access(command) => command.apply(step),
            Command::Worker(command) => command.apply(step),
            Command::Conditional(command) => command.apply(step),
            Command::PChannel(command) => command.apply(step),
            Command::Broadcast(command) => command.apply(step),
        }
    }
}

/// One line for people.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::CreateDatabase(command) => command.fmt(f),
            Command::DropDatabase(command) => command.fmt(f),
            Command::CreateCollection(command) => command.fmt(f),
            Command::DropCollection(command) => command.fmt(f),
            Command::CreatePartition(command) => command.fmt(f),
            Command::DropPartition(command) => command.fmt(f),
            Command::AlterCollectionProperties(command) => command.fmt(f),
            Command::AllocId(command) => command.fmt(f),
            Command::ExtendTso(command) => command.fmt(f),
            Command::Keyspace(command) => command.fmt(f),
            Command::Collection(command) => command.fmt(f),
            Command::AlterDatabase(command) => command.fmt(f),
            Command::Alias(command) => command.fmt(f),
            Command::Index(command) => command.fmt(f),
            Command::Load(command) => command.fmt(f),
            Command::Access(command) => command.fmt(f),
            Command::Worker(command) => command.fmt(f),
            Command::Conditional(command) => command.fmt(f),
            Command::PChannel(command) => command.fmt(f),
            Command::Broadcast(command) => command.fmt(f),
        }
    }
}
