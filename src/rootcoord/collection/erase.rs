//! The leader task that ends drops: what a dropped collection still has is deleted, a bounded number of rows with each
//! entry. The tables say what is left, so a new leader goes on where the last one was.

use std::sync::Arc;
use std::time::Duration;

use crate::failure::Failure;
use crate::leader::{LeaderTask, Reign};
use crate::proposer::Proposer;
use crate::replica::Replica;
use crate::state::{CollectionChange, Command, EraseCollection, Reply, View};

/// How often it is looked whether something was dropped. Nobody waits for it: the name is free at once.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Collections that are looked up at once.
const PAGE: usize = 64;

/// See the module.
pub struct Eraser {
    replica: Arc<dyn Replica>,
    proposer: Arc<Proposer>,
    look_every: Duration,
}

#[tonic::async_trait]
impl LeaderTask for Eraser {
    fn name(&self) -> &'static str {
        "eraser"
    }

    async fn run(&self, reign: Reign) {
        self.proposer.clock_settled(reign.term).await;
        loop {
            if let Err(error) = self.look(reign).await {
                tracing::warn!(term = reign.term, %error, "a dropped collection is not erased; trying again");
            }
            tokio::time::sleep(self.look_every).await;
        }
    }
}

impl Eraser {
    pub fn new(replica: Arc<dyn Replica>, proposer: Arc<Proposer>) -> Arc<Self> {
        Self::looking_every(replica, proposer, LOOK_EVERY)
    }

    fn looking_every(replica: Arc<dyn Replica>, proposer: Arc<Proposer>, look_every: Duration) -> Arc<Self> {
        Arc::new(Eraser { replica, proposer, look_every })
    }

    /// One step for each collection in turn, until none is left: a large one does not keep the others waiting.
    async fn look(&self, reign: Reign) -> Result<(), Failure> {
        let mut after = None;
        loop {
            let page = self.page(after)?;
            after = page.last().copied();
            if page.is_empty() {
                return Ok(());
            }
            let mut more = false;
            for (_, collection_id) in page {
                more |= self.step(reign, collection_id).await?;
            }
            if more {
                after = None;
            }
        }
    }

    fn page(&self, after: Option<(i64, i64)>) -> Result<Vec<(i64, i64)>, Failure> {
        Ok(View::new(self.replica.view()?.as_ref()).dropping(after, PAGE)?)
    }

    /// True if something of the collection is left.
    async fn step(&self, reign: Reign, collection_id: i64) -> Result<bool, Failure> {
        let step = CollectionChange::Erase(EraseCollection { collection_id });
        let reply = self.proposer.propose_internal(reign.term, Command::Collection(step)).await?;
        Ok(reply == Reply::CollectionErased { more: true })
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::leader::clock::{GuardedClock, SystemClock};
    use crate::pb::schema::{CollectionSchema, DataType, FieldSchema};
    use crate::state::limits::ERASED_ROWS;
    use crate::state::{CreateCollection, DropCollection, Limits};
    use crate::testing::SoloReplica;

    const SOON: Duration = Duration::from_millis(1);

    /// A leader of term 1 that has dropped two collections of three and a half steps each.
    async fn dropped() -> (Arc<SoloReplica>, Arc<Proposer>, Arc<GuardedClock>) {
        let replica = SoloReplica::new();
        let clock = Arc::new(GuardedClock::new(Arc::new(SystemClock::default()), 60_000));
        clock.settled_for(1);
        let proposer = Proposer::new(replica.clone(), clock.clone());
        replica.lead(1);
        for name in ["one", "two"] {
            let key = FieldSchema {
                name: "id".into(),
                data_type: DataType::Int64.into(),
                is_primary_key: true,
                ..FieldSchema::default()
            };
            let schema = CollectionSchema { name: name.into(), fields: vec![key], ..CollectionSchema::default() };
            let create = CreateCollection {
                database: String::new(),
                name: name.into(),
                schema: schema.encode_to_vec(),
                shards: 1,
                consistency: 0,
                properties: Vec::new(),
                partitions: (0..ERASED_ROWS * 7 / 2).map(|number| format!("p{number}")).collect(),
                ts: 1,
                limits: Limits { max_partitions: 5000, ..Limits::default() },
            };
            proposer.propose_internal(1, Command::CreateCollection(create)).await.unwrap();
            let drop = DropCollection { database: String::new(), name: name.into() };
            proposer.propose_internal(1, Command::DropCollection(drop)).await.unwrap();
        }
        (replica, proposer, clock)
    }

    fn left(replica: &SoloReplica) -> usize {
        View::new(replica.view().unwrap().as_ref()).dropping(None, 10).unwrap().len()
    }

    async fn erased(replica: &SoloReplica) {
        let waiting = async {
            while left(replica) > 0 {
                tokio::time::sleep(SOON).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap();
    }

    #[tokio::test]
    async fn drops_end_and_then_it_rests() {
        let (replica, proposer, _) = dropped().await;
        assert_eq!(left(&replica), 2);
        let task = Eraser::looking_every(replica.clone(), proposer, SOON);
        let tasks = tokio::spawn(crate::leader::run(replica.clone(), vec![task]));
        erased(&replica).await;
        let now = std::time::Instant::now();
        let before = replica.read_barrier(now).await.unwrap();
        tokio::time::sleep(20 * SOON).await;
        assert_eq!(replica.read_barrier(now).await.unwrap(), before, "nothing is proposed when nothing is left");
        tasks.abort();
    }

    #[tokio::test]
    async fn the_next_leader_ends_what_the_last_one_began() {
        let (replica, proposer, clock) = dropped().await;
        let first = Eraser::looking_every(replica.clone(), proposer.clone(), SOON);
        assert!(first.step(Reign { term: 1 }, first.page(None).unwrap()[0].1).await.unwrap());
        clock.settled_for(2);
        replica.lead(2);
        // What the deposed leader still sends is not executed.
        assert!(first.look(Reign { term: 1 }).await.is_err());
        assert_eq!(left(&replica), 2);
        let tasks = tokio::spawn(crate::leader::run(replica.clone(), vec![first]));
        erased(&replica).await;
        tasks.abort();
    }
}
