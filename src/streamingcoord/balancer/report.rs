//! A plan as operators see it.

use std::collections::BTreeMap;

use super::planning::Planned;
use crate::pb::roost_streaming::{Move, PlanResponse, PlannedNode};
use crate::streamingcoord::policy::ChannelView;

/// How many channels and vchannels each node has.
fn counted<'c>(channels: impl Iterator<Item = (Option<i64>, &'c ChannelView)>) -> BTreeMap<i64, (u32, u32)> {
    let mut counts: BTreeMap<i64, (u32, u32)> = BTreeMap::new();
    for (owner, channel) in channels {
        let Some(owner) = owner else { continue };
        let count = counts.entry(owner).or_default();
        count.0 += 1;
        count.1 = count.1.saturating_add(u32::try_from(channel.collections.len()).unwrap_or(u32::MAX));
    }
    counts
}

pub fn planned(planned: &Planned) -> PlanResponse {
    let Planned { policy, plan, vetoes, picture } = planned;
    let channels = &picture.view.channels;
    let moved: BTreeMap<&str, i64> = plan
        .moves
        .iter()
        .filter(|one| !vetoes.contains_key(&one.channel))
        .map(|one| (one.channel.as_str(), one.to))
        .collect();
    let before = counted(channels.iter().map(|channel| (channel.owner, channel)));
    let after = |channel: &ChannelView| moved.get(channel.name.as_str()).copied().or(channel.owner);
    let after = counted(channels.iter().map(|channel| (after(channel), channel)));
    let nodes = picture.view.nodes.iter().map(|node| {
        let (channels_before, vchannels_before) = before.get(&node.id).copied().unwrap_or_default();
        let (channels_after, vchannels_after) = after.get(&node.id).copied().unwrap_or_default();
        PlannedNode {
            server_id: node.id,
            weight: node.weight,
            load: node.load,
            frozen: node.frozen,
            draining: node.draining,
            suspicion: picture.suspicions.get(&node.id).cloned().unwrap_or_default(),
            channels_before,
            channels_after,
            vchannels_before,
            vchannels_after,
        }
    });
    let moves = plan.moves.iter().map(|one| Move {
        channel: one.channel.clone(),
        from: one.from.unwrap_or(0),
        to: one.to,
        reason: one.reason.clone(),
        veto: vetoes.get(&one.channel).cloned().unwrap_or_default(),
    });
    PlanResponse {
        policy: (*policy).to_owned(),
        moves: moves.collect(),
        cost_before: plan.cost_before,
        cost_after: plan.cost_after,
        unplaced: plan.unplaced.clone(),
        nodes: nodes.collect(),
        no_rebalance: picture.no_rebalance.clone().unwrap_or_default(),
        notes: plan.notes.iter().chain(&picture.notes).cloned().collect(),
    }
}
