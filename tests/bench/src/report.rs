//! Sets the sides beside each other: every round, the median of the rounds, and whether the target is met.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::cluster::Side;
use crate::load::Outcome;

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

/// What a load has shown beside its speed. CPU times are microseconds for each operation.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Figures {
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub server_cpu_us: Option<f64>,
    pub load_cpu_us: Option<f64>,
}

impl Figures {
    fn of(outcome: &Outcome) -> Self {
        Figures {
            p50_ms: Some(outcome.latency_ms(0.5)),
            p99_ms: Some(outcome.latency_ms(0.99)),
            server_cpu_us: Some(outcome.cpu_us_per_call()).filter(|us| *us > 0.0),
            load_cpu_us: Some(outcome.load_cpu_us_per_call()).filter(|us| *us > 0.0),
        }
    }

    /// Of each figure the median.
    fn medians(all: &[Figures]) -> Self {
        let of = |figure: fn(&Figures) -> Option<f64>| median(all.iter().filter_map(figure));
        Figures {
            p50_ms: of(|figures| figures.p50_ms),
            p99_ms: of(|figures| figures.p99_ms),
            server_cpu_us: of(|figures| figures.server_cpu_us),
            load_cpu_us: of(|figures| figures.load_cpu_us),
        }
    }
}

/// What one side showed in one round.
#[derive(Clone, Debug)]
pub struct Sample {
    metric: Metric,
    value: f64,
    figures: Figures,
    note: String,
}

impl Sample {
    pub fn new(metric: Metric, value: f64) -> Self {
        Sample { metric, value, figures: Figures::default(), note: String::new() }
    }

    /// The speed of a load, and everything else that it has shown.
    pub fn speed(metric: Metric, outcome: &Outcome) -> Self {
        Sample { figures: Figures::of(outcome), ..Sample::new(metric, outcome.per_second()) }
    }

    /// Microseconds of the servers' CPU time for each operation.
    pub fn with_cpu(mut self, cpu_us: f64) -> Self {
        self.figures.server_cpu_us = Some(cpu_us);
        self
    }

    /// Microseconds of the load's own CPU time for each operation.
    pub fn with_load_cpu(mut self, cpu_us: f64) -> Self {
        self.figures.load_cpu_us = Some(cpu_us);
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
        let Figures { p50_ms, p99_ms, server_cpu_us, load_cpu_us } = self.figures;
        for (figure, what) in [
            (p50_ms, "ms p50"),
            (p99_ms, "ms p99"),
            (server_cpu_us, "us of the servers' CPU each"),
            (load_cpu_us, "us of the load's"),
        ] {
            if let Some(figure) = figure {
                write!(f, ", {} {what}", number(figure))?;
            }
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
    /// The machine's own, with a value for each time that they were measured.
    limits: Vec<(Metric, Vec<Sample>)>,
}

/// A row as others read it.
#[derive(Debug, Default, Serialize)]
pub struct Entry {
    pub workload: &'static str,
    pub clients: u64,
    pub unit: &'static str,
    /// Medians of the rounds; `ratio` is the median of the rounds' ratios, ours over theirs.
    pub ours: Option<f64>,
    pub theirs: Option<f64>,
    pub ratio: Option<f64>,
    /// What the machine itself does: of neither side.
    pub machine: Option<f64>,
    pub target: String,
    pub met: Option<bool>,
    pub ours_figures: Figures,
    pub theirs_figures: Figures,
    pub rounds: Vec<Round>,
}

#[derive(Debug, Serialize)]
pub struct Round {
    ours: Option<f64>,
    theirs: Option<f64>,
    ratio: Option<f64>,
    ours_figures: Figures,
    theirs_figures: Figures,
    ours_note: String,
    theirs_note: String,
}

const HEADER: [&str; 12] =
    ["WORKLOAD", "CLIENTS", "ROUND", "ROOST", "ETCD", "RATIO", "p50 ms", "p99 ms", "CPU us", "LOAD us", "TARGET", ""];
const LEGEND: &str = "\n\np50, p99, CPU, LOAD: Roost's/etcd's. CPU: of all three servers for each operation; LOAD: of \
                      the load's own process, which shares the cores with them.";

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

    /// What the machine does by itself.
    pub fn add_limits(&mut self, samples: Vec<Sample>) {
        for sample in samples {
            match self.limits.iter_mut().find(|(metric, _)| *metric == sample.metric) {
                Some((_, seen)) => seen.push(sample),
                None => self.limits.push((sample.metric, vec![sample])),
            }
        }
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        table.set_header(HEADER);
        let mut limits = String::new();
        for entry in self.entries() {
            if let Some(value) = entry.machine {
                let Entry { workload, clients, unit, .. } = entry;
                limits += &format!("{workload}, {clients} clients: {} {unit}\n", number(value));
                continue;
            }
            let name = format!("{} [{}]", entry.workload, entry.unit);
            // A single round is its own median.
            if entry.rounds.len() > 1 {
                for (index, round) in entry.rounds.iter().enumerate() {
                    let Round { ours, theirs, ratio, ours_figures, theirs_figures, ours_note, .. } = round;
                    let start = [name.clone(), entry.clients.to_string(), (index + 1).to_string()];
                    let values = [*ours, *theirs, *ratio].map(shown);
                    let figures = both(ours_figures, theirs_figures);
                    table.add_row(start.into_iter().chain(values).chain(figures).chain([ours_note.clone()]));
                }
            }
            let start = [name, entry.clients.to_string(), "median".to_owned()];
            let values = [entry.ours, entry.theirs, entry.ratio].map(shown);
            let figures = both(&entry.ours_figures, &entry.theirs_figures);
            let met = entry.met.map_or("", |met| if met { "met" } else { "MISSED" }).to_owned();
            table.add_row(start.into_iter().chain(values).chain(figures).chain([entry.target.clone(), met]));
        }
        for column in 1..=9 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        format!("{limits}{table}{LEGEND}")
    }

    /// For programs.
    pub fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(&self.entries())? + "\n")
    }

    pub fn entries(&self) -> Vec<Entry> {
        let limit = |(metric, samples): &(Metric, Vec<Sample>)| Entry {
            workload: metric.workload,
            clients: metric.clients,
            unit: metric.unit,
            machine: median(samples.iter().map(|sample| sample.value)),
            ..Entry::default()
        };
        self.limits.iter().map(limit).chain(self.rows.iter().map(Row::entry)).collect()
    }
}

