//! When each lease ends, in the leader's own time. Pure: the time is an argument.
//!
//! A renewal moves only the lease's deadline, not its place in the queue: a lease that comes up too early is put back.
//! So a keep-alive costs one look into a hash table, however many leases there are.

use std::collections::{BTreeSet, HashMap, HashSet};

use roost_raft::mutation;

use crate::limits;
use crate::state::keyspace::Lease;

#[derive(Default)]
pub(super) struct Book {
    leases: HashMap<i64, Held>,
    /// (when to look at it, id): never later than its next event.
    queue: BTreeSet<(u64, i64)>,
    /// Leases that were renewed though the log holds a note of what was left of them.
    outdated: BTreeSet<i64>,
}

struct Held {
    generation: u64,
    ttl_s: i64,
    deadline_ms: u64,
    /// When it is to be noted how much is left.
    note_ms: u64,
    queued_ms: u64,
    /// The log holds a note, or may.
    noted: bool,
    /// It ran out: it will not be renewed any more, and is on its way to be expired.
    ended: bool,
}

/// What a renewal did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Renewed {
    Done,
    /// To be answered once [`Book::noted`] is false: a new leader would go by the note.
    AfterNote,
    /// It ran out before.
    TooLate,
}

/// What is to be proposed now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    /// Id and generation.
    pub expired: Vec<(i64, u64)>,
    /// Id, generation and what is left in seconds.
    pub notes: Vec<(i64, u64, i64)>,
}

impl Held {
    fn new(now_ms: u64, lease: &Lease) -> Self {
        let left_s = if lease.remaining_ttl_s > 0 { lease.remaining_ttl_s } else { lease.granted_ttl_s };
        let mut held = Held {
            generation: lease.generation,
            ttl_s: lease.granted_ttl_s,
            deadline_ms: 0,
            note_ms: 0,
            queued_ms: 0,
            noted: lease.remaining_ttl_s > 0,
            ended: false,
        };
        // What an earlier leader began to expire goes on at once.
        held.extend(now_ms, if lease.ending { 0 } else { left_s });
        held.queued_ms = held.next_ms();
        held
    }

    fn extend(&mut self, now_ms: u64, left_s: i64) {
        let left_s = if mutation::active("lease-early") { left_s / 2 } else { left_s };
        self.deadline_ms = now_ms.saturating_add(u64::try_from(left_s).unwrap_or(0).saturating_mul(1000));
        self.plan_note(now_ms);
    }

    /// A note is due after half of what is left. So a lease that nobody renews is noted a few times only, and one whose
    /// leaders change ends after twice its time at the most.
    fn plan_note(&mut self, now_ms: u64) {
        let left_ms = self.deadline_ms.saturating_sub(now_ms);
        // The last second is not worth an entry.
        let worth = left_ms >= 2 * limits::LEASE_NOTE_LEAST_MS;
        self.note_ms = if worth { now_ms + left_ms / 2 } else { u64::MAX };
    }

    fn next_ms(&self) -> u64 {
        self.deadline_ms.min(self.note_ms)
    }
}

impl Book {
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Takes up a lease that the log holds. One that is known keeps its deadline.
    pub fn learn(&mut self, now_ms: u64, lease: &Lease) {
        if self.leases.get(&lease.id).is_some_and(|held| held.generation >= lease.generation) {
            return;
        }
        self.forget(lease.id);
        let held = Held::new(now_ms, lease);
        self.queue.insert((held.queued_ms, lease.id));
        self.leases.insert(lease.id, held);
    }

    /// A lease is gone from the log.
    pub fn forget(&mut self, id: i64) {
        if let Some(held) = self.leases.remove(&id) {
            self.queue.remove(&(held.queued_ms, id));
            self.outdated.remove(&id);
        }
    }

    /// A lease of this generation is gone from the log; a later one of the same id stays.
    pub fn forget_generation(&mut self, id: i64, generation: u64) {
        if self.leases.get(&id).is_some_and(|held| held.generation == generation) {
            self.forget(id);
        }
    }

