//! How streaming nodes are, asked now and then: whether they answer, how far their logs lag, and whether they have the
//! channels that the facts give them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::pb::store::{self, PChannelState};
use crate::pb::streaming::streaming_node_wal_metrics::Metrics;
use crate::pb::streaming::{PChannelInfo, StreamingNodeMetrics};
use crate::state::physical_ms;
use crate::streamingcoord::nodes::{NodeError, Nodes};

/// What one node answered.
pub struct Answer {
    pub node: store::StreamingNode,
    pub said: Result<StreamingNodeMetrics, NodeError>,
    /// The channels that it had, with their terms, when it was asked.
    given: BTreeMap<String, i64>,
}

/// Questions that are open, and what the answers of before told.
#[derive(Default)]
pub struct Health {
    open: JoinSet<Answer>,
    silent: BTreeSet<i64>,
    lagging: BTreeSet<String>,
    /// Channels, with their terms, that their nodes did not name the last time.
    missed: BTreeMap<String, i64>,
}

/// What is to be done after an answer.
#[derive(Debug, Default, PartialEq)]
pub struct Findings {
    /// The node did not name these twice in a row: it does not serve them.
    pub lost: Vec<(String, i64)>,
    /// It holds these under terms that are over.
    pub stale: Vec<PChannelInfo>,
}

impl Health {
    /// Asks every node, unless earlier questions are open still.
    pub fn ask(&mut self, nodes: &Arc<Nodes>, workers: &BTreeMap<i64, store::Worker>, rows: &[store::PChannel]) {
        if !self.open.is_empty() {
            return;
        }
        self.silent.retain(|node| workers.contains_key(node));
        for worker in workers.values() {
            let node = store::StreamingNode { server_id: worker.id, address: worker.address.clone() };
            let has =
                |row: &&store::PChannel| row.state() == PChannelState::Assigned && row.node.as_ref() == Some(&node);
            let given = rows.iter().filter(has).map(|row| (row.name.clone(), row.term)).collect();
            let nodes = nodes.clone();
            self.open.spawn(async move {
                let said = nodes.status(&node).await;
                Answer { node, said, given }
            });
        }
    }

    /// The next answer; pends for ever while none is awaited.
    pub async fn answer(&mut self) -> Answer {
        loop {
            match self.open.join_next().await {
                Some(Ok(answer)) => return answer,
                Some(Err(error)) => tracing::error!(%error, "a question after a node's health was cut off"),
                None => return std::future::pending().await,
            }
        }
    }

    /// Takes an answer in. `rows`: the channels as they are now, by name.
    pub fn take(&mut self, answer: &Answer, rows: &[store::PChannel], lag_ms_max: u64) -> Findings {
        let id = answer.node.server_id;
        let Ok(metrics) = &answer.said else {
            self.silent.insert(id);
            return Findings::default();
        };
        self.silent.remove(&id);
        let mut findings = Findings::default();
        let mut named = BTreeMap::new();
        for wal in &metrics.wals {
            let Some(info) = &wal.info else { continue };
            named.insert(info.name.as_str(), info.term);
            // Who says nothing of it has nothing to recover.
            let lag = match &wal.metrics {
                Some(Metrics::Rw(rw)) => {
                    physical_ms(rw.mvcc_time_tick).saturating_sub(physical_ms(rw.recovery_time_tick))
                }
                _ => 0,
            };
            match lag > lag_ms_max {
                true => _ = self.lagging.insert(info.name.clone()),
                false => _ = self.lagging.remove(&info.name),
            }
            let place = rows.binary_search_by(|row| row.name.as_str().cmp(&info.name));
            let row = place.ok().and_then(|place| rows.get(place));
            if row.is_some_and(|row| row.term > info.term && !is_removing(row, id)) {
                findings.stale.push(info.clone());
            }
        }
        for (channel, term) in &answer.given {
            if named.get(channel.as_str()) == Some(term) {
                self.missed.remove(channel);
            } else if self.missed.insert(channel.clone(), *term) == Some(*term) {
                self.missed.remove(channel);
                findings.lost.push((channel.clone(), *term));
            }
        }
        findings
    }

