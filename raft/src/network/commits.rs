//! What a leader tells its peers of commits, in fewer messages. As soon as an entry is committed, openraft sends a
//! message that says so and nothing else; the append of the next entry says it as well. While entries follow one
//! another, each such message costs every node about as much as an entry does, so it is held back for a moment and the
//! next append takes its place. openraft counts no answers: an answer acknowledges everything up to its log id.
//!
//! A commit that a peer's reader waits for is never held back, nor one after a lone entry.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::stream::Fuse;
use futures::{Stream, StreamExt, stream};
use openraft::raft::AppendEntriesRequest;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::types::TypeConfig;

/// The longest that a commit is held back. Followers show it so much later.
const HOLD_MAX: Duration = Duration::from_millis(2);
/// Entries of one stream that are no further apart follow one another, and so, probably, does the next.
const FLOW_GAP_MAX: Duration = Duration::from_millis(4);

type Append = AppendEntriesRequest<TypeConfig>;

/// The commits of all streams of one node.
#[derive(Default)]
pub struct Commits {
    /// The last index that any peer was told to be committed.
    told: AtomicU64,
    /// The last index that a peer was asked to reach before it reads.
    awaited: AtomicU64,
    raised: Notify,
}

impl Commits {
    /// The last index that this node, as a leader, has told any peer to be committed; 0: none.
    pub fn told(&self) -> u64 {
        self.told.load(Ordering::SeqCst)
    }

    /// A peer waits until it has applied this index, which is committed: what tells it so goes out at once.
    pub fn wait_for(&self, index: u64) {
        if self.awaited.fetch_max(index, Ordering::SeqCst) < index {
            self.raised.notify_waiters();
        }
    }

    /// The appends to one peer, without the messages that the next append makes superfluous.
    pub fn merge<S>(self: &Arc<Self>, appends: S) -> impl Stream<Item = Append> + use<S>
    where
        S: Stream<Item = Append> + Unpin,
    {
        let outbound =
            Outbound { appends: appends.fuse(), commits: self.clone(), told: 0, last_entry: None, gap: Duration::MAX };
        stream::unfold(outbound, |mut outbound| async move { Some((outbound.next().await?, outbound)) })
    }
}

/// The appends to one peer, on one stream.
struct Outbound<S> {
    appends: Fuse<S>,
    commits: Arc<Commits>,
    /// The last index that this stream has told to be committed.
    told: u64,
    /// When an append with entries went out, and how long after the one before.
    last_entry: Option<Instant>,
    gap: Duration,
}

impl<S: Stream<Item = Append> + Unpin> Outbound<S> {
    async fn next(&mut self) -> Option<Append> {
        let mut append = self.appends.next().await?;
        if append.entries.is_empty() && self.flows() {
            append = self.hold(append).await;
        }
        if !append.entries.is_empty() {
            let now = Instant::now();
            self.gap = self.last_entry.map_or(Duration::MAX, |last| now - last);
            self.last_entry = Some(now);
        }
        self.told = self.told.max(append.leader_commit.map_or(0, |id| id.index()));
        // Before it leaves: no peer shows what lies above.
        self.commits.told.fetch_max(self.told, Ordering::SeqCst);
        Some(append)
    }

    /// Whether the next entry is likely to come at once.
    fn flows(&self) -> bool {
        self.gap <= FLOW_GAP_MAX && self.last_entry.is_some_and(|last| last.elapsed() <= FLOW_GAP_MAX)
    }

