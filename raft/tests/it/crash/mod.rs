//! Crashes at every named edge of durability, in a child process: first the process dies, then the power.
//!
//! The child says what it attempts and what was acknowledged; the parent opens what is left and checks that everything
//! acknowledged is there, that the state is a prefix of the log with the right hash, and that an installed snapshot is
//! there entirely or not at all. A harness that cannot fail proves nothing, so one test lies about its syncs.

mod check;
mod child;
mod harness;
mod journal;

use check::{check_install, check_log};
use harness::{Crashed, run};

/// Hits at which a point fires: the first passages, and later ones with more history behind them.
const HITS: [u32; 5] = [1, 2, 4, 7, 11];

fn sweep(scenario: &str, points: &[&str], hits: &[u32], check: impl Fn(&Crashed) -> Result<(), String>) {
    for point in points {
        for hit in hits {
            let spec = format!("{point}:{hit}");
            let crashed = run(scenario, &spec, &[]);
            assert!(crashed.aborted || *hit > 1, "{spec} never fired; it said {:?}", crashed.said);
            let after_power_loss = crashed.lose_power(|_| true);
            check(&crashed).unwrap_or_else(|why| panic!("{spec}: {why}; it said {:?}", crashed.said));
            check(&after_power_loss)
                .unwrap_or_else(|why| panic!("{spec}, power lost: {why}; it said {:?}", crashed.said));
        }
    }
}

#[test]
fn an_append_survives_once_acknowledged() {
    sweep("log", &["log.before_append", "log.after_append", "wal.before_sync", "wal.after_sync"], &HITS, check_log);
}

#[test]
fn a_vote_survives_once_answered() {
    sweep("log", &["log.vote_written"], &[1, 2, 3], check_log);
}

#[test]
fn the_state_is_a_prefix_of_the_log_wherever_apply_dies() {
    sweep("log", &["apply.before_write", "apply.after_write"], &HITS, check_log);
}

#[test]
fn a_purge_or_truncation_needs_no_sync_and_never_makes_the_disk_look_lossy() {
    sweep("log", &["log.purged", "log.mark_lowered", "log.truncated"], &[1, 2], check_log);
}

#[test]
fn building_a_snapshot_may_die_anywhere() {
    sweep("log", &["snapshot.built", "snapshot.chunk_written"], &[1, 2, 3], check_log);
}

#[test]
fn flushes_and_compactions_in_between_change_nothing() {
    let points = ["wal.before_sync", "wal.after_sync", "log.after_append", "apply.after_write", "log.purged"];
    for point in points {
        let hits: &[u32] = if point == "log.purged" { &[1, 9, 30] } else { &[1, 60, 150, 210] };
        sweep("flush", &[point], hits, check_log);
    }
}

#[test]
fn an_installed_snapshot_is_there_entirely_or_not_at_all() {
    sweep("install", &["install.marked", "install.cleared", "install.written", "install.synced"], &[1], check_install);
    sweep("install", &["install.chunk"], &[1, 2, 3], check_install);
    sweep("install", &["none"], &[2], check_install);
}

#[test]
fn an_interrupted_installation_that_is_interrupted_again_still_finishes() {
    for (first, second) in [("install.marked", "install.cleared:1"), ("install.cleared", "install.chunk:2")] {
        let crashed = run("install", first, &[]);
        let again = crashed.run_again("reopen", second);
        assert!(again.aborted, "{second} never fired");
        check_install(&again).unwrap();
    }
}

#[test]
fn a_run_that_ends_in_peace_is_whole_too() {
    let ended = run("log", "none", &[]);
    assert!(!ended.aborted && ended.said.last().is_some_and(|line| line == "done"), "{:?}", ended.said);
    check_log(&ended.lose_power(|_| true)).unwrap();
    check_log(&ended).unwrap();
}

#[test]
fn a_disk_that_lies_about_its_syncs_is_caught() {
    let crashed = run("log", "log.before_append:9", &[("ROOST_CRASH_LIE", "1")]);
    assert!(crashed.aborted);
    let everything_lost = crashed.lose_power(|_| true);
    let why = check_log(&everything_lost).unwrap_err();
    assert!(why.contains("acknowledged"), "{why}");
    // With the mark on another, honest disk, the log itself refuses.
    let log_lost = crashed.lose_power(|path| !path.ends_with("synced.mark"));
    let why = check_log(&log_lost).unwrap_err();
    assert!(why.contains("has lost acknowledged data"), "{why}");
    // What was not synced has not even reached the kernel, so the process that died took it along.
    let why = check_log(&crashed).unwrap_err();
    assert!(why.contains("has lost acknowledged data"), "{why}");
}
