//! A picture of speed and latency against the number of clients, as SVG: for each workload that was measured with
//! several numbers of clients a row of two panels.

use std::fmt::Write;

use crate::report::Entry;

const PANEL_WIDTH: f64 = 420.0;
const PANEL_HEIGHT: f64 = 220.0;
/// Room around a panel for what is written on its axes.
const LEFT: f64 = 80.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 40.0;
const RIGHT: f64 = 20.0;
const LEGEND_HEIGHT: f64 = 30.0;
const OURS: &str = "#c2410c";
const THEIRS: &str = "#1d4ed8";
/// Lines of the scale.
const STEPS: usize = 4;

/// A line of one panel.
struct Line {
    name: &'static str,
    color: &'static str,
    dashed: bool,
    /// (clients, value)
    points: Vec<(u64, f64)>,
}

/// The whole picture; `None` if nothing was measured with more than one number of clients.
pub fn svg(entries: &[Entry]) -> Option<String> {
    let mut names: Vec<&str> = Vec::new();
    for entry in entries.iter().filter(|entry| entry.ours_figures.p50_ms.is_some()) {
        let several = entries.iter().any(|other| other.workload == entry.workload && other.clients != entry.clients);
        if several && !names.contains(&entry.workload) {
            names.push(entry.workload);
        }
    }
    if names.is_empty() {
        return None;
    }
    let (width, row) = (2.0 * (LEFT + PANEL_WIDTH + RIGHT), TOP + PANEL_HEIGHT + BOTTOM);
    let height = LEGEND_HEIGHT + row * names.len() as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    for (at, (name, color)) in [("Roost", OURS), ("etcd", THEIRS)].into_iter().enumerate() {
        let x = LEFT + 90.0 * at as f64;
        out += &format!("<rect x=\"{x}\" y=\"12\" width=\"14\" height=\"4\" fill=\"{color}\"/>");
        out += &format!("<text x=\"{}\" y=\"18\">{name}</text>\n", x + 20.0);
    }
    for (index, name) in names.iter().enumerate() {
        let of: Vec<&Entry> = entries.iter().filter(|entry| entry.workload == *name).collect();
        let unit = of.first().map_or("", |entry| entry.unit);
        let y = LEGEND_HEIGHT + row * index as f64 + TOP;
        panel(&mut out, LEFT, y, &format!("{name} [{unit}]"), &speeds(&of));
        let title = format!("{name}: latency [ms], p50 and p99 (dashed)");
        panel(&mut out, 2.0 * LEFT + PANEL_WIDTH + RIGHT, y, &title, &latencies(&of));
    }
    Some(out + "</svg>\n")
}

fn speeds(entries: &[&Entry]) -> Vec<Line> {
    let points = |value: fn(&Entry) -> Option<f64>| points(entries, value);
    vec![
        Line { name: "Roost", color: OURS, dashed: false, points: points(|entry| entry.ours) },
        Line { name: "etcd", color: THEIRS, dashed: false, points: points(|entry| entry.theirs) },
    ]
}

fn latencies(entries: &[&Entry]) -> Vec<Line> {
    let line = |name, color, dashed, value: fn(&Entry) -> Option<f64>| Line {
        name,
        color,
        dashed,
        points: points(entries, value),
    };
    vec![
        line("Roost p50", OURS, false, |entry| entry.ours_figures.p50_ms),
        line("Roost p99", OURS, true, |entry| entry.ours_figures.p99_ms),
        line("etcd p50", THEIRS, false, |entry| entry.theirs_figures.p50_ms),
        line("etcd p99", THEIRS, true, |entry| entry.theirs_figures.p99_ms),
    ]
}

fn points(entries: &[&Entry], value: fn(&Entry) -> Option<f64>) -> Vec<(u64, f64)> {
    entries.iter().filter_map(|entry| Some((entry.clients, value(entry)?))).collect()
}

/// Clients are spread evenly, not to scale: 1, 64 and 256 would stand too close to read.
fn panel(out: &mut String, left: f64, top: f64, title: &str, lines: &[Line]) {
    let mut clients: Vec<u64> = lines.iter().flat_map(|line| &line.points).map(|(clients, _)| *clients).collect();
    clients.sort_unstable();
    clients.dedup();
    let largest = lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value).fold(0.0, f64::max);
    let scale = round_up(largest / STEPS as f64) * STEPS as f64;
    let x = |of: u64| {
        let at = clients.iter().position(|one| *one == of).unwrap_or(0) as f64;
        left + PANEL_WIDTH * (at + 0.5) / clients.len().max(1) as f64
    };
    let y = |value: f64| top + PANEL_HEIGHT * (1.0 - value / scale);
    *out += &format!("<text x=\"{left}\" y=\"{}\" font-weight=\"bold\">{title}</text>\n", top - 12.0);
    for step in 0..=STEPS {
        let value = scale * step as f64 / STEPS as f64;
        let (at, right) = (y(value), left + PANEL_WIDTH);
        *out += &format!("<path d=\"M{left} {at:.1}H{right}\" stroke=\"#d4d4d4\"/>");
        *out += &format!("<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>\n", left - 8.0, at + 4.0);
    }
    for one in &clients {
        let label = if *one == 1 { "1 client".to_owned() } else { format!("{one} clients") };
        let bottom = top + PANEL_HEIGHT + 18.0;
        *out += &format!("<text x=\"{:.1}\" y=\"{bottom}\" text-anchor=\"middle\">{label}</text>\n", x(*one));
    }
    for Line { name, color, dashed, points } in lines.iter().filter(|line| !line.points.is_empty()) {
        let dash = if *dashed { " stroke-dasharray=\"5 4\"" } else { "" };
        let mut path = String::new();
        for (index, (clients, value)) in points.iter().enumerate() {
            let step = if index == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{step}{:.1} {:.1}", x(*clients), y(*value));
            let (cx, cy) = (x(*clients), y(*value));
            *out += &format!("<circle cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"3\" fill=\"{color}\">");
            *out += &format!("<title>{name}, {clients} clients: {value:.2}</title></circle>\n");
        }
        *out += &format!("<path d=\"{path}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"{dash}/>\n");
    }
}

/// The next of 1, 2, 2.5, 5 and 10 times a power of ten.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0].into_iter().find(|step| *step * power >= value).unwrap_or(10.0);
    step * power
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Figures;

    fn entry(workload: &'static str, clients: u64, ours: f64) -> Entry {
        let figures = Figures { p50_ms: Some(1.0), p99_ms: Some(2.0), ..Figures::default() };
        Entry { workload, clients, unit: "/s", ours: Some(ours), ours_figures: figures, ..Entry::default() }
    }

    #[test]
    fn a_workload_of_several_numbers_of_clients_is_drawn() {
        let picture = svg(&[entry("puts", 1, 10.0), entry("puts", 256, 90.0), entry("once", 4, 1.0)]).unwrap();
        assert!(picture.contains("puts [/s]") && !picture.contains("once"));
        assert!(picture.contains("Roost, 256 clients: 90.00"));
        assert_eq!(picture.matches("<svg").count(), picture.matches("</svg>").count());
        assert!(svg(&[entry("once", 4, 1.0)]).is_none());
    }

    #[test]
    fn a_scale_ends_on_a_round_number_that_holds_everything() {
        for (value, rounded) in [(0.0, 1.0), (1.0, 1.0), (1.1, 2.0), (21.0, 25.0), (260.0, 500.0), (0.07, 0.1)] {
            assert!((round_up(value) - rounded).abs() < 1e-9, "{value}");
        }
    }
}