    pub fn lagging(&self) -> &BTreeSet<String> {
        &self.lagging
    }

    /// Nodes that did not answer the last time.
    pub fn silent(&self) -> usize {
        self.silent.len()
    }
}

/// Whether the node is being asked to let go of the channel.
fn is_removing(row: &store::PChannel, node: i64) -> bool {
    row.histories.iter().any(|past| past.node.as_ref().is_some_and(|old| old.server_id == node))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::streaming::{StreamingNodeRwwalMetrics, StreamingNodeWalMetrics};

    fn node(id: i64) -> store::StreamingNode {
        store::StreamingNode { server_id: id, address: format!("n{id}:1") }
    }

    fn row(name: &str, term: i64, owner: i64) -> store::PChannel {
        let state = PChannelState::Assigned.into();
        store::PChannel { name: name.into(), term, node: Some(node(owner)), state, ..Default::default() }
    }

    /// What node 1 says when it has these under these terms, with so many milliseconds to recover.
    fn answer(rows: &[store::PChannel], has: &[(&str, i64)], lag_ms: u64) -> Answer {
        let wal = |(name, term): &(&str, i64)| StreamingNodeWalMetrics {
            info: Some(PChannelInfo { name: name.to_string(), term: *term, access_mode: 0 }),
            metrics: Some(Metrics::Rw(StreamingNodeRwwalMetrics {
                mvcc_time_tick: (5000 + lag_ms) << 18,
                recovery_time_tick: 5000 << 18,
            })),
        };
        let given = rows.iter().filter(|row| row.node == Some(node(1))).map(|row| (row.name.clone(), row.term));
        let said = Ok(StreamingNodeMetrics { wals: has.iter().map(wal).collect() });
        Answer { node: node(1), said, given: given.collect() }
    }

    #[test]
    fn what_a_node_does_not_have_twice_is_lost_and_what_is_anothers_is_removed() {
        let mut health = Health::default();
        let rows = [row("a", 3, 1), row("b", 4, 1), row("c", 9, 2)];
        let said = answer(&rows, &[("a", 3), ("c", 8)], 0);
        let first = health.take(&said, &rows, 1000);
        assert_eq!(first.lost, []);
        assert_eq!(first.stale.iter().map(|info| (info.name.as_str(), info.term)).collect::<Vec<_>>(), [("c", 8)]);
        assert_eq!(health.take(&said, &rows, 1000).lost, [("b".to_owned(), 4)]);
        assert_eq!(health.take(&said, &rows, 1000).lost, [], "it is told once, and counted anew");
        health.take(&answer(&rows, &[("a", 3), ("b", 4)], 0), &rows, 1000);
        assert_eq!(health.take(&said, &rows, 1000).lost, [], "it had it in between");
    }

    #[test]
    fn lag_and_silence_pass() {
        let mut health = Health::default();
        let rows = [row("a", 3, 1)];
        health.take(&answer(&rows, &[("a", 3)], 1001), &rows, 1000);
        assert!(health.lagging().contains("a"));
        let silent = Answer { said: Err(NodeError::Unreachable("gone".into())), ..answer(&rows, &[], 0) };
        assert_eq!((health.take(&silent, &rows, 1000), health.silent()), (Findings::default(), 1));
        health.take(&answer(&rows, &[("a", 3)], 1000), &rows, 1000);
        assert!(health.lagging().is_empty() && health.silent() == 0);
        health.take(&answer(&rows, &[("a", 3)], 1001), &rows, 1000);
        let mut mute = answer(&rows, &[("a", 3)], 0);
        mute.said.iter_mut().flat_map(|said| &mut said.wals).for_each(|wal| wal.metrics = None);
        health.take(&mute, &rows, 1000);
        assert!(health.lagging().is_empty(), "the node that has it now says nothing of it");
    }
}