    /// Forgets everything that is not in `ids`.
    pub fn retain(&mut self, ids: &HashSet<i64>) {
        let gone: Vec<i64> = self.leases.keys().filter(|id| !ids.contains(id)).copied().collect();
        gone.into_iter().for_each(|id| self.forget(id));
    }

    /// Renews a lease that the log holds.
    pub fn renew(&mut self, now_ms: u64, lease: &Lease) -> Renewed {
        self.learn(now_ms, lease);
        let Some(held) = self.leases.get_mut(&lease.id) else { return Renewed::TooLate };
        if held.ended || held.deadline_ms <= now_ms || held.generation != lease.generation {
            return Renewed::TooLate;
        }
        held.extend(now_ms, held.ttl_s);
        if held.noted {
            self.outdated.insert(lease.id);
            return Renewed::AfterNote;
        }
        Renewed::Done
    }

    /// Whether the log may hold a note on this lease.
    pub fn noted(&self, id: i64, generation: u64) -> bool {
        self.leases.get(&id).is_some_and(|held| held.generation == generation && held.noted)
    }

    /// What is left of a lease, in whole seconds.
    pub fn left_s(&self, now_ms: u64, id: i64) -> i64 {
        let left_ms = self.leases.get(&id).map_or(0, |held| held.deadline_ms.saturating_sub(now_ms));
        i64::try_from(left_ms / 1000).unwrap_or(i64::MAX)
    }

    /// When to look again.
    pub fn next_ms(&self) -> Option<u64> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// What is due, as much as one command takes of each kind. Call it again at once while it gives something.
    pub fn due(&mut self, now_ms: u64) -> Due {
        let mut due = Due::default();
        while due.expired.len() < limits::LEASES_EXPIRED_AT_ONCE && due.notes.len() < limits::LEASES_NOTED_AT_ONCE {
            let Some((at, id)) = self.queue.first().copied().filter(|(at, _)| *at <= now_ms) else { break };
            self.queue.remove(&(at, id));
            let Some(held) = self.leases.get_mut(&id) else { continue };
            if held.deadline_ms <= now_ms {
                held.ended = true;
                due.expired.push((id, held.generation));
                continue;
            }
            if held.note_ms <= now_ms {
                let left_s = held.deadline_ms.saturating_sub(now_ms).div_ceil(1000);
                due.notes.push((id, held.generation, i64::try_from(left_s).unwrap_or(i64::MAX)));
                held.noted = true;
                held.plan_note(now_ms);
            }
            held.queued_ms = held.next_ms();
            self.queue.insert((held.queued_ms, id));
        }
        due
    }

    /// Notes to be taken back, as many as one command takes.
    pub fn outdated(&self) -> Vec<(i64, u64, i64)> {
        let ids = self.outdated.iter().take(limits::LEASES_NOTED_AT_ONCE);
        ids.filter_map(|id| Some((*id, self.leases.get(id)?.generation, 0))).collect()
    }

