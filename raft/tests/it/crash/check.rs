//! What must hold of a disk after a crash, given what its owner said.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use openraft::storage::{RaftLogReader, RaftLogStorage};
use roost_raft::apply::StateHash;
use roost_raft::storage::mem::MemEngine;
use roost_raft::types::Entry;

use super::child::{BEFORE, SNAPSHOT, scripted, snapshot_entries};
use super::harness::Crashed;
use crate::support::{Stores, apply, block_on, full_hash, log_id, position};

/// The child's words, understood.
#[derive(Default, Debug)]
struct Account {
    vote: u64,
    /// Index to the terms under which an entry was attempted there.
    attempted: BTreeMap<u64, BTreeSet<u64>>,
    /// Acknowledged and not given up since: index to term.
    acked: BTreeMap<u64, u64>,
    /// Committed: index to term.
    applied: BTreeMap<u64, u64>,
    purged: u64,
    installing: bool,
    installed: bool,
}

impl Account {
    fn of(said: &[String]) -> Self {
        let mut account = Account::default();
        let mut last_acked = 0;
        for line in said {
            let words: Vec<&str> = line.split(' ').collect();
            let numbers: Vec<u64> = words[1..].iter().map(|word| word.parse().unwrap()).collect();
            match (words[0], numbers.as_slice()) {
                ("vote", [term]) => account.vote = *term,
                ("append", [term, first, last]) => {
                    for index in *first..=*last {
                        account.attempted.entry(index).or_default().insert(*term);
                    }
                    last_acked = first - 1;
                }
                ("ack", [term, index]) => {
                    account.acked.extend((last_acked + 1..=*index).map(|index| (index, *term)));
                    last_acked = *index;
                }
                ("apply", [term, first, last]) => {
                    account.applied.extend((*first..=*last).map(|index| (index, *term)));
                }
                ("truncate", [keep]) => drop(account.acked.split_off(&(keep + 1))),
                ("purge", [upto]) => account.purged = *upto,
                ("install", []) => account.installing = true,
                ("installed", []) => account.installed = true,
                ("truncated", _) | ("done", []) => {}
                other => panic!("the child said {other:?}"),
            }
        }
        account
    }
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

/// The hash of a state that these entries made.
fn replayed(entries: Vec<Entry>) -> StateHash {
    let dir = tempfile::tempdir().unwrap();
    let mut stores = Stores::on(Arc::new(MemEngine::default()), dir.path()).unwrap();
    block_on(stores.apply(entries)).unwrap();
    position(stores.engine.as_ref()).hash
}

/// Checks vote and log. Returns the last index.
fn check_entries(stores: &mut Stores, account: &Account) -> Result<u64, String> {
    let vote = block_on(stores.log.read_vote()).unwrap().map_or(0, |vote| vote.leader_id.term);
    ensure(vote >= account.vote, || format!("the acknowledged vote of term {} is gone: {vote}", account.vote))?;
    let found = block_on(stores.log.get_log_state()).unwrap();
    let last = found.last_log_id.map_or(0, |id| id.index);
    let purged = found.last_purged_log_id.map_or(0, |id| id.index);
    ensure(purged <= account.purged, || format!("purged to {purged}, asked for {}", account.purged))?;
    let entries = block_on(stores.log.try_get_log_entries(purged + 1..last + 1)).map_err(|e| e.to_string())?;
    ensure(entries.len() as u64 == last - purged, || format!("{} entries in {purged}..{last}", entries.len()))?;
    for (entry, index) in entries.iter().zip(purged + 1..) {
        let term = *entry.log_id.leader_id;
        ensure(account.attempted.get(&index).is_some_and(|terms| terms.contains(&term)), || {
            format!("nobody appended {}", entry.log_id)
        })?;
        ensure(*entry == scripted(term, index), || format!("entry {} is not what was appended", entry.log_id))?;
    }
    for (index, term) in account.acked.range(purged + 1..) {
        let entry = entries.get((index - purged - 1) as usize);
        let found = entry.map(|entry| *entry.log_id.leader_id);
        ensure(found == Some(*term), || format!("acknowledged entry {index} of term {term} is now {found:?}"))?;
    }
    Ok(last)
}

/// The log scenario: the state is some prefix of what was applied, and the rest can be applied from the log.
pub fn check_log(crashed: &Crashed) -> Result<(), String> {
    let account = Account::of(&crashed.said);
    let mut stores = Stores::rocks(&crashed.data())?;
    let last = check_entries(&mut stores, &account)?;
    let found = block_on(stores.log.get_log_state()).unwrap();
    let applied = position(stores.engine.as_ref()).applied.map_or(0, |id| id.index);
    let purged = found.last_purged_log_id.map_or(0, |id| id.index);
    ensure(applied >= purged, || format!("the log is purged to {purged}, the state only at {applied}"))?;
    ensure(applied <= last, || format!("the state at {applied} is ahead of the log at {last}"))?;
    check_state(&stores, &account, applied)?;
    // What was committed and not yet applied comes from the log.
    let committed = account.applied.keys().next_back().copied().unwrap_or(0).max(applied);
    let rest = block_on(stores.log.try_get_log_entries(applied + 1..committed + 1)).map_err(|e| e.to_string())?;
    block_on(apply(&mut stores.state, rest)).map_err(|e| e.to_string())?;
    check_state(&stores, &account, committed)
}

fn check_state(stores: &Stores, account: &Account, upto: u64) -> Result<(), String> {
    let hash = full_hash(stores.engine.as_ref());
    let position = position(stores.engine.as_ref());
    ensure(position.hash == hash, || format!("the hash kept at {upto} is not the rows' hash"))?;
    let script: Vec<Entry> = account.applied.range(..=upto).map(|(index, term)| scripted(*term, *index)).collect();
    ensure(script.len() as u64 == upto, || format!("the state claims {upto}, which was never applied"))?;
    ensure(replayed(script) == hash, || format!("the state at {upto} differs from a replay of the log"))
}

/// The install scenario: the state before, or the snapshot, or what came after it.
pub fn check_install(crashed: &Crashed) -> Result<(), String> {
    let account = Account::of(&crashed.said);
    let mut stores = Stores::rocks(&crashed.data())?;
    check_entries(&mut stores, &account)?;
    let position = position(stores.engine.as_ref());
    ensure(full_hash(stores.engine.as_ref()) == position.hash, || "the kept hash is not the rows' hash".into())?;
    let applied = position.applied.map_or(0, |id| id.index);
    let (term, index) = SNAPSHOT;
    if applied <= BEFORE {
        ensure(!account.installed, || format!("the installed snapshot is gone; the state stands at {applied}"))?;
        let script: Vec<Entry> = (1..=applied).map(|index| scripted(1, index)).collect();
        return ensure(replayed(script) == position.hash, || "the old state is damaged".into());
    }
    ensure(account.installing && applied >= index, || format!("a state at {applied} exists nowhere"))?;
    let after = (index + 1..=applied).map(|index| scripted(term, index));
    ensure(position.applied == Some(log_id(term, applied)), || format!("the position is {:?}", position.applied))?;
    ensure(replayed(snapshot_entries().into_iter().chain(after).collect()) == position.hash, || "a mixed state".into())
}
