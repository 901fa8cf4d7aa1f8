//! What a proxy must forget, gathered until it was told: the same thing once, and everything when it is too much.

use std::collections::BTreeSet;

use crate::limits;
use crate::pb::common::MsgType;

/// Something of the catalogue. Empty or 0: not named.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StaleMeta {
    /// What happened, which decides what the proxy forgets.
    pub why: MsgType,
    pub database: String,
    pub collection: String,
    pub collection_id: i64,
    pub partition: String,
}

/// One thing to forget; one call to the proxy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stale {
    Meta(StaleMeta),
    /// What is known of a user's password.
    User(String),
    /// Roles and grants.
    Policy,
    /// All of it.
    Everything,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    things: BTreeSet<Stale>,
}

impl Pending {
    pub fn add(&mut self, thing: Stale) {
        if self.things.contains(&Stale::Everything) {
            return;
        }
        self.things.insert(thing);
        if self.things.len() > limits::PROXY_STALE_MAX || self.things.contains(&Stale::Everything) {
            self.things = BTreeSet::from([Stale::Everything]);
        }
    }

    pub fn take(&mut self) -> BTreeSet<Stale> {
        std::mem::take(&mut self.things)
    }

    pub fn len(&self) -> usize {
        self.things.len()
    }
}
