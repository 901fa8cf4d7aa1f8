//! Printers. A command builds a report; here it becomes a table for people or JSON for programs, on stdout. A closed
//! stdout ends the command quietly instead of panicking.

use std::io::{self, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::exit::{Failure, one_line};

/// What `-o` selects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    #[default]
    Table,
    Json,
}

/// Something to show. The `Serialize` side is the stable interface for programs: fields are added, never renamed.
pub trait Report: Serialize {
    /// The same for people.
    fn table(&self) -> String;
}

/// How a command's data is shown, and where it goes.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    pub format: Format,
    /// Writes one text and a line's end: [`stdout`], and something else in tests.
    pub write: fn(&str) -> Result<(), Failure>,
}

impl Output {
    /// Prints one report as one document.
    pub fn print<R: Report>(self, report: &R) -> Result<(), Failure> {
        (self.write)(&self.render(report)?)
    }

    /// Prints one item of a stream: a line for people, or one line of JSON.
    pub fn print_line<R: Report>(self, item: &R) -> Result<(), Failure> {
        (self.write)(&match self.format {
            Format::Table => item.table(),
            Format::Json => serde_json::to_string(item).map_err(unrenderable)?,
        })
    }

    fn render<R: Report>(self, report: &R) -> Result<String, Failure> {
        match self.format {
            Format::Table => Ok(report.table()),
            Format::Json => serde_json::to_string_pretty(report).map_err(unrenderable),
        }
    }
}

fn unrenderable(error: serde_json::Error) -> Failure {
    Failure::Failed(format!("cannot render the answer: {error}"))
}

/// The process's stdout.
pub fn stdout(text: &str) -> Result<(), Failure> {
    write_line(&mut io::stdout().lock(), text)
}

fn write_line(out: &mut dyn Write, text: &str) -> Result<(), Failure> {
    let written = out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::StdoutClosed,
        _ => Failure::io("stdout", &error),
    })
}

/// Says something beside the data. `eprintln!` would panic when stderr is closed.
pub fn note(text: &str) {
    // Nobody listens on a closed stderr, and the command's work matters more than its commentary.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A table in the house style: no borders, a header in capitals, so that `awk` can read it too.
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// `name: value` lines, aligned.
pub fn facts(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines = pairs.iter().map(|(name, value)| format!("{:<pad$} {value}", format!("{name}:"), pad = width + 1));
    lines.collect::<Vec<_>>().join("\n")
}

/// What a command that changes one thing did. JSON: {"kind", "name", "done"}.
#[derive(Debug, Serialize)]
pub struct Done<'a> {
    pub kind: &'static str,
    pub name: &'a str,
    pub done: &'static str,
}

impl Report for Done<'_> {
    fn table(&self) -> String {
        format!("{} {} {}", self.kind, one_line(self.name), self.done)
    }
}

/// Things of a name, the names that belong to it, and a description: one by lines, more by rows.
pub fn named(header: [&str; 3], things: &[(&str, &[String], &str)]) -> String {
    if let [(name, belonging, description)] = things {
        let labels = header.map(str::to_ascii_lowercase);
        let values = [(*name).to_owned(), belonging.join(", "), (*description).to_owned()];
        let pairs: Vec<_> = labels.iter().map(String::as_str).zip(values).collect();
        return facts(&pairs);
    }
    let row = |(name, belonging, description): &(&str, &[String], &str)| {
        vec![(*name).to_owned(), belonging.join(","), (*description).to_owned()]
    };
    table(&header, things.iter().map(row))
}

/// A value that may be missing, in a table cell.
pub fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Pair {
        left: u64,
        right: Option<u64>,
    }

    impl Report for Pair {
        fn table(&self) -> String {
            table(&["LEFT", "RIGHT"], [vec![self.left.to_string(), or_dash(self.right)]])
        }
    }

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_same_report_in_both_formats() {
        let pair = Pair { left: 12345, right: None };
        let people = Output { format: Format::Table, write: stdout }.render(&pair).unwrap();
        assert_eq!(people, "LEFT   RIGHT\n12345  -");
        let programs = Output { format: Format::Json, write: stdout }.render(&pair).unwrap();
        assert_eq!(programs, "{\n  \"left\": 12345,\n  \"right\": null\n}");
    }

    #[test]
    fn a_closed_stdout_is_a_quiet_end() {
        let failure = write_line(&mut Closed, "x").unwrap_err();
        assert!(matches!(failure, Failure::StdoutClosed));
        assert!(failure.is_silent());
        assert_eq!(failure.exit_code(), 0);
    }

    #[test]
    fn facts_are_aligned() {
        assert_eq!(facts(&[("a", "1".into()), ("long", "2".into())]), "a:    1\nlong: 2");
    }
}
