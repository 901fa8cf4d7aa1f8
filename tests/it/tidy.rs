//! The habits that a compiler does not check. Each rule fails with the places and the reason; a rule that turns out
//! wrong is changed here, with its reason, not worked around.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const LINE_WIDTH_MAX: usize = 120;
const FILE_LINES_MAX: usize = 400;
/// Module names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 9] = ["common", "helper", "helpers", "manager", "manager2", "misc", "stuff", "util", "utils"];
/// Written in halves, or this file would break its own rule.
const UNFINISHED: [&str; 5] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("to", "do!"),
    concat!("unimple", "mented!"),
];
const PANICS: [&str; 5] = [".unwrap()", ".unwrap_err()", ".expect(", ".expect_err(", "panic!("];

struct Source {
    /// Relative to the checkout, with `/`.
    path: String,
    text: String,
}

impl Source {
    /// Lines with their numbers, from 1.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The lines before the unit tests, which stand last in a file.
    fn lines_before_tests(&self) -> impl Iterator<Item = (usize, &str)> {
        let inline = self.lines().zip(self.text.lines().skip(1)).find_map(|((number, line), next)| {
            (line == "#[cfg(test)]" && next.starts_with("mod ") && next.ends_with('{')).then_some(number)
        });
        let end = inline.unwrap_or(usize::MAX);
        self.lines().take_while(move |(number, _)| *number < end)
    }

    fn is_test(&self) -> bool {
        self.path.split('/').any(|part| matches!(part, "tests" | "tests.rs" | "testing" | "testing.rs"))
    }

    /// Code that is shipped.
    fn is_product(&self) -> bool {
        ["src/", "raft/src/"].iter().any(|start| self.path.starts_with(start)) && !self.is_test()
    }
}

/// Every Rust file of ours. Generated code lies in OUT_DIR and is not seen.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for start in ["src", "raft", "tests", "build.rs"] {
        collect(&root.join(start), &mut files);
    }
    files.sort();
    let read = |file: PathBuf| Source {
        path: file.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/"),
        text: fs::read_to_string(&file).unwrap(),
    };
    files.into_iter().map(read).collect()
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    if path.is_dir() {
        let hidden_or_built =
            path.file_name().is_some_and(|name| name == "target" || name.as_encoded_bytes()[0] == b'.');
        if !hidden_or_built {
            fs::read_dir(path).unwrap().for_each(|entry| collect(&entry.unwrap().path(), files));
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        files.push(path.to_owned());
    }
}

/// A line without comments and the insides of string literals. Raw and multi-line strings are not understood.
fn code(line: &str) -> String {
    let mut kept = String::new();
    let mut rest = line.chars().peekable();
    let mut in_string = false;
    while let Some(c) = rest.next() {
        match c {
            '\\' if in_string => _ = rest.next(),
            // The quote of a character literal opens nothing.
            '"' if in_string || !kept.ends_with('\'') => in_string = !in_string,
            '/' if !in_string && rest.peek() == Some(&'/') => break,
            _ if !in_string => kept.push(c),
            _ => {}
        }
    }
    kept
}

#[track_caller]
fn assert_none(found: Vec<String>, reason: &str) {
    assert!(found.is_empty(), "{reason}:\n  {}", found.join("\n  "));
}

/// Every place in the given lines for which `wrong` says what is wrong.
fn search<'a>(
    sources: &'a [Source],
    of: impl Fn(&Source) -> bool,
    wrong: impl Fn(&'a Source, usize, &'a str) -> Option<String>,
) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| of(source)) {
        for (number, line) in source.lines_before_tests() {
            if let Some(what) = wrong(source, number, line) {
                found.push(format!("{}:{number}: {what}", source.path));
            }
        }
    }
    found
}

#[test]
fn lines_are_readable_side_by_side() {
    let mut found = Vec::new();
    for source in sources() {
        for (number, line) in source.lines() {
            let width = line.chars().count();
            if width > LINE_WIDTH_MAX && !line.contains("://") {
                found.push(format!("{}:{number}: {width} characters", source.path));
            }
        }
    }
    assert_none(found, &format!("lines are at most {LINE_WIDTH_MAX} wide, so that two files fit on a screen"));
}

#[test]
fn files_hold_one_idea() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| source.is_product()) {
        let lines = source.lines_before_tests().count();
        if lines > FILE_LINES_MAX {
            found.push(format!("{}: {lines} lines before its tests", source.path));
        }
    }
    assert_none(found, &format!("more than {FILE_LINES_MAX} lines usually hold two ideas: find the second one's name"));
}

#[test]
fn files_say_what_they_are_for() {
    let sources = sources();
    let silent = sources.iter().filter(|source| !source.path.starts_with("tests/") && !source.text.starts_with("//!"));
    assert_none(
        silent.map(|source| source.path.clone()).collect(),
        "a file opens with `//!`: 2-6 lines on its purpose",
    );
}

#[test]
fn names_say_something() {
    let mut found = Vec::new();
    for source in sources() {
        let stem = source.path.trim_end_matches(".rs").trim_end_matches("/mod").rsplit('/').next().unwrap_or_default();
        if EMPTY_NAMES.contains(&stem) {
            found.push(source.path.clone());
        }
        for (number, line) in source.lines() {
            // A generated package keeps the name that its .proto file gives it.
            if declared_module(line).is_some_and(|name| EMPTY_NAMES.contains(&name)) && source.path != "src/pb.rs" {
                found.push(format!("{}:{number}: {line}", source.path));
            }
        }
    }
    assert_none(found, "a module is named for what it holds, in the field's own words");
}

