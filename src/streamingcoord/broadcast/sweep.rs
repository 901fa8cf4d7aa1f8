//! Forgets broadcasts that have been over for longer than they are to be remembered, and the oldest of too many.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::config;
use crate::failure::Failure;
use crate::leader::{LeaderTask, Reign};
use crate::pb::store::BroadcastState;
use crate::proposer::Proposer;
use crate::replica::Replica;
use crate::state::limits::MAX_NAMED_BROADCASTS;
use crate::state::{BroadcastCommand, Command, View};

/// See the module.
pub struct Sweeper {
    pub replica: Arc<dyn Replica>,
    pub proposer: Arc<Proposer>,
    pub settings: Arc<config::Broadcast>,
}

#[tonic::async_trait]
impl LeaderTask for Sweeper {
    fn name(&self) -> &'static str {
        "broadcast sweeper"
    }

    async fn run(&self, reign: Reign) {
        self.proposer.clock_settled(reign.term).await;
        let mut due = interval(Duration::from_millis(self.settings.sweep_interval_ms));
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            if let Err(error) = self.sweep(reign).await {
                tracing::warn!(%error, "old broadcasts are not swept; trying again later");
            }
        }
    }
}

impl Sweeper {
    async fn sweep(&self, reign: Reign) -> Result<(), Failure> {
        let mut after = None;
        loop {
            let (old, last) = self.old(after)?;
            if !old.is_empty() {
                let command = Command::Broadcast(BroadcastCommand::Sweep { ids: old });
                self.proposer.propose_internal(reign.term, command).await?;
            }
            if last.is_none() {
                return Ok(());
            }
            after = last;
            tokio::task::yield_now().await;
        }
    }

    /// The old ones of the next few, and the last that was looked at.
    fn old(&self, after: Option<i64>) -> io::Result<(Vec<i64>, Option<i64>)> {
        let view = self.replica.view()?;
        let view = View::new(view.as_ref());
        let (broadcasts, now_ms) = (view.broadcasts(), view.clock_ms()?);
        let config::Broadcast { tombstone_max_count, tombstone_lifetime_ms, .. } = *self.settings;
        let mut too_many = broadcasts.totals()?.tombstones.saturating_sub(tombstone_max_count);
        let ids = broadcasts.ids(BroadcastState::Tombstone, after, MAX_NAMED_BROADCASTS)?;
        let last = ids.last().copied();
        let mut old = Vec::new();
        for id in ids {
            let Some(row) = broadcasts.task(id)? else { continue };
            if too_many > 0 || now_ms.saturating_sub(row.tombstone_ms) > tombstone_lifetime_ms {
                too_many = too_many.saturating_sub(1);
                old.push(id);
            }
        }
        Ok((old, last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leader::clock::{GuardedClock, SystemClock};
    use crate::state::broadcast::{Acked, Submit};
    use crate::state::{BroadcastReply, Reply};
    use crate::testing::SoloReplica;

    const VCHANNEL: &str = "by-dev-rootcoord-dml_0_7v0";

    async fn propose(proposer: &Proposer, command: BroadcastCommand) -> BroadcastReply {
        match proposer.propose_internal(1, Command::Broadcast(command)).await.unwrap() {
            Reply::Broadcast(reply) => reply,
            reply => panic!("{reply:?}"),
        }
    }

    /// A sweeper whose broadcasts 0 to 4 are over and whose last one is not.
    async fn swept(settings: config::Broadcast) -> (Vec<i64>, Vec<i64>) {
        let replica = SoloReplica::new();
        let clock = Arc::new(GuardedClock::new(Arc::new(SystemClock::default()), 60_000));
        clock.settled_for(1);
        replica.lead(1);
        let proposer = Proposer::new(replica.clone(), clock);
        let mut ids = Vec::new();
        for _ in 0..6 {
            let submit = Submit {
                message_type: 5,
                payload: Vec::new(),
                properties: Vec::new(),
                vchannels: vec![VCHANNEL.into()],
                keys: Vec::new(),
                ack_sync_up: false,
            };
            let BroadcastReply::Submitted { id } = propose(&proposer, BroadcastCommand::Submit(submit)).await else {
                panic!("not submitted");
            };
            ids.push(id);
        }
        for &id in &ids[..5] {
            propose(&proposer, BroadcastCommand::Begin { ids: vec![id] }).await;
            let checkpoints = vec![(VCHANNEL.to_owned(), Vec::new())];
            propose(&proposer, BroadcastCommand::Acked(Acked { id, checkpoints, finish: true })).await;
        }
        let sweeper = Sweeper { replica: replica.clone(), proposer, settings: Arc::new(settings) };
        sweeper.sweep(Reign { term: 1 }).await.unwrap();
        let view = replica.view().unwrap();
        let left = View::new(view.as_ref()).broadcasts().tasks(None, usize::MAX).unwrap();
        (ids, left.into_iter().map(|row| row.id).collect())
    }

    #[tokio::test]
    async fn the_oldest_of_too_many_go_and_what_is_pending_stays() {
        let (ids, left) = swept(config::Broadcast { tombstone_max_count: 2, ..Default::default() }).await;
        assert_eq!(left, ids[3..]);
        let (ids, left) = swept(config::Broadcast::default()).await;
        assert_eq!(left, ids);
    }
}
