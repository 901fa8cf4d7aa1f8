//! The write-ahead logs that the simulated nodes share, one for each pchannel, as Milvus' nodes share a message queue.
//! A log is fenced by its term: once a node has opened it under a term, nothing is accepted under an older one. What
//! was accepted is written down by epoch (term and node), so that checkers need not believe the fence.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::message;
use super::parts::Parts;
use crate::limits;
use crate::pb::common::ImmutableMessage;
use crate::pb::messages::Message;
use crate::pb::sim;
use crate::pb::streaming::StreamingCode;

/// Bits of a timestamp below its milliseconds.
pub const LOGICAL_BITS: u32 = 18;

/// Why a log was not opened or a message not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct Refused {
    pub code: StreamingCode,
    pub cause: String,
}

impl Refused {
    pub fn new(code: StreamingCode, cause: impl Into<String>) -> Self {
        Refused { code, cause: cause.into() }
    }
}

/// All logs of the process, and the clock of their messages.
#[derive(Debug)]
pub struct Wals {
    by_name: Mutex<BTreeMap<String, Arc<Wal>>>,
    journal: Arc<Journal>,
}

/// What all logs have in common.
#[derive(Debug)]
struct Journal {
    last_tick: Mutex<u64>,
    violations: Mutex<Vec<String>>,
    /// False: a deliberate error, by which checkers are seen to work.
    fenced: bool,
}

/// One log.
#[derive(Debug)]
pub struct Wal {
    name: String,
    state: Mutex<State>,
    /// The offset after the last message.
    end: watch::Sender<u64>,
    journal: Arc<Journal>,
}

#[derive(Debug, Default)]
struct State {
    epochs: VecDeque<sim::Epoch>,
    epochs_forgotten: u64,
    kept: VecDeque<Record>,
    kept_bytes: usize,
    parts: Parts,
}

/// A message that was accepted.
#[derive(Clone, Debug)]
pub struct Record {
    pub offset: u64,
    pub time_tick: u64,
    pub message: Arc<ImmutableMessage>,
}

impl Wals {
    pub fn new(fenced: bool) -> Self {
        let journal = Journal { last_tick: Mutex::default(), violations: Mutex::default(), fenced };
        Wals { by_name: Mutex::default(), journal: Arc::new(journal) }
    }

    /// The log, for a reader.
    pub fn get(&self, name: &str) -> Result<Arc<Wal>, Refused> {
        let mut by_name = self.by_name.lock();
        if let Some(wal) = by_name.get(name) {
            return Ok(wal.clone());
        }
        if name.is_empty() || name.len() > limits::SIM_NAME_BYTES_MAX {
            return Err(Refused::new(StreamingCode::InvaildArgument, "not a pchannel's name"));
        }
        if by_name.len() >= limits::SIM_WALS_MAX {
            return Err(Refused::new(StreamingCode::ResourceAcquired, "the simulation has too many pchannels"));
        }
        let (state, end) = (Mutex::default(), watch::Sender::new(0));
        let wal = Arc::new(Wal { name: name.to_owned(), state, end, journal: self.journal.clone() });
        by_name.insert(name.to_owned(), wal.clone());
        Ok(wal)
    }

    /// Opens the log for appends of `server_id` under `term`, which ends every older term.
    pub fn open(&self, name: &str, term: i64, server_id: i64) -> Result<Arc<Wal>, Refused> {
        let wal = self.get(name)?;
        let mut state = wal.state.lock();
        if let Some(last) = state.epochs.back().filter(|_| self.journal.fenced) {
            if last.term > term {
                return Err(wal.fenced(last, term));
            }
            if last.term == term && last.server_id != server_id {
                let other = last.server_id;
                self.journal
                    .violated(format!("{name}: term {term} was given to node {server_id}, node {other} has it"));
                return Err(wal.fenced(last, term));
            }
        }
        wal.begin(&mut state, term, server_id);
        drop(state);
        Ok(wal)
    }

