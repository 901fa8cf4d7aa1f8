//! Sets the sides beside each other: every round, the median of the rounds, and whether the target is met.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::cluster::Side;

/// What must hold; of the medians.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    None,
    RatioAtLeast(f64),
    RatioAtMost(f64),
    OursAtLeast(f64),
    OursAtMost(f64),
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Goal::None => Ok(()),
            Goal::RatioAtLeast(least) => write!(f, "ratio >= {least}"),
            Goal::RatioAtMost(most) => write!(f, "ratio <= {most}"),
            Goal::OursAtLeast(least) => write!(f, "ours >= {least}"),
            Goal::OursAtMost(most) => write!(f, "ours <= {most}"),
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metric {
    pub workload: &'static str,
    pub clients: u64,
    pub unit: &'static str,
    pub goal: Goal,
}

/// What one side showed in one round.
#[derive(Clone, Debug)]
pub struct Sample {
    metric: Metric,
    value: f64,
    cpu_us: Option<f64>,
    note: String,
}

impl Sample {
    pub fn new(metric: Metric, value: f64) -> Self {
        Sample { metric, value, cpu_us: None, note: String::new() }
    }

    /// Microseconds of the servers' CPU time for each operation.
    pub fn with_cpu(mut self, cpu_us: f64) -> Self {
        self.cpu_us = Some(cpu_us);
        self
    }

    pub fn with_note(mut self, note: &str) -> Self {
        self.note = note.to_owned();
        self
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Metric { workload, clients, unit, .. } = self.metric;
        write!(f, "{workload}, {clients} clients: {} {unit}", number(self.value))?;
        if let Some(cpu) = self.cpu_us {
            write!(f, ", {cpu:.0} us of the servers' CPU each")?;
        }
        if !self.note.is_empty() {
            write!(f, " ({})", self.note)?;
        }
        Ok(())
    }
}

/// All rounds of one metric.
struct Row {
    metric: Metric,
    rounds: BTreeMap<usize, BTreeMap<Side, Sample>>,
}

#[derive(Default)]
pub struct Report {
    rows: Vec<Row>,
}

/// A row as others read it.
#[derive(Debug, Serialize)]
struct Entry {
    workload: &'static str,
    clients: u64,
    unit: &'static str,
    /// Medians of the rounds; `ratio` is the median of the rounds' ratios, ours over theirs.
    ours: Option<f64>,
    theirs: Option<f64>,
    ratio: Option<f64>,
    ours_cpu_us_per_operation: Option<f64>,
    theirs_cpu_us_per_operation: Option<f64>,
    target: String,
    met: Option<bool>,
    rounds: Vec<Round>,
}

#[derive(Debug, Serialize)]
struct Round {
    ours: Option<f64>,
    theirs: Option<f64>,
    ratio: Option<f64>,
    ours_note: String,
    theirs_note: String,
}

impl Report {
    pub fn add(&mut self, round: usize, side: Side, samples: Vec<Sample>) {
        for sample in samples {
            let at = self.rows.iter().position(|row| row.metric == sample.metric).unwrap_or_else(|| {
                self.rows.push(Row { metric: sample.metric, rounds: BTreeMap::new() });
                self.rows.len() - 1
            });
            self.rows[at].rounds.entry(round).or_default().insert(side, sample);
        }
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        table.set_header([
            "WORKLOAD",
            "CLIENTS",
            "ROUND",
            "ROOST",
            "ETCD",
            "RATIO",
            "CPU us/op",
            "etcd's",
            "TARGET",
            "",
        ]);
        for entry in self.entries() {
            let mut line = |round: String, ours, theirs, ratio, cpus: [String; 2], target: String, met: String| {
                let workload = format!("{} [{}]", entry.workload, entry.unit);
                let clients = entry.clients.to_string();
                let [our_cpu, their_cpu] = cpus;
                let figures = [shown(ours), shown(theirs), shown(ratio)];
                let cells = [workload, clients, round].into_iter().chain(figures);
                table.add_row(cells.chain([our_cpu, their_cpu, target, met]));
            };
            for (index, round) in entry.rounds.iter().enumerate() {
                let none = [String::new(), String::new()];
                let note = round.ours_note.clone();
                line((index + 1).to_string(), round.ours, round.theirs, round.ratio, none, note, String::new());
            }
            let cpus = [entry.ours_cpu_us_per_operation, entry.theirs_cpu_us_per_operation];
            let met = entry.met.map_or("", |met| if met { "met" } else { "MISSED" }).to_owned();
            let target = entry.target.clone();
            line("median".to_owned(), entry.ours, entry.theirs, entry.ratio, cpus.map(shown), target, met);
        }
        for column in 1..8 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.to_string()
    }

