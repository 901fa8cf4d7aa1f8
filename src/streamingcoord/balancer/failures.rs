//! Which nodes did not do what they were asked, and for how long they are avoided. Only in the leader's memory: the
//! next leader finds out by itself.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::limits;

/// One that failed, and how often in a row.
#[derive(Clone, Debug)]
struct Failed {
    count: u32,
    until: Instant,
    why: String,
}

impl Failed {
    fn again(before: Option<&Failed>, now: Instant, why: &str, shortest: Duration, longest: Duration) -> Self {
        let count = before.map_or(1, |before| before.count.saturating_add(1));
        let doubled = shortest.saturating_mul(1 << (count - 1).min(16));
        Failed { count, until: now + doubled.min(longest), why: why.to_owned() }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Failures {
    nodes: BTreeMap<i64, Failed>,
    /// Nodes that did not take a channel, by channel and node.
    refused: BTreeMap<(String, i64), Failed>,
    /// Channels that wait to be ordered again.
    waiting: BTreeMap<String, Failed>,
}

impl Failures {
    /// The node did not answer.
    pub fn unreachable(&mut self, node: i64, now: Instant, why: &str) {
        let (least, most) = (limits::NODE_AVOIDED_MIN, limits::NODE_AVOIDED_MAX);
        // A crowd of calls that fail together is one failure.
        if self.nodes.get(&node).is_none_or(|known| known.until <= now) {
            let failed = Failed::again(self.nodes.get(&node), now, why, least, most);
            self.nodes.insert(node, failed);
        }
    }

    /// The node did not take the channel, which has to wait a moment before it is ordered again.
    pub fn not_taken(&mut self, channel: &str, node: i64, now: Instant, why: &str) {
        let (least, most) = (limits::NODE_AVOIDED_MIN, limits::NODE_AVOIDED_MAX);
        let key = (channel.to_owned(), node);
        let failed = Failed::again(self.refused.get(&key), now, why, least, most);
        self.refused.insert(key, failed);
        let (least, most) = (limits::ASSIGN_RETRY_MIN, limits::ASSIGN_RETRY_MAX);
        let failed = Failed::again(self.waiting.get(channel), now, why, least, most);
        self.waiting.insert(channel.to_owned(), failed);
    }

    pub fn answered(&mut self, node: i64) {
        self.nodes.remove(&node);
    }

    pub fn taken(&mut self, channel: &str) {
        self.waiting.remove(channel);
        let of_channel = (channel.to_owned(), i64::MIN)..=(channel.to_owned(), i64::MAX);
        let done: Vec<_> = self.refused.range(of_channel).map(|(key, _)| key.clone()).collect();
        done.iter().for_each(|key| _ = self.refused.remove(key));
    }

    /// Why the node is avoided, if it is.
    pub fn avoided(&self, node: i64, now: Instant) -> Option<&str> {
        self.nodes.get(&node).filter(|failed| failed.until > now).map(|failed| failed.why.as_str())
    }

    /// Why the channel is not given to the node, if it is not.
    pub fn refused(&self, channel: &str, node: i64, now: Instant) -> Option<&str> {
        let failed = self.refused.get(&(channel.to_owned(), node))?;
        (failed.until > now).then_some(failed.why.as_str())
    }

    /// Whether the channel waits to be ordered again.
    pub fn waits(&self, channel: &str, now: Instant) -> bool {
        self.waiting.get(channel).is_some_and(|failed| failed.until > now)
    }

    /// When something that waits for its time may go on.
    pub fn next_due(&self, now: Instant) -> Option<Instant> {
        let waiting = self.waiting.values().map(|failed| failed.until);
        let nodes = self.nodes.values().map(|failed| failed.until);
        waiting.chain(nodes).filter(|until| *until > now).min()
    }

    /// Forgets nodes that are gone, and channels that are not being assigned.
    pub fn keep_only(&mut self, lives: impl Fn(i64) -> bool, assigning: impl Fn(&str) -> bool) {
        self.nodes.retain(|node, _| lives(*node));
        self.refused.retain(|(channel, node), _| lives(*node) && assigning(channel));
        self.waiting.retain(|channel, _| assigning(channel));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_again_is_avoided_for_longer_until_it_answers() {
        let (mut failures, start) = (Failures::default(), Instant::now());
        failures.unreachable(1, start, "gone");
        failures.unreachable(1, start, "gone too");
        assert_eq!(failures.avoided(1, start), Some("gone"), "calls that fail together are one failure");
        let later = start + limits::NODE_AVOIDED_MIN;
        assert_eq!(failures.avoided(1, later), None);
        failures.unreachable(1, later, "still");
        assert_eq!(failures.avoided(1, later + limits::NODE_AVOIDED_MIN), Some("still"));
        assert_eq!(failures.next_due(later), Some(later + 2 * limits::NODE_AVOIDED_MIN));
        failures.answered(1);
        assert_eq!((failures.avoided(1, later), failures.next_due(later)), (None, None));
    }

    #[test]
    fn a_channel_that_was_refused_waits_and_is_forgotten_when_it_is_taken() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        failures.not_taken("a", 1, now, "no");
        failures.not_taken("b", 1, now, "no");
        assert!(failures.waits("a", now) && !failures.waits("a", now + limits::ASSIGN_RETRY_MIN));
        assert!(failures.refused("a", 1, now).is_some() && failures.refused("a", 2, now).is_none());
        failures.taken("a");
        assert!(!failures.waits("a", now) && failures.refused("a", 1, now).is_none());
        assert!(failures.refused("b", 1, now).is_some());
        failures.keep_only(|_| true, |channel| channel != "b");
        assert!(failures.refused("b", 1, now).is_none() && !failures.waits("b", now));
    }
}