    /// Of one pchannel or of all, sorted, with the broadcasts of greater ids.
    pub fn describe(&self, pchannel: &str, after_broadcast: u64) -> Vec<sim::Wal> {
        let by_name = self.by_name.lock();
        let wanted = by_name.values().filter(|wal| pchannel.is_empty() || wal.name == pchannel);
        wanted.map(|wal| wal.describe(after_broadcast)).collect()
    }

    pub fn violations(&self) -> Vec<String> {
        self.journal.violations.lock().clone()
    }

    /// A time tick that was not given before.
    pub fn tick(&self) -> u64 {
        self.journal.tick()
    }
}

impl Journal {
    fn tick(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let now = u64::try_from(now).unwrap_or(0) << LOGICAL_BITS;
        let mut last = self.last_tick.lock();
        *last = now.max(*last + 1);
        *last
    }

    fn violated(&self, what: String) {
        tracing::error!(what, "an invariant was violated");
        let mut violations = self.violations.lock();
        if violations.len() < limits::SIM_VIOLATIONS_MAX {
            violations.push(what);
        }
    }
}

impl Wal {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Appends under a term that is open; the record as consumers see it.
    pub fn append(&self, term: i64, server_id: i64, appended: Message) -> Result<Record, Refused> {
        let mut state = self.state.lock();
        let current = state.epochs.back();
        if current.is_none_or(|last| last.term != term || last.server_id != server_id) {
            if let Some(last) = current.filter(|_| self.journal.fenced) {
                return Err(self.fenced(last, term));
            }
            self.begin(&mut state, term, server_id);
        }
        // Under the lock, so that ticks are in the order of offsets.
        let (offset, time_tick) = (*self.end.borrow(), self.journal.tick());
        let message = Arc::new(message::accepted(appended, offset, time_tick, term));
        let record = Record { offset, time_tick, message };
        if let Some(epoch) = state.epochs.back_mut() {
            epoch.accepted += 1;
        }
        state.parts.note(&self.name, &record);
        state.kept_bytes += record.bytes();
        state.kept.push_back(record.clone());
        while state.kept.len() > 1
            && (state.kept.len() > limits::SIM_WAL_MESSAGES_MAX || state.kept_bytes > limits::SIM_WAL_BYTES_MAX)
        {
            let bytes = state.kept.pop_front().map_or(0, |record| record.bytes());
            state.kept_bytes -= bytes;
        }
        // Under the lock too, or the next append would take the same offset.
        self.end.send_replace(offset + 1);
        Ok(record)
    }

    /// At most `count` messages from an offset on; those that were forgotten are left out.
    pub fn read(&self, from: u64, count: usize) -> Vec<Record> {
        let state = self.state.lock();
        let start = state.kept.partition_point(|record| record.offset < from);
        state.kept.range(start..).take(count).cloned().collect()
    }

    /// The offset after the last message, and its changes.
    pub fn end(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }

    fn begin(&self, state: &mut State, term: i64, server_id: i64) {
        if state.epochs.back().is_some_and(|last| last.term == term && last.server_id == server_id) {
            return;
        }
        if state.epochs.len() >= limits::SIM_EPOCHS_MAX {
            state.epochs.pop_front();
            state.epochs_forgotten += 1;
        }
        state.epochs.push_back(sim::Epoch { term, server_id, first_offset: *self.end.borrow(), accepted: 0 });
    }

    fn fenced(&self, last: &sim::Epoch, term: i64) -> Refused {
        let cause =
            format!("{}: term {term} is over, node {} has it under term {}", self.name, last.server_id, last.term);
        Refused::new(StreamingCode::ChannelFenced, cause)
    }

    fn describe(&self, after_broadcast: u64) -> sim::Wal {
        let state = self.state.lock();
        sim::Wal {
            pchannel: self.name.clone(),
            epochs: state.epochs.iter().copied().collect(),
            epochs_forgotten: state.epochs_forgotten,
            broadcasts: state.parts.after(after_broadcast),
        }
    }
}

