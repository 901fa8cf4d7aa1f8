//! A plan of the balancer, as `roostctl channel plan` and `balance` print it.

use serde::Serialize;

use super::channel::some;
use super::exit::one_line;
use super::output::{Report, facts, or_dash, table};
use crate::pb::roost_streaming::{Move, PlanResponse, PlannedNode};

#[derive(Debug, Serialize)]
pub struct PlanView {
    policy: String,
    moves: Vec<MoveView>,
    cost_before: f64,
    cost_after: f64,
    unplaced: Vec<String>,
    no_rebalance: Option<String>,
    notes: Vec<String>,
    nodes: Vec<NodeView>,
    #[serde(skip)]
    explain: bool,
}

#[derive(Debug, Serialize)]
struct MoveView {
    channel: String,
    from: Option<i64>,
    to: i64,
    reason: String,
    veto: Option<String>,
}

#[derive(Debug, Serialize)]
struct NodeView {
    node: i64,
    weight: f64,
    load: Option<f64>,
    frozen: bool,
    draining: bool,
    suspicion: Option<String>,
    channels_before: u32,
    channels_after: u32,
    vchannels_before: u32,
    vchannels_after: u32,
}

fn said(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

impl PlanView {
    pub fn new(plan: PlanResponse, explain: bool) -> Self {
        let moved = |one: Move| MoveView {
            channel: one.channel,
            from: some(one.from),
            to: one.to,
            reason: one.reason,
            veto: said(one.veto),
        };
        let node = |one: PlannedNode| NodeView {
            node: one.server_id,
            weight: one.weight,
            load: one.load,
            frozen: one.frozen,
            draining: one.draining,
            suspicion: said(one.suspicion),
            channels_before: one.channels_before,
            channels_after: one.channels_after,
            vchannels_before: one.vchannels_before,
            vchannels_after: one.vchannels_after,
        };
        PlanView {
            policy: plan.policy,
            moves: plan.moves.into_iter().map(moved).collect(),
            cost_before: plan.cost_before,
            cost_after: plan.cost_after,
            unplaced: plan.unplaced,
            no_rebalance: said(plan.no_rebalance),
            notes: plan.notes,
            nodes: plan.nodes.into_iter().map(node).collect(),
            explain,
        }
    }

    fn moves_table(&self) -> String {
        if self.moves.is_empty() {
            return "nothing is to be moved".to_owned();
        }
        let rows = self.moves.iter().map(|one| {
            let mut row = vec![one.channel.clone(), or_dash(one.from), one.to.to_string()];
            if self.explain {
                let veto = one.veto.as_ref().map(|veto| format!(" (refused: {veto})")).unwrap_or_default();
                row.push(one_line(&format!("{}{veto}", one.reason)));
            }
            row
        });
        match self.explain {
            true => table(&["CHANNEL", "FROM", "TO", "WHY"], rows),
            false => table(&["CHANNEL", "FROM", "TO"], rows),
        }
    }

    fn nodes_table(&self) -> String {
        let rows = self.nodes.iter().map(|one| {
            let state = match (one.draining, one.frozen, &one.suspicion) {
                (true, ..) => "draining".to_owned(),
                (false, _, Some(why)) => format!("avoided: {}", one_line(why)),
                (false, true, None) => "frozen".to_owned(),
                (false, false, None) => "-".to_owned(),
            };
            vec![
                one.node.to_string(),
                format!("{:.2}", one.weight),
                or_dash(one.load.map(|load| format!("{load:.2}"))),
                format!("{} -> {}", one.channels_before, one.channels_after),
                format!("{} -> {}", one.vchannels_before, one.vchannels_after),
                state,
            ]
        });
        table(&["NODE", "WEIGHT", "LOAD", "CHANNELS", "VCHANNELS", "STATE"], rows)
    }
}

impl Report for PlanView {
    fn table(&self) -> String {
        if !self.explain {
            return self.moves_table();
        }
        let head = facts(&[
            ("policy", self.policy.clone()),
            ("cost", format!("{:.4} -> {:.4}", self.cost_before, self.cost_after)),
            ("not moved for balance", or_dash(self.no_rebalance.clone())),
            ("without a node", self.unplaced.len().to_string()),
        ]);
        let notes: String = self.notes.iter().map(|note| format!("\n{}", one_line(note))).collect();
        format!("{head}{notes}\n\n{}\n\n{}", self.moves_table(), self.nodes_table())
    }
}