    /// Returns what is to be sent in place of an append without entries: itself, or one that came after it and says
    /// all that it says, because on one stream the leader is one and neither its log nor its commit goes back.
    async fn hold(&mut self, mut append: Append) -> Append {
        let commits = self.commits.clone();
        let mut until = pin!(sleep_until(Instant::now() + HOLD_MAX));
        loop {
            let mut raised = pin!(commits.raised.notified());
            // From here on it is noticed, whatever happens between the look and the wait.
            raised.as_mut().enable();
            if commits.awaited.load(Ordering::SeqCst) > self.told {
                return append;
            }
            tokio::select! {
                biased;
                next = self.appends.next() => match next {
                    Some(next) => {
                        append = next;
                        if !append.entries.is_empty() {
                            return append;
                        }
                    }
                    None => return append,
                },
                () = raised => {}
                () = &mut until => return append,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::stream::BoxStream;
    use proptest::prelude::*;
    use tokio::sync::mpsc;
    use tokio::time::sleep;
    use tokio_stream::wrappers::UnboundedReceiverStream;

    use super::*;
    use crate::types::{CommittedLeaderId, Entry, LogId, Payload, Vote};

    fn log_id(index: u64) -> Option<LogId> {
        (index > 0).then(|| LogId::new(CommittedLeaderId::new(1), index))
    }

    /// An append after `prev` of so many entries, with the commit that was known then.
    fn append(prev: u64, entries: u64, commit: u64) -> Append {
        let entry = |index| Entry { log_id: LogId::new(CommittedLeaderId::new(1), index), payload: Payload::Blank };
        Append {
            vote: Vote::new_committed(1, 1),
            prev_log_id: log_id(prev),
            entries: (prev + 1..=prev + entries).map(entry).collect(),
            leader_commit: log_id(commit),
        }
    }

    /// What an append says: the last entry before it, how many it brings, and the commit.
    fn said(append: &Append) -> (u64, u64, u64) {
        let index = |id: Option<LogId>| id.map_or(0, |id| id.index());
        (index(append.prev_log_id), append.entries.len() as u64, index(append.leader_commit))
    }

    struct Line {
        commits: Arc<Commits>,
        appends: mpsc::UnboundedSender<Append>,
        sent: BoxStream<'static, Append>,
    }

    impl Line {
        fn new() -> Self {
            let commits = Arc::<Commits>::default();
            let (appends, queue) = mpsc::unbounded_channel();
            let sent = commits.merge(UnboundedReceiverStream::new(queue)).boxed();
            Line { commits, appends, sent }
        }

        fn put(&self, prev: u64, entries: u64, commit: u64) {
            self.appends.send(append(prev, entries, commit)).unwrap();
        }

        /// What goes out now.
        fn now(&mut self) -> Option<(u64, u64, u64)> {
            self.sent.next().now_or_never().flatten().map(|append| said(&append))
        }

        /// Two entries, one right after the other, of which the first is committed.
        async fn flowing() -> Self {
            let mut line = Line::new();
            line.put(0, 1, 0);
            assert_eq!(line.now(), Some((0, 1, 0)));
            sleep(Duration::from_millis(1)).await;
            line.put(1, 1, 1);
            assert_eq!(line.now(), Some((1, 1, 1)));
            line
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_commit_of_a_lone_entry_is_told_at_once() {
        let mut line = Line::new();
        line.put(0, 1, 0);
        assert_eq!(line.now(), Some((0, 1, 0)));
        line.put(1, 0, 1);
        assert_eq!(line.now(), Some((1, 0, 1)));
        sleep(FLOW_GAP_MAX * 2).await;
        line.put(1, 1, 1);
        assert_eq!(line.now(), Some((1, 1, 1)));
        line.put(2, 0, 2);
        assert_eq!(line.now(), Some((2, 0, 2)), "it came long after the one before");
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_entry_takes_the_place_of_a_commit() {
        let mut line = Line::flowing().await;
        line.put(2, 0, 2);
        assert_eq!(line.now(), None);
        assert_eq!(line.commits.told(), 1, "what was not sent was not told");
        sleep(Duration::from_millis(1)).await;
        line.put(2, 3, 2);
        assert_eq!(line.now(), Some((2, 3, 2)));
        assert_eq!((line.now(), line.commits.told()), (None, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_commit_is_not_held_for_long_and_the_latest_is_told() {
        let mut line = Line::flowing().await;
        line.put(2, 0, 1);
        assert_eq!(line.now(), None);
        let since = Instant::now();
        sleep(HOLD_MAX / 2).await;
        line.put(2, 0, 2);
        assert_eq!(line.now(), None);
        assert_eq!(line.sent.next().await.map(|append| said(&append)), Some((2, 0, 2)));
        assert!(since.elapsed() <= HOLD_MAX + Duration::from_millis(1), "{:?}", since.elapsed());
        sleep(FLOW_GAP_MAX).await;
        line.put(2, 0, 2);
        assert_eq!(line.now(), Some((2, 0, 2)), "nothing flows any more");
    }

    #[tokio::test(start_paused = true)]
    async fn a_commit_that_a_reader_waits_for_is_told_at_once() {
        let mut line = Line::flowing().await;
        line.put(2, 0, 2);
        assert_eq!(line.now(), None);
        line.commits.wait_for(1);
        assert_eq!(line.now(), None, "that was told");
        line.commits.wait_for(2);
        assert_eq!(line.now(), Some((2, 0, 2)));
        line.put(2, 1, 2);
        assert_eq!(line.now(), Some((2, 1, 2)));
        line.commits.wait_for(3);
        line.put(3, 0, 3);
        assert_eq!(line.now(), Some((3, 0, 3)), "it was waited for before it came");
        line.put(3, 0, 3);
        assert_eq!(line.now(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_commit_that_is_held_goes_out_when_the_stream_ends() {
        let Line { appends, mut sent, .. } = Line::flowing().await;
        appends.send(append(2, 0, 2)).unwrap();
        assert!(sent.next().now_or_never().is_none());
        drop(appends);
        assert_eq!(sent.next().await.map(|append| said(&append)), Some((2, 0, 2)));
        assert!(sent.next().await.is_none());
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// Entries, and how many of those before them are committed by then.
        Append(u64, u64),
        WaitFor(u64),
        Sleep(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..3_u64, 0..3_u64).prop_map(|(entries, commits)| Step::Append(entries, commits)),
            (0..9_u64).prop_map(Step::WaitFor),
            (0..4_000_u64).prop_map(Step::Sleep),
        ]
    }

    proptest! {
        #[test]
        fn a_peer_gets_every_entry_at_once_and_every_commit_in_time(
            steps in proptest::collection::vec(step(), 1..60),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
            runtime.unwrap().block_on(async {
                let mut line = Line::new();
                let (mut last, mut commit) = (0, 0);
                let (mut got, mut told) = (0, 0);
                let mut untold_since = None;
                for step in steps {
                    match step {
                        Step::Append(entries, more) => {
                            commit = last.min(commit + more);
                            line.put(last, entries, commit);
                            last += entries;
                        }
                        Step::WaitFor(index) => line.commits.wait_for(index.min(commit)),
                        Step::Sleep(micros) => sleep(Duration::from_micros(micros)).await,
                    }
                    while let Some((prev, entries, now)) = line.now() {
                        prop_assert_eq!(prev, got, "no entry is missing");
                        prop_assert!(now >= told, "a commit goes back");
                        (got, told) = (got + entries, now);
                    }
                    prop_assert_eq!(got, last, "an entry is late");
                    prop_assert_eq!(told, line.commits.told());
                    let awaited = line.commits.awaited.load(Ordering::SeqCst);
                    prop_assert!(told >= awaited, "{} is waited for", awaited);
                    untold_since = (told < commit).then(|| untold_since.unwrap_or_else(Instant::now));
                    // The timer counts whole milliseconds.
                    let late = untold_since.is_some_and(|since| since.elapsed() > HOLD_MAX + Duration::from_millis(2));
                    prop_assert!(!late, "commit {} is not told", commit);
                }
                Ok::<(), TestCaseError>(())
            })?;
        }
    }
}