    /// For programs.
    pub fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(&self.entries())? + "\n")
    }

    fn entries(&self) -> Vec<Entry> {
        self.rows.iter().map(Row::entry).collect()
    }
}

impl Row {
    fn entry(&self) -> Entry {
        let round = |sides: &BTreeMap<Side, Sample>| {
            let value = |side| sides.get(&side).map(|sample| sample.value);
            let note = |side| sides.get(&side).map(|sample| sample.note.clone()).unwrap_or_default();
            let (ours, theirs) = (value(Side::Roost), value(Side::Etcd));
            let ratio = ours.zip(theirs).map(|(ours, theirs)| ours / theirs);
            Round { ours, theirs, ratio, ours_note: note(Side::Roost), theirs_note: note(Side::Etcd) }
        };
        let rounds: Vec<Round> = self.rounds.values().map(round).collect();
        let ours = median(rounds.iter().filter_map(|round| round.ours));
        let ratio = median(rounds.iter().filter_map(|round| round.ratio));
        let cpu = |side| median(self.rounds.values().filter_map(|sides| sides.get(&side)?.cpu_us));
        Entry {
            workload: self.metric.workload,
            clients: self.metric.clients,
            unit: self.metric.unit,
            ours,
            theirs: median(rounds.iter().filter_map(|round| round.theirs)),
            ratio,
            ours_cpu_us_per_operation: cpu(Side::Roost),
            theirs_cpu_us_per_operation: cpu(Side::Etcd),
            target: self.metric.goal.to_string(),
            met: self.metric.goal.met(ours, ratio),
            rounds,
        }
    }
}

impl Goal {
    /// Nothing if there is no goal, or nothing to hold against it.
    fn met(self, ours: Option<f64>, ratio: Option<f64>) -> Option<bool> {
        match self {
            Goal::None => None,
            Goal::RatioAtLeast(least) => ratio.map(|ratio| ratio >= least),
            Goal::RatioAtMost(most) => ratio.map(|ratio| ratio <= most),
            Goal::OursAtLeast(least) => ours.map(|ours| ours >= least),
            Goal::OursAtMost(most) => ours.map(|ours| ours <= most),
        }
    }
}

/// The lower one of the two in the middle of an even number: never better than what was seen.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied()
}

/// Three digits that say something.
fn number(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn shown(value: Option<f64>) -> String {
    value.map(number).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEED: Metric = Metric { workload: "w", clients: 1, unit: "/s", goal: Goal::RatioAtLeast(2.0) };

    #[test]
    fn the_ratio_is_the_median_of_the_rounds_not_the_ratio_of_medians() {
        let mut report = Report::default();
        for (round, ours, theirs) in [(1, 10.0, 10.0), (2, 30.0, 10.0), (3, 40.0, 20.0)] {
            report.add(round, Side::Roost, vec![Sample::new(SPEED, ours)]);
            report.add(round, Side::Etcd, vec![Sample::new(SPEED, theirs)]);
        }
        let entry = &report.entries()[0];
        assert_eq!((entry.ours, entry.theirs, entry.ratio, entry.met), (Some(30.0), Some(10.0), Some(2.0), Some(true)));
        assert!(report.table().contains("met"));
    }

    #[test]
    fn one_side_alone_meets_no_ratio() {
        let mut report = Report::default();
        report.add(1, Side::Roost, vec![Sample::new(SPEED, 5.0)]);
        assert_eq!(report.entries()[0].met, None);
    }

    #[test]
    fn an_even_number_of_rounds_takes_the_lower_middle() {
        assert_eq!(median([4.0, 1.0, 3.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median(std::iter::empty()), None);
    }
}
