//! One broadcast from its turn to its end: reach the nodes of all its vchannels, write down that it begins, append,
//! write down what was acknowledged; with the last of it, it is over. Whatever fails is tried again, from what the
//! facts say.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream;
use prost::Message as _;
use roost_raft::mutation;
use tokio::sync::{Notify, Semaphore};

use super::board::Board;
use super::metrics::BroadcastMetrics;
use super::producer;
use super::producers::Producers;
use crate::config;
use crate::failure::Failure;
use crate::limits;
use crate::pb::store;
use crate::pb::streaming::{AckedCheckpoint, ProduceMessageResponseResult};
use crate::proposer::Proposer;
use crate::replica::Replica;
use crate::state::broadcast::{Acked, message};
use crate::state::limits::MAX_CHECKPOINT_BYTES;
use crate::state::{BroadcastCommand, BroadcastReply, Command, Reply, View};

/// What all broadcasts of a reign use.
pub(super) struct Shared {
    pub(super) replica: Arc<dyn Replica>,
    pub(super) proposer: Arc<Proposer>,
    pub(super) producers: Producers,
    pub(super) board: Arc<Board>,
    pub(super) metrics: Arc<BroadcastMetrics>,
    pub(super) settings: Arc<config::Broadcast>,
    pub(super) term: u64,
    /// Broadcasts that append at the same time.
    pub(super) rounds: Semaphore,
    /// Bytes of copies that are on their way at the same time.
    pub(super) bytes: Semaphore,
}

/// Why a round did not end the broadcast.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error(transparent)]
    Append(#[from] producer::Error),
    #[error(transparent)]
    Log(#[from] Failure),
    #[error("it may not begin yet")]
    NotItsTurn,
    #[error("it waits until its messages are consumed")]
    NotConsumed,
}

/// Returns when the broadcast is over, or was taken back. `wake`: something changed that may let it get on.
pub(super) async fn drive(shared: Arc<Shared>, id: i64, wake: Arc<Notify>) {
    let mut pause = limits::BROADCAST_RETRY_MIN;
    let since = Instant::now();
    loop {
        let stopped = match shared.pending(id) {
            Ok(None) => {
                // A node's acknowledgement was the last one, if it was not taken back.
                if shared.is_remembered(id) {
                    shared.metrics.finished(since.elapsed());
                }
                return;
            }
            Ok(Some((task, carried))) => {
                // Never closed.
                let _permit = shared.rounds.acquire().await;
                match shared.round(&task, &carried).await {
                    Ok(()) => {
                        shared.metrics.finished(since.elapsed());
                        return;
                    }
                    Err(Stopped::NotConsumed) => {
                        // Not a failure: somebody acknowledges, and that is a change.
                        pause = limits::BROADCAST_RETRY_MAX;
                        Stopped::NotConsumed
                    }
                    Err(stopped) => {
                        if shared.gives_up(&task, &stopped, since.elapsed()).await {
                            return;
                        }
                        stopped
                    }
                }
            }
            Err(error) => Stopped::Append(error.into()),
        };
        tracing::debug!(id, why = %stopped, "a broadcast goes on later");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = wake.notified() => tokio::time::sleep(limits::BROADCAST_RETRY_MIN).await,
        }
        pause = (pause * 2).min(limits::BROADCAST_RETRY_MAX);
    }
}

impl Shared {
    fn pending(&self, id: i64) -> std::io::Result<Option<(store::BroadcastTask, store::BroadcastMessage)>> {
        let view = self.replica.view()?;
        let broadcasts = View::new(view.as_ref()).broadcasts();
        let Some(task) = broadcasts.task(id)?.filter(store::BroadcastTask::is_pending) else { return Ok(None) };
        Ok(broadcasts.message(id)?.map(|carried| (task, carried)))
    }

    fn is_remembered(&self, id: i64) -> bool {
        let view = self.replica.view();
        view.and_then(|view| View::new(view.as_ref()).broadcasts().task(id)).is_ok_and(|task| task.is_some())
    }

    async fn round(&self, task: &store::BroadcastTask, carried: &store::BroadcastMessage) -> Result<(), Stopped> {
        let id = task.id;
        // What waits to be consumed is not appended again by this leader.
        let is_done = |channel: &store::BroadcastChannel| {
            channel.acked || (task.ack_sync_up && self.board.has(id, &channel.vchannel))
        };
        let open: Vec<&str> =
            task.channels.iter().filter(|channel| !is_done(channel)).map(|channel| channel.vchannel.as_str()).collect();
        if !open.is_empty() {
            if !task.begun {
                self.reach(&open).await?;
                self.begin(id).await?;
            }
            self.append(task, carried, &open).await?;
        }
        // What was acknowledged since the task was read counts too.
        let Some((task, _)) = self.pending(id).map_err(producer::Error::from)? else { return Ok(()) };
        if task.left() > 0 {
            return Err(Stopped::NotConsumed);
        }
        // By an acknowledgement that did not end it, as those of earlier versions.
        self.propose(BroadcastCommand::Finish { id }).await?;
        Ok(())
    }

