//! How far broadcasts have come, as this leader knows it in memory: what nodes answered to appends, and what went wrong
//! last. Callers who wait look here, and at the facts for what an earlier leader did.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::limits;
use crate::pb::streaming::ProduceMessageResponseResult;

/// What nodes answered, by vchannel.
pub(super) type Results = BTreeMap<String, ProduceMessageResponseResult>;

/// See the module.
pub struct Board {
    tasks: Mutex<Tasks>,
    /// Rises with whatever a caller may wait for.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Tasks {
    by_id: BTreeMap<i64, Progress>,
    /// In the order in which they ended; the oldest are forgotten.
    ended: VecDeque<i64>,
}

/// One broadcast under this leader.
#[derive(Default)]
struct Progress {
    appended: Results,
    /// Why it did not get on the last time.
    error: Option<String>,
    attempts: u32,
    over: bool,
    given_up: bool,
}

/// What a caller sees of a broadcast.
#[derive(Debug, PartialEq)]
pub(super) enum Sight {
    /// All of its vchannels have it.
    Complete(Results),
    /// With the last error, if any.
    Going(Option<String>),
    /// This leader has nothing left to do about it.
    Over(Option<String>),
    /// Nobody has it, because of this, and nobody will.
    GivenUp(String),
}

impl Default for Board {
    fn default() -> Self {
        Board { tasks: Mutex::default(), changes: watch::Sender::new(0) }
    }
}

impl Board {
    /// `channels`: how many vchannels the broadcast has.
    pub(super) fn look(&self, id: i64, channels: usize) -> Sight {
        let tasks = self.tasks.lock();
        match tasks.by_id.get(&id) {
            None => Sight::Going(None),
            Some(progress) if progress.appended.len() == channels => Sight::Complete(progress.appended.clone()),
            Some(progress) if progress.given_up => Sight::GivenUp(progress.error.clone().unwrap_or_default()),
            Some(progress) if progress.over => Sight::Over(progress.error.clone()),
            Some(progress) => Sight::Going(progress.error.clone()),
        }
    }

    /// How often it has failed, and why the last time.
    pub(super) fn trouble(&self, id: i64) -> (u32, Option<String>) {
        let tasks = self.tasks.lock();
        tasks.by_id.get(&id).map_or((0, None), |progress| (progress.attempts, progress.error.clone()))
    }

    pub(super) fn has(&self, id: i64, vchannel: &str) -> bool {
        self.tasks.lock().by_id.get(&id).is_some_and(|progress| progress.appended.contains_key(vchannel))
    }

    pub(super) fn appended(&self, id: i64, vchannel: &str, result: ProduceMessageResponseResult) {
        self.with(id, |progress| {
            progress.appended.insert(vchannel.to_owned(), result);
        });
    }

    /// Returns how often it has failed.
    pub(super) fn failed(&self, id: i64, error: String) -> u32 {
        self.with(id, |progress| {
            progress.error = Some(error);
            progress.attempts = progress.attempts.saturating_add(1);
            progress.attempts
        })
    }

    /// It was taken back: nobody has it, and nobody will.
    pub(super) fn given_up(&self, id: i64, why: &str) {
        self.with(id, |progress| {
            progress.given_up = true;
            progress.error = Some(why.to_owned());
        });
        self.ended(id);
    }

    /// Nothing is left to do; for a while it can still be looked at.
    pub(super) fn ended(&self, id: i64) {
        if self.with(id, |progress| std::mem::replace(&mut progress.over, true)) {
            return;
        }
        let mut tasks = self.tasks.lock();
        tasks.ended.push_back(id);
        if tasks.ended.len() > limits::BROADCASTS_REMEMBERED
            && let Some(oldest) = tasks.ended.pop_front()
        {
            tasks.by_id.remove(&oldest);
        }
    }

    fn with<T>(&self, id: i64, change: impl FnOnce(&mut Progress) -> T) -> T {
        let value = change(self.tasks.lock().by_id.entry(id).or_default());
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
        value
    }

    /// A reign ends: what its nodes answered is not the next one's.
    pub(super) fn clear(&self) {
        *self.tasks.lock() = Tasks::default();
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_is_forgotten_in_time() {
        let board = Board::default();
        board.appended(0, "a", ProduceMessageResponseResult::default());
        assert!(board.has(0, "a") && !board.has(0, "b"));
        assert_eq!(board.look(0, 2), Sight::Going(None));
        assert!(matches!(board.look(0, 1), Sight::Complete(results) if results.len() == 1));
        assert_eq!((board.failed(1, "no".into()), board.failed(1, "no".into())), (1, 2));
        board.ended(0);
        board.ended(1);
        assert_eq!(board.look(0, 2), Sight::Over(None));
        assert_eq!(board.look(1, 1), Sight::Over(Some("no".into())));
        board.given_up(1, "never");
        assert_eq!(board.look(1, 1), Sight::GivenUp("never".into()));
        (2..=limits::BROADCASTS_REMEMBERED as i64).for_each(|id| board.ended(id));
        assert_eq!(board.look(0, 1), Sight::Going(None));
        assert_eq!(board.look(1, 1), Sight::GivenUp("never".into()));
        board.clear();
        assert_eq!(board.look(1, 1), Sight::Going(None));
    }
}
