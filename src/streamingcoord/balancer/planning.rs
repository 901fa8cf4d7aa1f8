//! From a picture to orders: the policy plans, refused places are gone round, interceptors say what may be done.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::failures::Failures;
use super::interceptor::{Intended, Interceptors};
use super::picture::Picture;
use crate::state::AssignOrder;
use crate::streamingcoord::policy::{ChannelView, Move, NodeView, Plan};

/// A plan, and what was said to it.
pub struct Planned {
    pub policy: &'static str,
    pub plan: Plan,
    /// Why a move is not made, by channel.
    pub vetoes: BTreeMap<String, String>,
    pub picture: Picture,
}

/// What becomes of a policy's plan; `dry`: nothing will be ordered.
pub fn examined(
    policy: &'static str,
    mut plan: Plan,
    picture: Picture,
    failures: &Failures,
    interceptors: &Interceptors,
    now: Instant,
    dry: bool,
) -> Planned {
    let planned = plan.moves.len();
    plan.moves.retain(|one| !failures.waits(&one.channel, now));
    if plan.moves.len() < planned {
        plan.notes.push(format!("{} channels wait before they are ordered again", planned - plan.moves.len()));
    }
    avoid_refused(&mut plan, &picture, failures, now);
    let by_name: BTreeMap<&str, &ChannelView> =
        picture.view.channels.iter().map(|channel| (channel.name.as_str(), channel)).collect();
    let draining: BTreeSet<i64> = picture.view.nodes.iter().filter(|node| node.draining).map(|node| node.id).collect();
    let mut vetoes = BTreeMap::new();
    for Move { channel, from, to, reason } in &plan.moves {
        let pinned = by_name.get(channel.as_str()).is_some_and(|channel| channel.pinned == Some(*to));
        let for_balance = from.is_some_and(|from| !draining.contains(&from)) && !pinned;
        let intended = Intended { channel: channel.clone(), from: *from, to: *to, reason: reason.clone(), for_balance };
        if let Err(veto) = interceptors.before(&intended, dry) {
            if !dry {
                tracing::info!(pchannel = channel, to, veto, "an assignment was refused");
            }
            vetoes.insert(channel.clone(), veto);
        }
    }
    Planned { policy, plan, vetoes, picture }
}

/// A channel that a node did not take a moment ago goes to the node with the fewest channels that did not refuse it,
/// if there is one.
fn avoid_refused(plan: &mut Plan, picture: &Picture, failures: &Failures, now: Instant) {
    let may_take = |node: &&NodeView| !node.frozen && !node.draining;
    let mut counts: BTreeMap<i64, usize> =
        picture.view.nodes.iter().filter(may_take).map(|node| (node.id, 0)).collect();
    let target: BTreeMap<&str, i64> = plan.moves.iter().map(|one| (one.channel.as_str(), one.to)).collect();
    for channel in &picture.view.channels {
        let owner = target.get(channel.name.as_str()).copied().or(channel.owner);
        if let Some(count) = owner.and_then(|owner| counts.get_mut(&owner)) {
            *count += 1;
        }
    }
    for one in &mut plan.moves {
        let Some(why) = failures.refused(&one.channel, one.to, now) else { continue };
        let others = counts.iter().filter(|(id, _)| failures.refused(&one.channel, **id, now).is_none());
        let Some(to) = others.min_by_key(|(id, count)| (**count, **id)).map(|(id, _)| *id) else { continue };
        one.reason = format!("{}; node {} did not take it: {why}", one.reason, one.to);
        if let Some(count) = counts.get_mut(&one.to) {
            *count = count.saturating_sub(1);
        }
        if let Some(count) = counts.get_mut(&to) {
            *count += 1;
        }
        one.to = to;
    }
}

impl Planned {
    /// What is ordered of it.
    pub fn orders(&self) -> Vec<AssignOrder> {
        let allowed = self.plan.moves.iter().filter(|one| !self.vetoes.contains_key(&one.channel));
        let order = |one: &Move| {
            let term = *self.picture.terms.get(&one.channel)?;
            Some(AssignOrder { name: one.channel.clone(), term, node: one.to })
        };
        allowed.filter_map(order).collect()
    }
}