    /// Whether every vchannel's node takes appends, so that a broadcast which cannot get everywhere gets nowhere.
    async fn reach(&self, vchannels: &[&str]) -> Result<(), producer::Error> {
        let all: Vec<_> = vchannels.iter().map(|vchannel| self.producers.of(vchannel)).collect();
        let mut opening = stream::iter(all).buffer_unordered(limits::APPENDS_AT_ONCE);
        while let Some(opened) = opening.next().await {
            opened?;
        }
        Ok(())
    }

    async fn begin(&self, id: i64) -> Result<(), Stopped> {
        match self.propose(BroadcastCommand::Begin { ids: vec![id] }).await? {
            BroadcastReply::Begun { ids } if ids.contains(&id) => Ok(()),
            _ => Err(Stopped::NotItsTurn),
        }
    }

    /// Appends to these vchannels, and acknowledges what the nodes took even if some did not.
    async fn append(
        &self,
        task: &store::BroadcastTask,
        carried: &store::BroadcastMessage,
        vchannels: &[&str],
    ) -> Result<(), Stopped> {
        let original = message::Original::new(task, carried);
        let share = original.copy_bytes().clamp(1, limits::BROADCAST_COPY_BYTES_AT_ONCE);
        let share = u32::try_from(share).unwrap_or(u32::MAX);
        let one = |vchannel: String| {
            let original = &original;
            async move {
                // Never closed.
                let _room = self.bytes.acquire_many(share).await;
                let started = Instant::now();
                let outcome = self.producers.append(&vchannel, original.copy_for(&vchannel)).await;
                self.metrics.appended(outcome.is_ok(), started.elapsed());
                (vchannel, outcome)
            }
        };
        let forgotten = usize::from(mutation::active("acknowledge-unreached") && vchannels.len() > 1);
        let (forgotten, vchannels) = vchannels.split_at(forgotten);
        let all: Vec<_> = vchannels.iter().map(|vchannel| one(vchannel.to_string())).collect();
        let outcomes: Vec<_> = stream::iter(all).buffer_unordered(limits::APPENDS_AT_ONCE).collect().await;
        let mut checkpoints: Vec<_> = forgotten.iter().map(|vchannel| (vchannel.to_string(), Vec::new())).collect();
        let mut failed = None;
        for (vchannel, outcome) in outcomes {
            match outcome {
                Ok(result) => {
                    checkpoints.push((vchannel.clone(), checkpoint(&result)));
                    self.board.appended(task.id, &vchannel, result);
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if !task.ack_sync_up {
            for checkpoints in checkpoints.chunks(limits::CHECKPOINTS_AT_ONCE) {
                let acked = Acked { id: task.id, checkpoints: checkpoints.to_vec(), finish: true };
                self.propose(BroadcastCommand::Acked(acked)).await?;
            }
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Takes a caller's broadcast back that nobody has begun, if the configuration has a limit and it is passed.
    async fn gives_up(&self, task: &store::BroadcastTask, stopped: &Stopped, waited: Duration) -> bool {
        let id = task.id;
        let attempts = self.board.failed(id, stopped.to_string());
        let config::Broadcast { max_retries, timeout_ms, .. } = *self.settings;
        let too_often = max_retries > 0 && attempts > max_retries;
        let too_long = timeout_ms > 0 && waited > Duration::from_millis(timeout_ms);
        if task.begun || task.own || !(too_often || too_long) {
            return false;
        }
        match self.propose(BroadcastCommand::Abandon { id }).await {
            Ok(BroadcastReply::Abandoned { changed: true }) => {
                self.board.given_up(id, &stopped.to_string());
                tracing::warn!(id, attempts, ?waited, why = %stopped, "a broadcast was given up before it began");
                true
            }
            _ => false,
        }
    }

    pub(super) async fn propose(&self, command: BroadcastCommand) -> Result<BroadcastReply, Failure> {
        match self.proposer.propose_internal(self.term, Command::Broadcast(command)).await? {
            Reply::Broadcast(reply) => Ok(reply),
            other => {
                tracing::error!(?other, "a command about broadcasts was answered with another command's reply");
                let detail = "unexpected reply of the state machine".into();
                Err(crate::error::Rejection::Internal { detail }.into())
            }
        }
    }
}

/// What is kept of a node's answer, encoded. It is for people and for late callers: one that is too long is left out.
fn checkpoint(result: &ProduceMessageResponseResult) -> Vec<u8> {
    let checkpoint = AckedCheckpoint {
        message_id: result.id.clone(),
        last_confirmed_message_id: result.last_confirmed_id.clone(),
        time_tick: result.timetick,
    };
    match checkpoint.encoded_len() > MAX_CHECKPOINT_BYTES {
        true => AckedCheckpoint { time_tick: result.timetick, ..AckedCheckpoint::default() }.encode_to_vec(),
        false => checkpoint.encode_to_vec(),
    }
}
