//! The streams of all pchannels: one for each, to the node that owns it now, opened when it is needed and used again
//! for as long as the same node owns the pchannel under the same term.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::producer::{Error, Owner, Producer};
use crate::pb::messages::Message;
use crate::pb::store::PChannelState;
use crate::pb::streaming::ProduceMessageResponseResult;
use crate::proposer::Proposer;
use crate::replica::Replica;
use crate::state::broadcast::message::pchannel_of;
use crate::state::{Command, PChannelCommand, View};
use crate::streamingcoord::nodes::Nodes;

/// Of one pchannel. Locked while it is being opened, so that one opens it and the others wait.
#[derive(Default)]
struct Place {
    producer: Option<Arc<Producer>>,
    /// The last term of which the node said that it has it not, and the balancer was told.
    reported: i64,
}

/// See the module. Belongs to one reign.
pub(super) struct Producers {
    replica: Arc<dyn Replica>,
    proposer: Arc<Proposer>,
    nodes: Arc<Nodes>,
    term: u64,
    /// As many as pchannels were asked for, which all exist.
    places: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<Place>>>>,
}

impl Producers {
    pub(super) fn new(replica: Arc<dyn Replica>, proposer: Arc<Proposer>, nodes: Arc<Nodes>, term: u64) -> Self {
        Producers { replica, proposer, nodes, term, places: Mutex::default() }
    }

    /// The stream to the owner of the pchannel that carries this vchannel.
    pub(super) async fn of(&self, vchannel: &str) -> Result<Arc<Producer>, Error> {
        let owner = self.owner(pchannel_of(vchannel))?;
        let place = self.places.lock().entry(owner.pchannel.clone()).or_default().clone();
        let mut place = place.lock().await;
        if let Some(producer) = &place.producer
            && producer.owner == owner
            && !producer.is_over()
        {
            return Ok(producer.clone());
        }
        place.producer = None;
        let connection = self.nodes.channel(&owner.node).map_err(|error| owner.broken(error))?;
        match Producer::open(connection, owner.clone()).await {
            Ok(producer) => {
                let producer = Arc::new(producer);
                place.producer = Some(producer.clone());
                Ok(producer)
            }
            Err(error) => {
                if error.is_not_owner() && place.reported != owner.term {
                    place.reported = owner.term;
                    self.report(&owner).await;
                }
                Err(error)
            }
        }
    }

    pub(super) async fn append(&self, vchannel: &str, message: Message) -> Result<ProduceMessageResponseResult, Error> {
        let producer = self.of(vchannel).await?;
        let outcome = producer.append(message).await;
        if outcome.as_ref().is_err_and(Error::is_not_owner) {
            // Opened again, the node or the facts tell why.
            producer.end();
        }
        outcome
    }

    /// Ends the streams to nodes that do not own their pchannel any more: nobody need wait for their answers.
    pub(super) fn recheck(&self) {
        let places: Vec<_> = self.places.lock().values().cloned().collect();
        for place in places {
            // A locked one is being opened, by what the facts say.
            let Ok(mut place) = place.try_lock() else { continue };
            let Some(producer) = &place.producer else { continue };
            if self.owner(&producer.owner.pchannel).is_ok_and(|owner| owner == producer.owner) {
                continue;
            }
            producer.end();
            place.producer = None;
        }
    }

    fn owner(&self, pchannel: &str) -> Result<Owner, Error> {
        let view = self.replica.view()?;
        let row = View::new(view.as_ref()).pchannel(pchannel)?;
        let found = row.filter(|row| row.state() == PChannelState::Assigned).and_then(|row| {
            let node = row.node?;
            Some(Owner { pchannel: row.name, term: row.term, access_mode: row.access_mode, node })
        });
        found.ok_or_else(|| Error::NoOwner(pchannel.to_owned()))
    }

    /// The node is alive and does not have the pchannel: the balancer shall assign it again.
    async fn report(&self, owner: &Owner) {
        let lost = vec![(owner.pchannel.clone(), owner.term)];
        let command = Command::PChannel(PChannelCommand::MarkUnavailable { lost });
        if let Err(error) = self.proposer.propose_internal(self.term, command).await {
            tracing::warn!(pchannel = owner.pchannel, %error, "a pchannel that its node does not have is not reported");
        }
    }
}
