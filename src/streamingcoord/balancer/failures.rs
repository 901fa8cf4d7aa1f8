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
    /// Whether another failure would be one more in a row.
    fn counts(&self, now: Instant) -> bool {
        now < self.until + limits::NODE_AVOIDED_MAX
    }

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
    /// Channels that wait, or waited, to be ordered again.
    waiting: BTreeMap<String, Failed>,
    /// The latest term under which a channel was lost, by channel.
    lost: BTreeMap<String, i64>,
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

    /// The node took the channel under this term and does not serve it, which is no better than not to take it. A term
    /// counts once.
    pub fn lost(&mut self, channel: &str, term: i64, node: i64, now: Instant) {
        if self.lost.insert(channel.to_owned(), term) != Some(term) {
            self.not_taken(channel, node, now, "it did not serve it");
        }
    }

    pub fn answered(&mut self, node: i64) {
        self.nodes.remove(&node);
    }

    /// It waits no longer. Who refused it is known for a while: else an operator's order for such a node would take the
    /// channel there and back without a pause.
    pub fn taken(&mut self, channel: &str, now: Instant) {
        if let Some(waiting) = self.waiting.get_mut(channel) {
            waiting.until = waiting.until.min(now);
        }
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

    /// Forgets nodes that are gone, and what is long over.
    pub fn keep_only(&mut self, lives: impl Fn(i64) -> bool, now: Instant) {
        self.nodes.retain(|node, _| lives(*node));
        self.refused.retain(|(_, node), failed| lives(*node) && failed.counts(now));
        self.waiting.retain(|_, failed| failed.counts(now));
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
    fn a_channel_that_was_refused_waits_until_it_is_taken_and_is_forgotten_later() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        failures.not_taken("a", 1, now, "no");
        failures.not_taken("b", 1, now, "no");
        assert!(failures.waits("a", now) && !failures.waits("a", now + limits::ASSIGN_RETRY_MIN));
        assert!(failures.refused("a", 1, now).is_some() && failures.refused("a", 2, now).is_none());
        failures.taken("a", now);
        assert!(!failures.waits("a", now) && failures.waits("b", now));
        assert!(failures.refused("a", 1, now).is_some(), "it may be taken by another");
        let later = now + limits::NODE_AVOIDED_MIN;
        failures.keep_only(|_| true, later);
        assert!(failures.refused("a", 1, later).is_none());
        failures.not_taken("a", 1, later, "no");
        assert!(failures.refused("a", 1, later + limits::NODE_AVOIDED_MIN).is_some(), "for longer the second time");
        let much_later = later + 3 * limits::NODE_AVOIDED_MAX;
        failures.keep_only(|_| true, much_later);
        assert!(failures.refused.is_empty() && failures.waiting.is_empty());
        failures.not_taken("b", 1, much_later, "no");
        failures.keep_only(|_| false, much_later);
        assert!(failures.refused.is_empty());
    }

    #[test]
    fn a_channel_that_is_lost_again_and_again_waits_longer_and_a_term_counts_once() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        failures.lost("a", 2, 1, now);
        failures.lost("a", 2, 1, now);
        let after = |times: u32| now + times * limits::ASSIGN_RETRY_MIN;
        assert!(failures.waits("a", now) && !failures.waits("a", after(1)));
        assert_eq!(failures.refused("a", 1, now), Some("it did not serve it"));
        failures.taken("a", now);
        failures.lost("a", 3, 1, now);
        assert!(failures.waits("a", after(1)) && !failures.waits("a", after(2)));
    }
}