    /// These notes were taken back.
    pub fn taken_back(&mut self, notes: &[(i64, u64, i64)]) {
        for (id, generation, _) in notes {
            self.outdated.remove(id);
            if let Some(held) = self.leases.get_mut(id).filter(|held| held.generation == *generation) {
                held.noted = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(id: i64, ttl_s: i64) -> Lease {
        Lease { id, generation: 1, granted_ttl_s: ttl_s, remaining_ttl_s: 0, ending: false }
    }

    fn book(leases: &[Lease]) -> Book {
        let mut book = Book::default();
        leases.iter().for_each(|lease| book.learn(0, lease));
        book
    }

    #[test]
    fn the_end_of_a_lease_is_not_that_of_the_next_one_of_its_id() {
        let mut book = book(&[lease(1, 10)]);
        assert_eq!(book.due(10_000).expired, [(1, 1)]);
        book.learn(10_001, &Lease { generation: 2, ..lease(1, 10) });
        book.forget_generation(1, 1);
        assert_eq!(book.len(), 1);
        assert_eq!(book.due(20_001).expired, [(1, 2)]);
        book.forget_generation(1, 2);
        assert_eq!(book.len(), 0);
    }

    #[test]
    fn a_lease_ends_at_its_deadline_and_a_renewal_moves_it() {
        let (short, long) = (lease(1, 10), lease(2, 60));
        let mut book = book(&[short.clone(), long.clone()]);
        assert_eq!(book.next_ms(), Some(5000), "the first note");
        assert_eq!(book.renew(4000, &short), Renewed::Done);
        assert_eq!(book.due(8999), Due::default(), "it was renewed before its note");
        assert_eq!(book.due(9000).notes, [(1, 1, 5)]);
        assert_eq!((book.left_s(9001, 1), book.left_s(9000, 2)), (4, 51));
        assert_eq!(book.due(11_499), Due::default());
        assert_eq!(book.due(11_500).notes, [(1, 1, 3)]);
        let mut ended = Due::default();
        for at in 11_500..=14_000 {
            assert!(ended.expired.is_empty(), "not before its time");
            ended = book.due(at);
        }
        assert_eq!(ended.expired, [(1, 1)]);
        assert_eq!(book.renew(14_000, &short), Renewed::TooLate);
        assert_eq!(book.due(20_000), Due::default(), "it is on its way");
        book.forget(1);
        assert_eq!(book.len(), 1);
        assert_eq!(book.queue.len(), 1);
    }

    #[test]
    fn a_lease_past_its_deadline_is_not_renewed_even_before_anybody_looked() {
        let mut book = book(&[lease(1, 10)]);
        assert_eq!(book.renew(10_000, &lease(1, 10)), Renewed::TooLate);
    }

    #[test]
    fn a_note_is_taken_back_before_a_renewal_is_answered() {
        let mut book = book(&[lease(1, 10)]);
        assert_eq!(book.due(5000).notes, [(1, 1, 5)]);
        assert!(book.noted(1, 1) && book.outdated().is_empty());
        assert_eq!(book.renew(6000, &lease(1, 10)), Renewed::AfterNote);
        let notes = book.outdated();
        assert_eq!(notes, [(1, 1, 0)]);
        book.taken_back(&notes);
        assert!(!book.noted(1, 1) && book.outdated().is_empty());
        assert_eq!(book.renew(6001, &lease(1, 10)), Renewed::Done);
        assert_eq!(book.left_s(6001, 1), 10);
    }

    #[test]
    fn a_new_leader_goes_by_the_note() {
        let noted = Lease { remaining_ttl_s: 7, ..lease(1, 60) };
        let mut book = book(&[noted.clone(), lease(2, 60)]);
        assert_eq!((book.left_s(0, 1), book.left_s(0, 2)), (7, 60));
        assert_eq!(book.renew(1, &noted), Renewed::AfterNote, "the next leader would go by it as well");
        let ending = Lease { ending: true, ..lease(3, 60) };
        book.learn(1, &ending);
        assert_eq!(book.renew(1, &ending), Renewed::TooLate);
        assert_eq!(book.due(1).expired, [(3, 1)], "what was begun is finished");
    }

    #[test]
    fn another_lease_of_the_same_id_is_another_lease() {
        let mut book = book(&[lease(1, 10)]);
        let second = Lease { generation: 2, ..lease(1, 20) };
        assert_eq!(book.renew(5000, &second), Renewed::Done);
        assert_eq!(book.renew(5000, &lease(1, 10)), Renewed::TooLate, "the first one is gone");
        assert_eq!(book.left_s(5000, 1), 20);
        assert_eq!((book.len(), book.queue.len()), (1, 1));
        book.retain(&HashSet::new());
        assert_eq!((book.len(), book.queue.len()), (0, 0));
    }

    #[test]
    fn much_that_is_due_comes_in_pieces() {
        let count = i64::try_from(limits::LEASES_EXPIRED_AT_ONCE).unwrap() + 1;
        let leases: Vec<Lease> = (1..=count).map(|id| lease(id, 2)).collect();
        let mut book = book(&leases);
        assert_eq!(book.due(5000).expired.len(), limits::LEASES_EXPIRED_AT_ONCE);
        assert_eq!(book.due(5000).expired.len(), 1);
        assert_eq!(book.due(5000), Due::default());
    }
}
