//! What every change must get through: some seeds, and the same run twice. More: `scripts/chaos --simulate`.

#![allow(clippy::unwrap_used, reason = "a test says by panicking that it failed")]

use std::process::Command;

/// Its exit code and what it said. One run at once: other tests, which real time does not wait for, want a core too.
fn simulate(arguments: &[&str]) -> (bool, String) {
    let mut simulation = Command::new(env!("CARGO_BIN_EXE_roost-simulation"));
    let output = simulation.args(["--jobs", "1"]).args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn nothing_is_violated_with_any_of_these_seeds() {
    let (held, said) = simulate(&["--seed", "1", "--seeds", "24", "--faults", "6"]);
    assert!(held, "{said}");
    assert!(said.contains("24 seeds") && said.contains("no violation"), "{said}");
}

#[test]
fn a_seed_repeats_a_run_exactly() {
    let (held, said) = simulate(&["--seed", "100", "--seeds", "2", "--faults", "6", "--twice"]);
    assert!(held, "{said}");
}

/// `cargo test -p roost-simulation --features mutations`.
#[cfg(feature = "mutations")]
#[test]
fn deliberate_errors_are_seen() {
    let (seen, said) = simulate(&["--seed", "1", "--mutations"]);
    assert!(seen, "{said}");
}
