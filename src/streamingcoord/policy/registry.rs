//! The policies that can be chosen by name: those built in, and any that a program adds.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{PChannelCountFair, Policy, VChannelFair};

/// Policies by name.
#[derive(Clone)]
pub struct Registry {
    by_name: BTreeMap<&'static str, Arc<dyn Policy>>,
}

impl Default for Registry {
    /// Those built in.
    fn default() -> Self {
        let mut registry = Registry { by_name: BTreeMap::new() };
        registry.register(Arc::new(VChannelFair));
        registry.register(Arc::new(PChannelCountFair));
        registry
    }
}

impl Registry {
    /// Adds a policy; one of the same name is replaced and returned.
    pub fn register(&mut self, policy: Arc<dyn Policy>) -> Option<Arc<dyn Policy>> {
        self.by_name.insert(policy.name(), policy)
    }

    pub fn get(&self, name: &str) -> Option<Arc<dyn Policy>> {
        self.by_name.get(name).cloned()
    }

    /// Sorted.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.by_name.keys().copied()
    }
}