impl Row {
    fn entry(&self) -> Entry {
        let round = |sides: &BTreeMap<Side, Sample>| {
            let value = |side| sides.get(&side).map(|sample| sample.value);
            let note = |side| sides.get(&side).map(|sample| sample.note.clone()).unwrap_or_default();
            let figures = |side| sides.get(&side).map(|sample| sample.figures).unwrap_or_default();
            let (ours, theirs) = (value(Side::Roost), value(Side::Etcd));
            Round {
                ours,
                theirs,
                ratio: ours.zip(theirs).map(|(ours, theirs)| ours / theirs),
                ours_figures: figures(Side::Roost),
                theirs_figures: figures(Side::Etcd),
                ours_note: note(Side::Roost),
                theirs_note: note(Side::Etcd),
            }
        };
        let rounds: Vec<Round> = self.rounds.values().map(round).collect();
        let ours = median(rounds.iter().filter_map(|round| round.ours));
        let ratio = median(rounds.iter().filter_map(|round| round.ratio));
        let figures = |of: fn(&Round) -> Figures| Figures::medians(&rounds.iter().map(of).collect::<Vec<_>>());
        Entry {
            workload: self.metric.workload,
            clients: self.metric.clients,
            unit: self.metric.unit,
            ours,
            theirs: median(rounds.iter().filter_map(|round| round.theirs)),
            ratio,
            machine: None,
            target: self.metric.goal.to_string(),
            met: self.metric.goal.met(ours, ratio),
            ours_figures: figures(|round| round.ours_figures),
            theirs_figures: figures(|round| round.theirs_figures),
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

/// A cell for each figure, ours and theirs.
fn both(ours: &Figures, theirs: &Figures) -> [String; 4] {
    let cell = |figure: fn(&Figures) -> Option<f64>| match (figure(ours), figure(theirs)) {
        (None, None) => String::new(),
        (ours, theirs) => format!("{}/{}", shown(ours), shown(theirs)),
    };
    [
        cell(|figures| figures.p50_ms),
        cell(|figures| figures.p99_ms),
        cell(|figures| figures.server_cpu_us),
        cell(|figures| figures.load_cpu_us),
    ]
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
