//! Which nodes had each channel, kept in the leader's memory: read from the facts once for each term, because a plan
//! looks at all channels.

use std::collections::BTreeMap;
use std::io;

use crate::limits;
use crate::pb::store;
use crate::state::View;

/// See the module. As many as there are channels, each with a few nodes.
#[derive(Debug, Default)]
pub struct Former {
    by_channel: BTreeMap<String, Had>,
}

#[derive(Debug)]
struct Had {
    /// The term and the time of the last assignment: with another one there is news.
    as_of: (i64, u64),
    nodes: Vec<store::StreamingNode>,
}

impl Former {
    /// Takes in what is news about these channels.
    pub fn take_in(&mut self, view: &View<'_>, rows: &[store::PChannel]) -> io::Result<()> {
        for row in rows {
            let as_of = (row.term, row.last_assigned_ms);
            if self.by_channel.get(&row.name).is_none_or(|had| had.as_of != as_of) {
                let nodes = had(view.pchannel_terms(&row.name)?);
                self.by_channel.insert(row.name.clone(), Had { as_of, nodes });
            }
        }
        Ok(())
    }

    /// The live nodes that had the channel, the latest first. A node that began anew has another id and is the same to
    /// us at the same address: what it cached is on its disks.
    pub fn of(&self, channel: &str, workers: &BTreeMap<i64, store::Worker>, at: &BTreeMap<&str, i64>) -> Vec<i64> {
        let Some(had) = self.by_channel.get(channel) else { return Vec::new() };
        let lives = |node: &store::StreamingNode| match workers.contains_key(&node.server_id) {
            true => Some(node.server_id),
            false => at.get(node.address.as_str()).copied(),
        };
        had.nodes.iter().filter_map(lives).collect()
    }
}

/// The nodes that took a channel, the latest first, each address once. `terms`: oldest first.
fn had(terms: Vec<store::PChannelTerm>) -> Vec<store::StreamingNode> {
    let mut nodes: Vec<store::StreamingNode> = Vec::new();
    for term in terms.into_iter().rev().filter(|term| term.assigned_ms > 0) {
        let Some(node) = term.node else { continue };
        if nodes.len() < limits::FORMER_OWNERS_MAX && nodes.iter().all(|other| other.address != node.address) {
            nodes.push(node);
        }
    }
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn term(server_id: i64, address: &str, assigned_ms: u64) -> store::PChannelTerm {
        let node = Some(store::StreamingNode { server_id, address: address.into() });
        store::PChannelTerm { node, assigned_ms, ..Default::default() }
    }

    #[test]
    fn who_took_it_had_it_and_an_address_counts_once() {
        let terms = vec![term(1, "a", 5), term(2, "b", 6), term(3, "c", 0), term(4, "a", 7), term(2, "b", 8)];
        let found: Vec<_> = had(terms).into_iter().map(|node| (node.server_id, node.address)).collect();
        assert_eq!(found, [(2, "b".to_owned()), (4, "a".to_owned())], "c never took it");
        let many = (0..100).map(|id| term(id, &format!("n{id}"), 1)).collect();
        assert_eq!(had(many).len(), limits::FORMER_OWNERS_MAX);
    }

    #[test]
    fn a_node_that_began_anew_is_the_same_at_the_same_address() {
        let nodes = had(vec![term(1, "a", 5), term(2, "b", 6), term(3, "c", 7)]);
        let former = Former { by_channel: BTreeMap::from([("x".to_owned(), Had { as_of: (4, 7), nodes })]) };
        let worker = |id: i64, address: &str| (id, store::Worker { id, address: address.into(), ..Default::default() });
        let workers = BTreeMap::from([worker(2, "b"), worker(9, "a")]);
        let at = workers.values().map(|worker| (worker.address.as_str(), worker.id)).collect();
        assert_eq!(former.of("x", &workers, &at), [2, 9]);
        assert_eq!(former.of("y", &workers, &at), [0; 0]);
    }
}