impl Record {
    fn bytes(&self) -> usize {
        let properties = self.message.properties.iter().map(|(key, value)| key.len() + value.len());
        self.message.payload.len() + properties.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Message {
        Message { payload: b"row".to_vec(), ..Message::default() }
    }

    fn epochs(wals: &Wals) -> Vec<(i64, i64, u64, u64)> {
        let epochs = wals.describe("", 0).into_iter().flat_map(|wal| wal.epochs);
        epochs.map(|epoch| (epoch.term, epoch.server_id, epoch.first_offset, epoch.accepted)).collect()
    }

    #[test]
    fn a_newer_term_ends_the_older_ones() {
        let wals = Wals::new(true);
        let old = wals.open("dml_0", 2, 7).unwrap();
        assert_eq!(old.append(2, 7, message()).unwrap().offset, 0);
        assert_eq!(old.append(2, 7, message()).unwrap().offset, 1);
        let new = wals.open("dml_0", 3, 8).unwrap();
        assert_eq!(old.append(2, 7, message()).unwrap_err().code, StreamingCode::ChannelFenced);
        assert_eq!(new.append(3, 8, message()).unwrap().offset, 2);
        assert_eq!(wals.open("dml_0", 2, 7).unwrap_err().code, StreamingCode::ChannelFenced);
        assert_eq!(epochs(&wals), [(2, 7, 0, 2), (3, 8, 2, 1)]);
        assert!(wals.violations().is_empty(), "a late owner is nobody's fault");
    }

    #[test]
    fn one_term_has_one_owner() {
        let wals = Wals::new(true);
        wals.open("dml_0", 2, 7).unwrap();
        wals.open("dml_0", 2, 7).unwrap();
        assert_eq!(wals.open("dml_0", 2, 8).unwrap_err().code, StreamingCode::ChannelFenced);
        assert_eq!(wals.violations(), ["dml_0: term 2 was given to node 8, node 7 has it"]);
        assert_eq!(epochs(&wals), [(2, 7, 0, 0)]);
    }

    #[test]
    fn without_the_fence_old_terms_are_accepted_and_written_down() {
        let wals = Wals::new(false);
        let wal = wals.open("dml_0", 3, 8).unwrap();
        wal.append(3, 8, message()).unwrap();
        wal.append(2, 7, message()).unwrap();
        assert_eq!(epochs(&wals), [(3, 8, 0, 1), (2, 7, 1, 1)]);
    }

    #[test]
    fn time_ticks_rise_and_old_messages_are_forgotten() {
        let wals = Wals::new(true);
        let wal = wals.open("dml_0", 1, 7).unwrap();
        let count = limits::SIM_WAL_MESSAGES_MAX + 10;
        let ticks: Vec<u64> = (0..count).map(|_| wal.append(1, 7, message()).unwrap().time_tick).collect();
        assert!(ticks.is_sorted_by(|a, b| a < b));
        let read = wal.read(0, usize::MAX);
        assert_eq!((read.len(), read[0].offset), (limits::SIM_WAL_MESSAGES_MAX, 10));
        let large = Message { payload: vec![0; limits::SIM_WAL_BYTES_MAX + 1], ..Message::default() };
        wal.append(1, 7, large).unwrap();
        assert_eq!(wal.read(0, usize::MAX).len(), 1, "the last one is always kept");
        assert_eq!(wal.read(count as u64 + 1, 5).len(), 0);
    }

    #[test]
    fn names_and_their_number_are_bounded() {
        let wals = Wals::new(true);
        for name in [String::new(), "x".repeat(limits::SIM_NAME_BYTES_MAX + 1)] {
            assert_eq!(wals.open(&name, 1, 1).unwrap_err().code, StreamingCode::InvaildArgument);
        }
        for number in 0..limits::SIM_WALS_MAX {
            wals.get(&number.to_string()).unwrap();
        }
        assert_eq!(wals.get("one more").unwrap_err().code, StreamingCode::ResourceAcquired);
    }
}