#[test]
fn nothing_is_unfinished() {
    let mut found = Vec::new();
    for source in sources() {
        for (number, line) in source.lines() {
            if let Some(mark) = UNFINISHED.iter().find(|mark| line.contains(**mark)) {
                found.push(format!("{}:{number}: {mark}", source.path));
            }
        }
    }
    assert_none(found, "work that is left is an issue, where somebody will see it, not a mark in the code");
}

#[test]
fn a_server_does_not_panic_on_purpose() {
    let sources = sources();
    let found = search(&sources, Source::is_product, |source, number, line| {
        let panic = PANICS.iter().find(|panic| code(line).contains(**panic))?;
        // clippy sees more; an exception that it grants, with its reason, is one here.
        let above = source.lines().skip(number.saturating_sub(6)).take(6);
        let granted = above.into_iter().any(|(_, line)| line.contains("(clippy::"));
        (!granted).then(|| format!("`{panic}`"))
    });
    assert_none(found, "a bad request must never stop a node: return an error of the layer");
}

#[test]
fn allowances_carry_a_reason() {
    let sources = sources();
    let found = search(&sources, Source::is_product, |source, number, line| {
        let attribute = line.trim_start();
        if !(attribute.starts_with("#[allow(") || attribute.starts_with("#![allow(")) || line.contains("//") {
            return None;
        }
        let before = source.lines().nth(number.wrapping_sub(2)).map_or("", |(_, line)| line.trim_start());
        let explained = source.lines().skip(number - 1).take(3).any(|(_, line)| line.contains("reason"));
        (!explained && !before.starts_with("//")).then(|| attribute.to_owned())
    });
    assert_none(found, "an #[allow] says why, or nobody dares to remove it");
}

#[test]
fn consensus_and_storage_are_known_to_one_crate() {
    let sources = sources();
    let outside = |source: &Source| !source.path.starts_with("raft/") && source.path != "tests/it/tidy.rs";
    let found = search(&sources, outside, |_, _, line| {
        let named = ["openraft", "rocksdb"].into_iter().find(|name| code(line).contains(name))?;
        Some(named.to_owned())
    });
    assert_none(found, "only raft/ names openraft and rocksdb; the rest sees its host and its key-value trait");
}

#[test]
fn every_file_is_compiled() {
    let sources = sources();
    let mut reached = BTreeSet::from(["build.rs".to_owned(), "raft/build.rs".to_owned()]);
    let is_root = |path: &str| {
        matches!(path, "src/lib.rs" | "src/main.rs" | "raft/src/lib.rs" | "tests/it/main.rs")
            || path.starts_with("src/bin/") && path.matches('/').count() == 2
            || path.starts_with("raft/tests/") && (path.matches('/').count() == 2 || path.ends_with("/main.rs"))
            || matches!(path, "tests/bench/src/main.rs" | "tests/chaos/src/main.rs" | "tests/chaos/src/lib.rs")
            || matches!(path, "tests/simulation/src/main.rs" | "tests/simulation/tests/seeds.rs")
    };
    let mut open: Vec<String> = sources.iter().map(|source| source.path.clone()).filter(|path| is_root(path)).collect();
    while let Some(path) = open.pop() {
        let Some(source) = sources.iter().find(|source| source.path == path) else { continue };
        if reached.insert(path.clone()) {
            open.extend(children(source, is_root(&path)));
        }
    }
    let dead = sources.iter().map(|source| source.path.clone()).filter(|path| !reached.contains(path)).collect();
    assert_none(dead, "no `mod` line leads to these files, so nothing compiles or tests them");
}

/// Where the modules declared in a file may lie.
fn children(source: &Source, is_root: bool) -> Vec<String> {
    let (dir, file) = source.path.rsplit_once('/').unwrap_or(("", &source.path));
    let own = if is_root || file == "mod.rs" { dir.to_owned() } else { source.path.trim_end_matches(".rs").to_owned() };
    let mut paths = Vec::new();
    let mut explicit = None;
    for (_, line) in source.lines() {
        if let Some(path) = line.trim().strip_prefix("#[path = \"").and_then(|rest| rest.strip_suffix("\"]")) {
            explicit = Some(format!("{dir}/{path}"));
        } else if let Some(name) = declared_module(line).filter(|_| line.trim_end().ends_with(';')) {
            let usual = [format!("{own}/{name}.rs"), format!("{own}/{name}/mod.rs")];
            paths.extend(explicit.take().map_or(usual.to_vec(), |path| vec![path]));
        }
    }
    paths
}

/// `pub(super) mod name;` or `mod name {`.
fn declared_module(line: &str) -> Option<&str> {
    let line = line.trim();
    let visible = line.strip_prefix("pub").map_or(line, |rest| {
        rest.strip_prefix('(').and_then(|rest| rest.split_once(')')).map_or(rest, |(_, rest)| rest).trim_start()
    });
    let name = visible.strip_prefix("mod ")?;
    Some(name.trim_end_matches(|c: char| !c.is_alphanumeric() && c != '_'))
}

#[test]
fn a_line_is_read_without_comments_and_strings() {
    assert_eq!(code(r#"let a = "panic!(\"x\")"; // .unwrap()"#), "let a = ; ");
    let quote = r#"if c == '"' { b.unwrap() }"#;
    assert_eq!(code(quote), quote);
    assert_eq!(declared_module("pub(crate) mod pieces;"), Some("pieces"));
    assert_eq!(declared_module("mod tests {"), Some("tests"));
    assert_eq!(declared_module("// mod gone;"), None);
}
